from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from apostille.base.clock import SystemClock
from apostille.base.errors import ChildError, StartError
from apostille.control.children import (
    ChildEnded,
    ChildEvent,
    ChildHangs,
    ChildReady,
    ChildSpec,
    ChildStarted,
    RestartPolicy,
    Watch,
    listening,
)
from apostille.control.supervisor import Supervisor
from apostille.proxy.admin import EnvoyAdmin
from apostille.proxy.binary import find_envoy
from apostille.proxy.process import EnvoyCommand

# Far beyond what anything here takes.
LIMIT = 30.0
PYTHON = (sys.executable, "-S", "-E", "-c")

# Listens on the socket that is named, so that it can be ready, and waits for SIGTERM.
SERVE = """
import signal, socket, sys, os
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
s = socket.socket(socket.AF_UNIX)
if os.path.exists(sys.argv[1]): os.unlink(sys.argv[1])
s.bind(sys.argv[1]); s.listen(64)
while True:
    c, _ = s.accept(); c.close()
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE.replace(
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))", ""
)
# Starts a process of its own, tells its number in a file, and then serves.
PARENT = (
    "import subprocess, sys\n"
    "p = subprocess.Popen([sys.executable, '-S', '-c', 'import signal; signal.pause()'])\n"
    "open(sys.argv[1] + '.child', 'w').write(str(p.pid))\n" + SERVE
)


class Events:
    """What the supervisor reports, in order, and a way to wait for it."""

    def __init__(self) -> None:
        self.all: list[ChildEvent] = []
        self._seen = 0
        self._arrived = asyncio.Event()

    def __call__(self, event: ChildEvent) -> None:
        self.all.append(event)
        self._arrived.set()

    async def next(self, kind: type[ChildEvent], name: str) -> Any:
        """The next one of this kind and name after the last one asked for."""
        async with asyncio.timeout(LIMIT):
            while True:
                while self._seen < len(self.all):
                    event = self.all[self._seen]
                    self._seen += 1
                    if isinstance(event, kind) and event.name == name:
                        return event
                self._arrived.clear()
                await self._arrived.wait()

    def of(self, kind: type[ChildEvent]) -> list[str]:
        return [event.name for event in self.all if isinstance(event, kind)]


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def supervise(events: Events) -> Callable[..., Supervisor]:
    def build(*stages: list[ChildSpec]) -> Supervisor:
        return Supervisor(stages, clock=SystemClock(), chance=lambda: 0.0, report=events)

    return build


def server(folder: Path, name: str, program: str = SERVE, **changes: Any) -> ChildSpec:
    socket = folder / f"{name}.sock"
    settings: dict[str, Any] = {"ready": lambda: listening(socket), "ready_seconds": LIMIT, **changes}
    return ChildSpec(name=name, argv=(*PYTHON, program, str(socket)), **settings)


def program(name: str, text: str, **changes: Any) -> ChildSpec:
    return ChildSpec(name=name, argv=(*PYTHON, text), **changes)


async def gone(pid: int) -> None:
    """Until a process, anybody's, has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), LIMIT)
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def test_stages_start_in_order_and_stop_in_the_opposite_one(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    supervisor = supervise(
        [server(socket_dir, "control")],
        [server(socket_dir, "auth-0"), server(socket_dir, "auth-1")],
        [server(socket_dir, "envoy")],
    )
    assert await supervisor.start()
    order = [(type(event), event.name) for event in events.all]
    assert order[:2] == [(ChildStarted, "control"), (ChildReady, "control")]
    assert {name for _, name in order[2:6]} == {"auth-0", "auth-1"}
    assert order[6:] == [(ChildStarted, "envoy"), (ChildReady, "envoy")]

    await supervisor.stop()

    ends = [event for event in events.all if isinstance(event, ChildEnded)]
    first, *_, last = (end.name for end in ends)
    assert (first, last) == ("envoy", "control")
    assert {(end.code, end.restart_in) for end in ends} == {(0, None)}
    assert [child.pid for child in supervisor.children] == [None] * 4


async def test_a_killed_child_is_back_at_once_and_its_neighbour_undisturbed(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    supervisor = supervise([server(socket_dir, "a"), server(socket_dir, "b")])
    assert await supervisor.start()
    a, b = (child.pid for child in supervisor.children)
    assert a is not None
    os.kill(a, signal.SIGKILL)
    end = await events.next(ChildEnded, "a")
    assert (end.pid, end.code) == (a, -signal.SIGKILL)
    assert end.restart_in <= 0.1
    again = await events.next(ChildReady, "a")
    assert again.pid != a
    assert await listening(socket_dir / "a.sock")
    assert supervisor.children[1].pid == b
    assert [child.restarts for child in supervisor.children] == [1, 0]
    await supervisor.stop()


async def test_a_crash_loop_ends_the_supervision_with_exit_code_70(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    policy = RestartPolicy(first_delay=0.001, max_delay=0.002, max_exits=3)
    crashing = program("crashing", "import sys; sys.exit(3)", restart=policy)
    supervisor = supervise([server(socket_dir, "steady")], [crashing])
    assert await supervisor.start()
    with pytest.raises(
        ChildError, match=r"crashing ended 4 times within 60 s, the last time with exit code 3"
    ) as error:
        await asyncio.wait_for(supervisor.wait(), LIMIT)
    assert error.value.exit_code == 70
    assert supervisor.children[0].pid is not None
    await supervisor.stop()
    assert events.of(ChildStarted).count("crashing") == 4
    assert [child.pid for child in supervisor.children] == [None, None]


async def test_a_child_that_says_it_cannot_start_is_not_started_again(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    never = server(socket_dir, "control", "import sys; sys.exit(1)", fatal_exits=frozenset({1}))
    supervisor = supervise([never], [server(socket_dir, "envoy")])
    with pytest.raises(StartError, match=r"control could not start \(exit code 1\)"):
        await supervisor.start()
    await supervisor.stop()
    assert events.of(ChildStarted) == ["control"]


async def test_a_child_that_was_ready_once_may_end_with_any_code_and_is_started_again(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    ends_when_told = SERVE.replace("sys.exit(0)", "os._exit(1)")
    supervisor = supervise([server(socket_dir, "a", ends_when_told, fatal_exits=frozenset({1}))])
    assert await supervisor.start()
    pid = supervisor.children[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    assert (await events.next(ChildEnded, "a")).code == 1
    await events.next(ChildReady, "a")
    await supervisor.stop()


async def test_a_child_that_never_gets_ready_is_an_error(
    socket_dir: Path, supervise: Callable[..., Supervisor]
) -> None:
    supervisor = supervise([server(socket_dir, "slow", "import signal; signal.pause()", ready_seconds=0.2)])
    with pytest.raises(StartError, match=r"slow was not ready after 0\.2 s"):
        await supervisor.start()
    await supervisor.stop()
    assert supervisor.children[0].pid is None


async def test_a_program_that_does_not_exist_is_an_error(supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise([ChildSpec(name="none", argv=("/nowhere/none",))])
    with pytest.raises(StartError, match=r"/nowhere/none cannot be started: No such file"):
        await supervisor.start()
    await supervisor.stop()


async def test_a_child_that_hangs_is_killed_and_started_again(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    stopped = asyncio.Event()

    async def answers() -> bool:
        if stopped.is_set():
            await asyncio.Event().wait()
        return True

    watch = Watch(probe=answers, interval=0.01, limit=0.05, failures=2)
    supervisor = supervise([server(socket_dir, "a", watch=watch)])
    assert await supervisor.start()
    pid = supervisor.children[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    stopped.set()
    assert (await events.next(ChildHangs, "a")).pid == pid
    stopped.clear()
    assert (await events.next(ChildEnded, "a")).code == -signal.SIGKILL
    await events.next(ChildReady, "a")
    await supervisor.stop()


async def test_a_drain_comes_before_sigterm(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    seen: list[bool] = []

    async def drain() -> None:
        seen.append(await listening(socket_dir / "a.sock"))

    supervisor = supervise([server(socket_dir, "a", drain=drain)])
    assert await supervisor.start()
    await supervisor.stop()
    assert seen == [True]
    assert (await events.next(ChildEnded, "a")).code == 0


async def test_kill_ends_a_drain_and_a_child_that_ignores_sigterm(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    draining = asyncio.Event()

    async def drain() -> None:
        draining.set()
        await asyncio.Event().wait()

    stubborn = server(socket_dir, "stubborn", STUBBORN, stop_seconds=3600.0)
    supervisor = supervise([stubborn], [server(socket_dir, "draining", drain=drain)])
    assert await supervisor.start()
    waiting = asyncio.create_task(supervisor.wait())
    stop = asyncio.create_task(supervisor.stop())
    await asyncio.wait_for(draining.wait(), LIMIT)
    assert not stop.done()
    supervisor.kill()
    clock = SystemClock()
    killed = clock.monotonic()
    await asyncio.wait_for(stop, LIMIT)
    assert clock.monotonic() - killed < 1.0
    await asyncio.wait_for(waiting, LIMIT)
    assert [event.code for event in events.all if isinstance(event, ChildEnded)] == [-signal.SIGKILL] * 2


async def test_a_child_that_ignores_sigterm_is_killed_after_its_time(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    supervisor = supervise([server(socket_dir, "stubborn", STUBBORN, stop_seconds=0.1)])
    assert await supervisor.start()
    await asyncio.wait_for(supervisor.stop(), LIMIT)
    assert (await events.next(ChildEnded, "stubborn")).code == -signal.SIGKILL


async def test_stop_during_the_start_ends_it(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    waits = server(socket_dir, "waits", "import signal; signal.pause()")
    supervisor = supervise([waits], [server(socket_dir, "later")])
    start = asyncio.create_task(supervisor.start())
    await events.next(ChildStarted, "waits")
    await supervisor.stop()
    assert await asyncio.wait_for(start, LIMIT) is False
    assert events.of(ChildStarted) == ["waits"]


async def test_what_a_killed_child_had_started_ends_with_it(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    supervisor = supervise([server(socket_dir, "parent", PARENT)])
    assert await supervisor.start()
    grandchild = int((socket_dir / "parent.sock.child").read_text())
    pid = supervisor.children[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await gone(grandchild)
    await events.next(ChildReady, "parent")
    await supervisor.stop()


async def test_children_see_only_their_own_environment_and_write_where_they_are_told(
    tmp_path: Path, supervise: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    monkeypatch.setenv("APOSTILLE_TEST_SECRET", "hunter2")
    text = "import json, os; print(json.dumps(dict(os.environ)), flush=True); os.kill(os.getpid(), 9)"
    slow = RestartPolicy(first_delay=3600, max_delay=3600)
    with (tmp_path / "out").open("wb") as out:
        spec = program("child", text, env={"ONE": "1"}, stdout=out.fileno(), restart=slow)
        supervisor = supervise([spec])
        assert await supervisor.start()
        await events.next(ChildEnded, "child")
        await supervisor.stop()
    seen = json.loads((tmp_path / "out").read_text())
    assert seen["ONE"] == "1"
    assert "APOSTILLE_TEST_SECRET" not in seen


SUPERVISING = """
import asyncio, random, sys
from apostille.base.clock import SystemClock
from apostille.control.children import ChildSpec
from apostille.control.supervisor import Supervisor

async def main():
    child = [sys.executable, "-S", "-c", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"]
    specs = [ChildSpec(name=name, argv=tuple(child)) for name in "abc"]
    supervisor = Supervisor([specs], clock=SystemClock(), chance=random.random, report=lambda event: None)
    assert await supervisor.start()
    print(*(child.pid for child in supervisor.children), flush=True)
    await supervisor.wait()

asyncio.run(main())
"""


async def test_children_die_with_a_killed_supervisor() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISING, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in (await asyncio.wait_for(process.stdout.readline(), LIMIT)).split()]
    assert len(pids) == 3
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.wait_for(process.wait(), LIMIT)
    for pid in pids:
        await gone(pid)
    assert not any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids)


def test_delays_double_up_to_a_limit_and_are_half_chance() -> None:
    policy = RestartPolicy(first_delay=0.1, max_delay=5.0)
    assert [policy.delay(n, 1.0) for n in (1, 2, 3, 6, 7, 100000)] == [0.1, 0.2, 0.4, 3.2, 5.0, 5.0]
    assert policy.delay(1, 0.0) == 0.05


# With a real Envoy: `gate` is an upstream that holds requests until it is told to let them go.


class Gate:
    def __init__(self) -> None:
        self.arrived = asyncio.Semaphore(0)
        self.open = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.arrived.release()
                await self.open.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def envoy_spec(folder: Path) -> ChildSpec:
    routes = [
        {"match": {"path": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "direct"}}},
        {"match": {"prefix": "/"}, "route": {"cluster": "gate", "timeout": "0s"}},
    ]
    filters = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{filters}.http.router.v3.Router"}}],
    }
    listener = {
        "name": "web",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(folder / "gate.sock")}}}}
    cluster = {
        "name": "gate",
        "load_assignment": {"cluster_name": "gate", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    admin = folder / "admin.sock"
    config = {
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }
    (folder / "envoy.json").write_text(json.dumps(config))
    command = EnvoyCommand(
        binary=find_envoy().path, config=folder / "envoy.json", admin_socket=admin, concurrency=1, drain_seconds=1
    )
    client = EnvoyAdmin(admin, clock=SystemClock())
    return ChildSpec(name="envoy", argv=command.argv(), ready=client.ready, drain=lambda: client.drain(LIMIT))


async def web_url(folder: Path) -> str:
    ports = await EnvoyAdmin(folder / "admin.sock", clock=SystemClock()).listener_ports()
    return f"http://127.0.0.1:{ports['web']}"


async def test_a_killed_envoy_is_back_with_the_same_configuration(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    supervisor = supervise([envoy_spec(socket_dir)])
    assert await supervisor.start()
    pid = supervisor.children[0].pid
    assert pid is not None
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{await web_url(socket_dir)}/direct") as answer:
            assert await answer.text() == "direct"
        os.kill(pid, signal.SIGKILL)
        await events.next(ChildEnded, "envoy")
        await events.next(ChildReady, "envoy")
        async with session.get(f"{await web_url(socket_dir)}/direct") as answer:
            assert await answer.text() == "direct"
    await supervisor.stop()


async def test_stopping_under_concurrent_requests_loses_none(
    socket_dir: Path, events: Events, supervise: Callable[..., Supervisor]
) -> None:
    gate = Gate()
    upstream = await asyncio.start_unix_server(gate.answer, socket_dir / "gate.sock")
    supervisor = supervise([server(socket_dir, "auth")], [envoy_spec(socket_dir)])
    assert await supervisor.start()
    url = f"{await web_url(socket_dir)}/held"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> tuple[int, str]:
            async with session.get(url) as answer:
                return answer.status, await answer.text()

        requests = [asyncio.create_task(ask()) for _ in range(40)]
        for _ in requests:
            await gate.arrived.acquire()
        stop = asyncio.create_task(supervisor.stop())
        admin = EnvoyAdmin(socket_dir / "admin.sock", clock=SystemClock())
        while (await admin.stats("^listener_manager.listener_stopped$"))["listener_manager.listener_stopped"] == 0:
            pass
        # No new connection is taken any more, and what Envoy needs to answer the requests it has is still running.
        assert not any(request.done() for request in requests)
        assert supervisor.children[0].pid is not None
        gate.open.set()
        assert await asyncio.gather(*requests) == [(200, "done")] * 40
        await asyncio.wait_for(stop, LIMIT)
    assert [(e.name, e.code) for e in events.all if isinstance(e, ChildEnded)] == [("envoy", 0), ("auth", 0)]
    upstream.close()
    await asyncio.gather(*(writer.wait_closed() for writer in gate.writers), return_exceptions=True)
