"""ExtAuthPolicy and ExtAuthServer, and the policies that guard access and are not built.

The steps of a chain are plug-ins: here a step is its name and its raw settings.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from apostille.resources.broken import BrokenItem, Tolerates
from apostille.resources.fields import Duration, Labels, NotEmpty, ProtoEnum, Text
from apostille.resources.plugin import PluginEntry
from apostille.resources.resource import Spec
from apostille.resources.rules import Choice, Ruled, wrong, wrong_at
from apostille.resources.selectors import DestinationReference, GuardSpec, ObjectReference
from apostille.status.reasons import Reason

_STATUSES = frozenset(
    (100, *range(200, 209), 226, *range(300, 306), 307, 308, *range(400, 418), *range(421, 425), 426, 428, 429, 431)
) | frozenset((*range(500, 509), 510, 511))


class StepEntry(PluginEntry):
    """One entry of `configs`: `name`, and exactly one step under the name of its kind."""

    called = "step"
    example = "`apiKeyAuth` or `passThroughAuth`"

    name: Text | None = None


class StepHead(Spec):
    name: str | None = None


StepOrBroken = Annotated[StepEntry | BrokenItem[StepHead], Tolerates(StepEntry, keeps=StepHead)]


class GlooAuth(Spec):
    """All steps must pass, in order, unless `boolean_expr` says otherwise. A broken step shuts the policy's doors."""

    configs: Annotated[tuple[StepOrBroken, ...], NotEmpty]
    boolean_expr: str | None = None
    fail_on_redirect: bool = False

    def step_name(self, index: int) -> str:
        entry = self.configs[index]
        written = (entry.kept.name if entry.kept else None) if isinstance(entry, BrokenItem) else entry.name
        return written or f"config_{index}"

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [self.step_name(index) for index in range(len(self.configs))]
        repeated = [index for index, name in enumerate(names) if name in names[:index]]
        if repeated:
            text = "Another step has this name already; give each its own."
            raise wrong_at("GlooAuth", *((("configs", index), wrong(text, Reason.CONFLICT)) for index in repeated))
        return self


class CustomAuth(Spec):
    context_extensions: Labels = Field(default_factory=dict)


class ExtAuthConfig(Ruled):
    """`server` of None: the generated one with its defaults."""

    choices = (Choice(("glooAuth", "customAuth", "disable"), required=True),)

    gloo_auth: GlooAuth | None = None
    custom_auth: CustomAuth | None = None
    disable: bool | None = None
    server: ObjectReference | None = None

    @model_validator(mode="after")
    def _refuse_disable(self) -> Self:
        if self.disable is not None:
            text = "`disable` is refused; to leave a route open, take it out of `applyToRoutes` or remove the policy."
            raise wrong_at("ExtAuthConfig", (("disable",), wrong(text, Reason.UNSAFE)))
        return self


class ExtAuthPolicy(GuardSpec):
    """Empty `apply_to_routes`: no route. Both selectors empty: every destination.

    With a broken `config`, or a broken step in it, everything the policy covers is shut.
    """

    config: Annotated[
        ExtAuthConfig | BrokenItem[Spec],
        Tolerates(ExtAuthConfig),
        # None is no valid config, and validated so that a missing one becomes a BrokenItem like any other.
        Field(default=None, validate_default=True),
    ]

    @property
    def is_shut(self) -> bool:
        """The policy cannot say who may pass, so nobody may."""
        if isinstance(self.config, BrokenItem):
            return True
        gloo = self.config.gloo_auth
        return gloo is not None and any(isinstance(entry, BrokenItem) for entry in gloo.configs)


class UnbuiltPolicy(GuardSpec):
    """Any policy that guards access and cannot be enforced here: what it covers is shut.

    With no selector at all it covers everything. `apply_to_workloads` picks pods of a mesh: here it covers everything.
    """

    model_config = ConfigDict(extra="ignore")

    apply_to_workloads: object = None

    @property
    def covers_everything(self) -> bool:
        by_selector = bool(self.apply_to_routes or self.apply_to_destinations)
        return self.apply_to_workloads is not None or not by_selector or self.targets_unreadable


class TransportApiVersion(ProtoEnum):
    GLOO_MESH_AUTO = 0
    ENVOY_AUTO = 1
    V3 = 2


class BufferSettings(Spec):
    """Written at all, the client's body goes along with the check; 413 above `max_request_bytes`."""

    max_request_bytes: Annotated[int, Field(ge=1, le=2**32 - 1)] = 4096
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


class HttpRequestSettings(Spec):
    allowed_headers: tuple[Text, ...] = ()
    headers_to_add: Labels = Field(default_factory=dict)


class HttpResponseSettings(Spec):
    allowed_upstream_headers: tuple[Text, ...] = ()
    allowed_client_headers: tuple[Text, ...] = ()


class HttpService(Spec):
    path_prefix: str | None = None
    request: HttpRequestSettings = HttpRequestSettings()
    response: HttpResponseSettings = HttpResponseSettings()


def _check_status(value: int) -> int:
    if value not in _STATUSES:
        raise wrong("This status cannot be sent; write for example 403, 500 or 503.")
    return value


def _check_timeout(value: timedelta) -> timedelta:
    if not value:
        raise wrong("A timeout of nothing refuses every request; write for example 2s.")
    return value


class ExtAuthServer(Spec):
    """`request_timeout` is for the whole check, all steps together."""

    destination_server: DestinationReference | None = None
    http_service: HttpService | None = None
    request_timeout: Annotated[Duration, AfterValidator(_check_timeout)] = timedelta(seconds=2)
    failure_mode_allow: bool = False
    request_body: BufferSettings | None = None
    clear_route_cache: bool = False
    status_on_error: Annotated[int, AfterValidator(_check_status)] = 403
    transport_api_version: TransportApiVersion = TransportApiVersion.GLOO_MESH_AUTO
    stat_prefix: str | None = None
