"""Remembers which of Envoy's key filters each ring of keys has, also from one control plane to the next."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from apostille.base.clock import Clock
from apostille.model.lane import KEY_SLOTS
from apostille.translate.slots import assign_slots

FILE = "key-slots.json"

# How long, in seconds, a slot that was given up rests. An Envoy that was away may come back with routes that are older.
REST = 300.0


class SlotBook:
    """See `translate.slots`. A file that cannot be read or written costs nothing but this memory."""

    def __init__(self, folder: Path | None, clock: Clock) -> None:
        """`folder` is private; None: nothing is kept."""
        self._file = folder / FILE if folder is not None else None
        self._clock = clock
        self._slots = self._load()
        self._resting: dict[int, float] = {}

    def assign(self, rings: Sequence[str]) -> Mapping[str, int]:
        now = self._clock.monotonic()
        self._resting = {slot: until for slot, until in self._resting.items() if until > now}
        given_up = (slot for ring, slot in self._slots.items() if ring not in rings)
        self._resting |= dict.fromkeys(given_up, now + REST)
        slots = assign_slots(rings, self._slots, self._resting)
        if slots != self._slots:
            self._slots = slots
            self._save()
        return slots

    def _load(self) -> Mapping[str, int]:
        if self._file is None:
            return {}
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        sound = isinstance(found, dict) and all(type(slot) is int and 0 <= slot < KEY_SLOTS for slot in found.values())
        return found if sound and len(set(found.values())) == len(found) else {}

    def _save(self) -> None:
        if self._file is None:
            return
        new = self._file.with_suffix(".new")
        with suppress(OSError):
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                json.dump(dict(self._slots), file, sort_keys=True)
            new.replace(self._file)
