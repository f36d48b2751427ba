"""All keys as lines of text, for a backup or another store. It holds digests: it is to be guarded as the store is.

::

    apostille-keys 2 <fingerprint of the pepper, - for none>
    <id> <record, see codec>
    …
    end <number of keys>

The keys of an export work where the pepper is the same: another store refuses them. The last line tells a whole export
from one that was cut off.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass, replace

from apostille.keys.codec import MAX_BYTES, decode_record, encode_record
from apostille.keys.errors import BrokenExport, DamagedRecord
from apostille.keys.format import ID_LENGTH
from apostille.keys.record import KeyRecord
from apostille.keys.store import BATCH, KeyStore

_HEAD = re.compile(rb"apostille-keys 2 ([0-9a-f]{64}|-)")
_NO_PEPPER = b"-"
_END = b"end "
_MOST_NAMED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """`same`: keys that were there already, just so. `different`: there already and otherwise; they were left alone.

    Of the latter the first hundred are named.
    """

    created: int
    same: int
    different: int
    named: tuple[str, ...]


async def export_lines(store: KeyStore, damaged: Callable[[DamagedRecord], None]) -> AsyncIterator[bytes]:
    """Lines without their line feeds. `damaged` is told of records that cannot be read; they are left out.

    Raises StoreUnavailable: what was written until then has no last line.
    """
    yield b"apostille-keys 2 " + (await store.fingerprint() or _NO_PEPPER)
    seen: set[str] = set()
    async for record in store.export():
        if isinstance(record, DamagedRecord):
            damaged(record)
        elif record.id not in seen:
            seen.add(record.id)
            yield record.id.encode() + b" " + encode_record(record)
    yield _END + b"%d" % len(seen)


async def import_lines(store: KeyStore, lines: AsyncIterable[bytes]) -> Imported:
    """Create the keys of an export; those that are there already are left alone.

    A store without keys takes over the fingerprint of their pepper, unless our own was claimed there before.
    Raises BrokenExport, and StoreUnavailable: importing the same lines again goes on from there.
    """
    report = Imported(created=0, same=0, different=0, named=())
    batch: list[KeyRecord] = []
    number, count, ended = 0, 0, False
    async for line in lines:
        number += 1
        text = line.rstrip(b"\r\n")
        if number == 1:
            await _agree(store, text)
        elif ended:
            raise BrokenExport(number, "there is something after the end")
        elif text.startswith(_END):
            ended = True
            if text != _END + b"%d" % count:
                raise BrokenExport(number, f"it should name the {count} keys before it; some are missing")
        else:
            batch.append(_read(number, text))
            count += 1
            if len(batch) == BATCH:
                report = await _load(store, batch, report)
                batch = []
    report = await _load(store, batch, report)
    if not ended:
        raise BrokenExport(number + 1, f"the export ends here, after {count} keys, without its last line")
    return report


async def _agree(store: KeyStore, head: bytes) -> None:
    match = _HEAD.fullmatch(head)
    if match is None:
        raise BrokenExport(1, "it should be 'apostille-keys 2' and the fingerprint of a pepper")
    if match[1] != _NO_PEPPER and await store.claim(match[1]) != match[1]:
        raise BrokenExport(
            1,
            "its keys were made with another pepper than those of this store, and would not work here; give the "
            "gateway the pepper of the exported store (keys.pepper in its state folder) and an empty store",
        )


def _read(number: int, text: bytes) -> KeyRecord:
    if len(text) > ID_LENGTH + 1 + MAX_BYTES or text[ID_LENGTH : ID_LENGTH + 1] != b" ":
        raise BrokenExport(number, "it should be an id, a space and a record")
    try:
        return decode_record(text[:ID_LENGTH].decode("ascii", "replace"), text[ID_LENGTH + 1 :])
    except DamagedRecord as error:
        raise BrokenExport(number, error.what) from None


async def _load(store: KeyStore, batch: list[KeyRecord], report: Imported) -> Imported:
    if not batch:
        return report
    present = set(await store.load(batch))
    stored = await store.get_many(sorted(present))
    different = [
        each.id for each in batch if each.id in present and stored.get(each.id) != replace(each, last_used=None)
    ]
    return Imported(
        created=report.created + len(batch) - len(present),
        same=report.same + len(present) - len(different),
        different=report.different + len(different),
        named=(*report.named, *different)[:_MOST_NAMED],
    )
