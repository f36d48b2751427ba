"""Each folder under ``features`` is a gateway: its resources, and requests with what must come of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cases import Case, answer_faults, log_faults, parse_cases, seen_faults
from tests.e2e.gateway import Run, gateway
from tests.e2e.stand_ins import CAKE, SIGNERS, StandIns, named_in, stand_ins
from tests.e2e.wire import Message, ask

FEATURES = Path(__file__).with_name("features")
FILES = ("resources.yaml", "requests.yaml")
# The object in the bucket is no text: a case names it.
CAKE_PLACEHOLDER = "(the cake)"


def _runs() -> Iterator[tuple[str, str]]:
    """Folder and signer; a folder that has one is run with each of them."""
    for folder in sorted(FEATURES.iterdir()):
        signers = SIGNERS if "signer" in named_in(_read(folder, "resources.yaml")) else ("",)
        yield from ((folder.name, signer) for signer in signers)


def _read(folder: Path, name: str) -> str:
    return (folder / name).read_text() if (folder / name).is_file() else ""


def test_every_folder_has_its_two_files_and_nothing_else() -> None:
    folders = sorted(FEATURES.iterdir())
    assert folders
    for folder in folders:
        assert {entry.name for entry in folder.iterdir()} == set(FILES), folder
        assert parse_cases(_read(folder, "requests.yaml"))


@pytest.mark.parametrize(("name", "signer"), list(_runs()))
async def test_each_request_of_the_folder_gets_what_it_should(name: str, signer: str, tmp_path: Path) -> None:
    folder = FEATURES / name
    resources, requests = (_read(folder, file) for file in FILES)
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    async with stand_ins(named_in(resources), tmp_path, signer=signer) as cast:
        (manifests / "resources.yaml").write_text(cast.fill(resources))
        async with gateway(manifests, ca=cast.ca) as run:
            cases = parse_cases(cast.fill(requests, {"gateway.port": str(run.port)}))
            faults = [f"{case.name}: {fault}" for case in cases for fault in await _faults(case, run, cast)]
            # Envoy writes its access log now and then; its last word comes when it stops.
            assert await run.stop() == 0
            logged = [(case.name, log_faults(case.expect.log, run.out.all)) for case in cases if case.expect.log]
            faults += [f"{case}: {fault}" for case, found in logged for fault in found]
            assert not faults, "\n".join(faults)


async def _faults(case: Case, run: Run, cast: StandIns) -> list[str]:
    before = {name: len(cast.seen(name)) for name in cast.witnesses}
    faults: list[str] = []
    for _ in range(case.repeat):
        try:
            answer = await ask(run.port, case.request.emit(), within=case.expect.within)
        except (OSError, TimeoutError) as error:
            return [f"no answer: {error!r}"]
        faults += answer_faults(case.expect, _readable(answer))
    return [*faults, *seen_faults(case.expect, before, cast)]


def _readable(answer: Message) -> Message:
    return Message(head=answer.head, body=CAKE_PLACEHOLDER.encode()) if answer.body == CAKE else answer
