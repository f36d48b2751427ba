"""What is said of a key on the command line, as the JSON of the admin API. It must not import what takes long."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

_SPAN = re.compile(r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)/(s|m|h)")
_QUOTA = re.compile(r"([0-9]+)/(hour|day|month)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
NEVER = "never"

Name = Annotated[str | None, typer.Option("--name", help="What people call the key.")]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="For selecting keys; repeatable.")
]
Metadata = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="NAME=VALUE", help="For headers and logs, so nothing secret; repeatable."),
]
Expires = Annotated[
    str | None,
    typer.Option(
        "--expires", metavar="WHEN", help="A time such as 2027-01-31T00:00:00Z, a span such as 90d, or never."
    ),
]
NotBefore = Annotated[
    str | None, typer.Option("--not-before", metavar="WHEN", help="When the key begins to be valid; as --expires.")
]
Methods = Annotated[
    list[str] | None, typer.Option("--method", metavar="METHOD", help="Only for this method; repeatable.")
]
Hosts = Annotated[
    list[str] | None,
    typer.Option("--host", metavar="HOST", help="Only for this host, *.example.com too; repeatable."),
]
PathPrefixes = Annotated[
    list[str] | None,
    typer.Option("--path-prefix", metavar="PATH", help="Only for this path and those below; repeatable."),
]
RouteLabels = Annotated[
    list[str] | None,
    typer.Option("--route-label", metavar="NAME=VALUE", help="Only for routes with this label; repeatable: all."),
]
Destinations = Annotated[
    list[str] | None,
    typer.Option("--destination", metavar="NAMESPACE/NAME", help="Only for routes to this service; repeatable: any."),
]
RateLimit = Annotated[
    str | None, typer.Option("--rate", metavar="N/s", help="Requests a second in the long run; N/m and N/h too.")
]
Burst = Annotated[
    int | None, typer.Option("--burst", min=1, metavar="N", help="Requests at once; those of one second by default.")
]
Quotas = Annotated[
    list[str] | None,
    typer.Option("--quota", metavar="N/day", help="Requests in an hour, day or month; repeatable."),
]
LimitShare = Annotated[
    str | None,
    typer.Option(
        "--limit-share", metavar="key|consumer", help="Who counts together: each key alone, or those of a consumer."
    ),
]

# Any: JSON.
Json = dict[str, Any]


def parse_pairs(option: str, written: Iterable[str]) -> dict[str, str]:
    """``["a=b"]`` as ``{"a": "b"}``. Raises a usage error."""
    pairs: dict[str, str] = {}
    for item in written:
        name, equals, value = item.partition("=")
        if not name or not equals or name in pairs:
            raise typer.BadParameter(f"{option} must be NAME=VALUE, and each name once; write for example plan=gold")
        pairs[name] = value
    return pairs


def parse_span(text: str) -> timedelta | None:
    """``90d``, ``1h30m``; None for what is none."""
    match = _SPAN.fullmatch(text)
    if match is None or not text:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def parse_when(option: str, text: str, now: datetime) -> str | None:
    """A time as RFC 3339; None for never. Raises a usage error."""
    if text == NEVER:
        return None
    try:
        span = parse_span(text)
        moment = datetime.fromisoformat(text) if span is None else now + span
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{option} must be a time with its zone, a span or {NEVER}; write for example 2027-01-31T00:00:00Z or 90d"
        ) from None


def parse_grace(text: str) -> str:
    """As the admin API takes it. Raises a usage error."""
    span = parse_span(text)
    if span is None:
        raise typer.BadParameter("--grace must be a span; write for example 24h, 7d or 0s")
    return f"{span.days * 24}h{span.seconds}s"


def parse_limits(rate: str | None, burst: int | None, quotas: Iterable[str], share: str | None) -> Json:
    """Raises a usage error."""
    limits: Json = {}
    if rate is not None:
        match = _RATE.fullmatch(rate)
        if match is None or not float(match[1]):
            raise typer.BadParameter("--rate must be a number of requests and s, m or h; write for example 10/s")
        per_second = float(match[1]) / _SECONDS[match[2]]
        limits["rate"] = {"perSecond": per_second, "burst": burst or max(1, math.ceil(per_second))}
    elif burst is not None:
        raise typer.BadParameter("--burst needs --rate; write for example --rate 10/s --burst 20")
    found = []
    for quota in quotas:
        match = _QUOTA.fullmatch(quota)
        if match is None:
            raise typer.BadParameter("--quota must be a number and hour, day or month; write for example 1000/day")
        found.append({"requests": int(match[1]), "period": match[2]})
    if found:
        limits["quotas"] = found
    if share is not None:
        if share not in ("key", "consumer"):
            raise typer.BadParameter("--limit-share must be key or consumer")
        limits["share"] = share
    return limits


def parse_scopes(
    methods: Iterable[str], hosts: Iterable[str], paths: Iterable[str], labels: Iterable[str], names: Iterable[str]
) -> Json:
    """Raises a usage error."""
    scopes: Mapping[str, Any] = {
        "methods": [method.upper() for method in methods],
        "hosts": [host.lower() for host in hosts],
        "pathPrefixes": list(paths),
        "routeLabels": parse_pairs("--route-label", labels),
        "destinations": list(names),
    }
    return {name: value for name, value in scopes.items() if value}


def parse_key_name(text: str) -> str:
    """What names a key in the API. Raises a usage error, which quotes nothing: it may be a whole key."""
    from apostille.keys.format import PREFIX, parse_shown

    if parse_shown(text) is not None:
        return text
    if text.startswith(f"{PREFIX}_"):
        raise typer.BadParameter(
            "KEY must be the first part of a key, apo_<env>_ and twelve characters; if this was a whole key, it stands "
            "in your shell's history now: rotate it"
        )
    raise typer.BadParameter("KEY must be apo_<env>_<id> as `apostille keys list` shows it, or the id alone")
