"""The filters of the Envoy lane that check API keys (envoy.extensions.filters.http.api_key_auth.v3).

Every listener has the same few of them, off unless a route switches one on; each takes its ring of keys as a resource
of its own (ECDS), so that a new key touches neither listener nor route. docs/design/envoy-lane.md says why this filter.
"""

from __future__ import annotations

from envoy.config.core.v3.config_source_pb2 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    ExtensionConfigSource,
)
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.api_key_auth.v3.api_key_auth_pb2 import (
    ApiKeyAuth,
    Credential,
    Forwarding,
    KeySource,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter

from apostille.base.check import CONSUMER_HEADER
from apostille.model.lane import KEY_SLOTS, EnvoyKeys
from apostille.xds.packing import emit_any
from apostille.xds.snapshot import TYPE_URL_PREFIX

# What the filter calls its refusals; the listener's local reply gives them our words. The last two are those of a ring
# without keys, and of a filter without a ring.
KEY_REFUSALS = ("missing_api_key", "unknown_api_key", "missing_credentials", "missing_key_sources")

_RING_TYPE = TYPE_URL_PREFIX + ApiKeyAuth.DESCRIPTOR.full_name


def slot_name(slot: int) -> str:
    """Raises ValueError for a slot that no listener has: Envoy would take no notice of it, and guard nothing."""
    if not 0 <= slot < KEY_SLOTS:
        raise ValueError(f"there are {KEY_SLOTS} filters for keys, and none is number {slot}")
    return f"apostille.keys-{slot}"


def emit_key_slots(*, inline: bool) -> list[HttpFilter]:
    """`inline`: with nothing to ask for, as a configuration is judged. A slot without a ring lets nobody pass."""
    return [
        HttpFilter(name=slot_name(slot), disabled=True, typed_config=emit_any(ApiKeyAuth()))
        if inline
        else HttpFilter(name=slot_name(slot), disabled=True, config_discovery=emit_discovery(_RING_TYPE))
        for slot in range(KEY_SLOTS)
    ]


def emit_discovery(*type_urls: str) -> ExtensionConfigSource:
    return ExtensionConfigSource(
        config_source=ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3),
        type_urls=type_urls,
    )


def emit_rings(rings: tuple[EnvoyKeys, ...]) -> tuple[TypedExtensionConfig, ...]:
    """One resource for every slot. They hold keys in clear, and so does what Envoy says of one that it refuses."""
    by_slot = {ring.slot: _emit_ring(ring) for ring in rings}
    return tuple(
        TypedExtensionConfig(name=slot_name(slot), typed_config=emit_any(by_slot.get(slot, ApiKeyAuth())))
        for slot in range(KEY_SLOTS)
    )


def _emit_ring(ring: EnvoyKeys) -> ApiKeyAuth:
    return ApiKeyAuth(
        credentials=[Credential(key=each.key.reveal(), client=each.consumer) for each in ring.keys],
        key_sources=[KeySource(header=ring.header)],
        forwarding=Forwarding(header=CONSUMER_HEADER, hide_credentials=True),
    )
