"""Real endpoints on loopback: an instance metadata service, a container's credential endpoint, two kinds of STS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.unit.credentials.stand_ins import Container, FakeClock, Instance, Naps, Sts


async def _serve(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> TestServer:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    return server


@pytest.fixture
async def instance() -> AsyncIterator[Instance]:
    fake = Instance()
    server = await _serve(fake.answer)
    fake.url = f"http://127.0.0.1:{server.port}/"
    yield fake
    await server.close()


@pytest.fixture
async def container() -> AsyncIterator[Container]:
    fake = Container()
    server = await _serve(fake.answer)
    fake.url = f"http://127.0.0.1:{server.port}/v1/credentials"
    yield fake
    await server.close()


@pytest.fixture
async def sts() -> AsyncIterator[Sts]:
    fake = Sts()
    server = await _serve(fake.answer)
    fake.url = f"http://127.0.0.1:{server.port}"
    yield fake
    await server.close()


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    """Somebody else's idea of STS."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture(autouse=True)
def _no_aws_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """And none that would help: a source that looked beyond itself would find keys that are not its own."""
    home = tmp_path_factory.mktemp("home")
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text("[default]\naws_access_key_id = WRONG-HOME\naws_secret_access_key = w\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "WRONG-ENVIRONMENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "w")
    monkeypatch.setenv("AWS_PROFILE", "there-is-no-such-profile")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
