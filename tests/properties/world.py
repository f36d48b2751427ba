"""From documents to a translation, the way the control plane goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from apostille.control.reading import Reader, Reading
from apostille.integrations import INTEGRATIONS
from apostille.model.gateway import Gateway
from apostille.model.route import Route
from apostille.sources.contract import Texts
from apostille.steps import STEPS
from apostille.translate.pipeline import Translation, translate
from apostille.xds.configuration import emit_configuration
from apostille.xds.site import Site
from apostille.xds.snapshot import Snapshot, build_snapshot
from tests.properties.strategies import PORTS, Document, text_of

KINDS = {kind.name: kind for kind in STEPS}
INTEGRATION_KINDS = {kind.name: kind for kind in INTEGRATIONS}
SITE = Site(ca_file="/etc/roots.pem")


def read(files: Mapping[str, str]) -> Reading:
    return Reader().read(Texts(files=dict(sorted(files.items()))))


def translate_files(files: Mapping[str, str]) -> Translation:
    return translate(read(files).snapshot, KINDS, INTEGRATION_KINDS, PORTS)


def translate_documents(documents: Sequence[Document]) -> Translation:
    return translate_files({"all.yaml": text_of(documents)})


def emit(gateway: Gateway) -> Snapshot:
    configuration = emit_configuration(gateway, SITE)
    return build_snapshot(
        [
            *((cluster.name, cluster) for cluster in configuration.clusters),
            *((listener.name, listener) for listener in configuration.listeners),
            *((routes.name, routes) for routes in configuration.route_configurations),
        ]
    )


def routes_by_place(gateway: Gateway, tables: frozenset[str]) -> dict[tuple[str, str], list[Route]]:
    """Listener and virtual host → their routes of these tables, in order."""
    found: dict[tuple[str, str], list[Route]] = {}
    for listener in gateway.listeners:
        for host in listener.virtual_hosts:
            own = [route for route in host.routes if route.owner.name in tables]
            if own:
                found[listener.name, host.name] = own
    return found


def all_routes(gateway: Gateway) -> list[Route]:
    return [route for listener in gateway.listeners for host in listener.virtual_hosts for route in host.routes]
