"""Every YAML in a page is checked as a user would check it, and what a page says of a request is tried."""

from __future__ import annotations

import http.client
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from apostille.base.clock import SystemClock
from apostille.control.app import compile_judging
from apostille.control.check import compile_check
from apostille.control.gateway import GatewayOptions, LocalGateway
from apostille.control.state_folder import hold_state_folder
from apostille.status.report import Report
from tests.docs.pages import PAGES, Block, blocks_of, name_of

PORT = 8080  # the listener's in every page
SERVICE_PORT = "3000"  # that of a page's own service

WITH_YAML = [page for page in PAGES if any(block.kind == "yaml" for block in blocks_of(page))]
WRONG = [
    pytest.param(page, block, following, id=f"{name_of(page)}-{index}")
    for page in PAGES
    for index, (block, following) in enumerate(zip(blocks_of(page), blocks_of(page)[1:], strict=False))
    if block.kind == "yaml wrong"
]
NOTED = [page for page in PAGES if any(block.text.startswith("note: ") for block in blocks_of(page))]
TRIED = [page for page in PAGES if any(block.kind == "console" for block in blocks_of(page))]


def good_documents(page: Path) -> list[dict[str, object]]:
    texts = [block.text for block in blocks_of(page) if block.kind == "yaml"]
    return [document for text in texts for document in yaml.safe_load_all(text)]


def identity(document: Mapping[str, object]) -> tuple[object, ...]:
    metadata = document["metadata"]
    assert isinstance(metadata, dict)
    return document["kind"], metadata.get("namespace"), metadata["name"]


async def check_report(folder: Path) -> Report:
    return await compile_check(folder, compile_judging(address="127.0.0.1", ports={}, envoy=None))


async def check_lines(folder: Path) -> str:
    report = await check_report(folder)
    lines = [f"{'warning' if each.is_warning else 'error'}: {each}\n" for each in report.findings]
    return "".join(lines).replace(f"{folder.parent}{os.sep}", "")


@pytest.mark.parametrize("page", WITH_YAML, ids=name_of)
async def test_the_manifests_of_a_page_are_right(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    folder.mkdir()
    for index, block in enumerate(block for block in blocks_of(page) if block.kind == "yaml"):
        (folder / f"{index}.yaml").write_text(block.text, encoding="utf-8")
    assert await check_lines(folder) == ""


@pytest.mark.parametrize(("page", "wrong", "said"), WRONG)
async def test_a_mistake_gets_the_words_that_the_page_shows(
    page: Path, wrong: Block, said: Block, tmp_path: Path
) -> None:
    """The page's manifests, with the wrong resources in place of theirs."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    (folder / "broken.yaml").write_text(wrong.text, encoding="utf-8")
    replaced = {identity(document) for document in yaml.safe_load_all(wrong.text)}
    others = [document for document in good_documents(page) if identity(document) not in replaced]
    (folder / "good.yaml").write_text(yaml.safe_dump_all(others), encoding="utf-8")
    assert said.kind == "text"
    assert await check_lines(folder) == said.text


@pytest.mark.parametrize("page", NOTED, ids=name_of)
async def test_a_policy_comes_to_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    [block] = [block.text for block in blocks_of(page) if block.text.startswith("note: ")]
    shown = [text.splitlines() for text in block.removeprefix("note: ").split("\nnote: ")]
    (tmp_path / "page.yaml").write_text(yaml.safe_dump_all(good_documents(page)), encoding="utf-8")
    for (first, *lines), note in zip(shown, (await check_report(tmp_path)).notes, strict=True):
        # Where it stands depends on the file that it was written to.
        assert first.endswith(f": {note.ref}")
        assert [line.strip() for line in lines] == list(note.lines)


@dataclass(frozen=True, slots=True)
class Request:
    """`expected`: the answer's first line and those of its headers that the page shows; `body` of None: not shown."""

    command: str
    path: str
    headers: Mapping[str, str]
    expected: tuple[str, ...]
    body: str | None


def requests_of(page: Path) -> Iterator[Request]:
    text = "\n".join(block.text for block in blocks_of(page) if block.kind == "console")
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, answer = part.strip().partition("\n")
        words = shlex.split(command)
        assert words[:2] == ["curl", "-i"], f"the test knows only curl -i, not {command}"
        headers = [words[index + 1] for index, word in enumerate(words) if word == "-H"]
        head, blank, body = answer.partition("\n\n")
        yield Request(
            command=command,
            path=urlsplit(words[-1]).path,
            headers=dict(header.split(": ", 1) for header in headers),
            expected=tuple(head.splitlines()),
            body=body if blank else None,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(program: str, port: int) -> Iterator[None]:
    """A page's own service; it takes connections when this begins."""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except ConnectionRefusedError:
                continue
        assert process.poll() is None, "the page's program ended by itself"
        yield
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def gateway_of(page: Path, folder: Path, service_port: int) -> AsyncIterator[int]:
    """The port of a gateway that serves the manifests of a page."""
    manifests = folder / "gateway"
    manifests.mkdir()
    text = yaml.safe_dump_all(good_documents(page)).replace(SERVICE_PORT, str(service_port))
    (manifests / "page.yaml").write_text(text, encoding="utf-8")
    with hold_state_folder(folder / "state") as state, (folder / "log").open("wb") as log:
        options = GatewayOptions(
            directory=manifests,
            ports={str(PORT): 0},
            workers=1,
            environment=dict(os.environ),
            access_log=log.fileno(),
            log=log.fileno(),
        )
        gateway = LocalGateway(options, state, clock=SystemClock(), report=lambda _event: None)
        try:
            opened = await gateway.start()
            assert opened is not None, (folder / "log").read_text()
            (port,) = opened.listeners.values()
            yield port
        finally:
            gateway.kill()
            await gateway.stop()


@pytest.mark.parametrize("page", TRIED, ids=name_of)
async def test_requests_get_the_answers_that_the_page_shows(page: Path, tmp_path: Path) -> None:
    service_port = free_port()
    programs = [
        block.text.replace(SERVICE_PORT, str(service_port)) for block in blocks_of(page) if block.kind == "python"
    ]
    async with AsyncExitStack() as stack:
        for program in programs:
            stack.enter_context(running(program, service_port))
        port = await stack.enter_async_context(gateway_of(page, tmp_path, service_port))
        requests = list(requests_of(page))
        assert requests
        for request in requests:
            status, headers, body = ask(port, request)
            wanted_status, *wanted_headers = request.expected
            assert f"HTTP/1.1 {status}" in wanted_status, request.command
            assert set(wanted_headers) <= headers, request.command
            if request.body is not None:
                assert body.strip() == request.body.strip(), request.command


def ask(port: int, request: Request) -> tuple[int, set[str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", request.path, headers=dict(request.headers))
        answer = connection.getresponse()
        headers = {f"{name.lower()}: {value}" for name, value in answer.getheaders()}
        return answer.status, headers, answer.read().decode()
    finally:
        connection.close()
