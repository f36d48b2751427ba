from __future__ import annotations

from datetime import UTC, datetime

from apostille.control.worker import describe_credentials
from apostille.credentials.keeper import KeeperReport, State
from apostille.model.caller import NOBODY, Caller


def report(caller: Caller) -> KeeperReport:
    return KeeperReport(
        source="instance",
        caller=caller,
        state=State.FRESH,
        reason=None,
        expires=datetime(2026, 5, 1, 18, 0, tzinfo=UTC),
        refreshed=None,
        failures=0,
        last_error=None,
    )


def test_credentials_for_everybody_name_no_caller() -> None:
    said = describe_credentials(report(NOBODY))
    assert (said["consumer"], said["key"], said["metadata"]) == (None, None, {})
    assert said["expires"] == "2026-05-01T18:00:00+00:00"


def test_what_names_a_caller_is_cut_short() -> None:
    said = describe_credentials(report(Caller(consumer="c" * 64, key="apo_live_1", metadata={"team": "t" * 65})))
    assert (said["consumer"], said["key"]) == ("c" * 64, "apo_live_1")
    assert said["metadata"] == {"team": "t" * 63 + "…"}
