"""The auth worker's line to the control plane: programs, key rings and news of destinations by incremental
xDS, kept when the line is cut.

It must not know what a program means, nor the control plane's own modules: it shares the protocol with them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import grpc
import grpc.aio
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.rpc.status_pb2 import Status

from apostille.auth.codec import KEYRING_TYPE_URL, PROGRAM_TYPE_URL
from apostille.auth.upstreams import UPSTREAM_TYPE_URL

_log = logging.getLogger(__name__)

_METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_GROUP = "auth"
_INVALID_ARGUMENT: int = grpc.StatusCode.INVALID_ARGUMENT.value[0]
_WILDCARD = "*"
# gRPC's own limit of 4 MiB is too small for many programs at once.
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    # A pool of our own, gone with the channel: the shared one would remember gRPC's own, longer back-off.
    ("grpc.use_local_subchannel_pool", 1),
)

# Seconds between attempts: random, up to a limit that doubles, so that workers do not all come at once.
_QUIET_TRIES = 5
_FIRST_LIMIT = 0.2
_LAST_LIMIT = 5.0


class ProgramSink(Protocol):
    """Where programs, key rings and news of destinations go. A put that raises ValueError leaves the older version in
    place; the text is sent to the control plane and must hold no secret."""

    def put_program(self, name: str, body: bytes, /) -> None: ...

    def drop_program(self, name: str, /) -> None: ...

    def put_keyring(self, name: str, body: bytes, /) -> None: ...

    def drop_keyring(self, name: str, /) -> None: ...

    def put_upstream(self, name: str, body: bytes, /) -> None: ...

    def drop_upstream(self, name: str, /) -> None: ...


@dataclass(slots=True, kw_only=True)
class _Holding:
    """One type: how to apply it, and the versions that were applied."""

    type_url: str
    put: Callable[[str, bytes], None]
    drop: Callable[[str], None]
    versions: dict[str, str] = field(default_factory=dict)
    synced: bool = False


class Feed:
    """Keeps `sink` like the control plane's snapshot. Nothing is ever dropped because the control plane is away."""

    def __init__(
        self,
        socket: Path,
        sink: ProgramSink,
        *,
        node: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`node` names this worker in the control plane's status. `jitter(low, high)` gives the seconds to wait."""
        self._socket, self._node, self._sleep, self._jitter = socket, node, sleep, jitter
        # Key rings before programs: a program that finds its ring unknown refuses callers.
        self._holdings: Mapping[str, _Holding] = {
            KEYRING_TYPE_URL: _Holding(type_url=KEYRING_TYPE_URL, put=sink.put_keyring, drop=sink.drop_keyring),
            UPSTREAM_TYPE_URL: _Holding(type_url=UPSTREAM_TYPE_URL, put=sink.put_upstream, drop=sink.drop_upstream),
            PROGRAM_TYPE_URL: _Holding(type_url=PROGRAM_TYPE_URL, put=sink.put_program, drop=sink.drop_program),
        }
        self._answered = False
        # Set once every type was answered for the first time, be it with nothing.
        self.first_sync = asyncio.Event()

    async def run(self) -> None:
        """Connect, apply, acknowledge; connect again when the line is cut. Ends only by being cancelled."""
        failures = 0
        while True:
            self._answered = False
            reason = await self._follow()
            # Right after a common start the control plane may not listen yet: that is no news.
            if self._answered or failures == _QUIET_TRIES:
                _log.warning("no control plane (%s): this worker keeps the programs it has, and tries again", reason)
            failures = 0 if self._answered else failures + 1
            await self._sleep(self._jitter(0.0, min(_FIRST_LIMIT * 2.0 ** min(failures, 10), _LAST_LIMIT)))

    async def _follow(self) -> str:
        """One stream, until it ends; returns why."""
        try:
            async with grpc.aio.insecure_channel(f"unix:{self._socket}", options=_OPTIONS) as channel:
                stream = channel.stream_stream(
                    _METHOD,
                    request_serializer=DeltaDiscoveryRequest.SerializeToString,
                    response_deserializer=DeltaDiscoveryResponse.FromString,
                )()
                for held in self._holdings.values():
                    await stream.write(self._emit_subscription(held))
                async for response in stream:
                    await stream.write(self._apply(response))
        except grpc.aio.AioRpcError as error:
            return error.details() or error.code().name
        except (grpc.aio.UsageError, asyncio.InvalidStateError):
            # How gRPC refuses a write to a stream that has ended in the meantime.
            return "the stream has ended"
        return "it ended the stream"

    def _emit_subscription(self, held: _Holding) -> DeltaDiscoveryRequest:
        return DeltaDiscoveryRequest(
            node=Node(id=self._node, cluster=_GROUP),
            type_url=held.type_url,
            resource_names_subscribe=[_WILDCARD],
            initial_resource_versions=held.versions,
        )

    def _apply(self, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest:
        """Apply what can be applied, and say what could not."""
        self._answered = True
        held = self._holdings.get(response.type_url)
        if held is None:
            return _emit_answer(response, [f"this worker did not ask for {response.type_url!r}"])
        problems: list[str] = []
        for resource in response.resources:
            if held.versions.get(resource.name) == resource.version:
                # The other half of a refused response comes again, to find who is to blame.
                continue
            problem = _attempt(resource.name, partial(held.put, resource.name, resource.resource.value))
            if problem is None:
                held.versions[resource.name] = resource.version
            else:
                problems.append(problem)
        for name in response.removed_resources:
            problem = _attempt(name, partial(held.drop, name))
            if problem is None:
                held.versions.pop(name, None)
            else:
                problems.append(problem)
        held.synced = True
        if all(each.synced for each in self._holdings.values()):
            self.first_sync.set()
        return _emit_answer(response, problems)


def _attempt(name: str, apply: Callable[[], None]) -> str | None:
    """What went wrong, for the control plane; None: nothing."""
    try:
        apply()
    except ValueError as error:
        return f"{name}: {error}"
    except Exception as error:  # noqa: BLE001 (a bad program must not end the feed)
        # Its type only: nobody promised that this text holds no secret.
        return f"{name}: {type(error).__name__}"
    return None


def _emit_answer(response: DeltaDiscoveryResponse, problems: Sequence[str]) -> DeltaDiscoveryRequest:
    error = Status(code=_INVALID_ARGUMENT, message="\n".join(problems)) if problems else None
    return DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce, error_detail=error)
