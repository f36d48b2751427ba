from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.base.secrets import SecretText
from apostille.keys.record import Pepper, State, Verdict, judge, to_second
from apostille.model.limits import Limits, Period, Quota, Rate
from apostille.model.scopes import Scopes
from tests.unit.credentials.stand_ins import START
from tests.unit.keys.valkey import PEPPER, make_key, make_record, verify

SECOND = timedelta(seconds=1)


def test_the_key_of_a_record_is_accepted_and_no_other_is() -> None:
    parts, other = make_key(), make_key()
    record = make_record(parts)
    assert verify(record, parts.key, PEPPER, START) is Verdict.ACCEPTED
    assert verify(record, other.key, PEPPER, START) is Verdict.WRONG_SECRET
    key = parts.key.reveal()
    for wrong in (key[:-1], key + "0", key.replace("apo_test", "apo_prod"), "", "\ud800"):
        assert verify(record, SecretText(wrong), PEPPER, START) is Verdict.WRONG_SECRET


def test_with_another_pepper_no_key_is_accepted() -> None:
    parts = make_key()
    assert verify(make_record(parts), parts.key, Pepper(b"x" * 32), START) is Verdict.WRONG_SECRET


def test_an_unknown_id_is_a_wrong_secret() -> None:
    assert judge(None, PEPPER.digest(make_key().key), START) is Verdict.WRONG_SECRET


def test_a_key_is_valid_from_its_first_second_until_just_before_its_last() -> None:
    parts = make_key()
    record = make_record(parts, not_before=START, expires=START + 60 * SECOND)
    tick = timedelta(microseconds=1)
    assert verify(record, parts.key, PEPPER, START - tick) is Verdict.NOT_YET_VALID
    assert verify(record, parts.key, PEPPER, START) is Verdict.ACCEPTED
    assert verify(record, parts.key, PEPPER, START + 60 * SECOND - tick) is Verdict.ACCEPTED
    assert verify(record, parts.key, PEPPER, START + 60 * SECOND) is Verdict.EXPIRED


def test_revoked_is_said_before_anything_else_but_only_to_who_has_the_key() -> None:
    parts = make_key()
    record = make_record(parts, state=State.REVOKED, expires=START)
    assert verify(record, parts.key, PEPPER, START) is Verdict.REVOKED
    assert verify(record, make_key().key, PEPPER, START) is Verdict.WRONG_SECRET


def test_no_secret_shows() -> None:
    record = make_record()
    assert record.digest.hex() not in repr(record)
    assert "digest" not in repr(record)
    assert "pepper for tests" not in f"{PEPPER!r} {PEPPER}"
    with pytest.raises(TypeError):
        pickle.dumps(PEPPER)


def test_a_short_pepper_is_refused() -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        Pepper(b"x" * 31)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"id": "short"}, "twelve"),
        ({"successor": "apo:version!"}, "twelve"),
        ({"env": "Prod"}, "environment"),
        ({"digest": b"x"}, "32 bytes"),
        ({"consumer": ""}, "consumer"),
        ({"consumer": "a\nb"}, "control character"),
        ({"name": "\ud800"}, "half a character"),
        ({"labels": {"": "x"}}, "needs a name"),
        ({"metadata": {"plan": "a\r\nb"}}, "'plan'"),
        ({"created": START.replace(tzinfo=None)}, "to_second"),
        ({"expires": START + timedelta(microseconds=1)}, "to_second"),
        ({"revision": -1}, "negative"),
    ],
)
def test_what_cannot_be_a_record_is_refused(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make_record(None, **fields)


@given(st.datetimes(timezones=st.just(timezone(timedelta(hours=5)))))
def test_moments_become_whole_seconds_of_the_same_time(moment: datetime) -> None:
    if moment.year in (1, 9999):
        return
    second = to_second(moment)
    assert second.tzinfo is UTC
    assert timedelta(0) <= moment - second < SECOND


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_second(START.replace(tzinfo=None))


@pytest.mark.parametrize("number", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_allows_nothing_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="requests a second"):
        Rate(per_second=number, burst=1)


def test_limits_that_contradict_are_refused() -> None:
    hour = Quota(requests=1, period=Period.HOUR)
    with pytest.raises(ValueError, match="two quotas"):
        Limits(quotas=(hour, hour))
    with pytest.raises(ValueError, match="quota of 0"):
        Quota(requests=0, period=Period.DAY)
    with pytest.raises(ValueError, match="burst of 0"):
        Rate(per_second=1, burst=0)


def test_the_record_shows_what_may_be_shown() -> None:
    parts = make_key("prod")
    assert make_record(parts, scopes=Scopes(methods=("GET",))).shown == parts.shown
