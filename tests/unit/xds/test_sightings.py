from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from google.protobuf.struct_pb2 import Struct

from apostille.xds.names import METADATA, SIGHTING
from apostille.xds.sightings import Sighting, parse_sightings

BEGAN = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def entry(**told: str | float) -> HTTPAccessLogEntry:
    made = HTTPAccessLogEntry()
    made.common_properties.start_time.FromDatetime(BEGAN)
    made.common_properties.time_to_first_upstream_rx_byte.FromTimedelta(timedelta(seconds=2))
    if told:
        sighting = Struct()
        sighting.update(told)
        made.common_properties.metadata.filter_metadata[METADATA].update({SIGHTING: sighting})
    return made


def parsed(*entries: HTTPAccessLogEntry) -> list[Sighting]:
    log = StreamAccessLogsMessage.HTTPAccessLogEntries(log_entry=entries)
    return list(parse_sightings(StreamAccessLogsMessage(http_logs=log)))


def clock(date: str, age: str = "") -> timedelta | None:
    [sighting] = parsed(entry(policy="apps/s3", date=date, age=age, code="", refused=0))
    return sighting.skew


def test_the_answers_date_is_compared_with_the_moment_it_came_not_with_that_of_the_request() -> None:
    assert clock("Sun, 22 Nov 2026 12:00:02 GMT") == timedelta(seconds=0.5)
    assert clock("Sun, 22 Nov 2026 12:20:02 GMT") == timedelta(minutes=20, seconds=0.5)
    assert clock("Sun, 22 Nov 2026 11:40:02 GMT") == -timedelta(minutes=20) + timedelta(seconds=0.5)


def test_an_answer_that_rested_in_a_cache_is_as_old_as_it_says() -> None:
    assert clock("Sun, 22 Nov 2026 11:00:02 GMT", age="3600") == timedelta(seconds=0.5)


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 99 Nov 2026 12:00:02 GMT", "\u00e9"])
def test_what_is_no_date_tells_no_time(date: str) -> None:
    assert clock(date) is None


def test_an_age_that_is_no_number_tells_no_time() -> None:
    assert clock("Sun, 22 Nov 2026 12:00:02 GMT", age="old") is None
    assert clock("Sun, 22 Nov 2026 12:00:02 GMT", age="9" * 30) is None


def test_refusals_are_counted_by_envoy_and_told_in_one_sighting() -> None:
    [found] = parsed(entry(policy="apps/s3", date="", age="", code="ExpiredToken", refused=17))
    assert (found.policy, found.code, found.refused) == ("apps/s3", "ExpiredToken", 17)
    assert found.seen == BEGAN + timedelta(seconds=2)


def test_of_an_answer_without_a_refusal_the_date_is_told_by_its_headers() -> None:
    good = entry()
    good.common_properties.custom_tags["outbound"] = "apps/s3"
    good.response.response_headers["date"] = "Sun, 22 Nov 2026 12:00:05 GMT"
    assert parsed(good) == [Sighting(policy="apps/s3", seen=BEGAN + timedelta(seconds=2), skew=timedelta(seconds=3.5))]


def test_an_answer_of_envoys_own_tells_nothing() -> None:
    ours = entry(policy="apps/s3", date="Sun, 22 Nov 2026 12:00:05 GMT", age="", code="", refused=0)
    ours.common_properties.ClearField("time_to_first_upstream_rx_byte")
    ours.common_properties.custom_tags["outbound"] = "apps/s3"
    assert parsed(ours) == []


def test_other_log_entries_are_none_of_our_business() -> None:
    assert parsed(entry()) == []
