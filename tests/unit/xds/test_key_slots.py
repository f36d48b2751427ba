from __future__ import annotations

import pytest
from envoy.extensions.filters.http.api_key_auth.v3.api_key_auth_pb2 import ApiKeyAuth

from apostille.base.secrets import SecretText
from apostille.model.lane import KEY_SLOTS, EnvoyKey, EnvoyKeys
from apostille.xds.key_slots import emit_key_slots, emit_rings, slot_name

RING = EnvoyKeys(
    id="apps/keys/0",
    slot=2,
    header="api-key",
    keys=(EnvoyKey(key=SecretText("demo,key"), consumer="demo"), EnvoyKey(key=SecretText("k"), consumer="other")),
)


@pytest.mark.parametrize("inline", [True, False])
def test_every_slot_is_off_until_a_route_switches_it_on(inline: bool) -> None:
    slots = emit_key_slots(inline=inline)
    assert [slot.name for slot in slots] == [slot_name(number) for number in range(KEY_SLOTS)]
    assert all(slot.disabled for slot in slots)
    # Whether a ring was sent or not must not change the listener: that would cut its connections.
    assert {slot.WhichOneof("config_type") for slot in slots} == {"typed_config" if inline else "config_discovery"}
    # Without a ring of its own a slot stays shut, rather than being taken for absent.
    assert not any(slot.config_discovery.apply_default_config_without_warming or slot.is_optional for slot in slots)


@pytest.mark.parametrize("slot", [-1, KEY_SLOTS])
def test_a_slot_that_no_listener_has_cannot_be_named(slot: int) -> None:
    """Envoy takes no notice of settings for a filter that is not there, and the route would be open."""
    with pytest.raises(ValueError, match=f"there are {KEY_SLOTS} filters"):
        slot_name(slot)


def test_every_slot_has_a_ring_be_it_one_that_opens_nothing() -> None:
    rings = {each.name: ApiKeyAuth.FromString(each.typed_config.value) for each in emit_rings((RING,))}
    assert list(rings) == [slot_name(number) for number in range(KEY_SLOTS)]
    assert [name for name, ring in rings.items() if ring.credentials or ring.key_sources] == [slot_name(2)]


def test_a_ring_knows_its_keys_takes_the_key_off_and_says_who_it_was() -> None:
    found = ApiKeyAuth.FromString(emit_rings((RING,))[2].typed_config.value)
    assert [(each.key, each.client) for each in found.credentials] == [("demo,key", "demo"), ("k", "other")]
    assert [source.header for source in found.key_sources] == ["api-key"]
    assert (found.forwarding.header, found.forwarding.hide_credentials) == ("x-apostille-consumer", True)
