"""Text of one file to plain data with the place of every field. Knows YAML and its dangers, nothing of resources.

The data is built from the parser's events, never by its composer: libyaml's composer recurses and takes the process
down on deep nesting, and an alias that is expanded while walking can ask for all memory. Limits are checked event by
event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from apostille.resources.scalars import resolve_plain, resolve_tagged
from apostille.status.problem import FieldPath

MAX_BYTES = 5 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 1_000_000  # of one file, every alias counted with all that stands behind it
MAX_ALIASES = 10_000

_TOO_DEEP = f"The nesting is deeper than {MAX_DEPTH} levels; no resource needs that."
# In the words of libyaml.
_OWN_LIMIT = "maximum nesting depth"

Place = tuple[int, int]  # line and column, from 1

Event = Any  # PyYAML's stubs make every mark optional and give the events of nodes no common type


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateKey:
    """Stands in the data in place of the value of a key that one mapping has twice, so that no reader takes either."""

    first_line: int

    @property
    def message(self) -> str:
        return f"This key is written twice in one mapping, first on line {self.first_line}; keep one of them."


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Mappings are dicts with text keys, sequences are tuples. `data` is never None: empty documents are left out.

    `places` has the key for an entry of a mapping, the start of the value for an entry of a sequence, and the start of
    the document under ``()``. What an alias stands for has the place of the alias alone.
    """

    data: object
    places: Mapping[FieldPath, Place]
    duplicates: tuple[FieldPath, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """The text is not YAML, or beyond a limit: nothing of it may be used."""

    line: int
    column: int
    message: str


def read_documents(text: str) -> tuple[Document, ...] | Unreadable:
    """All documents of a YAML or JSON text, or why there are none. Never raises because of the text."""
    text = text.removeprefix("\ufeff")
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as error:
        line, column = _place_at(text, error.start)
        return Unreadable(line=line, column=column, message="This is not UTF-8 text; save the file as UTF-8.")
    if len(raw) > MAX_BYTES:
        message = f"The file is larger than {MAX_BYTES // 1024 // 1024} MiB; split it into several files."
        return Unreadable(line=1, column=1, message=message)
    try:
        return tuple(_Builder(yaml.parse(text, Loader=yaml.CSafeLoader)).documents())
    except _Refused as refused:
        return Unreadable(line=refused.place[0], column=refused.place[1], message=refused.message)
    except yaml.MarkedYAMLError as error:
        return _syntax_error(error, text)
    except yaml.reader.ReaderError as error:
        line, column = _place_at(raw[: error.position].decode("utf-8", "replace"), None)
        message = "A control character stands here; this is not a text file, or the character must go."
        return Unreadable(line=line, column=column, message=message)
    except yaml.YAMLError:
        return Unreadable(line=1, column=1, message="This is not YAML.")


class _Refused(Exception):
    def __init__(self, event: Event, message: str) -> None:
        super().__init__(message)
        mark = event.start_mark
        self.place: Place = (mark.line + 1, mark.column + 1)
        self.message = message


@dataclass(slots=True)
class _Anchor:
    """`nodes` is None while the anchored value is still being built; `height` is how deep it goes below itself."""

    value: object = None
    nodes: int | None = None
    height: int = 0


class _Builder:
    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._nodes = 0
        self._aliases = 0
        self._deepest = 0
        self._anchors: dict[str, _Anchor] = {}
        self._places: dict[FieldPath, Place] = {}
        self._duplicates: list[FieldPath] = []

    def documents(self) -> Iterator[Document]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors, self._places, self._duplicates = {}, {}, []
                root = next(self._events)
                self._places[()] = (root.start_mark.line + 1, root.start_mark.column + 1)
                data = self._node(root, (), 1)
                if data is not None:
                    yield Document(data=data, places=self._places, duplicates=tuple(self._duplicates))

    def _node(self, event: Event, path: FieldPath, depth: int) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Refused(event, f"The file has more than {MAX_NODES} values, aliases counted in full; split it.")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if event.anchor is not None:
            return self._anchored(event, path, depth)
        return self._value(event, path, depth)

    def _anchored(self, event: Event, path: FieldPath, depth: int) -> object:
        before, outer = self._nodes, self._deepest
        self._anchors[event.anchor] = _Anchor()
        self._deepest = depth
        value = self._value(event, path, depth)
        self._anchors[event.anchor] = _Anchor(value, self._nodes - before + 1, self._deepest - depth)
        self._deepest = max(outer, self._deepest)
        return value

    def _value(self, event: Event, path: FieldPath, depth: int) -> object:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        self._descend(event, depth)
        if event.tag is not None and event.tag not in ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise _Refused(event, "This YAML tag is not supported; remove it and write plain data.")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, depth)
        return self._sequence(path, depth)

    def _descend(self, event: Event, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise _Refused(event, _TOO_DEEP)
        self._deepest = max(self._deepest, depth)

    def _scalar(self, event: Event) -> object:
        if event.tag is None:
            return resolve_plain(event.value) if event.implicit[0] else event.value
        try:
            return resolve_tagged(event.value, event.tag)
        except ValueError as error:
            raise _Refused(event, str(error)) from None

    def _alias(self, event: Event, depth: int) -> object:
        # The name of an alias is not repeated: an unquoted secret that begins with a star reads as one.
        self._aliases += 1
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            raise _Refused(
                event, "No anchor has the name of this alias; put the value in quotes if it is meant as text."
            )
        if anchor.nodes is None:
            raise _Refused(event, "This alias stands inside its own anchor; write the value out.")
        self._nodes += anchor.nodes
        if self._nodes > MAX_NODES or self._aliases > MAX_ALIASES:
            raise _Refused(event, "The aliases of this file stand for too much data; write the values out.")
        self._descend(event, depth + anchor.height)
        return anchor.value

    def _sequence(self, path: FieldPath, depth: int) -> tuple[object, ...]:
        items: list[object] = []
        places = self._places
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            at = (*path, len(items))
            mark = event.start_mark
            places[at] = (mark.line + 1, mark.column + 1)
            items.append(self._node(event, at, depth + 1))
        return tuple(items)

    def _mapping(self, path: FieldPath, depth: int) -> dict[str, object]:
        data: dict[str, object] = {}
        merged: list[tuple[Place, dict[str, object]]] = []
        places = self._places
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            mark = event.start_mark
            place = (mark.line + 1, mark.column + 1)
            if not isinstance(event, yaml.ScalarEvent):
                raise _Refused(event, "A key must be plain text. Is this a template that has not been rendered?")
            key: str = event.value
            at = (*path, key)
            if key == "<<" and event.implicit[0]:
                merged.extend((place, part) for part in self._merge_sources(next(self._events), at, depth + 1))
                continue
            first = places.get(at) if key in data else None
            places[at] = place
            value = self._node(next(self._events), at, depth + 1)
            if first is not None:
                already = data[key]
                line = already.first_line if isinstance(already, DuplicateKey) else first[0]
                value = DuplicateKey(first_line=line)
                self._duplicates.append(at)
            data[key] = value
        for place, part in merged:
            for key, value in part.items():
                if key not in data:
                    data[key] = value
                    places[*path, key] = place
        return data

    def _merge_sources(self, event: Event, at: FieldPath, depth: int) -> list[dict[str, object]]:
        value = self._node(event, at, depth)
        sources = list(value) if isinstance(value, tuple) else [value]
        found = [source for source in sources if isinstance(source, dict)]
        if len(found) != len(sources):
            raise _Refused(event, "A merge key (<<) needs a mapping or a list of mappings, such as *name of an anchor.")
        return found


def _place_at(text: str, end: int | None) -> Place:
    head = text[:end]
    return head.count("\n") + 1, len(head) - (head.rfind("\n") + 1) + 1


def _syntax_error(error: yaml.MarkedYAMLError, text: str) -> Unreadable:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    said = error.problem or error.context or "it ends too soon"
    # PyYAML from 6.0.4 on looks a thousand characters ahead, and has a limit of its own, which brackets may meet first.
    message = _TOO_DEEP if _OWN_LIMIT in said else f"This is not YAML: {said}."
    lines = text.split("\n")
    written = lines[line] if line < len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        message += " A tab cannot indent YAML; use spaces."
    return Unreadable(line=line + 1, column=column + 1, message=message)
