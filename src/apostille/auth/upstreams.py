"""What the control plane has heard of the destinations that this worker's signers sign for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

UPSTREAM_TYPE_URL = "type.googleapis.com/apostille.auth.v1.Upstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamNews:
    """`skew`: how far the destination's clock is ahead of ours. `refusals`: how often it has refused what was put on
    requests; only that the number grows means something."""

    skew: timedelta = timedelta(0)
    refusals: int = 0


_NO_NEWS = UpstreamNews()


def emit_news(news: UpstreamNews) -> bytes:
    return json.dumps({"skew_seconds": round(news.skew.total_seconds(), 1), "refusals": news.refusals}).encode()


def parse_news(data: bytes) -> UpstreamNews:
    """Raises ValueError."""
    try:
        found = json.loads(data)
        return UpstreamNews(skew=timedelta(seconds=float(found["skew_seconds"])), refusals=int(found["refusals"]))
    except (KeyError, TypeError, OverflowError, ValueError):
        raise ValueError("not the news of a destination") from None


class UpstreamStore:
    """News by outbound policy, ``namespace/name``. One event loop owns it."""

    def __init__(self) -> None:
        self._news: dict[str, UpstreamNews] = {}

    def put(self, policy: str, news: UpstreamNews) -> bool:
        """Whether it has refused something since the last news."""
        before = self._news.get(policy, _NO_NEWS)
        self._news[policy] = news
        return news.refusals > before.refusals

    def drop(self, policy: str) -> None:
        self._news.pop(policy, None)

    def view(self, policy: str) -> UpstreamView:
        return UpstreamView(self._news, policy)


class UpstreamView:
    """See `auth.contract.Upstream`."""

    def __init__(self, news: Mapping[str, UpstreamNews], policy: str) -> None:
        self._news, self._policy = news, policy

    @property
    def skew(self) -> timedelta:
        return self._news.get(self._policy, _NO_NEWS).skew
