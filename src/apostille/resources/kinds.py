"""Every kind by name: those that are built, those that are known and not built, and those without an effect here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from apostille.resources.core import ConfigMap, EndpointSlice, Namespace, Secret, Service
from apostille.resources.ext_auth import ExtAuthPolicy, ExtAuthServer, UnbuiltPolicy
from apostille.resources.external import ExternalEndpoint, ExternalService
from apostille.resources.gateway import VirtualGateway
from apostille.resources.messages import nearest
from apostille.resources.outbound import OutboundAuthPolicy
from apostille.resources.resource import Spec
from apostille.resources.routes import RouteTable
from apostille.resources.selectors import GuardSpec
from apostille.status.problem import Problem
from apostille.status.reasons import Reason

NETWORKING = "networking.gloo.solo.io"
SECURITY = "security.policy.gloo.solo.io"
RESILIENCE = "resilience.policy.gloo.solo.io"
TRAFFIC = "trafficcontrol.policy.gloo.solo.io"
OBSERVABILITY = "observability.policy.gloo.solo.io"
EXTENSIONS = "extensions.policy.gloo.solo.io"
ADMIN = "admin.gloo.solo.io"
API_MANAGEMENT = "apimanagement.gloo.solo.io"
INFRASTRUCTURE = "infrastructure.gloo.solo.io"
OURS = "apostille.dev"

_GUARDING_GROUPS = frozenset((SECURITY, OURS))
_OLD_GROUPS = frozenset(
    ("networking.mesh.gloo.solo.io", "networking.enterprise.mesh.gloo.solo.io", "security.gloo.solo.io")
)


class Support(Enum):
    BUILT = "built"
    UNBUILT = "known, not built"
    UNBUILT_GUARD = "known, not built, and guards access: what it covers is shut"
    NO_EFFECT = "accepted, and means nothing here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`top_level`: fields stand beside ``metadata``, with no ``spec`` around them. `spec` of None: not looked into."""

    group: str
    version: str
    name: str
    support: Support
    spec: type[Spec] | None = None
    top_level: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def guards(self) -> bool:
        return self.spec is not None and issubclass(self.spec, GuardSpec)


def _built(group: str, version: str, spec: type[Spec], *, top_level: bool = False) -> Kind:
    return Kind(group=group, version=version, name=spec.__name__, support=Support.BUILT, spec=spec, top_level=top_level)


def _all(support: Support, group: str, version: str, names: str) -> Iterator[Kind]:
    spec = UnbuiltPolicy if support is Support.UNBUILT_GUARD else None
    for name in names.split():
        yield Kind(group=group, version=version, name=name, support=support, spec=spec)


KINDS: tuple[Kind, ...] = (
    _built(NETWORKING, "v2", VirtualGateway),
    _built(NETWORKING, "v2", RouteTable),
    _built(NETWORKING, "v2", ExternalService),
    _built(NETWORKING, "v2", ExternalEndpoint),
    _built(SECURITY, "v2", ExtAuthPolicy),
    _built(OURS, "v1", OutboundAuthPolicy),
    _built(ADMIN, "v2", ExtAuthServer),
    _built("", "v1", Service),
    _built("", "v1", Secret, top_level=True),
    _built("discovery.k8s.io", "v1", EndpointSlice, top_level=True),
    Kind(group="", version="v1", name="ConfigMap", support=Support.NO_EFFECT, spec=ConfigMap, top_level=True),
    Kind(group="", version="v1", name="Namespace", support=Support.NO_EFFECT, spec=Namespace),
    *_all(
        Support.UNBUILT_GUARD,
        SECURITY,
        "v2",
        "JWTPolicy CSRFPolicy WAFPolicy AccessPolicy DLPPolicy GraphQLAllowedQueryPolicy",
    ),
    *_all(Support.UNBUILT, NETWORKING, "v2", "VirtualDestination"),
    *_all(Support.UNBUILT, NETWORKING, "v2alpha1", "ExternalWorkload"),
    *_all(Support.UNBUILT, SECURITY, "v2", "CORSPolicy ClientTLSPolicy"),
    *_all(
        Support.UNBUILT,
        RESILIENCE,
        "v2",
        "RetryTimeoutPolicy OutlierDetectionPolicy FaultInjectionPolicy ConnectionPolicy ListenerConnectionPolicy "
        "ActiveHealthCheckPolicy FailoverPolicy AdaptiveRequestConcurrencyPolicy TrimProxyConfigPolicy "
        "GraphQLPersistedQueryCachePolicy",
    ),
    *_all(
        Support.UNBUILT,
        TRAFFIC,
        "v2",
        "HeaderManipulationPolicy TransformationPolicy RateLimitPolicy RateLimitClientConfig MirrorPolicy "
        "LoadBalancerPolicy HTTPBufferPolicy ProxyProtocolPolicy ListenerConnectionPolicy",
    ),
    *_all(Support.UNBUILT, OBSERVABILITY, "v2", "AccessLogPolicy"),
    *_all(Support.UNBUILT, EXTENSIONS, "v2", "WasmDeploymentPolicy LuaPolicy"),
    *_all(Support.UNBUILT, ADMIN, "v2", "RateLimitServerConfig RateLimitServerSettings"),
    *_all(
        Support.UNBUILT,
        API_MANAGEMENT,
        "v2",
        "GraphQLSchema GraphQLStitchedSchema GraphQLResolverMap",
    ),
    *_all(
        Support.NO_EFFECT,
        ADMIN,
        "v2",
        "Workspace WorkspaceSettings KubernetesCluster RootTrustPolicy Dashboard InsightsConfig IstioLifecycleManager "
        "GatewayLifecycleManager WaypointLifecycleManager",
    ),
    *_all(Support.NO_EFFECT, API_MANAGEMENT, "v2", "ApiDoc ApiProduct ApiSchemaDiscovery Portal PortalGroup"),
    *_all(Support.NO_EFFECT, INFRASTRUCTURE, "v2", "CloudProvider CloudResources"),
    *_all(Support.NO_EFFECT, "", "v1", "ServiceAccount Pod Endpoints PersistentVolumeClaim"),
    *_all(Support.NO_EFFECT, "apps", "v1", "Deployment StatefulSet DaemonSet ReplicaSet"),
    *_all(Support.NO_EFFECT, "batch", "v1", "Job CronJob"),
    *_all(
        Support.NO_EFFECT,
        "rbac.authorization.k8s.io",
        "v1",
        "Role RoleBinding ClusterRole ClusterRoleBinding",
    ),
    *_all(Support.NO_EFFECT, "apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    *_all(Support.NO_EFFECT, "autoscaling", "v2", "HorizontalPodAutoscaler"),
    *_all(Support.NO_EFFECT, "policy", "v1", "PodDisruptionBudget"),
    *_all(Support.NO_EFFECT, "networking.k8s.io", "v1", "Ingress NetworkPolicy"),
)

_BY_NAME: dict[str, tuple[Kind, ...]] = {
    name: tuple(kind for kind in KINDS if kind.name == name) for name in {kind.name for kind in KINDS}
}
_GROUPS: dict[str, str] = {kind.group: kind.version for kind in KINDS if kind.group}
_EXACT: dict[tuple[str, str], Kind] = {(kind.api_version, kind.name): kind for kind in KINDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a document says it is. With a `problem`, `kind` is there only if it is, or may be, a guard: it must shut."""

    kind: Kind | None
    problem: Problem | None = None


def identify(api_version: object, name: object) -> Identity:
    """The kind of a document by its ``apiVersion`` and ``kind``, or the problem that says what to write."""
    if not isinstance(name, str) or not name:
        return _nothing("kind", Reason.MISSING_FIELD, "`kind` is missing or no text; write for example RouteTable.")
    if not isinstance(api_version, str) or not api_version:
        known = _BY_NAME.get(name)
        hint = f"; write {known[0].api_version}." if known else "."
        return _shut(name, "", _at("apiVersion", Reason.MISSING_FIELD, f"`apiVersion` is missing or no text{hint}"))
    exact = _EXACT.get((api_version, name))
    if exact is not None:
        return Identity(kind=exact)
    group = api_version.rpartition("/")[0]
    namesakes = _BY_NAME.get(name, ())
    if any(kind.group == group for kind in namesakes):
        right = next(kind.api_version for kind in namesakes if kind.group == group)
        return _shut(
            name,
            group,
            _at(
                "apiVersion", Reason.UNKNOWN_KIND, f"This version of {name} is not known and is ignored; write {right}."
            ),
        )
    if group in _OLD_GROUPS:
        text = f"{name} of {api_version} belongs to an older product and is not supported; write it for {SECURITY}/v2 "
        text += f"or {NETWORKING}/v2."
        return _shut(name, group, _at("apiVersion", Reason.UNKNOWN_KIND, text))
    if namesakes and (group.endswith(("solo.io", OURS)) or nearest(group, _GROUPS) is not None):
        text = f"{name} is not of this group and is ignored; write {namesakes[0].api_version}."
        return _shut(name, group, _at("apiVersion", Reason.UNKNOWN_KIND, text))
    hint = "."
    if group in _GROUPS or not group or nearest(group, _GROUPS) is not None:
        near = nearest(name, [kind.name for kind in KINDS if kind.group == group]) or nearest(name, _BY_NAME)
        hint = f"; did you mean {near} of {_BY_NAME[near][0].api_version}?" if near else hint
    text = f"{name} of {api_version} is not a known kind and is ignored{hint}"
    return _shut(name, group, _at("kind", Reason.UNKNOWN_KIND, text))


def _at(field: str, reason: Reason, message: str) -> Problem:
    return Problem(at=(field,), reason=reason, message=message)


def _nothing(field: str, reason: Reason, message: str) -> Identity:
    return Identity(kind=None, problem=_at(field, reason, message))


def _shut(name: str, group: str, problem: Problem) -> Identity:
    """A misspelt guard would leave its doors open without a word on the wire, so what may be one is taken for one."""
    guard = next((kind for kind in _BY_NAME.get(name, ()) if kind.guards), None)
    ours = not group or group.endswith("solo.io") or nearest(group, _GROUPS) is not None
    if guard is None and group in _GUARDING_GROUPS and name not in _BY_NAME:
        guard = Kind(group=group, version="", name=name, support=Support.UNBUILT_GUARD, spec=UnbuiltPolicy)
    if guard is None or not ours:
        return Identity(kind=None, problem=problem)
    message = problem.message.replace(" and is ignored", ", so what it covers is shut")
    return Identity(kind=guard, problem=Problem(at=problem.at, reason=problem.reason, message=message))


def spec_of(kind: str) -> type[Spec] | None:
    """The spec class that resources of this kind have, whatever their group."""
    known = _BY_NAME.get(kind)
    return known[0].spec if known else UnbuiltPolicy
