from __future__ import annotations

from datetime import timedelta

import pytest

from apostille.auth.upstreams import UpstreamNews, UpstreamStore, emit_news, parse_news


def test_news_survive_the_wire() -> None:
    news = UpstreamNews(skew=timedelta(minutes=-20), refusals=7)
    assert parse_news(emit_news(news)) == news


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"skew_seconds": "x", "refusals": 1}', b'{"skew_seconds": 1e99, "refusals": 1}']
)
def test_what_is_no_news_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not the news of a destination"):
        parse_news(data)


def test_a_view_follows_its_policy_and_knows_nothing_else() -> None:
    store = UpstreamStore()
    view = store.view("apps/s3")
    assert view.skew == timedelta(0)
    assert not store.put("apps/s3", UpstreamNews(skew=timedelta(seconds=90)))
    store.put("apps/other", UpstreamNews(skew=timedelta(seconds=5)))
    assert view.skew == timedelta(seconds=90)
    store.drop("apps/s3")
    assert view.skew == timedelta(0)


def test_only_new_refusals_are_news() -> None:
    store = UpstreamStore()
    assert store.put("apps/s3", UpstreamNews(refusals=1))
    assert not store.put("apps/s3", UpstreamNews(refusals=1))
    assert store.put("apps/s3", UpstreamNews(refusals=2))
