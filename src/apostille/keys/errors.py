"""What can go wrong with the store of keys. No text here holds a key, a digest, a password or a URL."""

from __future__ import annotations


class KeysError(Exception):
    """Its text is for people."""


class StoreUnavailable(KeysError):
    """The store gave no answer, or refused. `cause` is the name of the error's type and nothing else of it.

    After a change that was asked for, it is unknown whether it was made: look before asking again.
    """

    def __init__(self, cause: str, text: str | None = None) -> None:
        super().__init__(text or f"the key store cannot be used ({cause})")
        self.cause = cause


class DamagedRecord(KeysError):
    """What the store holds under `id` is no record that we have written. It is left as it is."""

    def __init__(self, key_id: str, what: str) -> None:
        super().__init__(f"the record of key {key_id!r} is damaged: {what}; import it from an export or delete it")
        self.id = key_id
        self.what = what


class KeyExists(KeysError):
    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is already a key {key_id!r}")
        self.id = key_id


class KeyNotFound(KeysError):
    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no key {key_id!r}")
        self.id = key_id


class KeyChanged(KeysError):
    """Somebody else has changed the record since it was read."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"key {key_id!r} has been changed meanwhile; read it again and repeat the change")
        self.id = key_id


class KeyNotActive(KeysError):
    """Only a key that is active, and has no successor yet, can be rotated."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"key {key_id!r} is revoked or has a successor already; rotate the successor or create a key")
        self.id = key_id


class PepperMissing(KeysError):
    """There is no pepper, or none that may be used. The text says where it should be and nothing of what is there."""


class OtherPepper(StoreUnavailable):
    """The keys of the store were made with another pepper than ours: every one of them would be refused as wrong."""

    def __init__(self) -> None:
        super().__init__(
            "another pepper",
            "the keys of the store were made with another pepper than this process has; give it theirs, with "
            "APOSTILLE_KEYS_PEPPER_FILE or as keys.pepper in the state folder, from a backup if need be",
        )


class NoKeyStore(KeysError):
    """Nobody has said where keys are to be kept. The text says how to."""


class BrokenExport(KeysError):
    """What is to be imported is no export, or not a whole one. The keys before `line` have been loaded."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line} of the export: {what}")
        self.line = line
