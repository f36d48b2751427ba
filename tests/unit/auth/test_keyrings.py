from __future__ import annotations

import hashlib

import pytest

from apostille.auth.keyrings import KeyRingStore
from apostille.model.auth import Key, KeyRing


def ring(*keys: str) -> KeyRing:
    digests = ((key, hashlib.sha256(key.encode()).hexdigest()) for key in keys)
    return KeyRing(id="r", keys=tuple(Key(digest=digest, consumer=key, metadata={}) for key, digest in digests))


def test_a_key_is_found_by_its_digest() -> None:
    store = KeyRingStore()
    store.put(ring("alice", "bob"))
    found = store.find("r", "bob")
    assert found is not None
    assert found.consumer == "bob"
    assert store.find("r", "Bob") is None
    assert store.find("r", "") is None


def test_a_digest_is_no_key() -> None:
    store = KeyRingStore()
    store.put(ring("alice"))
    assert store.find("r", ring("alice").keys[0].digest) is None


def test_a_new_ring_replaces_the_whole_of_the_older_one() -> None:
    store = KeyRingStore()
    store.put(ring("alice"))
    store.put(ring("bob"))
    assert store.find("r", "alice") is None
    assert store.find("r", "bob") is not None


def test_an_unknown_ring_is_not_the_same_as_an_unknown_key() -> None:
    store = KeyRingStore()
    store.put(ring("alice"))
    store.drop("r")
    store.drop("r")
    with pytest.raises(LookupError):
        store.find("r", "alice")
