"""The filter that sends the query which the auth service tells, without the caller's key.

ext_authz cannot change a path (envoy.service.auth.v3: HTTP answers set headers only), a `header_mutation` may not name
``:path``, and its `query_parameter_mutations` bring all the other parameters into another order.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from apostille.base.check import QUERY_HEADER, REASON_HEADER
from apostille.xds.names import EXT_AUTHZ, TOLD_QUERY
from apostille.xds.packing import emit_any

QUERY_UNTOLD = "query_untold"


def emit_told_query() -> HttpFilter:
    """Off, but for routes that switch it on."""
    script = Lua(default_source_code=DataSource(inline_string=_script()))
    return HttpFilter(name=TOLD_QUERY, disabled=True, typed_config=emit_any(script))


@cache
def _script() -> str:
    names = {"NAMESPACE": EXT_AUTHZ, "KEY": QUERY_HEADER, "REASON": REASON_HEADER, "UNTOLD": QUERY_UNTOLD}
    settings = "".join(f'local {name} = "{value}"\n' for name, value in names.items())
    return settings + files("apostille.xds").joinpath("told_query.lua").read_text(encoding="utf-8")
