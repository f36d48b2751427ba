"""Roles: taken with a web identity, or with other credentials."""

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from apostille.model.caller import NOBODY, Caller
from apostille.model.credentials import WebIdentitySource
from tests.unit.credentials.asking import ROLE, fetch, refusal, role
from tests.unit.credentials.stand_ins import CANARY, Instance, Sts

# Web identity


async def test_a_web_identity_is_exchanged_for_the_role(tmp_path: Path, moto_url: str) -> None:
    token = tmp_path / "token"
    token.write_text("a.web.token")
    source = WebIdentitySource(role_arn=ROLE, token_file=str(token), region="eu-west-1", sts_endpoint=moto_url)
    fetched = await fetch(source)
    assert fetched.credentials.access_key.startswith("ASIA")
    assert fetched.expires is not None


async def test_the_web_identity_file_is_read_anew_and_the_request_is_not_signed(tmp_path: Path, sts: Sts) -> None:
    token = tmp_path / "token"
    source = WebIdentitySource(role_arn=ROLE, token_file=str(token), session_name="pod")
    environ = {"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_STS": sts.url}
    for text in ("first", "second\n"):
        token.write_text(text)
        await fetch(source, environ)
    assert [form["WebIdentityToken"] for form in sts.requests] == ["first", "second"]
    assert {form["RoleSessionName"] for form in sts.requests} == {"pod"}
    assert sts.authorizations == ["", ""]


async def test_no_other_identity_is_looked_for_when_a_web_identity_is_exchanged(
    tmp_path: Path, sts: Sts, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    token = tmp_path / "token"
    token.write_text("a.web.token")
    source = WebIdentitySource(role_arn=ROLE, token_file=str(token), region="eu-west-1", sts_endpoint=sts.url)
    await fetch(source, instance.environ)
    assert instance.requests == []


async def test_a_web_identity_file_that_is_missing_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "token")
    text = await refusal(WebIdentitySource(role_arn=ROLE, token_file=missing, region="eu-west-1"))
    assert text == f"No such file or directory: {missing}"


async def test_a_refused_web_identity_shows_the_code_and_advice_but_not_the_token(tmp_path: Path, sts: Sts) -> None:
    token = tmp_path / "token"
    token.write_text(CANARY)
    sts.refusal = "InvalidIdentityToken"
    source = WebIdentitySource(role_arn=ROLE, token_file=str(token), region="eu-west-1", sts_endpoint=sts.url)
    text = await refusal(source)
    assert text.startswith("AssumeRoleWithWebIdentity was refused with InvalidIdentityToken: ")
    assert "OIDC" in text


# Assumed roles


async def test_a_role_is_taken_with_all_that_was_written(sts: Sts) -> None:
    policy = '{"Version":"2012-10-17","Statement":[]}'
    await fetch(
        role(
            sts.url,
            session_name="gateway",
            external_id="ext-1",
            duration_seconds=900,
            tags=(("team", "blue"), ("env", "prod")),
            session_policy=policy,
        )
    )
    (form,) = sts.requests
    assert form["RoleArn"] == ROLE
    assert form["RoleSessionName"] == "gateway"
    assert form["ExternalId"] == "ext-1"
    assert form["DurationSeconds"] == "900"
    assert form["Policy"] == policy
    assert [form[f"Tags.member.{n}.{part}"] for n in (1, 2) for part in ("Key", "Value")] == [
        "team", "blue", "env", "prod",
    ]  # fmt: skip
    assert "Credential=AKIABASE/" in sts.authorizations[0]
    assert "/eu-west-1/sts/" in sts.authorizations[0]


async def test_what_was_not_written_is_not_sent(sts: Sts) -> None:
    await fetch(role(sts.url))
    assert set(sts.requests[0]) == {"Action", "Version", "RoleArn", "RoleSessionName", "DurationSeconds"}


@pytest.mark.parametrize(
    ("session_name", "caller", "named"),
    [
        ("gateway-{consumer}", Caller(consumer="team-blue"), "gateway-team-blue"),
        (
            "{key}@{metadata.team}",
            Caller(key="apo_live_0123456789ab", metadata={"team": "blue"}),
            "apo_live_0123456789ab@blue",
        ),
    ],
)
async def test_the_credentials_of_an_assumed_role_are_those_of_its_session(
    moto_url: str, session_name: str, caller: Caller, named: str
) -> None:
    from botocore.session import Session

    fetched = await fetch(role(moto_url, session_name=session_name), caller=caller)

    def identity() -> str:
        held = fetched.credentials
        assert held.session_token is not None
        client = Session(session_vars={"profile": (None, None, None, None)}).create_client(
            "sts",
            region_name="eu-west-1",
            endpoint_url=moto_url,
            aws_access_key_id=held.access_key,
            aws_secret_access_key=held.secret_key.reveal(),
            aws_session_token=held.session_token.reveal(),
        )
        try:
            return str(client.get_caller_identity()["Arn"])  # type: ignore[attr-defined]
        finally:
            client.close()

    assert (await asyncio.to_thread(identity)).endswith(f"assumed-role/reader/{named}")


async def test_roles_can_be_chained(sts: Sts) -> None:
    await fetch(role(sts.url, base=role(sts.url, role_arn=f"{ROLE}-1")))
    assert [form["RoleArn"] for form in sts.requests] == [f"{ROLE}-1", ROLE]
    assert "Credential=ASIA00000001/" in sts.authorizations[1]


async def test_a_denied_role_says_what_to_look_at(sts: Sts) -> None:
    sts.refusal = "AccessDenied"
    text = await refusal(role(sts.url))
    assert text.startswith("AssumeRole was refused with AccessDenied: the role's trust policy must name ")


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "ExpiredToken", "PackedPolicyTooLarge", f"{CANARY} <b>"])
async def test_a_refusal_never_repeats_what_sts_said(sts: Sts, code: str) -> None:
    sts.refusal = code.replace("<", "&lt;")
    assert "was refused with" in await refusal(role(sts.url))


async def test_an_answer_from_nowhere_is_told_in_bounded_time() -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else gets the port, and nobody answers on it.
        taken.bind(("127.0.0.1", 0))
        text = await refusal(role(f"http://127.0.0.1:{taken.getsockname()[1]}"))
    assert text == "the endpoint does not answer (EndpointConnectionError)"


async def test_without_a_region_the_text_says_where_to_write_one() -> None:
    assert "AWS_REGION" in await refusal(role("http://127.0.0.1:1", region=None))


async def test_the_consumer_is_in_session_name_and_tags(sts: Sts) -> None:
    source = role(sts.url, session_name="gw-{consumer}", tags=(("who", "{consumer}"),))
    await fetch(source, caller=Caller(consumer="team-blue.v1"))
    assert sts.requests[0]["RoleSessionName"] == "gw-team-blue.v1"
    assert sts.requests[0]["Tags.member.1.Value"] == "team-blue.v1"


async def test_the_key_and_its_metadata_are_in_session_name_and_tags(sts: Sts) -> None:
    caller = Caller(consumer="blue", key="apo_live_0123456789ab", metadata={"team": "Team Blue", "other": "x"})
    tags = (("key", "{key}"), ("team", "of {metadata.team}: {consumer}"))
    await fetch(role(sts.url, session_name="{consumer}@{key}", tags=tags), caller=caller)
    (form,) = sts.requests
    assert form["RoleSessionName"] == "blue@apo_live_0123456789ab"
    assert [form[f"Tags.member.{n}.Value"] for n in (1, 2)] == ["apo_live_0123456789ab", "of Team Blue: blue"]


@pytest.mark.parametrize(
    ("text", "caller", "lacking"),
    [
        ("for {consumer}", NOBODY, ["{consumer}"]),
        ("for {consumer}", Caller(consumer=""), ["{consumer}"]),
        ("for {key}", Caller(consumer="blue"), ["{key}"]),
        ("for {metadata.team}", Caller(consumer="blue", metadata={"Team": "blue"}), ["{metadata.team}"]),
        ("for {metadata.team}", Caller(consumer="blue", metadata={"team": ""}), ["{metadata.team}"]),
        ("{metadata.team}{key}{consumer}", Caller(consumer="blue"), ["{key}", "{metadata.team}"]),
    ],
)
@pytest.mark.parametrize("place", ["session_name", "tags"])
async def test_without_what_a_placeholder_stands_for_no_role_is_taken(
    sts: Sts, place: str, text: str, caller: Caller, lacking: list[str]
) -> None:
    written = {"session_name": text, "tags": (("who", text),)}[place]
    said = await refusal(role(sts.url, **{place: written}), caller=caller)
    assert [each for each in ("{consumer}", "{key}", "{metadata.team}") if f"{each} stands" in said] == lacking
    assert sts.requests == []


async def test_what_comes_in_for_a_placeholder_is_not_filled_in_again(sts: Sts) -> None:
    await fetch(role(sts.url, session_name="{consumer}"), caller=Caller(consumer="{key}", key="apo_live_1"))
    assert sts.requests[0]["RoleSessionName"].startswith("-key--")


async def test_consumers_whose_names_do_not_fit_stay_different(sts: Sts) -> None:
    names = ["a", "a b", "a/b", "x" * 200, "x" * 201, "été", "a-b"]
    for name in names:
        await fetch(role(sts.url, session_name="{consumer}"), caller=Caller(consumer=name))
    sent = [form["RoleSessionName"] for form in sts.requests]
    assert len(set(sent)) == len(names)
    assert all(2 <= len(name) <= 64 for name in sent)
    assert sent[-1] == "a-b"


async def test_a_tag_is_sent_as_it_is_or_not_at_all(sts: Sts) -> None:
    source = role(sts.url, tags=(("who", "{consumer}"),))
    await fetch(source, caller=Caller(consumer="Zoë Ångström_1 .:/=+@-"))
    assert sts.requests[0]["Tags.member.1.Value"] == "Zoë Ångström_1 .:/=+@-"
    for name in ("a*b", "x" * 257, "a\x00b"):
        assert "the tag 'who'" in await refusal(source, caller=Caller(consumer=name))
        by_team = replace(source, tags=(("team", "{metadata.team}"),))
        assert "the tag 'team'" in await refusal(by_team, caller=Caller(metadata={"team": name}))
    assert len(sts.requests) == 1
