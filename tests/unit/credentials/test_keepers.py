from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from apostille.base.secrets import SecretText
from apostille.credentials.fetched import CredentialsUnavailable
from apostille.credentials.keeper import State
from apostille.credentials.keepers import Keepers
from apostille.model.caller import NOBODY, Caller
from apostille.model.credentials import AssumeRoleSource, InstanceSource, ProfileSource, Source, StaticSource
from tests.unit.credentials.stand_ins import CANARY, FakeClock, Instance, Naps, Sts

ROLE = "arn:aws:iam::123456789012:role/reader"
STATIC = StaticSource(access_key="AKIASTATIC", secret_key=SecretText(f"static-{CANARY}"))
PATIENCE = 30.0


class World:
    def __init__(self, clock: FakeClock, naps: Naps) -> None:
        self.clock, self.naps = clock, naps
        self.registry = CollectorRegistry()
        self._opened: list[Keepers] = []

    def open(self, environ: dict[str, str] | None = None, *, capacity: int = 1000) -> Keepers:
        keepers = Keepers(
            clock=self.clock,
            environ=environ or {},
            registry=self.registry,
            capacity=capacity,
            jitter=lambda low, high: high,
            pause=self.naps,
        )
        self._opened.append(keepers)
        return keepers

    def metrics(self) -> dict[str, float]:
        lines = generate_latest(self.registry).decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    async def close(self) -> None:
        for keepers in self._opened:
            await keepers.close()


@pytest.fixture
async def world(clock: FakeClock, naps: Naps) -> AsyncIterator[World]:
    opened = World(clock, naps)
    yield opened
    await opened.close()


def role(
    url: str, *, base: Source = STATIC, session_name: str = "gateway", tags: tuple[tuple[str, str], ...] = ()
) -> AssumeRoleSource:
    return AssumeRoleSource(
        base=base, role_arn=ROLE, session_name=session_name, tags=tags, region="eu-west-1", sts_endpoint=url
    )


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def background_tasks() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if task.get_name().startswith("credentials")}


async def test_static_keys_are_there_at_once_and_need_no_task(world: World) -> None:
    lease = world.open().lease(STATIC)
    assert lease.current(world.clock.now()).access_key == "AKIASTATIC"
    assert background_tasks() == set()


async def test_one_source_is_fetched_once_for_200_callers_of_many_programs(world: World, instance: Instance) -> None:
    keepers = world.open(instance.environ)
    leases = [keepers.lease(InstanceSource()) for _ in range(200)]
    given = await asyncio.gather(*(lease.get(patience=PATIENCE) for lease in leases))
    assert {credentials.access_key for credentials in given} == {"ASIAINSTANCE"}
    assert instance.requests.count("PUT /latest/api/token") == 1


async def test_a_role_is_taken_once_for_200_callers_and_so_is_its_base(
    world: World, instance: Instance, sts: Sts
) -> None:
    keepers = world.open(instance.environ)
    lease = keepers.lease(role(sts.url, base=InstanceSource()))
    given = await asyncio.gather(*(lease.get(patience=PATIENCE) for _ in range(200)))
    assert {credentials.access_key for credentials in given} == {"ASIA00000001"}
    assert len(sts.requests) == 1
    assert instance.requests.count("PUT /latest/api/token") == 1
    assert [report.source for report in keepers.reports()] == [f"{ROLE} from instance", "instance"]


async def test_a_replaced_program_that_leases_first_finds_the_credentials_warm(
    world: World, instance: Instance
) -> None:
    keepers = world.open(instance.environ)
    old = keepers.lease(InstanceSource())
    await old.get(patience=PATIENCE)
    asked = len(instance.requests)
    new = keepers.lease(InstanceSource())
    old.close()
    await turn()
    assert new.current(world.clock.now()).access_key == "ASIAINSTANCE"
    assert len(instance.requests) == asked


async def test_the_keepers_of_a_source_and_its_base_end_with_the_last_lease(
    world: World, instance: Instance, sts: Sts
) -> None:
    keepers = world.open(instance.environ)
    source = role(sts.url, base=InstanceSource())
    first, second = keepers.lease(source), keepers.lease(source)
    await first.get(patience=PATIENCE)
    first.close()
    first.close()
    await turn()
    assert len(keepers.reports()) == 2
    second.close()
    await turn()
    await turn()
    assert keepers.reports() == ()
    assert background_tasks() == set()
    # Who is still at it finishes with what there is.
    assert second.current(world.clock.now()).access_key == "ASIA00000001"


async def test_a_lease_that_is_forgotten_is_given_back(world: World) -> None:
    keepers = world.open()
    lease = keepers.lease(STATIC)
    assert len(keepers.reports()) == 1
    del lease
    gc.collect()
    await turn()
    assert keepers.reports() == ()


async def test_every_consumer_has_credentials_of_its_own_and_one_fetch(world: World, sts: Sts) -> None:
    lease = world.open().lease(role(sts.url, session_name="gw-{consumer}"))
    names = ["blue", "green", "red"] * 60
    given = await asyncio.gather(*(lease.get(Caller(consumer=name), patience=PATIENCE) for name in names))
    assert sorted(form["RoleSessionName"] for form in sts.requests) == ["gw-blue", "gw-green", "gw-red"]
    by_name = {name: {given[i].access_key for i in range(len(names)) if names[i] == name} for name in set(names)}
    assert all(len(keys) == 1 for keys in by_name.values())
    assert len(set.union(*by_name.values())) == 3


async def test_no_consumer_gets_no_credentials_where_each_has_its_own(world: World, sts: Sts) -> None:
    lease = world.open().lease(role(sts.url, session_name="gw-{consumer}"))
    for nobody in (NOBODY, Caller(consumer=""), Caller(key="apo_live_x", metadata={"consumer": "blue"})):
        with pytest.raises(CredentialsUnavailable) as caught:
            await lease.get(nobody)
        assert caught.value.reason == "credentials_unavailable"
    assert sts.requests == []


async def test_credentials_are_those_of_the_facts_that_the_source_names_and_of_no_others(
    world: World, sts: Sts
) -> None:
    keepers = world.open()
    lease = keepers.lease(role(sts.url, session_name="{key}", tags=(("team", "{metadata.team}"),)))
    one = Caller(consumer="blue", key="apo_live_1", metadata={"team": "a", "mail": "b@example.com"})
    callers = [
        one,
        replace(one, consumer="red"),
        replace(one, consumer=None, metadata={"team": "a", "mail": "r@example.com"}),
        replace(one, key="apo_live_2"),
        replace(one, metadata={"team": "b"}),
    ]
    given = [(await lease.get(each, patience=PATIENCE)).access_key for each in callers]
    assert given == ["ASIA00000001"] * 3 + ["ASIA00000002", "ASIA00000003"]
    assert [report.caller for report in keepers.reports() if report.caller != NOBODY] == [
        Caller(key="apo_live_1", metadata={"team": "a"}),
        Caller(key="apo_live_1", metadata={"team": "b"}),
        Caller(key="apo_live_2", metadata={"team": "a"}),
    ]


async def test_who_lacks_a_fact_gets_no_credentials_and_is_told_which(world: World, sts: Sts) -> None:
    base = role(sts.url, session_name="{metadata.team}")
    lease = world.open().lease(role(sts.url, base=base, tags=(("key", "{key}"),)))
    for caller, lacking in (
        (Caller(consumer="alice", metadata={"team": "blue"}), "{key}"),
        (Caller(consumer="alice", key="apo_live_1"), "{metadata.team}"),
        (Caller(consumer="alice", key="apo_live_1", metadata={"team": ""}), "{metadata.team}"),
    ):
        with pytest.raises(CredentialsUnavailable, match=f"{re.escape(lacking)} stands for ") as caught:
            await lease.get(caller)
        assert caught.value.reason == "credentials_unavailable"
    assert sts.requests == []
    await lease.get(Caller(key="apo_live_1", metadata={"team": "blue"}), patience=PATIENCE)
    assert [form["RoleSessionName"] for form in sts.requests] == ["blue", "gateway"]


async def test_the_consumers_kept_are_bounded_and_the_one_longest_silent_goes(world: World, sts: Sts) -> None:
    keepers = world.open(capacity=2)
    lease = keepers.lease(role(sts.url, session_name="gw-{consumer}"))
    for name in ("blue", "green", "blue", "red"):
        await lease.get(Caller(consumer=name), patience=PATIENCE)
    assert [report.caller.consumer for report in keepers.reports() if report.caller.consumer] == ["blue", "red"]
    await lease.get(Caller(consumer="blue"), patience=PATIENCE)
    assert len(sts.requests) == 3


async def test_consumers_who_call_no_more_are_forgotten_with_the_end_of_their_credentials(
    world: World, sts: Sts
) -> None:
    keepers = world.open()
    lease = keepers.lease(role(sts.url, session_name="gw-{consumer}"))
    await lease.get(Caller(consumer="blue"), patience=PATIENCE)
    world.clock.advance(2 * 3600)
    assert [report.caller for report in keepers.reports()] == [NOBODY]
    await turn()
    assert background_tasks() == set()


async def test_an_instance_service_that_fails_and_comes_back(world: World, instance: Instance) -> None:
    keepers = world.open(instance.environ)
    lease = keepers.lease(InstanceSource())
    await lease.get(patience=PATIENCE)
    assert await world.naps.next() == 0.75 * 6 * 3600

    instance.down, instance.access_key = True, "ASIANEXT"
    world.clock.advance(0.75 * 6 * 3600)
    naps = world.naps
    naps.elapse()
    assert await naps.next() == 0.5
    assert lease.current(world.clock.now()).access_key == "ASIAINSTANCE"
    assert keepers.reports()[0].state is State.STALE_BUT_VALID

    world.clock.advance(0.25 * 6 * 3600)
    with pytest.raises(CredentialsUnavailable) as caught:
        lease.current(world.clock.now())
    assert caught.value.reason == "credentials_expired"
    pause = await naps.next()
    assert pause is not None
    assert pause <= 2.0

    instance.down, instance.expires = False, "2026-05-02T00:00:00Z"
    naps.elapse()
    await naps.next()
    assert lease.current(world.clock.now()).access_key == "ASIANEXT"
    assert keepers.reports()[0].state is State.FRESH


async def test_a_role_whose_base_has_nothing_says_so(world: World, instance: Instance, sts: Sts) -> None:
    instance.down = True
    lease = world.open(instance.environ).lease(role(sts.url, base=InstanceSource()))
    with pytest.raises(CredentialsUnavailable) as caught:
        await lease.get(patience=PATIENCE)
    assert str(caught.value).startswith(f"no credentials of {ROLE} from instance: no credentials of instance: ")
    assert sts.requests == []


async def test_the_keys_of_a_rotated_profile_are_taken_up(world: World, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[s3]\naws_access_key_id = AKIA1\naws_secret_access_key = s1\n")
    (tmp_path / "config").touch()
    source = ProfileSource(profile="s3", config_file=str(tmp_path / "config"), credentials_file=str(file))
    lease = world.open().lease(source)
    assert (await lease.get(patience=PATIENCE)).access_key == "AKIA1"
    assert await world.naps.next() == 5.0

    file.write_text("[s3]\naws_access_key_id = AKIA2\naws_secret_access_key = s2\n")
    lease.doubt()
    await world.naps.next()
    assert lease.current(world.clock.now()).access_key == "AKIA2"

    file.unlink()
    world.naps.elapse()
    await world.naps.next()
    assert lease.current(world.clock.now()).access_key == "AKIA2"


async def test_metrics_tell_the_seconds_left_the_states_and_the_failures(
    world: World, instance: Instance, sts: Sts
) -> None:
    keepers = world.open(instance.environ)
    leases = [keepers.lease(source) for source in (STATIC, InstanceSource(), role(sts.url))]
    sts.refusal = "AccessDenied"
    await leases[1].get(patience=PATIENCE)
    with pytest.raises(CredentialsUnavailable):
        await leases[2].get(patience=PATIENCE)
    found = world.metrics()
    assert found['apostille_credentials_expiry_seconds{source="instance"}'] == 6 * 3600
    assert found['apostille_credentials_held{source="instance",state="fresh"}'] == 1
    assert found['apostille_credentials_held{source="static keys …ATIC",state="fresh"}'] == 1
    denied = f'source="{ROLE} from static keys …ATIC"'
    assert found[f'apostille_credentials_held{{{denied},state="expired"}}'] == 1
    assert found[f"apostille_credentials_refresh_failures_total{{{denied}}}"] == 1
    world.clock.advance(7 * 3600)
    assert world.metrics()['apostille_credentials_expiry_seconds{source="instance"}'] == -3600
    assert CANARY not in generate_latest(world.registry).decode() + repr(keepers.reports())


async def test_closing_ends_all_tasks_and_leaves_the_registry_as_it_was(
    world: World, instance: Instance, sts: Sts
) -> None:
    keepers = world.open(instance.environ)
    held = [keepers.lease(InstanceSource()), keepers.lease(role(sts.url, session_name="{consumer}"))]
    await held[0].get(patience=PATIENCE)
    await held[1].get(Caller(consumer="blue"), patience=PATIENCE)
    await keepers.close()
    assert background_tasks() == set()
    assert world.metrics() == {}
    with pytest.raises(CredentialsUnavailable):
        await held[1].get(Caller(consumer="green"))
    with pytest.raises(RuntimeError):
        keepers.lease(STATIC)
    world.open().lease(STATIC)
    assert world.metrics() != {}
