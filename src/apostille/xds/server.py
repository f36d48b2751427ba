"""The xDS server: incremental ADS over gRPC on a Unix socket. All decisions are the session's; this only carries.

It must not know what the resources mean.
"""

from __future__ import annotations

import asyncio
import os
import socket as sockets
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from apostille.base.clock import Clock, SystemClock
from apostille.base.errors import StartError
from apostille.xds.cache import Published, SnapshotCache
from apostille.xds.feedback import Feedback
from apostille.xds.session import MAX_MESSAGE_BYTES, Session

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHOD = "DeltaAggregatedResources"

# How long later types wait for an earlier one's answer, in seconds. Envoy answers in milliseconds, unless a cluster
# waits for its first DNS answer.
DEFAULT_PATIENCE = 5.0

# The kernel's limit, less the final zero byte.
_SOCKET_PATH_BYTES = 107
_STOP_GRACE = 1.0

_Requests = AsyncIterator[DeltaDiscoveryRequest]
_Context: TypeAlias = "grpc.aio.ServicerContext[DeltaDiscoveryRequest, DeltaDiscoveryResponse]"


class XdsServer:
    """Clients name their group in ``node.cluster`` and get what `cache` holds for it; `feedback` hears of it."""

    def __init__(
        self,
        socket: Path,
        cache: SnapshotCache,
        feedback: Feedback,
        *,
        clock: Clock | None = None,
        patience: float = DEFAULT_PATIENCE,
        beside: Sequence[grpc.GenericRpcHandler] = (),
    ) -> None:
        """`beside`: other services on the same socket, for what Envoy has to tell."""
        self._socket, self._cache, self._feedback, self._patience = socket, cache, feedback, patience
        self._clock = clock if clock is not None else SystemClock()
        self._beside = tuple(beside)
        self._server: grpc.aio.Server | None = None
        self._stop_listening = _nothing_to_stop
        self._stopping = False
        self._bells: set[asyncio.Event] = set()
        self._streams = 0

    async def start(self) -> None:
        """Listen. Raises StartError when the socket cannot be had."""
        _claim(self._socket)
        limits = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ]
        server = grpc.aio.server(options=limits)
        method = grpc.stream_stream_rpc_method_handler(
            self._serve_stream,
            request_deserializer=DeltaDiscoveryRequest.FromString,
            response_serializer=DeltaDiscoveryResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {METHOD: method}), *self._beside)
        )
        # The socket is born with its mode: a chmod afterwards would leave a moment for others to connect.
        before = os.umask(0o177)
        try:
            server.add_insecure_port(f"unix:{self._socket}")
        except RuntimeError as error:
            raise StartError(f"cannot listen on {self._socket}: {error}") from error
        finally:
            os.umask(before)
        self._stopping = False
        self._server = server
        self._stop_listening = self._cache.listen(self._on_publish)
        await server.start()

    async def stop(self) -> None:
        """End all streams, stop listening and remove the socket. Clients keep what they have."""
        if self._server is None:
            return
        self._stopping = True
        self._stop_listening()
        for bell in self._bells:
            bell.set()
        await self._server.stop(_STOP_GRACE)
        self._server = None
        self._socket.unlink(missing_ok=True)

    def _on_publish(self, group: str, published: Published) -> None:
        self._feedback.published(group, published)
        for bell in self._bells:
            bell.set()

    async def _serve_stream(self, requests: _Requests, context: _Context) -> None:
        first = await anext(requests, None)
        if first is None:
            return
        group = first.node.cluster
        if not group:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the first request of a stream must say who asks: set node.id, and node.cluster to the group",
            )
        self._streams += 1
        stream = self._streams
        session = Session(stream=stream, group=group, node=first.node.id, patience=self._patience)
        bell = asyncio.Event()
        self._bells.add(bell)
        self._receive(session, first)
        reading = asyncio.create_task(self._read(session, requests, bell))
        try:
            while not (self._stopping or reading.done()):
                bell.clear()
                await self._answer(session, group, context)
                await _wait(bell, session.patience_left(self._clock.monotonic()))
        finally:
            self._bells.discard(bell)
            self._feedback.forget(stream)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _answer(self, session: Session, group: str, context: _Context) -> None:
        published = self._cache.current(group)
        responses = () if published is None else session.advance(published, self._clock.monotonic())
        self._feedback.update(session.report(published))
        for response in responses:
            await context.write(response)

    async def _read(self, session: Session, requests: _Requests, bell: asyncio.Event) -> None:
        try:
            async for request in requests:
                self._receive(session, request)
                bell.set()
        finally:
            bell.set()

    def _receive(self, session: Session, request: DeltaDiscoveryRequest) -> None:
        nack = session.receive(request)
        if nack is not None:
            self._feedback.nack(nack)


async def serve_xds(socket: Path, cache: SnapshotCache, feedback: Feedback, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Raises StartError when the socket cannot be had."""
    server = XdsServer(socket, cache, feedback)
    await server.start()
    try:
        await stop.wait()
    finally:
        await server.stop()


async def _wait(bell: asyncio.Event, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await bell.wait()
    except TimeoutError:
        return


def _claim(path: Path) -> None:
    """Make way for our socket: remove one that nobody listens on any more, and nothing else."""
    if len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
        raise StartError(
            f"the socket path {path} is longer than {_SOCKET_PATH_BYTES} bytes, which the kernel does not allow; "
            "choose a state folder with a shorter path"
        )
    if not path.parent.is_dir():
        raise StartError(f"the folder {path.parent} for the xDS socket does not exist; create it first")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(f"{path} exists and is not a socket; remove it or choose another state folder")
    if _is_listened_on(path):
        raise StartError(f"another process already listens on {path}; stop it or choose another state folder")
    path.unlink(missing_ok=True)


def _is_listened_on(path: Path) -> bool:
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True


def _nothing_to_stop() -> None:
    return None
