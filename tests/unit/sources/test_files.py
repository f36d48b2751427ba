from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apostille.sources.contract import Source, Texts
from apostille.sources.files import FilesSource
from apostille.status.problem import Finding
from apostille.status.reasons import Effect, Reason

# Far beyond what a change takes, so that a test which waits this long has failed.
LIMIT = 20.0
# Long enough that no rescan can stand in for a notification within LIMIT.
NEVER = 3600.0


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def only(texts: Texts) -> Finding:
    (finding,) = texts.findings
    return finding


def configmap(folder: Path, generation: str, **files: str) -> None:
    """What kubelet does to a mounted ConfigMap: a new folder, and one link swapped."""
    data = folder / f"..{generation}"
    data.mkdir()
    write(data, **files)
    swap = folder / "..data_tmp"
    swap.symlink_to(data.name)
    swap.replace(folder / "..data")
    for name in files:
        link = folder / f"{name}.yaml"
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}.yaml")


def test_manifests_are_read_from_all_folders_and_sorted_by_name(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write(tmp_path, b="B", a="A")
    write(tmp_path / "deep" / "er", c="C")
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "y.yml").write_text("Y")
    (tmp_path / "README.md").write_text("no manifest")

    texts = FilesSource(tmp_path).read()

    assert list(texts.files.items()) == [
        ("a.yaml", "A"),
        ("b.yaml", "B"),
        ("deep/er/c.yaml", "C"),
        ("x.json", "{}"),
        ("y.yml", "Y"),
    ]
    assert texts.findings == ()


def test_a_single_file_is_a_source_too(tmp_path: Path) -> None:
    write(tmp_path, a="A", b="B")
    assert FilesSource(tmp_path / "a.yaml").read().files == {"a.yaml": "A"}


@pytest.mark.parametrize("name", ["a.yaml~", ".a.yaml", "#a.yaml#", ".a.yaml.swp", ".#a.yaml", "a.yaml.bak", "4913"])
def test_what_editors_leave_behind_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    assert FilesSource(tmp_path).read() == Texts(files={})


def test_a_configmap_is_read_once_and_through_its_visible_links(tmp_path: Path) -> None:
    configmap(tmp_path, "2026_1", a="A1", b="B1")
    configmap(tmp_path, "2026_2", a="A2", b="B2")
    assert FilesSource(tmp_path).read() == Texts(files={"a.yaml": "A2", "b.yaml": "B2"})


def test_line_endings_stay_and_a_byte_order_mark_goes(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert FilesSource(tmp_path).read().files == {"a.yaml": "a: 1\r\nb: 2\r\n"}


def test_bytes_that_are_no_utf8_are_a_finding_with_their_place(tmp_path: Path) -> None:
    write(tmp_path, good="fine")
    (tmp_path / "bad.yaml").write_bytes(b"a: 1\nb: \xff\xfe\n")

    texts = FilesSource(tmp_path).read()

    assert texts.files == {"good.yaml": "fine"}
    assert str(only(texts).origin) == "bad.yaml:2:4"
    assert only(texts).problem.reason is Reason.INVALID_SYNTAX
    assert only(texts).effect is Effect.REJECTED


def test_a_file_over_the_limit_is_a_finding_and_its_neighbour_is_read(tmp_path: Path) -> None:
    write(tmp_path, big="x" * 11, small="x" * 10)
    texts = FilesSource(tmp_path, most_bytes=10).read()
    assert list(texts.files) == ["small.yaml"]
    assert "10 bytes" in only(texts).problem.message


def test_files_that_are_too_large_together_are_findings_from_there_on(tmp_path: Path) -> None:
    write(tmp_path, a="x" * 10, b="x" * 10, c="x" * 5)
    texts = FilesSource(tmp_path, most_bytes_together=16).read()
    assert list(texts.files) == ["a.yaml", "c.yaml"]
    assert only(texts).origin.file == "b.yaml"


def test_a_link_to_a_parent_is_a_finding_and_no_endless_walk(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", a="A")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)

    texts = FilesSource(tmp_path).read()

    assert texts.files == {"sub/a.yaml": "A"}
    assert only(texts).origin.file == "sub/loop"
    assert only(texts).problem.reason is Reason.DUPLICATE


def test_a_link_to_itself_and_a_link_to_nothing_are_findings(tmp_path: Path) -> None:
    (tmp_path / "self.yaml").symlink_to("self.yaml")
    (tmp_path / "nothing.yaml").symlink_to("nowhere.yaml")
    write(tmp_path, good="fine")

    texts = FilesSource(tmp_path).read()

    assert texts.files == {"good.yaml": "fine"}
    assert [(f.origin.file, f.problem.reason) for f in texts.findings] == [
        ("nothing.yaml", Reason.UNREADABLE),
        ("self.yaml", Reason.UNREADABLE),
    ]


def test_a_named_pipe_is_a_finding_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "regular" in only(FilesSource(tmp_path).read()).problem.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_a_finding(tmp_path: Path) -> None:
    write(tmp_path, closed="x", open="fine")
    (tmp_path / "closed.yaml").chmod(0)
    texts = FilesSource(tmp_path).read()
    assert texts.files == {"open.yaml": "fine"}
    assert only(texts).problem.reason is Reason.UNREADABLE


def test_a_name_that_is_no_utf8_is_shown_and_read(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.yaml")).write_text("A")
    texts = FilesSource(tmp_path).read()
    assert texts.files == {"\\xff.yaml": "A"}
    assert texts.digest


def test_a_folder_that_was_never_there_is_a_finding_and_has_not_vanished(tmp_path: Path) -> None:
    texts = FilesSource(tmp_path / "none").read()
    assert only(texts).problem.reason is Reason.UNREADABLE
    assert str(tmp_path / "none") in str(only(texts))
    assert not texts.vanished


def test_an_emptied_and_a_removed_folder_have_vanished(tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    source = FilesSource(folder)
    assert not source.read().vanished
    write(folder, a="A")
    assert not source.read().vanished
    (folder / "a.yaml").unlink()
    assert source.read() == Texts(files={}, vanished=True)
    folder.rmdir()
    assert source.read().vanished


def test_the_digest_tells_texts_apart() -> None:
    assert Texts(files={"a": "bc"}).digest != Texts(files={"ab": "c"}).digest
    assert Texts(files={}).digest != Texts(files={}, vanished=True).digest
    assert Texts(files={"a": "b"}).digest == Texts(files={"a": "b"}).digest


def test_texts_do_not_show_their_content() -> None:
    assert "hunter2" not in repr(Texts(files={"a.yaml": "password: hunter2"}))


class Changes:
    """The iterator of a source, asked step by step."""

    def __init__(self, source: Source) -> None:
        self._stop = asyncio.Event()
        self._source = source
        self._iterator: AsyncIterator[Texts] = source.changes(self._stop)

    async def next(self) -> Texts:
        return await asyncio.wait_for(anext(self._iterator), LIMIT)

    async def has(self, **files: str) -> Texts:
        """Texts until they are these: a burst may be told in more than one piece."""
        wanted = {f"{name}.yaml": text for name, text in files.items()}
        while (texts := await self.next()).files != wanted:
            pass
        return texts

    async def ended(self) -> bool:
        self._stop.set()
        try:
            await self.next()
        except StopAsyncIteration:
            return True
        return False


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "conf"
    folder.mkdir()
    write(folder, a="1")
    return folder


async def watched(folder: Path, rescan_seconds: float = NEVER) -> Changes:
    """A source that has been read once, and whose watch is in place."""
    source = FilesSource(folder, rescan_seconds=rescan_seconds)
    source.read()
    changes = Changes(source)
    # What changed between the reading and the watch is told first: that is how we know that the watch is there.
    target = folder if folder.is_dir() else folder.parent
    write(target, a="watched")
    await changes.has(a="watched")
    return changes


async def test_an_edit_a_new_file_and_a_removal_are_told(folder: Path) -> None:
    changes = await watched(folder)
    write(folder, a="2")
    await changes.has(a="2")
    write(folder, b="new")
    await changes.has(a="2", b="new")
    (folder / "b.yaml").unlink()
    await changes.has(a="2")
    assert await changes.ended()


async def test_an_editor_that_renames_is_seen(folder: Path) -> None:
    changes = await watched(folder)
    (folder / ".a.yaml.swp").write_text("2")
    (folder / ".a.yaml.swp").rename(folder / "a.yaml")
    await changes.has(a="2")
    assert await changes.ended()


async def test_a_new_folder_inside_is_seen_with_what_is_written_into_it(folder: Path) -> None:
    changes = await watched(folder)
    (folder / "sub").mkdir()
    write(folder / "sub", b="B")
    while (await changes.next()).files != {"a.yaml": "watched", "sub/b.yaml": "B"}:
        pass
    assert await changes.ended()


async def test_configmap_swaps_are_seen_again_and_again(tmp_path: Path) -> None:
    configmap(tmp_path, "0", a="0")
    source = FilesSource(tmp_path, rescan_seconds=NEVER)
    source.read()
    changes = Changes(source)
    for generation in ("1", "2", "3"):
        configmap(tmp_path, generation, a=generation)
        await changes.has(a=generation)
    assert await changes.ended()


async def test_a_replaced_folder_is_noticed_and_watched_from_then_on(folder: Path) -> None:
    changes = await watched(folder)
    other = folder.parent / "other"
    other.mkdir()
    write(other, a="replaced")
    folder.rename(folder.parent / "old")
    other.rename(folder)
    await changes.has(a="replaced")
    write(folder, a="edited")
    await changes.has(a="edited")
    assert await changes.ended()


async def test_a_swapped_link_to_the_folder_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, a=name)
    link = tmp_path / "conf"
    link.symlink_to("one")
    source = FilesSource(link, rescan_seconds=NEVER)
    source.read()
    changes = Changes(source)
    write(tmp_path / "one", a="1")
    await changes.has(a="1")
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(link)
    await changes.has(a="two")
    write(tmp_path / "two", a="2")
    await changes.has(a="2")
    assert await changes.ended()


async def test_a_removed_folder_has_vanished_and_is_read_when_it_is_back(folder: Path) -> None:
    changes = await watched(folder)
    shutil.rmtree(folder)
    while not (texts := await changes.next()).vanished:
        pass
    assert texts.files == {}
    folder.mkdir()
    write(folder, a="back")
    texts = await changes.has(a="back")
    assert not texts.vanished
    assert await changes.ended()


async def test_a_single_file_is_watched_through_renames(folder: Path) -> None:
    changes = await watched(folder / "a.yaml")
    (folder / "a.tmp").write_text("2")
    (folder / "a.tmp").rename(folder / "a.yaml")
    await changes.has(a="2")
    assert await changes.ended()


async def test_a_touched_file_is_no_change(folder: Path) -> None:
    changes = await watched(folder)
    os.utime(folder / "a.yaml", (1, 1))
    write(folder, a="watched")
    (folder / "a.yaml~").write_text("backup")
    # The next thing told is the real change that comes after.
    write(folder, z="Z")
    assert (await changes.next()).files == {"a.yaml": "watched", "z.yaml": "Z"}
    assert await changes.ended()


async def test_without_notifications_a_rescan_finds_the_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_watches(*_args: object, **_options: object) -> AsyncIterator[set[tuple[int, str]]]:
        for _ in ("the kernel has no watches left",):
            raise OSError(28, "No space left on device")
        yield set()

    monkeypatch.setattr("apostille.sources.watch.awatch", no_watches)
    source = FilesSource(folder, rescan_seconds=0.05)
    source.read()
    changes = Changes(source)
    write(folder, a="2")
    await changes.has(a="2")
    assert await changes.ended()


async def test_stopping_ends_the_wait(folder: Path) -> None:
    source = FilesSource(folder, rescan_seconds=NEVER)
    source.read()
    assert await Changes(source).ended()
