"""From the texts of a source to one snapshot of resources, whatever state the texts are in.

A file that is no YAML any more does not take its resources down: what was last read from it goes on being served, and
the status says so. The only cache of the control plane is here: files are parsed again only when their text changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from apostille.base.collector import collector_paused
from apostille.base.refs import Origin
from apostille.resources.parse import ParsedFile, parse_file
from apostille.resources.resource import Resource, Spec
from apostille.resources.snapshot import Snapshot, build_snapshot
from apostille.sources.contract import Texts
from apostille.status.problem import Finding, Problem
from apostille.status.reasons import Effect, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`texts` are those the snapshot was made of. `stale`: files served as they last were. `blind`: files that nothing
    good was ever read from, so that nobody knows what they would guard."""

    snapshot: Snapshot
    findings: tuple[Finding, ...]
    texts: Mapping[str, str] = field(repr=False)
    stale: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """The resources of one file with their place in the order of all; the first has the place `start`."""

    parsed: ParsedFile
    start: int
    resources: tuple[Resource[Spec], ...]


class Reader:
    def __init__(self, last_good: Mapping[str, str] | None = None) -> None:
        """`last_good`: file name → text of an earlier life."""
        self._good: dict[str, str] = dict(last_good or {})
        self._parsed: dict[str, tuple[str, ParsedFile]] = {}
        self._placed: dict[str, _Placed] = {}

    def read(self, texts: Texts) -> Reading:
        """Never raises for what is in the texts."""
        with collector_paused():
            return self._read(texts)

    def _read(self, texts: Texts) -> Reading:
        findings = list(texts.findings)
        served: dict[str, str] = {}
        stale: list[str] = []
        blind: list[str] = []
        unreadable = {f.origin.file for f in texts.findings if f.effect is Effect.REJECTED}
        # An emptied or unmounted folder is a fault, not a wish to serve nothing.
        lost = set(self._good) if texts.vanished else unreadable & set(self._good)
        for name in sorted({*texts.files, *unreadable, *lost}):
            parsed = self._parse(name, texts.files[name]) if name in texts.files else None
            if parsed is not None and parsed.readable:
                self._good[name] = texts.files[name]
                served[name] = texts.files[name]
                findings += parsed.findings
                continue
            findings += parsed.findings if parsed is not None else ()
            if name in self._good:
                served[name] = self._good[name]
                stale.append(name)
                findings += [_stale(name), *self._parse(name, self._good[name]).findings]
            else:
                blind.append(name)
        if not texts.vanished:
            self._good = {name: text for name, text in self._good.items() if name in served}
        snapshot, duplicates = build_snapshot(self._resources(served))
        return Reading(
            snapshot=snapshot,
            findings=(*findings, *duplicates),
            texts=served,
            stale=tuple(stale),
            blind=tuple(blind),
        )

    def _resources(self, served: Mapping[str, str]) -> list[Resource[Spec]]:
        """In reading order: file name, then place in the file."""
        resources: list[Resource[Spec]] = []
        placed: dict[str, _Placed] = {}
        for name, text in served.items():
            parsed = self._parse(name, text)
            known = self._placed.get(name)
            if known is None or known.parsed is not parsed or known.start != len(resources):
                # The same objects again where nothing changed: translation compiles only others.
                ordered = (replace(each, order=order) for order, each in enumerate(parsed.resources, len(resources)))
                known = _Placed(parsed=parsed, start=len(resources), resources=tuple(ordered))
            placed[name] = known
            resources += known.resources
        self._parsed = {name: self._parsed[name] for name in served}
        self._placed = placed
        return resources

    def _parse(self, name: str, text: str) -> ParsedFile:
        known = self._parsed.get(name)
        if known is not None and known[0] == text:
            return known[1]
        parsed = parse_file(name, text, 0)
        self._parsed[name] = (text, parsed)
        return parsed


def _stale(name: str) -> Finding:
    message = "This file cannot be read as it is now; what was last read from it is still served. Mend it."
    problem = Problem(at=(), reason=Reason.STALE, message=message)
    return Finding(ref=None, origin=Origin(name, 1, 1), problem=problem, effect=Effect.STALE)
