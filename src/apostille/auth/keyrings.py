"""The key rings this worker knows. Keys are found by digest; the keys themselves are not here."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from types import MappingProxyType

from apostille.model.auth import Key, KeyRing

# Compared with when the digest is unknown, so that the same work is done for a wrong key as for a right one.
_NO_KEY = Key(digest="0" * 64, consumer="", metadata=MappingProxyType({}))


class KeyRingStore:
    """A ring is replaced as a whole, between two requests: everything runs on one event loop."""

    def __init__(self) -> None:
        self._rings: dict[str, Mapping[str, Key]] = {}

    def put(self, ring: KeyRing) -> None:
        self._rings[ring.id] = {key.digest: key for key in ring.keys}

    def drop(self, ring: str) -> None:
        self._rings.pop(ring, None)

    def ids(self) -> frozenset[str]:
        return frozenset(self._rings)

    def find(self, ring: str, key: str, /) -> Key | None:
        """See `auth.contract.KeyRings`."""
        keys = self._rings.get(ring)
        if keys is None:
            raise LookupError(f"key ring {ring!r} is not known here")
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        found = keys.get(digest, _NO_KEY)
        return found if hmac.compare_digest(found.digest, digest) else None
