"""From findings to one status for each resource, in the words of Gloo's ``status.common.State``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from apostille.base.refs import Origin, Ref
from apostille.status.problem import Finding, Note
from apostille.status.reasons import Effect, Reason


class Approval(StrEnum):
    ACCEPTED = "ACCEPTED"
    WARNING = "WARNING"  # partly wrong, applied all the same
    INVALID = "INVALID"  # wrong, and told what to write instead
    FAILED = "FAILED"  # well written, but could not be put in force


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceStatus:
    """`findings` holds all that is wrong at once, in the order of the file."""

    ref: Ref
    origin: Origin
    approval: Approval
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`loose` findings belong to no resource: a file that is no YAML, a document without a kind."""

    statuses: tuple[ResourceStatus, ...]
    loose: tuple[Finding, ...]
    notes: tuple[Note, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Everything, sorted by place."""
        every = [*self.loose, *(finding for status in self.statuses for finding in status.findings)]
        return tuple(sorted(every, key=_place))

    @property
    def has_errors(self) -> bool:
        return any(not finding.is_warning for finding in self.findings)


def compile_report(
    resources: Iterable[tuple[Ref, Origin]], findings: Iterable[Finding], notes: Iterable[Note] = ()
) -> Report:
    by_ref: dict[Ref, list[Finding]] = defaultdict(list)
    loose: list[Finding] = []
    for finding in dict.fromkeys(findings):
        if finding.ref is None:
            loose.append(finding)
        else:
            by_ref[finding.ref].append(finding)
    origins = dict(resources)
    for ref, own in by_ref.items():
        origins.setdefault(ref, own[0].origin)
    return Report(
        statuses=tuple(
            ResourceStatus(
                ref=ref,
                origin=origins[ref],
                approval=_approval(by_ref[ref]),
                findings=tuple(sorted(by_ref[ref], key=_place)),
            )
            for ref in sorted(origins)
        ),
        loose=tuple(sorted(loose, key=_place)),
        notes=tuple(sorted(notes, key=lambda note: (note.origin, note.ref))),
    )


def _place(finding: Finding) -> tuple[Origin, str, str]:
    return (finding.origin, finding.problem.reason, finding.problem.message)


def _approval(findings: list[Finding]) -> Approval:
    if any(f.problem.reason is Reason.REJECTED_BY_ENVOY or f.problem.reason is Reason.CONFLICT for f in findings):
        return Approval.FAILED
    if any(f.effect in (Effect.REJECTED, Effect.REPLACED) for f in findings):
        return Approval.INVALID
    return Approval.WARNING if findings else Approval.ACCEPTED
