"""Cases of the feature folders: ``requests.yaml`` read strictly, and what came back compared with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tests.e2e.stand_ins import StandIns, Witness
from tests.e2e.wire import Message, emit_request

# None: the header must not be there. A mapping with `regex`: it must match as a whole. A list: these lines, in order.
HeaderRule = str | None | list[str] | dict[str, str]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Request(Strict):
    """`raw` is the whole request as text (CR LF for every line feed), in the place of everything else.

    `headers` may be a list of pairs, for names that come twice. `long`: more headers, each of that many letters.
    """

    method: str = "GET"
    path: str = "/"
    host: str = "gateway.example"
    headers: dict[str, str] | list[tuple[str, str]] = Field(default_factory=list)
    long: dict[str, int] = Field(default_factory=dict)
    body: str = ""
    raw: str | None = None

    @model_validator(mode="after")
    def _raw_alone(self) -> Request:
        if self.raw is not None and self.model_fields_set != {"raw"}:
            raise ValueError("`raw` is the whole request")
        return self

    def emit(self) -> bytes:
        if self.raw is not None:
            return self.raw.replace("\n", "\r\n").encode()
        headers = list(self.headers.items()) if isinstance(self.headers, dict) else [*self.headers]
        headers += [(name, "k" * length) for name, length in self.long.items()]
        return emit_request(self.method, self.path, headers, self.body.encode(), host=self.host)


class Seen(Strict):
    """What a stand-in was sent: `calls` requests; the other fields are for the last one."""

    calls: int | None = None
    at_least: int | None = None
    line: str | None = None
    headers: dict[str, HeaderRule] = Field(default_factory=dict)
    body: str | None = None
    json_: Annotated[Any, Field(alias="json")] = None
    sni: str | None = None


class Expect(Strict):
    """`saw`: stand-in → what it was sent; one that is not named was sent nothing.

    `body` is the whole, `contains` a part, `json` a part of the JSON. `log`: fields of one line of the access log.
    """

    status: int | list[int]
    headers: dict[str, HeaderRule] = Field(default_factory=dict)
    body: str | None = None
    contains: str | None = None
    json_: Annotated[Any, Field(alias="json")] = None
    saw: dict[str, Seen] = Field(default_factory=dict)
    log: dict[str, Any] = Field(default_factory=dict)
    within: float = 10.0


class Case(Strict):
    """One request, sent `repeat` times; `expect` holds for each answer, and `saw` for all of them together."""

    name: str
    request: Request
    expect: Expect
    repeat: int = 1


def parse_cases(text: str) -> list[Case]:
    """Raises ValueError for an unknown field, a second case of the same name, or no case at all."""
    cases = [Case.model_validate(item) for item in yaml.safe_load(text) or ()]
    names = [case.name for case in cases]
    if not cases or len(set(names)) != len(names):
        raise ValueError("there must be cases, each with a name of its own")
    return cases


def answer_faults(expect: Expect, answer: Message) -> Iterator[str]:
    """In words, how an answer differs from what is expected."""
    statuses = expect.status if isinstance(expect.status, list) else [expect.status]
    if answer.status not in statuses:
        yield f"the status is {answer.status}, not {expect.status}; {answer.head!r} {answer.body[:500]!r}"
    yield from _header_faults("the answer", expect.headers, answer.headers)
    yield from _body_faults("the answer", expect, answer.body)


def seen_faults(expect: Expect, before: Mapping[str, int], cast: StandIns) -> Iterator[str]:
    """`before`: how many requests each stand-in had seen when the case began."""
    for name in cast.witnesses:
        new = cast.seen(name)[before[name] :]
        wanted = expect.saw.get(name, Seen(calls=0))
        yield from _witness_faults(name, wanted, new)
    unknown = expect.saw.keys() - set(cast.witnesses)
    if unknown:
        yield f"there is no stand-in {sorted(unknown)}"


def log_faults(wanted: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Nothing when one line of the access log has all the wanted fields; a mapping with `regex` is matched as text."""
    close = [line for line in lines if line.get("path") == wanted.get("path")]
    if not any(all(_is_field(rule, line.get(name)) for name, rule in wanted.items()) for line in lines):
        yield f"no line of the access log has {dict(wanted)}; with that path there are {close}"


def _is_field(rule: object, value: object) -> bool:
    if isinstance(rule, dict):
        return re.fullmatch(rule["regex"], str(value)) is not None
    return rule == value


def _witness_faults(name: str, wanted: Seen, new: Sequence[Witness]) -> Iterator[str]:
    calls = wanted.calls if wanted.calls is not None else 1 if wanted.at_least is None else None
    if calls is not None and len(new) != calls:
        yield f"{name} was sent {len(new)} requests, not {calls}: {[request.head for request in new]}"
    if wanted.at_least is not None and len(new) < wanted.at_least:
        yield f"{name} was sent {len(new)} requests, fewer than {wanted.at_least}"
    if not new:
        return
    last = new[-1]
    line = last.head.split(b"\r\n", 1)[0].decode("latin-1")
    if wanted.line is not None and line != wanted.line:
        yield f"{name} was sent {line!r}, not {wanted.line!r}"
    yield from _header_faults(name, wanted.headers, last.headers)
    yield from _body_faults(name, wanted, last.body)
    sni = getattr(last, "sni", None)
    if wanted.sni is not None and sni != wanted.sni:
        yield f"{name} was asked for as {sni!r}, not {wanted.sni!r}"


def _header_faults(who: str, rules: Mapping[str, HeaderRule], lines: Sequence[tuple[str, str]]) -> Iterator[str]:
    for name, rule in rules.items():
        if name.endswith("*"):
            found = [line for line in lines if line[0].startswith(name[:-1].lower())]
            if rule is not None or found:
                yield f"{who} has {found} (a name with * can only be absent)"
            continue
        values = [value for other, value in lines if other == name.lower()]
        if not _fits(rule, values):
            yield f"{who} has {name} {values}, not {rule!r}"


def _fits(rule: HeaderRule, values: list[str]) -> bool:
    if rule is None:
        return not values
    if isinstance(rule, dict):
        return len(values) == 1 and re.fullmatch(rule["regex"], values[0]) is not None
    return values == (rule if isinstance(rule, list) else [rule])


def _body_faults(who: str, wanted: Expect | Seen, body: bytes) -> Iterator[str]:
    text = body.decode("utf-8", "replace")
    if wanted.body is not None and text != wanted.body:
        yield f"{who} has the body {text[:500]!r}, not {wanted.body!r}"
    if isinstance(wanted, Expect) and wanted.contains is not None and wanted.contains not in text:
        yield f"{who} has the body {text[:500]!r}, without {wanted.contains!r}"
    if wanted.json_ is not None:
        try:
            value = json.loads(text)
        except ValueError:
            yield f"{who} has the body {text[:500]!r}, which is no JSON"
        else:
            if not _is_part(wanted.json_, value):
                yield f"{who} has the JSON {value}, not {wanted.json_}"


def _is_part(part: object, whole: object) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and _is_part(part[key], whole[key]) for key in part)
    return part == whole
