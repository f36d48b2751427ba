"""OpenStack Swift as one process: account, container and object server behind the proxy server with its S3 API.

A program, run by path: ``python -I swift_process.py FOLDER ACCESS_KEY_ID``. It imports nothing of Apostille, and
Apostille does not import it: eventlet changes the socket module for good. `bucket` writes what is in FOLDER.

Each server is Swift's own, unchanged; here they only get sockets that are already bound, so that no port is guessed,
and one log, the standard error.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

_STORAGE = ("account", "container", "object")


def main(folder: Path, access_key: str) -> None:
    import eventlet  # type: ignore[import-untyped]
    from swift.common import utils  # type: ignore[import-untyped]
    from swift.common.utils import logs  # type: ignore[import-untyped]

    utils.set_swift_dir(str(folder))
    utils.monkey_patch()
    # Swift would log to /dev/log, and without one to UDP port 514.
    logs.ThreadSafeSysLogHandler = lambda *_, **__: logging.StreamHandler(sys.stderr)

    # After monkey_patch, as Swift's own start-up does it.
    from swift.common.wsgi import loadapp  # type: ignore[import-untyped]

    sockets = {name: eventlet.listen(("127.0.0.1", 0), backlog=1024) for name in (*_STORAGE, "proxy")}
    for name in _STORAGE:
        _save_ring(folder / f"{name}.ring.gz", port=sockets[name].getsockname()[1])
    apps = {name: loadapp(str(folder / f"{name}-server.conf")) for name in sockets}
    _add_access_key(apps["proxy"], access_key)

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    serving = [eventlet.spawn(_serve, sockets[name], app) for name, app in apps.items()]
    sys.stdout.write(json.dumps({"listening": sockets["proxy"].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    for server in serving:
        server.wait()


def _save_ring(path: Path, *, port: int) -> None:
    from swift.common.ring import RingBuilder  # type: ignore[import-untyped]

    builder = RingBuilder(part_power=1, replicas=1, min_part_hours=0)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "disk", "weight": 1.0})
    builder.rebalance(seed=1)
    builder.get_ring().save(str(path))


def _add_access_key(proxy: Any, access_key: str) -> None:
    """Give the one user of tempauth a second name: its own, ``demo:owner``, does not look like an access key id."""
    from swift.common.middleware.tempauth import TempAuth  # type: ignore[import-untyped]

    while not isinstance(proxy, TempAuth):
        proxy = proxy.app
    proxy.users[access_key] = proxy.users["demo:owner"]


def _serve(socket: Any, app: Any) -> None:
    import eventlet.wsgi  # type: ignore[import-untyped]
    from swift.common.http_protocol import SwiftHttpProtocol  # type: ignore[import-untyped]

    eventlet.wsgi.server(
        socket,
        app,
        logging.getLogger("eventlet"),
        log_output=False,
        protocol=SwiftHttpProtocol,
        # S3 clients need ETag as it is spelled; eventlet would write Etag.
        capitalize_response_headers=False,
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
