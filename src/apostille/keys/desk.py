"""Where keys are made, changed and ended. Plain values in and out: it must not know HTTP, nor who checks keys.

Every change, and every attempt at one, gives one line for the audit.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from apostille.base.clock import Clock
from apostille.keys.audit import Action, AuditLine, Journal
from apostille.keys.errors import DamagedRecord, KeyChanged, KeyNotFound
from apostille.keys.format import Chance, KeyParts, new_key
from apostille.keys.orders import EVERY, SAME, Change, Issued, Order, Same, Wanted
from apostille.keys.record import KeyRecord, State, to_second
from apostille.keys.settings import PepperSource
from apostille.keys.store import KeyStore, Page
from apostille.keys.transfer import Imported, export_lines, import_lines

_PAGE = 100
# Pages of the store and keys that are looked at for one page of ours: it is to be answered within a second or two.
_MOST_PAGES = 100
_MOST_LOOKED_AT = 10_000
_ATTEMPTS = 5
_LAST_LINE = 40


class KeyDesk:
    """Methods raise what `KeyStore` says, and ValueError, with a text for people, for what cannot be a record.

    After StoreUnavailable it is unknown whether a change was made. A key that was being created then is of no use: its
    secret is lost. `actor` goes into the audit.
    """

    def __init__(
        self,
        store: KeyStore,
        pepper: PepperSource,
        clock: Clock,
        chance: Chance,
        audit: Callable[[AuditLine], None],
    ) -> None:
        self._store, self._clock, self._chance = store, clock, chance
        self._pepper = store.pepper_check(pepper)
        self._journal = Journal(clock, audit)

    async def create(self, order: Order, *, actor: str) -> Issued:
        """Raises PepperMissing too, as `rotate` and `load` do."""
        with self._journal.entry(Action.CREATE, actor) as entry:
            entry.consumer = order.consumer
            now = to_second(self._clock.now())
            parts, digest = await self._new(order.env)
            record = KeyRecord(
                id=parts.id,
                env=order.env,
                consumer=order.consumer,
                digest=digest,
                created=now,
                name=order.name,
                labels=order.labels,
                metadata=order.metadata,
                scopes=order.scopes,
                limits=order.limits,
                not_before=order.not_before,
                expires=order.expires,
            )
            _check_times(record, now)
            entry.begin(parts.shown, order.consumer)
            return Issued(record=await self._store.put(record), key=parts.key)

    async def get(self, key_id: str) -> KeyRecord:
        """Raises KeyNotFound and DamagedRecord."""
        record = await self._store.get(key_id)
        if record is None:
            raise KeyNotFound(key_id)
        return record

    async def page(self, wanted: Wanted = EVERY, cursor: str | None = None, *, limit: int = _PAGE) -> Page:
        """About `limit` of the keys that are wanted; fewer, and perhaps none, where they are rare: the cursor goes on.

        Damaged records are shown whatever is wanted: nobody can tell what they were. Raises ValueError as
        `KeyStore.page` does.
        """
        page = await self._store.page(cursor, limit=limit)
        records, damaged = [each for each in page.records if wanted.fits(each)], [*page.damaged]
        for number in range(1, _MOST_PAGES):
            if page.cursor is None or len(records) >= limit or number * limit >= _MOST_LOOKED_AT:
                break
            page = await self._store.page(page.cursor, limit=limit)
            records += [each for each in page.records if wanted.fits(each)]
            damaged += page.damaged
        return Page(records=tuple(records), damaged=tuple(damaged), cursor=page.cursor)

    async def update(self, key_id: str, change: Change, *, actor: str, revision: int | None = None) -> KeyRecord:
        """Change what is said of a key. `revision`: only when that is its present one, else KeyChanged is raised."""
        with self._journal.entry(Action.UPDATE, actor, key_id) as entry:
            for _ in range(_ATTEMPTS):
                record = await self._expected(key_id, revision)
                changed = change.applied(record)
                if changed.expires != record.expires:
                    _check_times(changed, to_second(self._clock.now()))
                entry.begin(record.shown, changed.consumer)
                try:
                    return await self._store.replace(changed)
                except KeyChanged:
                    continue
            raise KeyChanged(key_id)

    async def rotate(
        self,
        key_id: str,
        grace: timedelta,
        *,
        actor: str,
        revision: int | None = None,
        expires: datetime | Same | None = SAME,
    ) -> Issued:
        """Make a successor that may do the same; the old key ends after `grace`, or when it would have ended anyway.

        The successor lives as long as the old key was given to live, counted anew, unless `expires` says otherwise.
        Raises KeyNotActive, KeyNotFound, and KeyChanged also where `revision` is not the present one.
        """
        if grace < timedelta(0):
            raise ValueError("a grace is not negative; write 0s for none")
        with self._journal.entry(Action.ROTATE, actor, key_id) as entry:
            record = await self._expected(key_id, revision)
            now = to_second(self._clock.now())
            if isinstance(expires, Same):
                expires = None if record.expires is None else _later(now, record.expires - record.created)
            parts, digest = await self._new(record.env)
            successor = replace(
                record,
                id=parts.id,
                digest=digest,
                created=now,
                expires=expires,
                last_used=None,
                state=State.ACTIVE,
                successor=None,
                revision=0,
            )
            _check_times(successor, now)
            entry.begin(record.shown, record.consumer)
            entry.note = f"successor {parts.shown}"
            rotated = await self._store.rotate(record, successor, to_second(now + grace))
            return Issued(record=rotated.successor, key=parts.key, retiring=rotated.retiring)

    async def revoke(self, key_id: str, *, actor: str) -> KeyRecord:
        """End a key for good. It stays known. Raises KeyNotFound and DamagedRecord."""
        with self._journal.entry(Action.REVOKE, actor, key_id) as entry:
            record = await self.get(key_id)
            entry.begin(record.shown, record.consumer)
            return await self._store.revoke(key_id)

    async def delete(self, key_id: str, *, actor: str) -> None:
        """Forget a key, damaged or not, with all that is known of it. Raises KeyNotFound."""
        with self._journal.entry(Action.DELETE, actor, key_id) as entry:
            try:
                record = await self.get(key_id)
                entry.begin(record.shown, record.consumer)
            except DamagedRecord:
                entry.begin(key_id, None)
            if not await self._store.delete(key_id):
                raise KeyNotFound(key_id)

    async def load(self, lines: AsyncIterable[bytes], *, actor: str) -> Imported:
        """Import what `export` gave; keys that are there already are left alone. Raises as `import_lines` does."""
        with self._journal.entry(Action.IMPORT, actor) as entry:
            # Else an empty store would take over the pepper of the export, and ours would be another one.
            await self._pepper.claim()
            entry.begin(None, None)
            report = await import_lines(self._store, lines)
            entry.note = f"{report.created} created, {report.same} the same, {report.different} different and left"
            return report

    async def export(self, damaged: Callable[[DamagedRecord], None], *, actor: str) -> AsyncGenerator[bytes, None]:
        """The lines of `export_lines`. They hold digests of keys. Exhaust or close it: then comes the audit."""
        with self._journal.entry(Action.EXPORT, actor) as entry:
            entry.begin(None, None)
            async for line in export_lines(self._store, damaged):
                entry.note = line.decode()[:_LAST_LINE] if line.startswith(b"end ") else "cut off"
                yield line

    async def _new(self, env: str) -> tuple[KeyParts, bytes]:
        parts = new_key(env, self._chance)
        return parts, (await self._pepper.claim()).digest(parts.key)

    async def _expected(self, key_id: str, revision: int | None) -> KeyRecord:
        record = await self.get(key_id)
        if revision is not None and revision != record.revision:
            raise KeyChanged(key_id)
        return record


def _check_times(record: KeyRecord, now: datetime) -> None:
    if record.expires is None:
        return
    if record.expires <= now:
        raise ValueError(f"the key would have expired at {_written(record.expires)} already; write a later time")
    if record.not_before is not None and record.expires <= record.not_before:
        raise ValueError(
            f"the key would expire at {_written(record.expires)} and not be valid before {_written(record.not_before)}"
        )


def _later(now: datetime, lifetime: timedelta) -> datetime:
    last = datetime.max.replace(tzinfo=UTC, microsecond=0)
    return last if lifetime > last - now else now + lifetime


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
