"""What a worker remembers of a million keys that are all asked for, and the room that takes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from typing import Any

from apostille.base.clock import SystemClock
from apostille.base.secrets import SecretText
from apostille.keys.address import parse_address
from apostille.keys.cache import CacheBounds, KeyCache
from apostille.keys.store import KeyStore
from bench.accounting import read_rss_bytes
from bench.keys.gateway import Site
from bench.keys.records import id_of

_MORE = 1.5
_AT_ONCE = 200


async def remember(site: Site, keys: Sequence[str]) -> Mapping[str, Any]:
    """Half as many keys again as a worker may know, each once, in a process of their own."""
    most = CacheBounds().known_keys
    ids = [id_of(key) for key in islice(keys, int(most * _MORE))]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = await asyncio.get_running_loop().run_in_executor(pool, _fill, site.settings.address.shown, ids)
    return {"asked": len(ids), **found, "at_most": most, "good": found["known"] == min(most, len(ids))}


def _fill(url: str, ids: Sequence[str]) -> Mapping[str, Any]:
    return asyncio.run(_ask(url, ids))


async def _ask(url: str, ids: Sequence[str]) -> Mapping[str, Any]:
    clock = SystemClock()
    store = KeyStore.at(parse_address(SecretText(url)), clock, limit=10.0)
    cache = KeyCache(store.get_many, clock)
    before = read_rss_bytes(os.getpid())
    try:
        for first in range(0, len(ids), _AT_ONCE):
            await asyncio.gather(*(cache.get(each) for each in ids[first : first + _AT_ONCE]))
    finally:
        await cache.close()
        await store.close()
    grown = read_rss_bytes(os.getpid()) - before
    return {"known": len(cache), "grown": grown, "bytes_a_key": grown / len(cache)}
