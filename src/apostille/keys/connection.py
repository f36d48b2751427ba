"""The way to the store: one client for every topology. It must not know what is kept there.

Nothing of the client library's errors comes out but the name of their type: their texts quote addresses and commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha1
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisClusterException, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from apostille.keys.address import StoreAddress, Topology
from apostille.keys.errors import StoreUnavailable

# Seconds, each: to connect, for one answer, and for a connection to become free.
LIMIT = 1.0
CONNECTIONS = 16

_SINGLE_PREFIX = "apo:"
# In a cluster a script may touch one hash slot only. The braces put all keys into one: a cluster gives us its failover
# and not its size.
_CLUSTER_PREFIX = "{apo}:"

_T = TypeVar("_T")


class Script:
    """A Lua program; it runs at once and alone. `text` is sent where the store does not know it yet."""

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        # The store names its scripts so; nothing is protected by it.
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()


class Subscription:
    """The messages of one channel."""

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub

    async def next(self, seconds: float) -> bytes | None:
        """The next message, or None when there was none for `seconds`. Raises StoreUnavailable."""
        with _told():
            message = await self._pubsub.get_message(ignore_subscribe_messages=True, timeout=max(seconds, 0.001))
        if message is None or message["type"] != "message":
            return None
        return bytes(message["data"])


class StoreConnection:
    """Connects when it is first used, again whenever it must, and belongs to one event loop. Close it.

    No change is tried a second time: it may have been made although its answer was lost. Tried with real servers
    (Valkey 9.1): TCP, Unix socket, ACL user, a Sentinel with one primary, a cluster of one node, and TLS as far as an
    intermediary that ends it. Not tried: a failover, a cluster whose slots move, TLS within Sentinel and cluster.
    """

    def __init__(self, address: StoreAddress, *, limit: float = LIMIT, connections: int = CONNECTIONS) -> None:
        """`limit`: seconds to connect, for one answer, and for one of the `connections` to become free."""
        self._sentinel: Sentinel | None = None
        # Half of the library has no types.
        self._client: Any
        settings: dict[str, Any] = {
            "username": address.user,
            "password": None if address.password is None else address.password.reveal(),
            "socket_timeout": limit,
            "socket_connect_timeout": limit,
            # The older of the protocols: it needs no greeting that a narrow ACL might forbid, and does all we need.
            "protocol": 2,
            "driver_info": None,
        }
        match address.topology:
            case Topology.SINGLE:
                self._client = _single(address, settings, limit, connections)
            case Topology.SENTINEL:
                self._client, self._sentinel = _sentinel(address, settings)
            case Topology.CLUSTER:
                self._client = _cluster(address, settings, connections)
        self._prefix = _CLUSTER_PREFIX if address.topology is Topology.CLUSTER else _SINGLE_PREFIX
        self.shown = address.shown

    def __repr__(self) -> str:
        return f"StoreConnection({self.shown!r})"

    def name(self, rest: str) -> str:
        """The name of a key or channel of ours."""
        return self._prefix + rest

    async def command(self, *words: str | bytes | int) -> Any:
        """The answer to one command. Raises StoreUnavailable."""
        with _told():
            return await self._client.execute_command(*words)

    async def ask(self, *words: str | bytes | int) -> Any:
        """`command` for one that changes nothing: asked once more where a connection is found to be dead.

        They all are after a restart of the store. Raises StoreUnavailable.
        """
        with _told():
            return await _once_more(lambda: self._client.execute_command(*words))

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """What a script returns. Raises StoreUnavailable."""
        with _told():
            words = (len(keys), *keys, *arguments)
            try:
                return await self._client.execute_command("EVALSHA", script.digest, *words)
            except NoScriptError:
                return await self._client.execute_command("EVAL", script.text, *words)

    async def together(self, commands: Sequence[Sequence[str | bytes | int]]) -> list[Any]:
        """`ask` for several in one go; others may come in between. Raises StoreUnavailable."""

        async def execute() -> list[Any]:
            async with self._client.pipeline(transaction=False) as pipeline:
                for words in commands:
                    pipeline.execute_command(*words)
                answers: list[Any] = await pipeline.execute()
                return answers

        if not commands:
            return []
        with _told():
            return await _once_more(execute)

    async def scan(self, cursor: int, pattern: str, count: int) -> tuple[int, list[bytes]]:
        """One step through the names of our keys; the cursor is 0 at the beginning and at the end."""
        words = ("SCAN", cursor, "MATCH", pattern, "COUNT", count)
        with _told():
            if not isinstance(self._client, RedisCluster):
                following, names = await _once_more(lambda: self._client.execute_command(*words))
                return int(following), names
            await self._ready_cluster()
            node = self._client.get_node_from_key(pattern)
            cursors, names = await self._client.execute_command(*words, target_nodes=node)
            return int(next(iter(cursors.values()))), names

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncIterator[Subscription]:
        """Subscribed once the block is entered. Raises StoreUnavailable."""
        with _told():
            if isinstance(self._client, RedisCluster):
                await self._ready_cluster()
            pubsub: PubSub = self._client.pubsub()
        try:
            with _told():
                await pubsub.subscribe(channel)
                if await pubsub.get_message(timeout=LIMIT) is None:
                    raise TimeoutError
            yield Subscription(pubsub)
        finally:
            with _told(silently=True):
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _ready_cluster(self) -> None:
        # Only commands do this by themselves, and what is asked of the client here is which node to go to.
        client: Any = self._client
        await client.initialize()

    async def close(self) -> None:
        with _told(silently=True):
            await self._client.aclose()
        for sentinel in self._sentinel.sentinels if self._sentinel is not None else ():
            with _told(silently=True):
                await sentinel.aclose()


@contextmanager
def _told(*, silently: bool = False) -> Iterator[None]:
    try:
        yield
    except (RedisError, RedisClusterException, OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        if not silently:
            raise StoreUnavailable(type(error).__name__) from None


async def _once_more(asking: Callable[[], Awaitable[_T]]) -> _T:
    try:
        return await asking()
    except RedisConnectionError:
        return await asking()


def _tls(address: StoreAddress) -> dict[str, Any]:
    return {"ssl_ca_certs": address.ca, "ssl_certfile": address.cert, "ssl_keyfile": address.key}


def _once() -> Retry:
    return Retry(NoBackoff(), 0)


def _single(address: StoreAddress, settings: dict[str, Any], limit: float, connections: int) -> Redis:
    kind: type[AbstractConnection] = Connection
    if address.socket is not None:
        kind = UnixDomainSocketConnection
        settings = {**settings, "path": address.socket}
    else:
        settings = {**settings, "host": address.hosts[0][0], "port": address.hosts[0][1]}
        if address.tls:
            kind = SSLConnection
            settings |= _tls(address)
    pool = BlockingConnectionPool(
        max_connections=connections,
        timeout=limit,
        connection_class=kind,
        db=address.database,
        retry=_once(),
        **settings,
    )
    return Redis.from_pool(pool)


def _sentinel(address: StoreAddress, settings: dict[str, Any]) -> tuple[Redis, Sentinel]:
    tls = {"ssl": True, **_tls(address)} if address.tls else {}
    asking = {
        **settings,
        **tls,
        "username": address.sentinel_user,
        "password": None if address.sentinel_password is None else address.sentinel_password.reveal(),
        "retry": _once(),
    }
    sentinel = Sentinel(address.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    client = sentinel.master_for(address.service or "", db=address.database, retry=_once(), **tls, **settings)
    return client, sentinel


def _cluster(address: StoreAddress, settings: dict[str, Any], connections: int) -> RedisCluster:
    tls = {"ssl": True, **_tls(address)} if address.tls else {}
    return RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
        max_connections=connections,
        # Redirections are followed all the same: they say that nothing was done.
        retry=_once(),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        **tls,
        **settings,
    )
