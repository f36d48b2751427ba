"""Auth programs and key rings as bytes, between the control plane and the auth service.

Canonical JSON: sorted keys, no spaces, ASCII only, so that equal content gives equal bytes. This wire is private
(a Unix socket, or mTLS): here, and only here, secrets are written out. Error texts never hold a value that was read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from types import MappingProxyType, UnionType
from typing import TypeVar, get_args, get_origin

from cattrs import Converter, transform_error

from apostille.auth.contract import SignerRunner, StepRunner
from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.auth import HeaderUse, KeyRing, Place, Program, Step
from apostille.model.outbound import Outbound, Target

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
class _OutboundForm:
    policy: Ref
    kind: str
    config: object
    target: Target


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProgramForm:
    id: str
    policy: Ref
    steps: tuple[_StepForm, ...]
    deadline_ms: int
    outbound: _OutboundForm | None = None
    place: Place | None = None


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
            "outbound": None if program.outbound is None else _emit_outbound(program.outbound),
            "place": None if program.place is None else _converter().unstructure(program.place),
        }
    )


def _emit_outbound(outbound: Outbound) -> Mapping[str, object]:
    return {
        "policy": _converter().unstructure(outbound.policy),
        "kind": outbound.kind,
        "config": _converter().unstructure(outbound.config),
        "target": _converter().unstructure(outbound.target),
    }


def parse_program(
    data: bytes, kinds: Mapping[str, StepRunner], signers: Mapping[str, SignerRunner] = MappingProxyType({})
) -> Program:
    """Raises CodecError when anything in it is not understood: an unknown field may be the one that shuts a door."""
    form = _parse(data, _ProgramForm, "program")
    return Program(
        id=form.id,
        policy=form.policy,
        steps=tuple(_parse_step(step, kinds) for step in form.steps),
        deadline_ms=form.deadline_ms,
        outbound=None if form.outbound is None else _parse_outbound(form.outbound, signers),
        place=form.place,
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


def _parse_outbound(form: _OutboundForm, signers: Mapping[str, SignerRunner]) -> Outbound:
    kind = signers.get(form.kind)
    if kind is None:
        known = ", ".join(sorted(signers)) or "none"
        raise CodecError(f"the outbound policy is of the unknown kind {form.kind!r} (known here: {known})")
    config: object = _structure(form.config, kind.config, "config of the outbound policy")
    return Outbound(policy=form.policy, kind=form.kind, config=config, target=form.target)


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
    converter.register_structure_hook_func(_has_kinds, _structure_by_kind)
    # Without these cattrs converts: the text "false" would become True.
    for plain in (str, int, float, bool):
        converter.register_structure_hook(plain, _exactly)
    return converter


def _has_kinds(form: object) -> bool:
    """A union of dataclasses that tell themselves apart by a field ``kind``."""
    members = get_args(form) if get_origin(form) is UnionType else ()
    return bool(members) and all(
        is_dataclass(each) and isinstance(each, type) and "kind" in _kinds(each) for each in members
    )


def _kinds(form: type) -> Mapping[str, object]:
    return {each.name: each.default for each in fields(form) if each.name == "kind"} if is_dataclass(form) else {}


def _structure_by_kind(value: object, form: object) -> object:
    written = value.get("kind") if isinstance(value, Mapping) else None
    chosen: type = next(each for each in get_args(form) if _kinds(each)["kind"] == written)
    return _converter().structure(value, chosen)


def _exactly(value: object, form: type[T]) -> T:
    if issubclass(form, Enum):
        # A StrEnum is a str to cattrs as well.
        return form(value)
    if isinstance(value, form) and isinstance(value, bool) == (form is bool):
        return value
    raise TypeError
