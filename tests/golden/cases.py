"""A golden case: one input, and everything that follows from it, written down beside it.

``tests/golden/AREA/CASE/in.yaml`` holds the resources. Its first line may name a file of shared ones, which count as
read before it: ``# base: _base.yaml``, a path from ``tests/golden``. The outputs are the translated and proven model,
the messages for Envoy and the status of every resource. ``listeners.yaml`` is optional, since listeners are much alike:
it is written where it exists.

What differs from machine to machine is fixed here: the port named ``web`` is 8080, listeners open on 127.0.0.1, and
``${FILES}`` stands for a folder with ``roots.pem``, ``client.pem`` and ``client.key``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from google.protobuf.message import Message

from apostille.control.candidate import Candidate, Judging, compile_candidate
from apostille.control.reading import Reader, Reading
from apostille.model.dump import dump_model
from apostille.sources.contract import Texts
from apostille.status.problem import Finding, field_text
from apostille.status.report import Report, compile_report
from apostille.xds.configuration import emit_configuration, emit_json

ROOT = Path(__file__).parent
INPUT = "in.yaml"
OUTPUTS = ("model.yaml", "xds.yaml", "status.yaml")
OPTIONAL = "listeners.yaml"
PORTS = {"web": 8080}
_BASE = "# base: "
_FILES = "${FILES}"
_FIRST = ("@type", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.relative_to(ROOT).as_posix()

    @property
    def outputs(self) -> tuple[str, ...]:
        return (*OUTPUTS, OPTIONAL) if (self.folder / OPTIONAL).exists() else OUTPUTS

    def read(self, files: Path) -> Reading:
        """`files`: what ``${FILES}`` stands for."""
        text = (self.folder / INPUT).read_text(encoding="utf-8")
        texts = {INPUT: text}
        first = text.partition("\n")[0]
        if first.startswith(_BASE):
            base = first.removeprefix(_BASE).strip()
            texts[base] = (ROOT / base).read_text(encoding="utf-8")
        return Reader().read(Texts(files={name: texts[name].replace(_FILES, str(files)) for name in sorted(texts)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`texts`: output name → what is to stand there."""

    candidate: Candidate
    texts: dict[str, str]


def find_cases() -> tuple[Case, ...]:
    return tuple(Case(folder=path.parent) for path in sorted(ROOT.glob(f"*/*/{INPUT}")))


def find_strangers() -> tuple[str, ...]:
    """Files that belong to no case, and folders without an input."""
    wanted = {INPUT, *OUTPUTS, OPTIONAL}
    known = {case.folder / name for case in find_cases() for name in wanted}
    known |= set(ROOT.glob("*.py")) | set(ROOT.glob("_*.yaml"))
    found = (path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return tuple(sorted(path.relative_to(ROOT).as_posix() for path in found if path not in known))


async def run_case(case: Case, judging: Judging, files: Path) -> Result:
    reading = case.read(files)
    candidate = await compile_candidate(reading.snapshot, judging)
    report = compile_report(
        ((resource.ref, resource.origin) for resource in reading.snapshot.resources),
        (*reading.findings, *candidate.findings),
        candidate.notes,
    )
    emitted = emit_configuration(candidate.gateway, judging.site)
    outputs: dict[str, object] = {
        "model.yaml": dump_model(candidate.gateway),
        "xds.yaml": {
            "clusters": _plain(emitted.clusters),
            "route_configurations": [_with_routes_apart(each) for each in _plain(emitted.route_configurations)],
        },
        "status.yaml": _dump_report(report),
        OPTIONAL: _plain(emitted.listeners),
    }
    texts = {name: _dump(outputs[name], dense=name != "status.yaml") for name in case.outputs}
    return Result(candidate=candidate, texts={name: _portable(text, candidate, files) for name, text in texts.items()})


def _portable(text: str, candidate: Candidate, files: Path) -> str:
    """Without what differs from machine to machine, and without the digests of programs: those change with every field
    that a program gains, and what matters here is who names which."""
    text = text.replace(str(files), _FILES)
    for number, program in enumerate(candidate.gateway.programs, start=1):
        text = text.replace(program.id, f"{program.id.partition('@')[0]}@<digest {number}>")
    return text


def _plain(messages: Iterable[Message]) -> list[object]:
    return [_ordered(emit_json(message)) for message in messages]


def _with_routes_apart(configuration: object) -> object:
    """A matcher tree repeats its routes: here each stands once in its virtual host, and the tree has their names."""
    routes: dict[str, object] = {}

    def named(value: object) -> object:
        if isinstance(value, list):
            return [named(item) for item in value]
        if not isinstance(value, dict):
            return value
        kind = str(value.get("@type")).rpartition("/")[2]
        if kind == "envoy.config.route.v3.RouteList":
            return [name_of(route) for route in value["routes"]]
        if kind == "envoy.config.route.v3.Route":
            return [name_of({key: part for key, part in value.items() if key != "@type"})]
        return {key: named(part) for key, part in value.items()}

    def name_of(route: dict[str, object]) -> str:
        name = str(route["name"])
        # For plain requests a route in the Envoy lane is another one, of the same name.
        if route.get("request_headers_to_remove"):
            name = f"{name} (Envoy lane)"
        assert routes.setdefault(name, route) == route, f"two routes are named {name}"
        return name

    assert isinstance(configuration, dict)
    hosts = []
    for host in configuration.get("virtual_hosts", ()):
        routes.clear()
        hosts.append({**host, "matcher": named(host["matcher"]), "routes": [routes[name] for name in sorted(routes)]})
    return {**configuration, **({"virtual_hosts": hosts} if hosts else {})}


def _ordered(value: object) -> object:
    """Sorted, since protobuf promises no order of a map's entries; what it is called comes first."""
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value, key=lambda key: (key not in _FIRST, key))}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def _dump_report(report: Report) -> dict[str, object]:
    statuses = {
        str(status.ref): {
            "approval": status.approval.value,
            **({"findings": [_dump_finding(finding) for finding in status.findings]} if status.findings else {}),
        }
        for status in report.statuses
    }
    notes = {str(note.ref): list(note.lines) for note in report.notes}
    noted = {ref: {**status, **({"notes": notes[ref]} if ref in notes else {})} for ref, status in statuses.items()}
    return {**noted, **({"loose": [_dump_finding(finding) for finding in report.loose]} if report.loose else {})}


def _dump_finding(finding: Finding) -> dict[str, object]:
    field = field_text(finding.problem.at)
    return {
        "place": str(finding.origin),
        **({"field": field} if field else {}),
        "reason": finding.problem.reason.value,
        "effect": finding.effect.value,
        "message": finding.problem.message,
    }


class _Dumper(yaml.SafeDumper):
    """Indents lists, and has no anchors: each part reads by itself."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _dump(value: object, *, dense: bool) -> str:
    """`dense`: what holds nothing but scalars stands on one line."""
    style = None if dense else False
    # Wide enough to keep every text on one line, where it can be searched for and compared.
    return yaml.dump(value, Dumper=_Dumper, default_flow_style=style, sort_keys=False, allow_unicode=True, width=10_000)
