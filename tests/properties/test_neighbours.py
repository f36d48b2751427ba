"""Whatever is broken, whoever is not broken does not notice."""

from __future__ import annotations

from hypothesis import given

from apostille.model.route import Route
from apostille.translate.pipeline import Translation
from apostille.xds.clusters import emit_cluster
from apostille.xds.routes import emit_route
from tests.properties.strategies import Document, broken_sets, sound_documents
from tests.properties.world import SITE, routes_by_place, translate_documents


def tables_of(documents: list[Document]) -> frozenset[str]:
    return frozenset(each["metadata"]["name"] for each in documents if each["kind"] == "RouteTable")


def wire(routes: list[Route]) -> list[bytes]:
    return [emit_route(route).SerializeToString(deterministic=True) for route in routes]


def clusters(translation: Translation) -> dict[str, bytes]:
    return {
        each.name: emit_cluster(each, SITE.ca_file).SerializeToString(deterministic=True)
        for each in translation.gateway.destinations
    }


@given(sound=sound_documents(), broken=broken_sets())
def test_broken_resources_change_nothing_of_the_others(sound: list[Document], broken: list[Document]) -> None:
    before, after = translate_documents(sound), translate_documents([*broken, *sound])

    tables = tables_of(sound)
    expected, found = routes_by_place(before.gateway, tables), routes_by_place(after.gateway, tables)
    assert found == expected
    assert {place: wire(routes) for place, routes in found.items()} == {
        place: wire(routes) for place, routes in expected.items()
    }
    assert clusters(after).items() >= clusters(before).items()
    assert after.gateway.programs == before.gateway.programs
    assert after.gateway.keyrings == before.gateway.keyrings
    assert after.gateway.deadline_ms == before.gateway.deadline_ms
    assert after.gateway.status_on_error == before.gateway.status_on_error
    listeners = {listener.name: listener.port for listener in before.gateway.listeners}
    assert {listener.name: listener.port for listener in after.gateway.listeners}.items() >= listeners.items()


@given(sound=sound_documents(), broken=broken_sets())
def test_nobody_sound_is_told_of_somebody_elses_mistake(sound: list[Document], broken: list[Document]) -> None:
    refs = {(each["kind"], each["metadata"]["name"]) for each in sound}

    def told(translation: Translation) -> set[tuple[object, object]]:
        return {
            (finding.ref, finding.problem)
            for finding in translation.findings
            if finding.ref is not None and (finding.ref.kind, finding.ref.name) in refs
        }

    assert told(translate_documents([*broken, *sound])) == told(translate_documents(sound))
