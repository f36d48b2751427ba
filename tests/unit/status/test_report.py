from __future__ import annotations

import pytest

from apostille.base.refs import Origin, Ref
from apostille.status.problem import Finding, Note, Problem, field_text
from apostille.status.reasons import Effect, Reason
from apostille.status.report import Approval, compile_report

SHOP = Ref("RouteTable", "apps", "shop")
OTHER = Ref("RouteTable", "apps", "other")
RESOURCES = [(SHOP, Origin("b.yaml", 1, 1)), (OTHER, Origin("a.yaml", 1, 1))]


def finding(
    ref: Ref | None = SHOP,
    *,
    reason: Reason = Reason.INVALID_VALUE,
    effect: Effect = Effect.REPLACED,
    line: int = 2,
    message: str = "It is wrong.",
) -> Finding:
    return Finding(
        ref=ref,
        origin=Origin("b.yaml", line, 3),
        problem=Problem(at=("spec", "http", 0, "name"), reason=reason, message=message),
        effect=effect,
    )


def approval(*findings: Finding) -> Approval:
    [status] = [each for each in compile_report(RESOURCES, findings).statuses if each.ref == SHOP]
    return status.approval


@pytest.mark.parametrize(
    ("reason", "effect", "expected"),
    [
        (Reason.UNKNOWN_FIELD, Effect.IGNORED, Approval.WARNING),
        (Reason.UNGUARDED, Effect.AS_WRITTEN, Approval.WARNING),
        (Reason.NOT_BUILT, Effect.PARTIAL, Approval.WARNING),
        (Reason.STALE, Effect.STALE, Approval.WARNING),
        (Reason.INVALID_VALUE, Effect.REPLACED, Approval.INVALID),
        (Reason.INVALID_VALUE, Effect.REJECTED, Approval.INVALID),
        (Reason.CONFLICT, Effect.REJECTED, Approval.FAILED),
        (Reason.REJECTED_BY_ENVOY, Effect.REPLACED, Approval.FAILED),
    ],
)
def test_the_approval_follows_from_reason_and_effect(reason: Reason, effect: Effect, expected: Approval) -> None:
    assert approval(finding(reason=reason, effect=effect)) is expected


def test_the_worst_of_several_findings_counts() -> None:
    warning = finding(effect=Effect.IGNORED)
    wrong = finding(effect=Effect.REPLACED)
    refused = finding(reason=Reason.REJECTED_BY_ENVOY)
    assert approval() is Approval.ACCEPTED
    assert approval(warning, wrong) is Approval.INVALID
    assert approval(warning, refused, wrong) is Approval.FAILED


def test_every_resource_has_a_status_and_they_are_sorted() -> None:
    report = compile_report(RESOURCES, [])
    assert [status.ref for status in report.statuses] == [OTHER, SHOP]
    assert not report.has_errors


def test_findings_stand_in_the_order_of_the_file_and_each_once() -> None:
    late, early = finding(line=9), finding(line=2)
    report = compile_report(RESOURCES, [late, early, late])
    assert report.statuses[1].findings == (early, late)
    assert report.findings == (early, late)


def test_a_finding_about_somebody_unknown_gets_a_status_too() -> None:
    stranger = Ref("RoutTable", "apps", "typo")
    report = compile_report([], [finding(stranger, effect=Effect.IGNORED)])
    assert [(status.ref, status.approval) for status in report.statuses] == [(stranger, Approval.WARNING)]


def test_what_belongs_to_no_resource_is_loose_and_counts_as_an_error() -> None:
    loose = finding(None, effect=Effect.REJECTED)
    report = compile_report(RESOURCES, [loose])
    assert report.loose == (loose,)
    assert report.has_errors
    assert all(status.approval is Approval.ACCEPTED for status in report.statuses)


def test_warnings_alone_are_no_errors() -> None:
    assert not compile_report(RESOURCES, [finding(effect=Effect.IGNORED)]).has_errors


@pytest.mark.parametrize("effect", list(Effect))
def test_what_costs_nobody_a_request_is_a_mere_warning(effect: Effect) -> None:
    assert finding(effect=effect).is_warning is (effect in (Effect.IGNORED, Effect.AS_WRITTEN))


def test_notes_stand_in_the_order_of_the_files_and_change_no_approval() -> None:
    late = Note(ref=SHOP, origin=Origin("b.yaml", 1, 1), lines=("callers may read",))
    early = Note(ref=OTHER, origin=Origin("a.yaml", 1, 1), lines=("callers may write",))
    report = compile_report(RESOURCES, [], [late, early])
    assert report.notes == (early, late)
    assert {status.approval for status in report.statuses} == {Approval.ACCEPTED}
    assert report.findings == ()


def test_a_finding_as_text_has_everything_on_one_line() -> None:
    assert str(finding()) == (
        "b.yaml:2:3: RouteTable/apps/shop spec.http[0].name: It is wrong. [InvalidValue, Replaced]"
    )
    loose = Finding(
        ref=None,
        origin=Origin("a.yaml", 1, 1),
        problem=Problem(at=(), reason=Reason.INVALID_SYNTAX, message="No YAML."),
        effect=Effect.REJECTED,
    )
    assert str(loose) == "a.yaml:1:1: No YAML. [InvalidSyntax, Rejected]"


@pytest.mark.parametrize(
    ("path", "text"), [((), ""), (("spec",), "spec"), (("a", 0, "b", 1, 2), "a[0].b[1][2]"), ((0, "a"), "[0].a")]
)
def test_a_path_is_written_as_people_write_it(path: tuple[str | int, ...], text: str) -> None:
    assert field_text(path) == text
