from __future__ import annotations

from dataclasses import dataclass

import pytest

from apostille.auth.codec import CodecError, emit_program, parse_program
from apostille.auth.contract import AuthStep, StepTools
from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.model.auth import Program, Step
from apostille.model.credentials import (
    AssumeRoleSource,
    ContainerSource,
    DefaultSource,
    EnvironmentSource,
    InstanceSource,
    ProfileSource,
    Source,
    StaticSource,
    WebIdentitySource,
    placeholders_of,
    source_title,
)
from tests.unit.credentials.stand_ins import CANARY

ROLE = "arn:aws:iam::123456789012:role/reader"
STATIC = StaticSource(access_key="AKIASTATIC", secret_key=SecretText(CANARY), session_token=SecretText(CANARY))
ALL: tuple[Source, ...] = (
    STATIC,
    EnvironmentSource(),
    ProfileSource(profile="s3", config_file="/etc/aws/config"),
    WebIdentitySource(role_arn=ROLE, token_file="/var/run/token"),
    ContainerSource(),
    InstanceSource(),
    DefaultSource(),
    AssumeRoleSource(base=STATIC, role_arn=ROLE),
    AssumeRoleSource(
        base=AssumeRoleSource(base=InstanceSource(), role_arn=ROLE, tags=(("who", "{consumer}"),)),
        role_arn=ROLE,
        external_id="e",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    source: Source


class Runner:
    name = "signing"
    config = Config

    def start(self, config: object, tools: StepTools, /) -> AuthStep:
        raise NotImplementedError


def program(config: object) -> Program:
    step = Step(name="sign", kind="signing", config=config)
    return Program(
        id="ns/s3@1", policy=Ref(kind="OutboundAuthPolicy", namespace="ns", name="s3"), steps=(step,), deadline_ms=250
    )


@pytest.mark.parametrize("source", ALL, ids=source_title)
def test_a_source_travels_inside_a_program_and_stays_what_it_is(source: Source) -> None:
    sent = program(Config(source=source))
    assert parse_program(emit_program(sent), {"signing": Runner()}) == sent


def test_a_source_of_an_unknown_kind_is_refused_on_arrival() -> None:
    data = emit_program(program(Config(source=InstanceSource()))).replace(b'"instance"', b'"nowhere"')
    with pytest.raises(CodecError):
        parse_program(data, {"signing": Runner()})


@pytest.mark.parametrize("source", ALL, ids=source_title)
def test_no_secret_is_in_the_title_or_the_representation_of_a_source(source: Source) -> None:
    assert source_title(source)
    assert CANARY not in source_title(source) + repr(source)


def test_equal_sources_are_one_key() -> None:
    again = StaticSource(access_key="AKIASTATIC", secret_key=SecretText(CANARY), session_token=SecretText(CANARY))
    assert len({STATIC, again}) == 1
    assert len(set(ALL)) == len(ALL)


def test_only_placeholders_in_session_name_or_tags_make_a_source_personal() -> None:
    assert [placeholders_of(source) for source in ALL] == [()] * 8 + [("consumer",)]
    assert placeholders_of(AssumeRoleSource(base=STATIC, role_arn=ROLE, external_id="{consumer}")) == ()
    several = AssumeRoleSource(
        base=ALL[-1],
        role_arn=ROLE,
        session_name="{}{key}{1}{key}",
        tags=(("{consumer}", "{metadata.team}"), ("b", "{metadata.cost center}{metadata.}")),
    )
    assert placeholders_of(several) == ("consumer", "key", "metadata.cost center", "metadata.team")
