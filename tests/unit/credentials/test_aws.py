from __future__ import annotations

import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from apostille.base.secrets import SecretText
from apostille.credentials import chains
from apostille.model.credentials import (
    ContainerSource,
    DefaultSource,
    EnvironmentSource,
    InstanceSource,
    ProfileSource,
    Source,
    StaticSource,
    WebIdentitySource,
)
from tests.unit.credentials.asking import ROLE, SIX_PM, STATIC, fetch, refusal, role
from tests.unit.credentials.stand_ins import CANARY, Container, Instance, Sts

# Static keys and the environment


async def test_static_keys_are_what_was_written() -> None:
    fetched = await fetch(STATIC)
    assert fetched.credentials.access_key == "AKIABASE"
    assert fetched.credentials.secret_key.reveal() == f"base-{CANARY}"
    assert fetched.credentials.session_token == SecretText(f"base-token-{CANARY}")
    assert fetched.expires is None


async def test_static_keys_that_can_be_no_keys_are_refused_without_showing_them() -> None:
    text = await refusal(StaticSource(access_key="AKIA", secret_key=SecretText(f"{CANARY}\n")))
    assert "the secret access key" in text


async def test_the_environment_is_the_mapping_and_not_that_of_the_process() -> None:
    environ = {
        "AWS_ACCESS_KEY_ID": "AKIAMAPPING",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_SESSION_TOKEN": "t",
        "AWS_CREDENTIAL_EXPIRATION": "2026-05-01T20:00:00+02:00",
    }
    fetched = await fetch(EnvironmentSource(), environ)
    assert fetched.credentials.access_key == "AKIAMAPPING"
    assert fetched.credentials.session_token == SecretText("t")
    assert fetched.expires == SIX_PM


async def test_an_environment_without_keys_names_the_variables() -> None:
    text = await refusal(EnvironmentSource(), {"AWS_ACCESS_KEY_ID": "AKIA"})
    assert text == "AWS_SECRET_ACCESS_KEY must be set in the environment of this process"


async def test_an_end_that_is_no_moment_is_refused() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "s", "AWS_CREDENTIAL_EXPIRATION": CANARY}
    assert "ISO 8601" in await refusal(EnvironmentSource(), environ)


# The instance


async def test_the_instance_gives_its_role_by_imds_version_2(instance: Instance) -> None:
    fetched = await fetch(InstanceSource(), instance.environ)
    assert fetched.credentials.access_key == "ASIAINSTANCE"
    assert fetched.credentials.secret_key.reveal() == f"instance-{CANARY}"
    assert fetched.expires == SIX_PM
    assert instance.requests[0] == "PUT /latest/api/token"


async def test_the_end_told_by_the_instance_is_not_prolonged(instance: Instance) -> None:
    # botocore would add a quarter of an hour and more to an end that is near, or past.
    instance.expires = "2020-01-01T00:00:00Z"
    fetched = await fetch(InstanceSource(), instance.environ)
    assert fetched.expires == datetime(2020, 1, 1, tzinfo=UTC)


async def test_imds_version_1_is_never_asked_for_credentials(instance: Instance) -> None:
    instance.version_2 = False
    await refusal(InstanceSource(), instance.environ)
    assert instance.requests == ["PUT /latest/api/token"]


async def test_a_broken_instance_service_is_told_without_its_answer(instance: Instance) -> None:
    instance.down = True
    assert "(MetadataRetrievalError)" in await refusal(InstanceSource(), instance.environ)


# The container


async def test_the_container_gives_credentials_for_the_token_of_its_file(container: Container, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(container.token)
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
    }
    fetched = await fetch(ContainerSource(), environ)
    assert fetched.credentials.access_key == "ASIACONTAINER"
    assert fetched.expires == SIX_PM

    container.token = "renewed"
    assert "(MetadataRetrievalError)" in await refusal(ContainerSource(), environ)
    token.write_text("renewed")
    assert (await fetch(ContainerSource(), environ)).credentials.access_key == "ASIACONTAINER"


async def test_the_container_may_have_its_token_in_the_environment(container: Container) -> None:
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": container.token,
    }
    assert (await fetch(ContainerSource(), environ)).credentials.access_key == "ASIACONTAINER"


async def test_a_container_token_with_a_line_break_is_not_sent(container: Container) -> None:
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": f"{CANARY}\r\nX-More: 1",
    }
    assert "line break" in await refusal(ContainerSource(), environ)
    assert container.requests == []


async def test_without_a_container_endpoint_the_text_says_what_is_missing() -> None:
    text = await refusal(ContainerSource())
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in text
    assert "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI" in text


async def test_the_container_token_goes_to_no_host_on_the_network() -> None:
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": CANARY,
    }
    assert "(ValueError)" in await refusal(ContainerSource(), environ)


# Profiles


def write_files(folder: Path, *, config: str = "", credentials: str = "") -> tuple[str, str]:
    (folder / "config").write_text(config)
    (folder / "credentials").write_text(credentials)
    return str(folder / "config"), str(folder / "credentials")


async def test_a_profile_gives_its_keys_and_a_rotated_file_gives_the_next_ones(tmp_path: Path) -> None:
    config, credentials = write_files(
        tmp_path, credentials="[s3]\naws_access_key_id = AKIA1\naws_secret_access_key = s1\naws_session_token = t1\n"
    )
    source = ProfileSource(profile="s3", config_file=config, credentials_file=credentials)
    first = await fetch(source)
    assert (first.credentials.access_key, first.credentials.session_token) == ("AKIA1", SecretText("t1"))
    assert first.expires is None

    write_files(tmp_path, credentials="[s3]\naws_access_key_id = AKIA2\naws_secret_access_key = s2\n")
    second = await fetch(source)
    assert (second.credentials.access_key, second.credentials.session_token) == ("AKIA2", None)


async def test_the_files_of_a_profile_may_be_named_by_the_environment_mapping(tmp_path: Path) -> None:
    config, credentials = write_files(
        tmp_path, config="[profile one]\naws_access_key_id = AKIA1\naws_secret_access_key = s1\n"
    )
    environ = {"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": credentials}
    assert (await fetch(ProfileSource(profile="one"), environ)).credentials.access_key == "AKIA1"


async def test_the_files_named_by_the_environment_of_the_process_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, credentials = write_files(
        tmp_path, credentials="[s3]\naws_access_key_id = WRONG\naws_secret_access_key = w\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", config)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", credentials)
    text = await refusal(ProfileSource(profile="s3"))
    assert text == "there is no profile 's3' in ~/.aws/config and ~/.aws/credentials"


async def test_a_profile_that_is_not_there_is_told_with_the_files(tmp_path: Path) -> None:
    config, credentials = write_files(tmp_path)
    text = await refusal(ProfileSource(profile="s3", config_file=config, credentials_file=credentials))
    assert text == f"there is no profile 's3' in {config} and {credentials}"


async def test_a_profile_without_credentials_never_falls_back_to_another_place(
    instance: Instance, container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, credentials = write_files(tmp_path, config="[profile s3]\nregion = eu-west-1\n")
    token = tmp_path / "token"
    token.write_text("web-identity")
    environ = {
        **instance.environ,
        "AWS_ACCESS_KEY_ID": "WRONG",
        "AWS_SECRET_ACCESS_KEY": "w",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        "AWS_ROLE_ARN": ROLE,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    text = await refusal(ProfileSource(profile="s3", config_file=config, credentials_file=credentials), environ)
    assert text == "the profile 's3' has no credentials"
    assert instance.requests == []
    assert container.requests == []


async def test_a_profile_with_half_of_its_keys_names_the_other_half(tmp_path: Path) -> None:
    config, credentials = write_files(tmp_path, credentials="[s3]\naws_access_key_id = AKIA1\n")
    text = await refusal(ProfileSource(profile="s3", config_file=config, credentials_file=credentials))
    assert text == "aws_secret_access_key is missing"


async def test_a_profile_may_take_a_role_with_another_profile(tmp_path: Path, moto_url: str) -> None:
    config, credentials = write_files(
        tmp_path,
        config=f"[profile s3]\nrole_arn = {ROLE}\nsource_profile = base\n"
        f"region = eu-west-1\nendpoint_url = {moto_url}\n",
        credentials="[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = s\n",
    )
    fetched = await fetch(ProfileSource(profile="s3", config_file=config, credentials_file=credentials))
    assert fetched.credentials.access_key.startswith("ASIA")
    assert fetched.expires is not None
    assert fetched.expires.utcoffset() == timedelta(0)


async def test_a_profile_that_wants_an_mfa_code_asks_nobody(tmp_path: Path) -> None:
    config, credentials = write_files(
        tmp_path,
        config=f"[profile s3]\nrole_arn = {ROLE}\nsource_profile = base\nregion = eu-west-1\nmfa_serial = me\n",
        credentials="[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = s\n",
    )
    text = await refusal(ProfileSource(profile="s3", config_file=config, credentials_file=credentials))
    assert "mfa_serial" in text


def write_process(folder: Path, program: str) -> ProfileSource:
    script = folder / "process.py"
    script.write_text(program)
    config, credentials = write_files(
        folder, config=f"[profile s3]\ncredential_process = {sys.executable} {script} {CANARY}\n"
    )
    return ProfileSource(profile="s3", config_file=config, credentials_file=credentials)


async def test_a_profile_may_run_a_program(tmp_path: Path) -> None:
    answer = {"Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": "s", "SessionToken": "t"}
    source = write_process(
        tmp_path, f"import json; print(json.dumps({answer | {'Expiration': '2099-01-01T00:00:00Z'}}))"
    )
    fetched = await fetch(source)
    assert fetched.credentials.access_key == "AKIAPROCESS"
    assert fetched.expires == datetime(2099, 1, 1, tzinfo=UTC)


async def test_what_a_failing_program_says_is_not_repeated(tmp_path: Path) -> None:
    source = write_process(tmp_path, f"import sys; sys.exit('{CANARY}')")
    assert "CredentialRetrievalError" in await refusal(source)


async def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "_PROCESS_TIMEOUT", 0.05)
    source = write_process(tmp_path, "import threading; threading.Event().wait()")
    assert "credential_process ran for more than" in await refusal(source)


# The default chain, and what holds for all


def test_the_default_chain_looks_at_the_places_of_botocore_in_its_order() -> None:
    from botocore.credentials import create_credential_resolver
    from botocore.session import Session

    theirs = create_credential_resolver(Session(session_vars={"profile": (None, None, None, None)}))
    assert [place.METHOD for place in chains.default_chain({}).providers] == [
        place.METHOD for place in theirs.providers
    ]


async def test_the_default_chain_takes_the_first_place_that_has_some(instance: Instance, tmp_path: Path) -> None:
    config, credentials = write_files(tmp_path)
    environ = {**instance.environ, "AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": credentials}
    instance.expires = "2099-01-01T00:00:00Z"
    fetched = await fetch(DefaultSource(), environ)
    assert fetched.credentials.access_key == "ASIAINSTANCE"
    assert fetched.expires == datetime(2099, 1, 1, tzinfo=UTC)

    write_files(tmp_path, credentials="[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = s\n")
    assert (await fetch(DefaultSource(), environ)).credentials.access_key == "AKIAFILE"
    keys = {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "s"}
    assert (await fetch(DefaultSource(), environ | keys)).credentials.access_key == "AKIAENV"


async def test_nothing_secret_is_logged_at_the_finest_level(
    sts: Sts, instance: Instance, container: Container, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = tmp_path / "token"
    token.write_text(CANARY)
    environ = {
        **instance.environ,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": container.token,
    }
    web_identity = WebIdentitySource(role_arn=ROLE, token_file=str(token), region="eu-west-1", sts_endpoint=sts.url)
    sources: tuple[Source, ...] = (role(sts.url), web_identity, InstanceSource(), ContainerSource())
    for source in sources:
        assert CANARY not in repr(await fetch(source, environ))
    sts.refusal, instance.down, container.token = "AccessDenied", True, "another"
    for source in sources:
        await refusal(source, environ)
    # Read at all, so that silence proves something.
    logging.getLogger("apostille.credentials").debug("still listening")
    assert "still listening" in caplog.text
    assert CANARY not in caplog.text


def test_reading_the_package_reads_no_botocore() -> None:
    program = "import sys, apostille.credentials.keepers; sys.exit('botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
