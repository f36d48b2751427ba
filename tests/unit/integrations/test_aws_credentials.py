from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from apostille.base.refs import Ref
from apostille.base.secrets import SecretText
from apostille.integrations.aws_credentials import CredentialsSpec, compile_credentials
from apostille.model.credentials import AssumeRoleSource, StaticSource, WebIdentitySource
from apostille.model.destination import Endpoint
from apostille.status.problem import Problem
from apostille.status.reasons import Reason
from apostille.translate.contract import SecretView

ROLE = "arn:aws:iam::123456789012:role/reader"
GOOD = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCY"}


class Scope:
    """Knows one Secret, `gateway/aws`."""

    id = "gateway/policy/awsSigV4"
    namespace = "gateway"

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._view = SecretView(
            ref=Ref("Secret", "gateway", "aws"),
            type="Opaque",
            data={name: SecretText(value) for name, value in entries.items()},
        )

    def secret(self, namespace: str, name: str, /) -> SecretView | None:
        return self._view if (namespace, name) == ("gateway", "aws") else None

    def secrets(self, labels: Mapping[str, str], /) -> tuple[SecretView, ...]:
        raise AssertionError("credentials are found by name")

    def endpoints(self, host: str, port: int, /) -> tuple[Endpoint, ...] | None:
        raise AssertionError("credentials come from no Service")

    def warn(self, ref: Ref, problem: Problem, /) -> None:
        raise AssertionError("what is wrong is the policy's affair")


def compiled(spec: Mapping[str, object], entries: Mapping[str, str] = GOOD) -> object:
    return compile_credentials(CredentialsSpec.model_validate(spec), Scope(entries), "eu-west-1")


def from_secret(entries: Mapping[str, str]) -> object:
    return compiled({"secretRef": {"name": "aws"}}, entries)


def problem_of(outcome: object) -> Problem:
    assert isinstance(outcome, list)
    (problem,) = outcome
    assert isinstance(problem, Problem)
    return problem


def test_keys_are_taken_without_the_white_space_around_them() -> None:
    source = from_secret({name: f" {value}\n" for name, value in GOOD.items()})
    assert isinstance(source, StaticSource)
    assert source.access_key == GOOD["aws_access_key_id"]
    assert source.secret_key.reveal() == GOOD["aws_secret_access_key"]


def test_an_empty_session_token_is_none() -> None:
    source = from_secret({**GOOD, "aws_session_token": "\n"})
    assert isinstance(source, StaticSource)
    assert source.session_token is None


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("aws_access_key_id", "", "is empty"),
        ("aws_access_key_id", " \n", "is empty"),
        ("aws_access_key_id", "AKIA CANARY", "holds white space"),
        ("aws_access_key_id", "AKIA,CANARY", "holds a comma"),
        ("aws_secret_access_key", "", "is empty"),
        ("aws_secret_access_key", "can\nary", "holds white space"),
        ("aws_secret_access_key", "can\tary", "holds white space"),
        ("aws_secret_access_key", "can\x00ary", "holds white space"),
        ("aws_secret_access_key", "canäry", "holds white space"),
        ("aws_session_token", "can ary", "holds white space"),
    ],
)
def test_what_can_be_no_key_is_refused_and_not_shown(entry: str, value: str, said: str) -> None:
    problem = problem_of(from_secret({**GOOD, entry: value}))
    assert (problem.at, problem.reason) == (("credentials", "secretRef"), Reason.SECRET_UNUSABLE)
    assert "Secret gateway/aws" in problem.message
    assert f"`{entry}` {said}" in problem.message
    assert not any(part in problem.message for part in ("CANARY", "ary"))


@pytest.mark.parametrize("missing", list(GOOD))
def test_a_missing_entry_is_named(missing: str) -> None:
    problem = problem_of(from_secret({name: value for name, value in GOOD.items() if name != missing}))
    assert problem.reason is Reason.SECRET_UNUSABLE
    assert f"`{missing}`" in problem.message


def test_everything_wrong_with_a_secret_is_told_at_once() -> None:
    message = problem_of(from_secret(dict.fromkeys(GOOD, ""))).message
    assert all(f"`{name}` is empty" in message for name in GOOD)


def assumed(endpoint: str) -> Mapping[str, object]:
    return {"assumeRole": {"roleArn": ROLE, "base": {"instance": {}}, "stsEndpoint": endpoint}}


def taken(**role: object) -> Mapping[str, object]:
    return {"assumeRole": {"roleArn": ROLE, "base": {"instance": {}}, **role}}


@pytest.mark.parametrize(
    "text", ["{consumer}", "{key}", "gw-{consumer}-{key}", "{metadata.team}", "{metadata.cost center}", "${key}"]
)
def test_placeholders_that_are_known_stay_in_their_places(text: str) -> None:
    source = compiled(taken(sessionName=text, tags={"who": text}))
    assert isinstance(source, AssumeRoleSource)
    assert (source.session_name, source.tags) == (text, (("who", text),))


def test_every_misspelt_placeholder_is_told_at_its_place() -> None:
    outcome = compiled(taken(sessionName="{consumr}", tags={"b": "{metadata.} {keys}", "a": "{user}", "c": "{key}"}))
    assert isinstance(outcome, list)
    at = ("credentials", "assumeRole")
    assert [(problem.at, problem.reason) for problem in outcome] == [
        ((*at, "sessionName"), Reason.INVALID_VALUE),
        ((*at, "tags", "a"), Reason.INVALID_VALUE),
        ((*at, "tags", "b"), Reason.INVALID_VALUE),
        ((*at, "tags", "b"), Reason.INVALID_VALUE),
    ]
    assert outcome[0].message == "`{consumr}` stands for nothing; write `{consumer}`."


def with_token(endpoint: str) -> Mapping[str, object]:
    return {"webIdentity": {"roleArn": ROLE, "tokenFile": "/var/run/token", "stsEndpoint": endpoint}}


@pytest.mark.parametrize("written", [assumed, with_token])
@pytest.mark.parametrize(
    "endpoint",
    ["https://sts.eu-west-1.amazonaws.com", "http://127.0.0.1:4566", "http://[::1]:4566/", "http://localhost:1"],
)
def test_roles_are_asked_for_over_tls_or_on_this_machine(
    written: Callable[[str], Mapping[str, object]], endpoint: str
) -> None:
    source = compiled(written(endpoint))
    assert isinstance(source, AssumeRoleSource | WebIdentitySource)
    assert source.sts_endpoint == endpoint


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("http://sts.eu-west-1.amazonaws.com", Reason.UNSAFE),
        ("http://10.0.0.1", Reason.UNSAFE),
        ("http://127.0.0.1.example.com", Reason.UNSAFE),
        ("http://user@127.0.0.1@example.com", Reason.UNSAFE),
        ("sts.eu-west-1.amazonaws.com", Reason.INVALID_VALUE),
        ("https://", Reason.INVALID_VALUE),
        ("https://[", Reason.INVALID_VALUE),
        ("ftp://sts.example", Reason.INVALID_VALUE),
    ],
)
@pytest.mark.parametrize(("written", "field"), [(assumed, "assumeRole"), (with_token, "webIdentity")])
def test_another_endpoint_is_refused(
    written: Callable[[str], Mapping[str, object]], field: str, endpoint: str, reason: Reason
) -> None:
    problem = problem_of(compiled(written(endpoint)))
    assert (problem.at, problem.reason) == (("credentials", field, "stsEndpoint"), reason)


def test_the_base_of_a_role_is_looked_at_too() -> None:
    spec = {"assumeRole": {"roleArn": ROLE, "base": with_token("http://sts.example")}}
    assert problem_of(compiled(spec)).at == ("credentials", "assumeRole", "base", "webIdentity", "stsEndpoint")
