"""How long a million keys take to load, what room they take, and how long until they are back after a kill."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from apostille.base.clock import SystemClock
from apostille.keys.transfer import import_lines
from bench.design import WrongAnswer
from bench.keys.gateway import Site, kill
from bench.keys.records import Made, draw, id_of, read_lines, read_records

LOAD_SECONDS, STORE_BYTES = 60.0, 300_000_000
_LOADED_ANEW = 100_000
_LOOKED_AT = 20_000


async def load(site: Site, made: Made) -> Mapping[str, Any]:
    """The import of an export into the store of a gateway."""
    began = time.perf_counter()
    async with site.opened() as store:
        report = await import_lines(store, read_lines(made.export))
    seconds = time.perf_counter() - began
    if report.created != len(made.keys):
        raise WrongAnswer(str(report))
    memory = await site.memory()
    return {
        "keys": len(made.keys),
        "bytes_a_line": round(made.line_bytes),
        "seconds": seconds,
        "bytes_a_key": memory["used_memory"] / len(made.keys),
        **memory,
        "good": seconds <= LOAD_SECONDS and memory["used_memory"] <= STORE_BYTES,
    }


async def load_records(site: Site, made: Made) -> Mapping[str, Any]:
    """`KeyStore.load` of some of the keys, which the store of `site` does not have yet."""
    records = read_records(made.export, min(_LOADED_ANEW, len(made.keys)))
    began = time.perf_counter()
    async with site.opened() as store:
        if await store.load(records):
            raise WrongAnswer("some of the keys were there already")
    return {"keys": len(records), "keys_a_second": len(records) / (time.perf_counter() - began)}


async def restart(site: Site, made: Made, chance: random.Random) -> Mapping[str, Any]:
    """kill -9, and the supervisor starts it again: until it answers, and whether all is there."""
    before, pid = await site.count(), site.store_pid
    ids = [id_of(key) for key in draw(made.keys, _LOOKED_AT, chance)]
    async with site.opened() as store:
        expected = await store.get_many(ids)
    clock = SystemClock()
    began, moment = await kill(pid), clock.now()
    await site.wait_ready()
    seconds = time.perf_counter() - began
    async with site.opened() as store:
        found = await store.get_many(ids)
    after = await site.count()
    return {
        "killed_at": moment.isoformat(timespec="seconds"),
        "seconds": seconds,
        "names_before": before,
        "names_after": after,
        "looked_at": len(found),
        "good": before == after and found == expected and len(found) == len(set(ids)),
    }
