"""Auth programs and key rings as bytes, between the control plane and the auth service.

Canonical JSON: sorted keys, no spaces, ASCII only, so that equal content gives equal bytes. This wire is private
(a Unix socket, or mTLS): here, and only here, secrets are written out. Error texts never hold a value that was read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TypeVar

from cattrs import Converter, transform_error

from apostille.auth.contract import StepRunner
from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.auth import HeaderUse, KeyRing, Program, Step

PROGRAM_TYPE_URL = "type.googleapis.com/apostille.auth.v1.Program"
KEYRING_TYPE_URL = "type.googleapis.com/apostille.auth.v1.KeyRing"

T = TypeVar("T")


class CodecError(ValueError):
    """Bytes that are no program or key ring. Its text says where and what, never with which value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _StepForm:
    name: str
    kind: str
    config: object
    headers: HeaderUse


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProgramForm:
    id: str
    policy: Ref
    steps: tuple[_StepForm, ...]
    deadline_ms: int


def emit_program(program: Program) -> bytes:
    """A step's config is written by its own class; its fields are plain values, dataclasses, enums, tuples, mappings
    and secrets."""
    return _emit(
        {
            "id": program.id,
            "policy": _converter().unstructure(program.policy),
            "steps": [
                {
                    "name": step.name,
                    "kind": step.kind,
                    "config": _converter().unstructure(step.config),
                    "headers": _converter().unstructure(step.headers),
                }
                for step in program.steps
            ],
            "deadline_ms": program.deadline_ms,
        }
    )


def parse_program(data: bytes, kinds: Mapping[str, StepRunner]) -> Program:
    """Raises CodecError when anything in it is not understood: an unknown field may be the one that shuts a door."""
    form = _parse(data, _ProgramForm, "program")
    return Program(
        id=form.id,
        policy=form.policy,
        steps=tuple(_parse_step(step, kinds) for step in form.steps),
        deadline_ms=form.deadline_ms,
    )


def emit_keyring(ring: KeyRing) -> bytes:
    return _emit(_converter().unstructure(ring))


def parse_keyring(data: bytes) -> KeyRing:
    """Raises CodecError."""
    return _parse(data, KeyRing, "key ring")


def _parse_step(form: _StepForm, kinds: Mapping[str, StepRunner]) -> Step:
    kind = kinds.get(form.kind)
    if kind is None:
        known = ", ".join(sorted(kinds)) or "none"
        raise CodecError(f"step {form.name!r} is of the unknown kind {form.kind!r} (known here: {known})")
    config: object = _structure(form.config, kind.config, f"config of step {form.name!r}")
    return Step(name=form.name, kind=form.kind, config=config, headers=form.headers)


def _emit(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _parse(data: bytes, form: type[T], what: str) -> T:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        # The decoder's own text quotes from the document.
        raise CodecError(f"the {what} is not JSON") from None
    return _structure(content, form, what)


def _structure(content: object, form: type[T], what: str) -> T:
    try:
        return _converter().structure(content, form)
    except Exception as error:  # noqa: BLE001 - cattrs passes on whatever a class of a third party raises
        faults = "; ".join(transform_error(error, path="$", format_exception=_fault))
        raise CodecError(f"the {what} is not understood: {faults}") from None


def _fault(error: BaseException, _type: type | None) -> str:
    match error:
        case KeyError():
            return "a field is missing"
        case TypeError():
            return "a value of the wrong type"
        case _:
            return type(error).__name__


@cache
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(SecretText, lambda secret: secret.reveal())
    converter.register_structure_hook(SecretText, lambda value, _: SecretText(_exactly(value, str)))
    converter.register_structure_hook_func(lambda form: form is object, lambda value, _: value)
    # Without these cattrs converts: the text "false" would become True.
    for plain in (str, int, float, bool):
        converter.register_structure_hook(plain, _exactly)
    return converter


def _exactly(value: object, form: type[T]) -> T:
    if issubclass(form, Enum):
        # A StrEnum is a str to cattrs as well.
        return form(value)
    if isinstance(value, form) and isinstance(value, bool) == (form is bool):
        return value
    raise TypeError
