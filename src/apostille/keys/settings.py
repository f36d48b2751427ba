"""Which store of keys to use, and with which pepper, as the environment says. It must not connect to anything.

::

    APOSTILLE_KEYS_URL          where the store is, see `address`
    APOSTILLE_KEYS_PEPPER       the pepper itself: 64 hexadecimal digits or more, or base64 of 32 bytes or more
    APOSTILLE_KEYS_PEPPER_FILE  a file that holds it, in either form
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import tempfile
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from apostille.base.errors import StartError
from apostille.base.secrets import SecretText
from apostille.keys.address import AddressError, StoreAddress, parse_address
from apostille.keys.errors import PepperMissing
from apostille.keys.format import Chance
from apostille.keys.record import Pepper

URL = "APOSTILLE_KEYS_URL"
PEPPER = "APOSTILLE_KEYS_PEPPER"
PEPPER_FILE = "APOSTILLE_KEYS_PEPPER_FILE"

_BYTES = 32
_LONGEST = 4096
_URLSAFE = bytes.maketrans(b"-_", b"+/")
_HEX = re.compile(r"[0-9A-Fa-f]+")
_FORMS = "64 hexadecimal digits or more, or base64 of 32 random bytes or more"
_MAKE = "make one with: openssl rand -hex 32"


class PepperSource:
    """Where the pepper comes from: a value, or a file that may come into being later."""

    __slots__ = ("_pepper", "_source")

    def __init__(self, source: Pepper | Path) -> None:
        """Nothing is read yet."""
        self._source = source
        self._pepper: Pepper | None = None

    def read(self) -> Pepper:
        """The pepper: the file is looked at until it could be read once. Raises PepperMissing."""
        if self._pepper is None:
            self._pepper = self._source if isinstance(self._source, Pepper) else read_pepper_file(self._source)
        return self._pepper

    def __repr__(self) -> str:
        return f"PepperSource({self._source!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    address: StoreAddress
    pepper: PepperSource


def parse_key_settings(environ: Mapping[str, str]) -> KeySettings | None:
    """What the environment says; a variable that is empty says nothing. None: no store is configured.

    Raises StartError, which quotes neither the URL nor the pepper.
    """
    url = environ.get(URL)
    if not url:
        return None
    try:
        address = parse_address(SecretText(url))
    except AddressError as error:
        raise StartError(f"{URL}: {error}") from None
    pepper = parse_pepper_settings(environ)
    if pepper is None:
        raise StartError(
            f"{URL} is set and no pepper is; set {PEPPER_FILE} to a file that holds {_FORMS}, or {PEPPER} to the same. "
            f"It must be one and the same for all who use the store; {_MAKE}"
        )
    return KeySettings(address=address, pepper=pepper)


def parse_pepper_settings(environ: Mapping[str, str]) -> PepperSource | None:
    """The pepper alone. None when nothing is said of it. Raises StartError."""
    text, file = environ.get(PEPPER), environ.get(PEPPER_FILE)
    if text and file:
        raise StartError(f"{PEPPER} and {PEPPER_FILE} are both set; leave one of them out")
    if file:
        return PepperSource(Path(file).absolute())
    if not text:
        return None
    try:
        return PepperSource(parse_pepper(SecretText(text)))
    except ValueError as error:
        raise StartError(f"{PEPPER}: {error}") from None


def parse_pepper(text: SecretText) -> Pepper:
    """White space around it does not count. Raises ValueError, which quotes nothing."""
    written = text.reveal().strip()
    try:
        if _HEX.fullmatch(written):
            return Pepper(bytes.fromhex(written))
        padded = written.rstrip("=") + "=" * (-len(written.rstrip("=")) % 4)
        return Pepper(b64decode(padded.encode("ascii").translate(_URLSAFE), validate=True))
    except ValueError:
        # Also what the decoders say; they might quote.
        raise ValueError(f"this is no pepper; write {_FORMS}; {_MAKE}") from None


def read_pepper_file(file: Path) -> Pepper:
    """Raises PepperMissing when there is no such file, others can read it, or it holds no pepper."""
    try:
        # Without waiting: a pipe would never end.
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PepperMissing(f"{file} is no file; the pepper of the keys should be in it: {_FORMS}")
            if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
                raise PepperMissing(
                    f"{file}, the pepper of the keys, is open to others (mode {stat.S_IMODE(status.st_mode):04o}); "
                    f"close it with chmod 600 (in Kubernetes: defaultMode 0440), and if somebody may have read it, "
                    "issue new keys with a new one"
                )
            data = opened.read(_LONGEST + 1)
    except OSError as error:
        raise PepperMissing(f"the pepper of the keys cannot be read from {file}: {error.strerror}") from None
    try:
        return parse_pepper(SecretText(data.decode("ascii") if len(data) <= _LONGEST else ""))
    except ValueError:
        raise PepperMissing(f"{file} holds no pepper; restore it from a backup, or write {_FORMS}") from None


def make_pepper_file(file: Path, chance: Chance = secrets.token_bytes) -> None:
    """Create a pepper, for us alone, unless there is one; what is there is never written to.

    It is on the disk, whole, before it has its name. Raises PepperMissing when what is there cannot be used or none
    can be made.
    """
    try:
        if not os.path.lexists(file):
            _write_pepper(file, chance(_BYTES))
        status = file.stat()
    except OSError as error:
        raise PepperMissing(f"the pepper of the keys cannot be kept in {file}: {error.strerror}") from None
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PepperMissing(
            f"{file}, the pepper of the keys, is not for us alone; make it ours with chown and chmod 600"
        )
    read_pepper_file(file)


def _write_pepper(file: Path, secret: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    aside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(secret.hex().encode() + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        # A link is there at once and whole, and unlike a rename it takes nobody's place.
        with suppress(FileExistsError):
            file.hardlink_to(aside)
    finally:
        aside.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
