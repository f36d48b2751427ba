"""Write the generated parts of docs/reference/ from the code: fields, reasons, metrics, log lines, commands.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; the rest is written by hand. Names,
types and defaults come from the code, explanations from docs/reference/notes.yaml. A name without an explanation is an
error. ``--check`` changes nothing and fails when a page is not up to date.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import structlog
import yaml
from docs_admin import emit_admin_operations, emit_admin_reasons, emit_admin_shapes
from docs_tables import Incomplete, Notes, noted, table
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from pydantic.fields import FieldInfo

from apostille.auth.decisions import Decision, DecisionLog, DecisionMetrics, json_logger
from apostille.base.check import KEY_REFUSED
from apostille.base.clock import SystemClock
from apostille.control import app as _control_plane  # noqa: F401 - loaded, so that its reasons are found
from apostille.control import worker as _auth_worker  # noqa: F401 - the same
from apostille.control.metrics import ControlMetrics
from apostille.control.upstreams import Upstreams
from apostille.credentials.fetched import CredentialsUnavailable
from apostille.credentials.fetched import Reason as CredentialsReason
from apostille.credentials.keepers import Keepers
from apostille.integrations import INTEGRATIONS
from apostille.model.credentials import EnvironmentSource
from apostille.observe.scrape import scrape
from apostille.resources.kinds import KINDS, Kind, Support
from apostille.resources.resource import Spec
from apostille.status.reasons import Effect, Reason
from apostille.steps import STEPS
from apostille.xds.access_log import FIELDS
from apostille.xds.feedback import Nack
from apostille.xds.listeners import _REASONS as LOCAL_REASONS  # the flags of Envoy that get a reason of ours
from apostille.xds.sightings import Sighting
from apostille.xds.told_query import QUERY_UNTOLD
from apostille.xds.watch import SIGNATURE_REFUSED

ROOT = Path(__file__).resolve().parent.parent
PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
COLUMNS = 100
_REFERENCE = "#/$defs/"
# Calls whose reason a client sees, and where the reason stands when it is not given by name.
_ANSWERING: Mapping[str, int | None] = {
    "Deny": None,
    "Respond": None,
    "replace": None,
    "refused_route": 1,
    "_reason_for": 1,
}

Json = Mapping[str, Any]  # Any: a JSON Schema


# --- resources ------------------------------------------------------------------------------------------------------


def specs_below(spec: type[Spec], seen: dict[str, Json]) -> None:
    """Every message of a kind, by name, the outermost first; messages that were seen already are left out."""
    schema = spec.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    pending = [schema]
    while pending:
        found = pending.pop(0)
        if found["title"] in seen:
            continue
        seen[found["title"]] = found
        inner = re.findall(re.escape(_REFERENCE) + r"(\w+)", json.dumps(found))
        pending += [definitions[name] for name in inner]


def type_text(schema: Json) -> str:
    """A JSON Schema as a few words; messages are links."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return next(type_text(part) for part in schema["anyOf"] if part.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"] if isinstance(each, str))
    match schema.get("type"):
        case "array":
            return f"list of {type_text(schema['items'])}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"map to {type_text(schema['additionalProperties'])}"
        case "integer" if "minimum" in schema and abs(schema["minimum"]) < 2 and schema.get("maximum", 2**31) < 2**31:
            return f"integer from {schema['minimum']} to {schema['maximum']}"
        case list() as types:
            return " or ".join(types)
        case None:
            return "any"
        case one:
            return str(one)


def default_text(name: str, schema: Json, field: FieldInfo | None) -> str:
    if name in schema.get("required", ()):
        return "required"
    default = field.default if field is not None else None
    match default:
        case bool():
            return f"`{str(default).lower()}`"
        case Enum():
            return f"`{default.name}`"
        case timedelta():
            return f"`{default.total_seconds():g}s`"
        case int() | str() if default != "":
            return f"`{default}`"
        case _:
            return ""


def here(note: str) -> tuple[str, str]:
    """A note as what becomes of the field, and the rest of the note."""
    for state in ("no effect", "not built"):
        if note.startswith(state):
            rest = note.removeprefix(state).lstrip(",: ")
            return f"**{state}**", rest
    return "acted on", note


def spec_classes(spec: type[Spec] = Spec) -> Iterator[type[Spec]]:
    for inner in spec.__subclasses__():
        yield inner
        yield from spec_classes(inner)


def emit_fields(notes: Notes) -> str:
    """A table for each message: kinds first, each with the messages that only it or it first uses."""
    classes = {spec.__name__: spec for spec in spec_classes()}
    built = [kind for kind in KINDS if kind.support is Support.BUILT and kind.spec is not None]
    parts: list[tuple[str, type[Spec]]] = []
    for kind in built:
        parts.append((f"### {kind.name}\n\n`{kind.api_version}`.\n\n", kind.spec or Spec))
        if kind.name == "ExtAuthPolicy":
            parts += [(f"### {step.name}\n\nA step, in an entry of `configs`.\n\n", step.spec) for step in STEPS]
        if kind.name == "OutboundAuthPolicy":
            parts += [(f"### {each.name}\n\nAn integration, in `config`.\n\n", each.spec) for each in INTEGRATIONS]
    seen: dict[str, Json] = {}
    text = ""
    for title, spec in parts:
        before = set(seen)
        specs_below(spec, seen)
        for name in [name for name in seen if name not in before]:
            head = title if name == spec.__name__ else f"#### {name}\n\n"
            found = _fields_of(name, seen[name], classes[name], notes["fields"].get(name, {}))
            text += f"{head}{found}\n"
    return text


def _fields_of(name: str, schema: Json, spec: type[Spec], notes: Mapping[str, str]) -> str:
    fields = {info.alias or plain: info for plain, info in spec.model_fields.items()}
    if set(fields) != set(notes):
        raise Incomplete(
            f"notes.yaml, fields.{name}: {sorted(set(fields) ^ set(notes))} is in one and not in the other"
        )
    if not fields:
        return "No field of its own.\n"
    rows = []
    for field, property_ in schema["properties"].items():
        state, note = here(notes[field])
        type_ = type_text(property_)
        rows.append((f"`{field}`", type_, default_text(field, schema, fields[field]), state, note))
    return table(("field", "type", "default", "here", "notes"), rows)


def emit_kinds(support: Support) -> Callable[[Notes], str]:
    def emit(_notes: Notes) -> str:
        groups: dict[str, list[Kind]] = {}
        for kind in KINDS:
            if kind.support is support:
                groups.setdefault(kind.api_version, []).append(kind)
        return table(("apiVersion", "kinds"), [(f"`{g}`", ", ".join(k.name for k in ks)) for g, ks in groups.items()])

    return emit


# --- status and answers ---------------------------------------------------------------------------------------------


def emit_reasons(notes: Notes) -> str:
    texts = noted(notes, "reasons", [reason.value for reason in Reason])
    return table(("reason", "meaning"), [(f"`{reason}`", texts[reason.value]) for reason in Reason])


def emit_effects(notes: Notes) -> str:
    texts = noted(notes, "effects", [effect.value for effect in Effect])
    rows = [(f"`{e}`", "warning" if e.is_warning else "error", texts[e.value]) for e in Effect]
    return table(("effect", "severity", "what a client gets"), rows)


def answer_reasons() -> set[str]:
    """Every value of ``x-apostille-reason`` that the running product can give, read from its syntax trees."""
    found = {KEY_REFUSED, QUERY_UNTOLD, SIGNATURE_REFUSED, *(reason for _, reason in LOCAL_REASONS), *CredentialsReason}
    loaded = [module.__file__ for name, module in sys.modules.items() if name.startswith("apostille.")]
    for source in sorted(file for file in loaded if file is not None):
        tree = ast.parse(Path(source).read_text(encoding="utf-8"))
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            reason = _reason_of(call)
            value = constants.get(reason.id) if isinstance(reason, ast.Name) else getattr(reason, "value", None)
            if isinstance(value, str):
                found.add(value)
    return found


def _reason_of(call: ast.Call) -> ast.expr | None:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name not in _ANSWERING:
        return None
    by_name = next((keyword.value for keyword in call.keywords if keyword.arg == "reason"), None)
    position = _ANSWERING[name]
    if by_name is not None or position is None or len(call.args) <= position:
        return by_name
    return call.args[position]


def emit_answers(notes: Notes) -> str:
    texts = noted(notes, "answers", answer_reasons())
    return table(("`x-apostille-reason`", "status", "meaning"), [(f"`{n}`", s, text) for n, (s, text) in texts.items()])


# --- logs, metrics, commands ----------------------------------------------------------------------------------------


def emit_access_log(notes: Notes) -> str:
    texts = noted(notes, "access_log", list(FIELDS))
    return table(("field", "meaning"), [(f"`{name}`", texts[name]) for name in FIELDS])


_DECISION = Decision(
    verdict="broken",
    status=500,
    program="n/p@0",
    route="n/t/r",
    request_id="1",
    duration=0.1,
    policy="n/p",
    step="s",
    reason="r",
    consumer="c",
    bypassed=("b",),
    cause="x",
)


def emit_decision_log(notes: Notes) -> str:
    """The fields of a line in which none is empty."""
    stream = io.StringIO()
    DecisionLog(json_logger(stream), SystemClock()).record(_DECISION)
    texts = noted(notes, "decision_log", list(json.loads(stream.getvalue())))
    return table(("field", "meaning"), [(f"`{name}`", text) for name, text in texts.items()])


async def _fail_to_fetch(registry: CollectorRegistry) -> None:
    keepers = Keepers(clock=SystemClock(), environ={}, registry=registry)
    with suppress(CredentialsUnavailable):
        await keepers.lease(EnvironmentSource()).get()


def emit_metrics(_notes: Notes) -> str:
    """Every series of ours, each made to occur once so that it shows its labels."""
    control, auth = CollectorRegistry(), CollectorRegistry()
    plane = ControlMetrics(control)
    plane.published(1, 0.1, errors=1, warnings=1)
    plane.nacked(Nack(group="envoy", node="n", type_url="t", names=(), version="1", text=""))
    upstreams = Upstreams(registry=control, log=structlog.wrap_logger(structlog.testing.CapturingLogger(), []))
    for second in range(2):
        seen = datetime(2026, 1, 1, second=second, tzinfo=UTC)
        upstreams.see(Sighting(policy="n/p", seen=seen, skew=timedelta(0), code="c", refused=1))
    one = _DECISION
    DecisionMetrics(auth).record(one.policy, one.verdict, one.reason, one.duration, one.bypassed)
    asyncio.run(_fail_to_fetch(auth))

    async def nothing() -> str:
        return ""

    up = asyncio.run(scrape(CollectorRegistry(), {}, nothing))
    families: list[tuple[Metric, str]] = [(family, "control plane") for family in control.collect()]
    families += [(family, "each auth worker") for family in auth.collect()]
    families += [(family, "control plane, at each scrape") for family in text_string_to_metric_families(up)]
    rows = []
    for family, where in families:
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        # What is read at the time of a scrape has no sample here.
        labels |= set(getattr(family, "_labelnames", ()))
        labels |= {"worker"} if where == "each auth worker" else set()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown = ", ".join(f"`{label}`" for label in sorted(labels))
        rows.append((f"`{name}`", family.type, shown, where, family.documentation))
    return table(("name", "type", "labels", "from", "meaning"), rows)


def emit_commands(_notes: Notes) -> str:
    """What ``--help`` says, of the program and of each command."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from apostille.cli.main import app

    text = ""
    # Any: typer hides the type of a group.
    pending: list[tuple[tuple[str, ...], Any]] = [((), get_command(app))]
    while pending:
        names, command = pending.pop(0)
        title = " ".join(("apostille", *names))
        environment = {"COLUMNS": str(COLUMNS), "TERMINAL_WIDTH": str(COLUMNS)}
        said = CliRunner().invoke(app, [*names, "--help"], prog_name="apostille", env=environment).output
        hidden = "Started by `apostille run`; hidden in the list of commands.\n\n" if command.hidden else ""
        text += f"### {title}\n\n{hidden}```text\n{said.strip()}\n```\n\n"
        pending = [((*names, name), each) for name, each in getattr(command, "commands", {}).items()] + pending
    return text


PARTS: Mapping[str, Callable[[Notes], str]] = {
    "fields": emit_fields,
    "kinds-shutting": emit_kinds(Support.UNBUILT_GUARD),
    "kinds-unbuilt": emit_kinds(Support.UNBUILT),
    "kinds-without-effect": emit_kinds(Support.NO_EFFECT),
    "reasons": emit_reasons,
    "effects": emit_effects,
    "answers": emit_answers,
    "access-log": emit_access_log,
    "decision-log": emit_decision_log,
    "metrics": emit_metrics,
    "commands": emit_commands,
    "admin-operations": emit_admin_operations,
    "admin-shapes": emit_admin_shapes,
    "admin-reasons": emit_admin_reasons,
}


def generate(text: str, notes: Notes, used: set[str]) -> str:
    """A page with its generated parts made anew."""

    def part(match: re.Match[str]) -> str:
        used.add(match[2])
        return f"{match[1]}\n{PARTS[match[2]](notes).strip()}\n\n{match[3]}"

    return PART.sub(part, text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a page is not up to date")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="the folder of pages")
    arguments = parser.parse_args()
    # Failures that are provoked here, to see how they are counted, are no news.
    logging.disable()
    reference: Path = arguments.docs / "reference"
    notes = yaml.safe_load((reference / "notes.yaml").read_text(encoding="utf-8"))
    used: set[str] = set()
    stale: list[str] = []
    try:
        for page in sorted(reference.glob("*.md")):
            before = page.read_text(encoding="utf-8")
            after = generate(before, notes, used)
            if after != before:
                stale.append(page.name)
                if not arguments.check:
                    page.write_text(after, encoding="utf-8")
        if set(PARTS) != used:
            raise Incomplete(f"no page has the parts {sorted(set(PARTS) - used)}")
    except Incomplete as error:
        print(f"docs: {error}", file=sys.stderr)
        return 1
    if arguments.check and stale:
        print(f"docs: not up to date: {', '.join(stale)}; run python tools/docs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
