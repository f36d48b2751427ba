from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench.generator import Wanted, quantile, run
from bench.load import parse_wrk

_WRK = """\
Running 2s test @ http://127.0.0.1:4000/cake.json
  1 threads and 50 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.42ms    1.01ms  21.03ms   88.31%
    Req/Sec    20.11k     1.32k   22.37k    75.00%
  Latency Distribution
     50%  812.00us
     75%    2.81ms
     90%    3.43ms
     99%    1.01s
  40231 requests in 2.01s, 48.26MB read
{more}Requests/sec:  20015.42
Transfer/sec:     24.01MB
"""


def test_what_wrk_prints_is_read() -> None:
    found = parse_wrk(_WRK.format(more=""))
    assert (found.requests, found.failed, found.seconds, found.p50, found.p99) == (40231, 0, 2.01, 0.000812, 1.01)


def test_every_kind_of_failure_counts() -> None:
    more = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 100\n"
    assert parse_wrk(_WRK.format(more=more)).failed == 110


def test_other_words_than_those_of_wrk_are_no_figures() -> None:
    with pytest.raises(ValueError, match="not what wrk prints"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")


@asynccontextmanager
async def answering(answer: Callable[[int], bytes]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server; `answer` gets the number of the request, and empty bytes close the connection."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                seen.append(await reader.readuntil(b"\r\n\r\n"))
                said = answer(len(seen))
                if not said:
                    break
                writer.write(said)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


def emit_answer(status: int) -> bytes:
    return f"HTTP/1.1 {status} Said\r\nContent-Length: 2\r\n\r\nok".encode()


def wanted(port: int, *, rate: float | None, seconds: float) -> Wanted:
    return Wanted(port=port, path="/x", headers=[("api-key", "k")], connections=2, seconds=seconds, rate=rate)


async def test_at_a_fixed_rate_exactly_the_planned_requests_are_sent() -> None:
    async with answering(lambda _: emit_answer(200)) as (port, seen):
        found = await run(wanted(port, rate=500, seconds=0.1))
    assert (found["requests"], found["failed"], len(seen)) == (50, 0, 50)
    assert seen[0] == b"GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\napi-key: k\r\n\r\n"


async def test_a_request_that_waits_for_a_connection_is_late_from_when_it_was_due() -> None:
    """All are due at once, and two connections have to serve them one after the other."""
    async with answering(lambda _: emit_answer(200)) as (port, _):
        found = await run(wanted(port, rate=1_000_000, seconds=0.0005))
    assert found["requests"] == 500
    p50, longest = found["p50"], found["longest"]
    assert isinstance(p50, float)
    assert isinstance(longest, float)
    assert 0 < p50 < longest


async def test_refusals_are_failures() -> None:
    async with answering(lambda number: emit_answer(200 if number % 2 else 503)) as (port, _):
        found = await run(wanted(port, rate=1000, seconds=0.02))
    assert (found["requests"], found["failed"]) == (20, 10)


async def test_a_header_that_varies_takes_each_value_in_turn_and_another_answer_may_be_good(tmp_path: Path) -> None:
    file = tmp_path / "values"
    file.write_text("a\nb\nc\n")
    asked = replace(wanted(0, rate=1000, seconds=0.005), varying=("api-key", str(file)), headers=[], status=401)
    async with answering(lambda _: emit_answer(401)) as (port, seen):
        found = await run(replace(asked, port=port, connections=1))
    assert (found["requests"], found["failed"]) == (5, 0)
    assert [request.split(b"api-key: ")[1].strip() for request in seen] == [b"a", b"b", b"c", b"a", b"b"]


async def test_a_connection_that_is_cut_is_one_failure_and_is_opened_again() -> None:
    async with answering(lambda number: b"" if number == 5 else emit_answer(200)) as (port, _):
        found = await run(wanted(port, rate=1000, seconds=0.05))
    assert (found["requests"], found["failed"]) == (50, 1)


async def test_without_a_rate_each_answer_brings_the_next_request() -> None:
    async with answering(lambda _: emit_answer(200)) as (port, seen):
        found = await run(wanted(port, rate=None, seconds=0.05))
    assert (found["requests"], found["failed"]) == (len(seen), 0)
    assert len(seen) > 2


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 6.0), (0.99, 10.0), (1.0, 10.0)])
def test_quantiles(share: float, value: float) -> None:
    assert quantile([float(each) for each in range(1, 11)], share) == value


def test_nothing_has_no_quantile() -> None:
    assert quantile([], 0.5) is None
