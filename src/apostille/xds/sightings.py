"""What Envoy tells of destinations' answers (see xds.watch): access log entries in, sightings out.

It must not know what follows from a sighting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeAlias

import grpc
import grpc.aio
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse

from apostille.xds.names import METADATA, METADATA_OUTBOUND, SIGHTING

SERVICE = "envoy.service.accesslog.v3.AccessLogService"
METHOD = "StreamAccessLogs"

_Messages = AsyncIterator[StreamAccessLogsMessage]
_Context: TypeAlias = "grpc.aio.ServicerContext[StreamAccessLogsMessage, StreamAccessLogsResponse]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One answer of a destination to a request that the outbound `policy` (``namespace/name``) put a credential on.

    `skew`: how far its clock is ahead of ours, to about a second; None when it told no time. `code`: its word for a
    credential that it will not have; `refused`: how many such answers there were since the last sighting, this one
    included.
    """

    policy: str
    seen: datetime
    skew: timedelta | None = None
    code: str | None = None
    refused: int = 0


def parse_sightings(message: StreamAccessLogsMessage) -> Iterator[Sighting]:
    for entry in message.http_logs.log_entry:
        sighting = _parse_entry(entry)
        if sighting is not None:
            yield sighting


def _parse_entry(entry: HTTPAccessLogEntry) -> Sighting | None:
    """None when no answer of a destination came, or no policy put a credential on the request."""
    common = entry.common_properties
    if not common.HasField("time_to_first_upstream_rx_byte"):
        return None
    # When the answer began to come, by Envoy's clock: which is ours.
    seen = common.start_time.ToDatetime(UTC) + common.time_to_first_upstream_rx_byte.ToTimedelta()
    fields = common.metadata.filter_metadata[METADATA].fields
    if SIGHTING not in fields:
        policy, headers = common.custom_tags.get(METADATA_OUTBOUND, ""), entry.response.response_headers
        skew = _skew(headers.get("date", ""), headers.get("age", ""), seen)
        return Sighting(policy=policy, seen=seen, skew=skew) if policy else None
    told = fields[SIGHTING].struct_value.fields
    return Sighting(
        policy=told["policy"].string_value,
        seen=seen,
        skew=_skew(told["date"].string_value, told["age"].string_value, seen),
        code=told["code"].string_value or None,
        refused=int(told["refused"].number_value),
    )


def _skew(date: str, age: str, seen: datetime) -> timedelta | None:
    try:
        written = parsedate_to_datetime(date)
        # A cache in between gives its answers with the time at which they were made.
        resting = timedelta(seconds=int(age or 0))
    except (ValueError, OverflowError):
        return None
    # RFC 9110, 5.6.7: what reads as no zone is UTC. Dates are cut off to whole seconds: half of one is the best guess.
    moment = written.replace(tzinfo=UTC) if written.tzinfo is None else written
    return moment + resting + timedelta(seconds=0.5) - seen


def sighting_handler(tell: Callable[[Sighting], None]) -> grpc.GenericRpcHandler:
    """The gRPC service that Envoys send their entries to."""

    async def serve(messages: _Messages, _context: _Context) -> StreamAccessLogsResponse:
        async for message in messages:
            for sighting in parse_sightings(message):
                tell(sighting)
        return StreamAccessLogsResponse()

    method = grpc.stream_unary_rpc_method_handler(
        serve,
        request_deserializer=StreamAccessLogsMessage.FromString,
        response_serializer=StreamAccessLogsResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(SERVICE, {METHOD: method})
