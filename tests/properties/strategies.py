"""Random sets of resources: sound ones, and broken ones that mean no harm to others.

Documents are plain data. Each sound one has a name of its own and a creation time of its own, so that the age decides
what is the oldest and not the place in a file.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

Document = dict[str, Any]  # Any: what YAML can hold

PORTS = {"web": 8080}
HOSTS = ("a.example.com", "B.example.com", "*.example.com", "*")
SERVICES = ("s0", "s1", "s2")
EXTERNAL = ("e0", "e1")
GUARDS = ("0", "1", "2")
# Nobody sound has this label, so a policy for it covers nothing of the sound ones.
BROKEN_LABELS = {"only": "broken"}


def document(api_version: str, kind: str, name: str, spec: object, **metadata: object) -> Document:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "apps", **metadata},
        "spec": spec,
    }


def networking(kind: str, name: str, spec: object, **metadata: object) -> Document:
    return document("networking.gloo.solo.io/v2", kind, name, spec, **metadata)


def security(kind: str, name: str, spec: object, **metadata: object) -> Document:
    return document("security.policy.gloo.solo.io/v2", kind, name, spec, **metadata)


def secret(name: str, keyset: str, entries: Mapping[str, object]) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "apps", "labels": {"keyset": keyset}},
        "type": "extauth.solo.io/apikey",
        "stringData": dict(entries),
    }


def gateway() -> Document:
    listeners = [{"port": {"name": "web"}, "http": {}}, {"port": {"number": 8081}, "http": {}}]
    return networking("VirtualGateway", "ingress", {"listeners": listeners})


def service(name: str, addresses: Sequence[str]) -> list[Document]:
    piece = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "namespace": "apps", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8000}],
        "endpoints": [{"addresses": [address]} for address in addresses],
    }
    return [document("v1", "Service", name, {"ports": [{"name": "http", "port": 80}]}), piece]


def external_service(name: str) -> Document:
    spec = {"hosts": [f"{name}.example.org"], "ports": [{"number": 443, "protocol": "HTTPS"}]}
    return networking("ExternalService", name, spec, labels={"foreign": name})


def references() -> st.SearchStrategy[Document]:
    return st.one_of(
        st.sampled_from(SERVICES).map(lambda name: {"ref": {"name": name}}),
        st.sampled_from(EXTERNAL).map(lambda name: {"kind": "EXTERNAL_SERVICE", "ref": {"name": name}}),
    )


def paths() -> st.SearchStrategy[str]:
    return st.sampled_from(("/", "/a", "/a/", "/a/b", "/plain", "/v1"))


def matchers() -> st.SearchStrategy[Document]:
    return st.fixed_dictionaries(
        {
            "uri": st.one_of(
                paths().map(lambda path: {"exact": path}),
                paths().map(lambda path: {"prefix": path}),
                paths().map(lambda path: {"regex": f"{path}[a-z]*"}),
            )
        },
        optional={
            "headers": st.just([{"name": "X-Header", "value": "one"}]),
            "queryParameters": st.just([{"name": "q"}]),
            "method": st.sampled_from(("GET", "POST")),
            "port": st.just(8081),
        },
    )


def actions() -> st.SearchStrategy[Document]:
    forward = st.fixed_dictionaries(
        {"destinations": st.lists(references(), min_size=1, max_size=2)},
        optional={"hostRewrite": st.just("inner.example.com")},
    )
    rewriting = st.fixed_dictionaries(
        {
            "destinations": st.lists(references(), min_size=1, max_size=1),
            "regexRewrite": st.just({"pattern": {"regex": "^/a"}, "substitution": "/b"}),
        }
    )
    return st.one_of(
        forward.map(lambda spec: {"forwardTo": spec}),
        rewriting.map(lambda spec: {"forwardTo": spec}),
        st.just({"redirect": {"hostRedirect": "new.example.com"}}),
        st.just({"directResponse": {"status": 200, "body": "hello"}}),
    )


@st.composite
def route_tables(draw: st.DrawFn, name: str) -> Document:
    routes = []
    for index in range(draw(st.integers(1, 3))):
        guarded = draw(st.sampled_from((None, *GUARDS)))
        routes.append(
            {
                "name": f"r{index}",
                **({"labels": {"guard": guarded}} if guarded is not None else {}),
                "matchers": draw(st.lists(matchers(), max_size=2)),
                **draw(actions()),
            }
        )
    guarded = draw(st.sampled_from((None, *GUARDS)))
    spec = {
        "hosts": draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=2, unique=True)),
        "virtualGateways": [{"name": "ingress"}],
        "http": routes,
    }
    return networking("RouteTable", name, spec, **({"labels": {"guard": guarded}} if guarded is not None else {}))


def targets() -> st.SearchStrategy[Document]:
    """Selectors of a policy; none at all is every Service."""
    label = st.sampled_from(GUARDS).map(lambda guard: {"route": {"labels": {"guard": guard}}})
    foreign = st.sampled_from(EXTERNAL).map(
        lambda name: {"kind": "EXTERNAL_SERVICE", "selector": {"labels": {"foreign": name}}}
    )
    owned = st.sampled_from(SERVICES).map(lambda name: {"selector": {"name": name}})
    return st.one_of(
        st.lists(label, min_size=1, max_size=2).map(lambda routes: {"applyToRoutes": routes}),
        st.one_of(foreign, owned).map(lambda to: {"applyToDestinations": [to]}),
        st.one_of(foreign, owned).map(lambda to: {"applyToRoutes": [{"withDestinations": to}]}),
        st.just({}),
    )


def chains(keyset: str) -> st.SearchStrategy[Document]:
    key = {
        "headersFromMetadataEntry": {"x-user-email": {"name": "email", "required": True}},
        "k8sSecretApikeyStorage": {"labelSelector": {"keyset": keyset}},
    }
    ask = {"http": {"url": "http://s0.apps.svc:80/check", "response": {"allowedUpstreamHeaders": ["x-role"]}}}
    steps = (
        [{"name": "key", "apiKeyAuth": key}],
        [{"name": "key", "apiKeyAuth": key}, {"name": "ask", "passThroughAuth": ask}],
    )
    return st.sampled_from(steps).map(lambda configs: {"glooAuth": {"configs": configs}})


@st.composite
def policies(draw: st.DrawFn, name: str) -> Document:
    return security("ExtAuthPolicy", name, {**draw(targets()), "config": draw(chains(name))})


@st.composite
def sound_documents(draw: st.DrawFn) -> list[Document]:
    """Everything in here is as it should be, apart from policies that cover the same routes or none."""
    documents = [gateway(), *(external_service(name) for name in EXTERNAL)]
    for index, name in enumerate(SERVICES):
        documents += service(name, draw(st.sampled_from(([f"10.0.{index}.1"], [f"10.0.{index}.1", f"10.0.{index}.2"]))))
    documents += [draw(route_tables(f"t{index}")) for index in range(draw(st.integers(1, 3)))]
    for index in range(draw(st.integers(0, 3))):
        documents.append(draw(policies(f"p{index}")))
        documents.append(secret(f"k{index}", f"p{index}", {"api-key": f"key-{index}", "email": f"{index}@example.com"}))
    return dated(documents, draw(st.permutations(range(len(documents)))))


def dated(documents: Sequence[Document], ages: Sequence[int], year: int = 2024) -> list[Document]:
    """Copies, each with a creation time of its own."""
    copies = copy.deepcopy(list(documents))
    for each, age in zip(copies, ages, strict=True):
        each["metadata"]["creationTimestamp"] = f"{year}-01-01T{age // 60:02}:{age % 60:02}:00Z"
    return copies


_BAD_ACTIONS: tuple[Document, ...] = (
    {},
    {"forwardTo": {"destinations": [{"ref": {"name": "gone"}}]}},
    {"forwardTo": {"destinations": [{"kind": "EXTERNAL_SERVICE", "ref": {"name": "gone"}}]}},
    {"forwardTo": {"destinations": "s0"}},
    {"forwardTo": {}},
    {"forwardTo": {"destinations": [{"ref": {"name": "s0"}}], "regexRewrite": {"pattern": {"regex": "("}}}},
    {"forwardTo": {"destinations": [{"ref": {"name": "s0"}, "weight": 300}, {"ref": {"name": "s1"}}]}},
    {"delegate": {"routeTables": [{"labels": {}}]}},
    {"directResponse": {"status": 7}},
    {"directResponse": {"status": 200}, "redirect": {"hostRedirect": "x"}},
    {"redirect": {}},
)
_BAD_MATCHERS: tuple[object, ...] = (
    [{"uri": {"regex": ".*("}}],
    [{"uri": {"regex": "/only/broken/("}}],
    [{"uri": {"suffix": ".json"}}],
    [{"uri": {"prefix": "/x", "exact": "/y"}}],
    [{"uri": {"prefix": "/broken"}, "headers": [{"name": "x", "value": "(", "regex": True}]}],
    [{"uri": {"prefix": "/broken"}, "method": 7}],
    [7],
    "everything",
)
_BAD_CONFIGS: tuple[object, ...] = (
    None,
    7,
    {},
    {"disable": True},
    {"customAuth": {}},
    {"glooAuth": {"configs": []}},
    {"glooAuth": {"configs": [{"apiKeyAuht": {}}]}},
    {"glooAuth": {"configs": [{"oauth2": {}}]}},
    {"glooAuth": {"configs": [{"apiKeyAuth": {}}]}},
    {"glooAuth": {"configs": [{"apiKeyAuth": 7}]}},
    {"glooAuth": {"configs": [{"passThroughAuth": {"http": {"url": "nowhere"}}}]}},
    {"glooAuth": {"configs": [{"passThroughAuth": {"grpc": {}}}]}},
    {"server": {"name": "gone"}, "glooAuth": {"configs": [{"passThroughAuth": {"http": {"url": "http://192.0.2.1"}}}]}},
)
_BAD_SECRETS: tuple[Mapping[str, object], ...] = (
    {},
    {"email": "a@example.com"},
    {"api-key": ""},
    {"api-key": "no-email"},
    {"api-key": 7, "email": "a@example.com"},
    {"api-key": "line-feed\n", "email": "a@example.com"},
    {"api-key": "illegal-email", "email": "a@example.com\r\nx: y"},
)


@st.composite
def broken_route_tables(draw: st.DrawFn, name: str) -> Document:
    """On a host that sound tables have too, or on one of its own."""
    good = {"directResponse": {"status": 200}}
    bad_route = st.one_of(
        st.sampled_from(_BAD_ACTIONS).map(lambda action: {"matchers": [{"uri": {"prefix": "/broken"}}], **action}),
        st.sampled_from(_BAD_MATCHERS).map(lambda matchers: {"matchers": matchers, **good}),
        st.sampled_from((7, None, "route", [])),
    )
    spec: Document = {
        "hosts": [draw(st.sampled_from((*HOSTS, "broken.example.com")))],
        "virtualGateways": [{"name": "ingress"}],
        "http": [
            *draw(st.lists(bad_route, min_size=1, max_size=2)),
            {"matchers": [{"uri": {"prefix": "/after"}}], **good},
        ],
    }
    spec = draw(
        st.sampled_from(
            (
                spec,
                {**spec, "hosts": ["https://x"]},
                {**spec, "http": 7},
                {**spec, "hosts": []},
                7,
                {**spec, "htpp": []},
            )
        )
    )
    return networking("RouteTable", name, spec)


def broken_documents(name: str) -> st.SearchStrategy[Document]:
    """Something is wrong with it, and it selects nothing of anybody sound."""
    own = {"applyToRoutes": [{"route": {"labels": BROKEN_LABELS}}]}
    keysets = st.sampled_from(("p0", "p1", "p2"))
    return st.one_of(
        broken_route_tables(name),
        st.sampled_from(_BAD_CONFIGS).map(lambda config: security("ExtAuthPolicy", name, {**own, "config": config})),
        st.just(security("JWTPolicy", name, own)),
        st.just(security("ExtAuthPolcy", name, own)),
        st.tuples(keysets, st.sampled_from(_BAD_SECRETS)).map(lambda drawn: secret(name, *drawn)),
        st.sampled_from((7, {}, {"hosts": ["*"]}, {"ports": [{"number": 0}]})).map(
            lambda spec: networking("ExternalService", name, spec)
        ),
        st.sampled_from((7, {"ports": [{"port": "many"}]})).map(lambda spec: document("v1", "Service", name, spec)),
        st.sampled_from(
            (7, {}, {"listeners": []}, {"listeners": [{"port": {}}, {"port": {"number": 9000}, "tcp": {}}]})
        ).map(lambda spec: networking("VirtualGateway", name, spec)),
        st.just(networking("RoutTable", name, {"hosts": ["*"]})),
        st.just(document("example.com/v1", "Whatever", name, {})),
        st.just(document("resilience.policy.gloo.solo.io/v2", "RetryTimeoutPolicy", name, {})),
    )


@st.composite
def broken_sets(draw: st.DrawFn) -> list[Document]:
    """Some are older than every sound resource, some younger."""
    documents = [draw(broken_documents(f"broken-{index}")) for index in range(draw(st.integers(1, 3)))]
    return dated(documents, draw(st.permutations(range(len(documents)))), year=draw(st.sampled_from((2000, 2050))))


_JUNK: tuple[object, ...] = (
    None, True, 0, -1, 65536, 2**70, 1.5, "", "x", "(", ".*(", "*", "\n", "ü\u2028", "a" * 300, "..", "169.254.169.254",
    "1e9h", [], [None], [[]], {}, {"": ""}, {"name": None}, {"labels": {"guard": 0}},
)  # fmt: skip


@st.composite
def mutilated(draw: st.DrawFn, documents: Sequence[Document]) -> list[Document]:
    """Copies in which a few values are gone or replaced by anything at all."""
    copies = copy.deepcopy(list(documents))
    for _ in range(draw(st.integers(1, 6))):
        _mutilate(draw, copies)
    return copies


def _mutilate(draw: st.DrawFn, tree: object) -> None:
    while True:
        if isinstance(tree, dict) and tree:
            key: Any = draw(st.sampled_from(sorted(tree)))  # Any: a key of a mapping or a place in a list
        elif isinstance(tree, list) and tree:
            key = draw(st.integers(0, len(tree) - 1))
        else:
            return
        if isinstance(tree[key], dict | list) and tree[key] and draw(st.integers(0, 3)):
            tree = tree[key]
            continue
        if isinstance(tree, dict) and draw(st.booleans()):
            del tree[key]
        else:
            tree[key] = copy.deepcopy(draw(st.sampled_from(_JUNK)))
        return


def text_of(documents: Sequence[object]) -> str:
    """As a YAML stream; JSON is YAML."""
    return "\n---\n".join(json.dumps(each) for each in documents) + "\n"
