"""Whether the keys of a store were made with our pepper. With another one each of them would look like a wrong key.

``apo:pepper`` in the store is the HMAC of a fixed text with the pepper: it says which pepper, and nothing of it.
Whoever makes the first key writes it there; everybody compares.
"""

from __future__ import annotations

import hmac

from apostille.base.secrets import SecretText
from apostille.keys.connection import Script, StoreConnection
from apostille.keys.errors import OtherPepper
from apostille.keys.record import Pepper
from apostille.keys.settings import PepperSource

NAME = "pepper"

# No key looks like this.
_TEXT = SecretText("the pepper of the keys of apostille, 1")

# Argument: what to write unless there is something. Returns what is there then.
_CLAIM = Script(
    """
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
"""
)


def fingerprint(pepper: Pepper) -> bytes:
    """64 hexadecimal digits."""
    return pepper.digest(_TEXT).hex().encode()


async def read_fingerprint(connection: StoreConnection) -> bytes | None:
    """That of the pepper of the store's keys; None while it has none. Raises StoreUnavailable."""
    found: bytes | None = await connection.ask("GET", connection.name(NAME))
    return found


async def claim(connection: StoreConnection, ours: bytes) -> bytes:
    """Write our fingerprint unless there is one. Gives what is there then. Raises StoreUnavailable."""
    found: bytes = await connection.run(_CLAIM, [connection.name(NAME)], [ours])
    return found


class PepperCheck:
    """The pepper, once the store has agreed to it. Costs a question to the store until then, and nothing after it."""

    def __init__(self, connection: StoreConnection, source: PepperSource) -> None:
        self._connection, self._source = connection, source
        self._agreed = False

    async def claim(self) -> Pepper:
        """For those who make keys. Raises StoreUnavailable, OtherPepper as one of them, and PepperMissing."""
        pepper = self._source.read()
        if not self._agreed:
            ours = fingerprint(pepper)
            self._settle(await claim(self._connection, ours), ours)
        return pepper

    async def confirm(self) -> Pepper:
        """For those who check keys; writes nothing, and agrees to everything while the store has no keys.

        Raises StoreUnavailable, OtherPepper as one of them, and PepperMissing.
        """
        pepper = self._source.read()
        if not self._agreed:
            found = await read_fingerprint(self._connection)
            if found is not None:
                self._settle(found, fingerprint(pepper))
        return pepper

    def _settle(self, found: bytes, ours: bytes) -> None:
        if not hmac.compare_digest(found, ours):
            raise OtherPepper
        self._agreed = True
