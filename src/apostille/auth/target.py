"""The path of a request after its route's rewrite, before Envoy has rewritten it.

A signature is made in the auth service and covers the path as it will be sent. So for signed routes the rewrite is done
here, and Envoy is told the result; for all others Envoy does it, by the same rules (config.route.v3.RouteAction).
"""

from __future__ import annotations

import re2

from apostille.model.outbound import Target
from apostille.model.route import PathKind, PathRewrite


def rewrite_path(path: str, target: Target) -> str:
    """`path` is as the client spelled it, without its query."""
    rewrite = target.rewrite
    if rewrite is None:
        return path
    if isinstance(rewrite, PathRewrite):
        kept = "" if target.path.kind is PathKind.EXACT else path[len(target.path.value) :]
        return rewrite.replacement + kept
    return str(re2.sub(rewrite.pattern, rewrite.substitution, path))
