from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apostille.keys.tail import FOLDER, mend_tail
from tests.unit.keys.valkey import Server, make_record


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


SINGLE = command(b"SET", b"apo:k:0123456789ab", b'1.1.00000000{"a":"b"}')
BLOCK = command(b"MULTI") + SINGLE + command(b"INCR", b"apo:version") + command(b"EXEC")


def write(folder: Path, data: bytes, *, sequence: int = 2) -> Path:
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    (place / "appendonly.aof.manifest").write_text(
        "file appendonly.aof.1.base.rdb seq 1 type b\n"
        "file appendonly.aof.1.incr.aof seq 1 type i\n"
        f"file appendonly.aof.{sequence}.incr.aof seq {sequence} type i\n"
    )
    file = place / f"appendonly.aof.{sequence}.incr.aof"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("last", [SINGLE, BLOCK])
def test_a_last_command_is_cut_off_wherever_it_was_torn_and_kept(tmp_path: Path, last: bytes) -> None:
    whole = SINGLE + BLOCK + SINGLE
    for length in range(1, len(last)):
        file = write(tmp_path, whole + last[:length])
        torn = mend_tail(tmp_path)
        assert torn is not None, length
        assert file.read_bytes() == whole
        assert torn.kept.read_bytes() == last[:length]
        assert (torn.file, torn.removed) == (file, length)
        torn.kept.unlink()


@pytest.mark.parametrize("last", [SINGLE, BLOCK])
def test_the_very_first_command_can_be_torn_too(tmp_path: Path, last: bytes) -> None:
    for length in range(1, len(last)):
        file = write(tmp_path, last[:length])
        torn = mend_tail(tmp_path)
        assert torn is not None
        assert file.read_bytes() == b""
        torn.kept.unlink()


@pytest.mark.parametrize("data", [b"", SINGLE, BLOCK, BLOCK + SINGLE])
def test_a_whole_file_is_left_alone(tmp_path: Path, data: bytes) -> None:
    file = write(tmp_path, data, sequence=11)
    assert mend_tail(tmp_path) is None
    assert file.read_bytes() == data


@pytest.mark.parametrize(
    "data",
    [
        SINGLE + bytes(10),
        SINGLE + b"*2\r\n$3\r\nGET\r\n$99999999\r\nabc",
        SINGLE + b"*99999999\r\n$3\r\nGET",
        SINGLE + b"*x\r\n$3",
        SINGLE + b"*3\r\n:3\r\n",
        SINGLE + b"*00000000000000000000000000000001",
        SINGLE[:-4] + SINGLE + SINGLE[:-4],
        b"rubbish" + SINGLE[:-4],
        SINGLE + b"*1\r\n$3\r\nGETxx",
    ],
)
def test_what_a_killed_server_does_not_leave_behind_is_left_for_the_server_to_refuse(
    tmp_path: Path, data: bytes
) -> None:
    file = write(tmp_path, data)
    assert mend_tail(tmp_path) is None
    assert file.read_bytes() == data


@given(st.binary(max_size=200))
def test_no_bytes_raise_and_nothing_is_lost(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("tail")
    file = write(folder, SINGLE + data)
    torn = mend_tail(folder)
    kept = torn.kept.read_bytes() if torn is not None else b""
    assert file.read_bytes() + kept == SINGLE + data


def test_without_a_file_there_is_nothing_to_mend(tmp_path: Path) -> None:
    assert mend_tail(tmp_path) is None
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "appendonly.aof.manifest").write_text("file ../../x seq 1 type i\n")
    assert mend_tail(tmp_path) is None


def test_what_was_kept_before_is_not_overwritten(tmp_path: Path) -> None:
    for _ in range(2):
        write(tmp_path, SINGLE + SINGLE[:-1])
        assert mend_tail(tmp_path) is not None
    assert len(list(tmp_path.glob("torn-*.aof"))) == 2


async def test_the_real_server_refuses_a_torn_file_and_takes_the_mended_one(server: Server) -> None:
    async with server.opened() as store:
        stored = [await store.put(make_record()) for _ in range(5)]
        server.kill()
        file = server.last_file()
        file.write_bytes(file.read_bytes()[:-30])
        torn = file.read_bytes()
        with pytest.raises(Exception, match="Unexpected end of file"):
            server.start_unmended()
        assert file.read_bytes() == torn
        server.start()
        # The last of them was never whole; its transaction is undone altogether.
        assert set(await store.get_many([record.id for record in stored])) == {record.id for record in stored[:-1]}
        assert await store.version() == 4
