from __future__ import annotations

import asyncio

from apostille.sources.contract import Source, Texts
from apostille.sources.memory import MemorySource


async def test_what_is_put_is_told_once() -> None:
    memory = MemorySource({"b": "2", "a": "1"})
    source: Source = memory
    assert list(source.read().files) == ["a", "b"]
    stop = asyncio.Event()
    changes = source.changes(stop)
    memory.put({"a": "1", "b": "2"})
    memory.put({"a": "3"})
    assert await anext(changes) == Texts(files={"a": "3"})
    memory.put({})
    assert await anext(changes) == Texts(files={}, vanished=True)
    stop.set()
    assert [texts async for texts in changes] == []
