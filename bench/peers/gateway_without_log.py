"""``apostille`` with an access log that never writes a line: the log's own cost is the difference.

The gateway has no switch for it. This program stands in for ``python -m apostille`` in all of the gateway's processes.
"""

from __future__ import annotations

import sys

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, HeaderFilter
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher

from apostille.cli.main import main
from apostille.control.gateway import LocalGateway
from apostille.xds import access_log, listeners


def emit_silent_log() -> AccessLog:
    log = access_log.emit_access_log()
    never = HeaderFilter(header=HeaderMatcher(name="x-bench-never", present_match=True))
    log.filter.CopyFrom(AccessLogFilter(header_filter=never))
    return log


def compile_command(_: LocalGateway, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-P", __file__, *arguments)


if __name__ == "__main__":
    setattr(listeners, "emit_access_log", emit_silent_log)  # noqa: B010 - it is no attribute to mypy
    setattr(LocalGateway, "_command", compile_command)  # noqa: B010
    main()
