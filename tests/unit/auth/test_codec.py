from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.auth.codec import CodecError, emit_keyring, emit_program, parse_keyring, parse_program
from apostille.auth.contract import AuthStep, StepTools
from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.auth import HeaderUse, Key, KeyRing, Program, Step


class Mode(StrEnum):
    STRICT = "strict"
    LOOSE = "loose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    token: SecretText
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    name: str
    count: int
    mode: Mode
    on: bool
    inner: Inner | None
    pairs: tuple[tuple[str, SecretText], ...]
    labels: Mapping[str, str]


class Kind:
    """A step kind of which only the config is needed here."""

    name = "sample"
    config = Config

    def start(self, config: object, tools: StepTools, /) -> AuthStep:
        raise NotImplementedError


KINDS = {"sample": Kind()}
SECRETS = st.text().map(SecretText)
NAMES = st.text(max_size=20)
TUPLES = st.lists(NAMES, max_size=3).map(tuple)
INNERS = st.builds(Inner, token=SECRETS, weight=st.floats(allow_nan=False, allow_infinity=False))
CONFIGS = st.builds(
    Config,
    name=NAMES,
    count=st.integers(),
    mode=st.sampled_from(Mode),
    on=st.booleans(),
    inner=st.none() | INNERS,
    pairs=st.lists(st.tuples(NAMES, SECRETS), max_size=3).map(tuple),
    labels=st.dictionaries(NAMES, NAMES, max_size=3),
)
STEPS = st.builds(
    Step,
    name=NAMES,
    kind=st.just("sample"),
    config=CONFIGS,
    headers=st.builds(HeaderUse, reads=TUPLES, credentials=TUPLES, writes=TUPLES, body=st.booleans()),
)
PROGRAMS = st.builds(
    Program,
    id=NAMES,
    policy=st.builds(Ref, NAMES, NAMES, NAMES),
    steps=st.lists(STEPS, max_size=3).map(tuple),
    deadline_ms=st.integers(min_value=1),
)
RINGS = st.builds(
    KeyRing,
    id=NAMES,
    keys=st.lists(
        st.builds(Key, digest=NAMES, consumer=NAMES, metadata=st.dictionaries(NAMES, SECRETS, max_size=3)), max_size=3
    ).map(tuple),
)


@given(PROGRAMS)
def test_a_program_comes_back_as_it_went(program: Program) -> None:
    data = emit_program(program)
    assert parse_program(data, KINDS) == program
    assert emit_program(parse_program(data, KINDS)) == data


@given(RINGS)
def test_a_key_ring_comes_back_as_it_went(ring: KeyRing) -> None:
    data = emit_keyring(ring)
    assert parse_keyring(data) == ring
    assert emit_keyring(parse_keyring(data)) == data


@given(st.binary())
def test_any_bytes_are_a_program_or_a_codec_error(data: bytes) -> None:
    with pytest.raises(CodecError):
        parse_program(data, KINDS)


def program_json(config: str) -> bytes:
    return (
        '{"id":"a","deadline_ms":5,"policy":{"kind":"k","namespace":"n","name":"p"},"steps":[{"name":"s","kind":"sample",'
        f'"headers":{{"reads":[],"credentials":[],"writes":[],"body":false}},"config":{config}}}]}}'
    ).encode()


GOOD = '{"name":"n","count":1,"mode":"strict","on":true,"inner":null,"pairs":[["a","canary"]],"labels":{}}'


def test_the_hand_written_form_is_understood() -> None:
    config = parse_program(program_json(GOOD), KINDS).steps[0].config
    assert isinstance(config, Config)
    assert config.pairs == (("a", SecretText("canary")),)


@pytest.mark.parametrize(
    "config",
    [
        "null",
        "[]",
        "{}",
        GOOD.replace('"on":true', '"on":"canary"'),
        GOOD.replace('"on":true', '"on":1'),
        GOOD.replace('"count":1', '"count":"1"'),
        GOOD.replace('"count":1', '"count":true'),
        GOOD.replace('"strict"', '"canary"'),
        GOOD.replace('"canary"', "7"),
        GOOD.replace("{}}", '{},"later":"canary"}'),
    ],
)
def test_what_is_not_understood_is_an_error_that_shows_no_value(config: str) -> None:
    with pytest.raises(CodecError) as caught:
        parse_program(program_json(config), KINDS)
    assert "canary" not in str(caught.value)
    assert "config of step 's'" in str(caught.value)


def test_an_unknown_kind_is_named_with_the_known_ones() -> None:
    data = program_json(GOOD).replace(b'"sample"', b'"oauth9"')
    with pytest.raises(CodecError, match=r"unknown kind 'oauth9' \(known here: sample\)"):
        parse_program(data, KINDS)
