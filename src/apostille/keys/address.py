"""Where the store is, read from one URL. It must not connect to anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from apostille.base.secrets import SecretText

_PORT = 6379
_SENTINEL_PORT = 26379
_DATABASE = re.compile(r"[0-9]{1,4}")
_NETLOC_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/\s]+))(?::([0-9]{1,5}))?")

_FORMS = (
    "redis://[user:password@]host[:port][/database], rediss:// for TLS, unix://[user:password@]/path/of/socket, "
    "redis+sentinel://host:port,host:port/service or redis+cluster://host:port,host:port"
)
_OPTIONS = {"ca", "cert", "key", "db", "sentinel_user", "sentinel_password"}


class Topology(StrEnum):
    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


class AddressError(ValueError):
    """The URL of the store cannot be used. The text quotes nothing of it: there may be a password in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAddress:
    """`hosts` are those of the store, of the Sentinels or of some nodes of the cluster; `socket` stands in their place.

    `ca`, `cert` and `key` are paths of PEM files; without `ca` the machine's authorities are trusted.
    """

    topology: Topology = Topology.SINGLE
    hosts: tuple[tuple[str, int], ...] = ()
    socket: str | None = None
    database: int = 0
    user: str | None = None
    password: SecretText | None = None
    tls: bool = False
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    service: str | None = None
    sentinel_user: str | None = None
    sentinel_password: SecretText | None = None

    @property
    def shown(self) -> str:
        """For logs and status: where it is, and nothing of how to get in."""
        if self.socket is not None:
            return f"unix://{self.socket}"
        scheme = ("rediss" if self.tls else "redis") + ("" if self.topology is Topology.SINGLE else f"+{self.topology}")
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{scheme}://{hosts}" + (f"/{self.service}" if self.service is not None else "")


def parse_address(url: SecretText) -> StoreAddress:
    """Read the URL of a store.

    ::

        redis://[user[:password]@]host[:port][/database]
        rediss://…                    with TLS; ?ca=FILE names the authority, ?cert=FILE&key=FILE our own certificate
        unix://[user:password@]/path/of/socket[?db=0]
        redis+sentinel://[user:password@]host[:port],host[:port]/service[/database][?sentinel_user=…&sentinel_password=…]
        redis+cluster://[user:password@]host[:port],host[:port]

    ``rediss+sentinel`` and ``rediss+cluster`` are the same with TLS. Reserved characters in users and passwords are
    percent-encoded. Raises AddressError, which quotes nothing.
    """
    try:
        parts = urlsplit(url.reveal())
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise AddressError(f"the URL of the key store cannot be read; write {_FORMS}") from None
    if "#" in url.reveal():
        raise AddressError("the URL of the key store holds a '#'; write %23 for it")
    options = _options(pairs)
    secure, topology = _scheme(parts)
    user, password = _credentials(parts)
    segments = [unquote(segment) for segment in parts.path.split("/")[1:] if segment]
    if parts.scheme == "unix":
        return StoreAddress(
            socket=_socket(parts), database=_database(options.get("db", "0")), user=user, password=password
        )
    service = None
    if topology is Topology.SENTINEL:
        if not segments:
            raise AddressError("the URL of the key store names no service: redis+sentinel://host:port/service")
        service = segments.pop(0)
    if len(segments) > 1 or (segments and topology is Topology.CLUSTER):
        raise AddressError(f"the path in the URL of the key store is too long; write {_FORMS}")
    hosts = _hosts(parts, _SENTINEL_PORT if topology is Topology.SENTINEL else _PORT)
    if len(hosts) > 1 and topology is Topology.SINGLE:
        raise AddressError("the URL of the key store names several hosts; write redis+sentinel:// or redis+cluster://")
    if not secure and options.keys() & {"ca", "cert", "key"}:
        raise AddressError("the URL of the key store names certificates without TLS; write rediss:// for redis://")
    if ("cert" in options) is not ("key" in options):
        raise AddressError("the URL of the key store needs both cert and key, or neither")
    sentinel_password = options.get("sentinel_password")
    return StoreAddress(
        topology=topology,
        hosts=hosts,
        database=_database(segments[0] if segments else options.get("db", "0")),
        user=user,
        password=password,
        tls=secure,
        ca=options.get("ca"),
        cert=options.get("cert"),
        key=options.get("key"),
        service=service,
        sentinel_user=options.get("sentinel_user"),
        sentinel_password=SecretText(sentinel_password) if sentinel_password is not None else None,
    )


def _options(pairs: list[tuple[str, str]]) -> dict[str, str]:
    options = dict(pairs)
    if len(options) != len(pairs) or not options.keys() <= _OPTIONS:
        raise AddressError(f"the URL of the key store has options that it cannot have; {sorted(_OPTIONS)} are known")
    return options


def _scheme(parts: SplitResult) -> tuple[bool, Topology]:
    base, plus, rest = parts.scheme.partition("+")
    if base == "unix" and not plus:
        return False, Topology.SINGLE
    if base not in ("redis", "rediss") or (plus and rest not in (Topology.SENTINEL, Topology.CLUSTER)):
        raise AddressError(f"the URL of the key store has a scheme that nobody knows; write {_FORMS}")
    return base == "rediss", Topology(rest) if plus else Topology.SINGLE


def _credentials(parts: SplitResult) -> tuple[str | None, SecretText | None]:
    before, at, _ = parts.netloc.rpartition("@")
    if not at:
        return None, None
    user, colon, password = before.partition(":")
    return unquote(user) or None, SecretText(unquote(password)) if colon else None


def _socket(parts: SplitResult) -> str:
    if parts.netloc.rpartition("@")[2] or not parts.path.startswith("/"):
        raise AddressError("the URL of the key store names no absolute path: unix:///path/of/socket")
    return unquote(parts.path)


def _hosts(parts: SplitResult, port: int) -> tuple[tuple[str, int], ...]:
    hosts = []
    for each in parts.netloc.rpartition("@")[2].split(","):
        match = _NETLOC_HOST.fullmatch(each)
        if match is None or not 0 < int(match[3] or port) < 65536:
            raise AddressError(f"the URL of the key store names no host, or no port from 1 to 65535; write {_FORMS}")
        hosts.append((match[1] or match[2], int(match[3] or port)))
    return tuple(hosts)


def _database(text: str) -> int:
    if _DATABASE.fullmatch(text) is None:
        raise AddressError("the database in the URL of the key store is no number")
    return int(text)
