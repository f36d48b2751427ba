"""What is put on a request for the sake of the service it goes to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from apostille.base.refs import Ref
from apostille.model.route import PathMatch, PathRewrite, RegexRewrite


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """How a request will look at its destination, as far as the route decides it.

    `host` is the Host header as it will be sent, with its port where that is not the scheme's own. `path`: what the
    client's path was matched by, and so what `rewrite` replaces. `tls`: nobody on the way can read or change it.
    """

    host: str
    path: PathMatch
    rewrite: PathRewrite | RegexRewrite | None = None
    tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """An outbound policy as one route needs it. `config` is what the integration `kind` compiles to."""

    policy: Ref
    kind: str
    config: object
    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalSigns:
    """How a destination says that it will not have the credential that we put on a request.

    `statuses` of such answers; `codes`: error codes in them, letters, digits and ``_`` only. Other answers are the
    destination's word to the caller, and pass.
    """

    statuses: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        strange = [code for code in self.codes if not re.fullmatch(r"[A-Za-z0-9_]+", code)]
        if strange:
            raise ValueError(f"error codes are of letters, digits and `_`: {strange}")
