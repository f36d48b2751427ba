"""A fake ADS client: says what a test tells it to say, and reads one response at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from apostille.xds.snapshot import SECRET

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
DEADLINE = 20.0
LIMIT = 64 * 1024 * 1024


class AdsClient:
    def __init__(self, stream: grpc.aio.StreamStreamCall[Message, DeltaDiscoveryResponse], node: Node):
        self._stream = stream
        self._node: Node | None = node
        self._fences = 0

    async def ask(
        self,
        type_url: str,
        *subscribe: str,
        unsubscribe: Sequence[str] = (),
        holding: Mapping[str, str] | None = None,
    ) -> None:
        """Subscribe; without any names, as a first request of its type, to everything."""
        await self._send(
            DeltaDiscoveryRequest(
                type_url=type_url,
                resource_names_subscribe=subscribe,
                resource_names_unsubscribe=unsubscribe,
                initial_resource_versions=dict(holding or {}),
            )
        )

    async def receive(self) -> DeltaDiscoveryResponse:
        async with asyncio.timeout(DEADLINE):
            response = await self._stream.read()
        assert isinstance(response, DeltaDiscoveryResponse), "the server ended the stream"
        return response

    async def ack(self, response: DeltaDiscoveryResponse) -> None:
        await self._send(DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce))

    async def nack(self, response: DeltaDiscoveryResponse, text: str) -> None:
        error = Status(code=13, message=text)
        await self._send(
            DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce, error_detail=error)
        )

    async def take(self, type_url: str) -> DeltaDiscoveryResponse:
        """Read the next response, which must be of this type, and acknowledge it."""
        response = await self.receive()
        assert response.type_url == type_url
        await self.ack(response)
        return response

    async def rest(self) -> list[DeltaDiscoveryResponse]:
        """All that the server still has to say.

        Asks twice for a secret that does not exist: what the server had to say at the first question comes before its
        answer to the second one.
        """
        others: list[DeltaDiscoveryResponse] = []
        for _ in range(2):
            self._fences += 1
            fence = f"fence-{self._fences}"
            await self.ask(SECRET, fence)
            while True:
                response = await self.receive()
                if response.type_url == SECRET and list(response.removed_resources) == [fence]:
                    await self.ack(response)
                    break
                others.append(response)
        return others

    async def hang_up(self) -> None:
        await self._stream.done_writing()

    async def status(self) -> grpc.StatusCode:
        """How the server ended the stream."""
        async with asyncio.timeout(DEADLINE):
            return await self._stream.code()

    async def _send(self, request: DeltaDiscoveryRequest) -> None:
        if self._node is not None:
            request.node.CopyFrom(self._node)
            self._node = None
        await self._stream.write(request)


@asynccontextmanager
async def connect(socket: Path, *, group: str = "envoy", node: str = "one") -> AsyncIterator[AdsClient]:
    """A client with one stream; leaving the block cuts the line."""
    options = (("grpc.max_receive_message_length", LIMIT), ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        stream = channel.stream_stream(
            METHOD,
            request_serializer=DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=DeltaDiscoveryResponse.FromString,
        )()
        yield AdsClient(stream, Node(id=node, cluster=group))


def names(response: DeltaDiscoveryResponse) -> list[str]:
    return [resource.name for resource in response.resources]


def bodies(response: DeltaDiscoveryResponse) -> dict[str, bytes]:
    return {resource.name: resource.resource.value for resource in response.resources}


def versions(response: DeltaDiscoveryResponse) -> dict[str, str]:
    return {resource.name: resource.version for resource in response.resources}
