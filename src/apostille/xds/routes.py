"""RouteConfiguration: virtual hosts and routes (envoy.config.route.v3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypedDict, assert_never

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation as HeaderRule
from envoy.config.core.v3.base_pb2 import DataSource, HeaderValue, HeaderValueOption, Metadata
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    FilterConfig,
    HeaderMatcher,
    QueryParameterMatcher,
    RedirectAction,
    RouteAction,
    RouteMatch,
    WeightedCluster,
)
from envoy.config.route.v3.route_components_pb2 import Route as EnvoyRoute
from envoy.config.route.v3.route_components_pb2 import VirtualHost as EnvoyVirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import BufferSettings, CheckSettings, ExtAuthzPerRoute
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import HeaderMutationPerRoute, Mutations
from envoy.type.matcher.v3.regex_pb2 import RegexMatchAndSubstitute, RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from apostille.base.check import CONSUMER_HEADER, OUR_HEADERS_PREFIX, REASON_HEADER, TARGET_HEADER
from apostille.base.limits import MAX_BODY_BYTES
from apostille.model.gateway import Listener, VirtualHost
from apostille.model.lane import EnvoyLane
from apostille.model.route import (
    Action,
    Forward,
    HeaderMatch,
    Match,
    PathKind,
    PathRewrite,
    QueryMatch,
    Redirect,
    RegexRewrite,
    Respond,
    Route,
    Strip,
)
from apostille.xds.clusters import signed_name
from apostille.xds.key_slots import slot_name
from apostille.xds.matchers import Answers, emit_matcher
from apostille.xds.names import (
    EXT_AUTHZ,
    HEADER_MUTATION,
    METADATA,
    METADATA_OUTBOUND,
    METADATA_POLICY,
    METADATA_PROGRAM,
    TOLD_QUERY,
    WATCH,
)
from apostille.xds.packing import emit_any
from apostille.xds.shared import NOTHING_SHARED, Shared, find_shared, watch_of
from apostille.xds.signing_filters import SIGNATURE_HEADERS
from apostille.xds.watch import emit_watch_of


class _ActionField(TypedDict, total=False):
    """The one field of envoy.config.route.v3.Route that says what is done."""

    route: RouteAction
    redirect: RedirectAction
    direct_response: DirectResponseAction


# For a filter that is not to be made at all. The filters' own words for it have them made for every request, to do
# nothing then.
_OFF = emit_any(FilterConfig(disabled=True))
# For one that is off until a route wants it. The words that filters have for it would replace what the listener says.
_ON = emit_any(FilterConfig(config=AnyMessage()))

_REDIRECT_CODES = {
    301: RedirectAction.MOVED_PERMANENTLY,
    302: RedirectAction.FOUND,
    303: RedirectAction.SEE_OTHER,
    307: RedirectAction.TEMPORARY_REDIRECT,
    308: RedirectAction.PERMANENT_REDIRECT,
}


class RouteCache:
    """What was emitted for routes, kept from one configuration to the next for as long as they are the same objects.

    A virtual host that shares other settings than before is emitted anew.
    """

    def __init__(self) -> None:
        self._known: dict[Shared, Answers] = {}
        self._used: dict[Shared, Answers] = {}
        self._bodies: dict[str, tuple[Listener, bytes]] = {}

    def answers(self, shared: Shared) -> Answers:
        """For the routes of a virtual host that says `shared` for all of them."""
        kept = self._used.get(shared) or self._known.get(shared)
        if kept is None:
            kept = Answers(
                lambda route: emit_route(route, shared),
                _refuse_odd_paths(),
                lambda route, lane: emit_lane(route, lane, shared),
            )
        self._used[shared] = kept
        return kept

    def body(self, listener: Listener, emit: Callable[[], bytes]) -> bytes:
        """Of a whole listener: what `emit` gave for the very same one, or gives now."""
        kept = self._bodies.get(listener.name)
        if kept is None or kept[0] is not listener:
            kept = self._bodies[listener.name] = (listener, emit())
        return kept[1]

    def forget(self) -> None:
        """To be called after each configuration: what it did not need goes."""
        for answers in self._used.values():
            answers.forget()
        self._known, self._used = self._used, {}
        self._bodies = {}


def emit_route_configuration(listener: Listener, cache: RouteCache | None = None) -> RouteConfiguration:
    """`cache`: of earlier configurations."""
    kept = cache or RouteCache()
    settings = [find_shared(host.routes) for host in listener.virtual_hosts]
    emitted = emit_around_routes(listener, settings)
    for host, around, shared in zip(listener.virtual_hosts, emitted.virtual_hosts, settings, strict=True):
        around.matcher.CopyFrom(emit_matcher(host.routes, kept.answers(shared)))
    return emitted


def emit_around_routes(listener: Listener, settings: Sequence[Shared]) -> RouteConfiguration:
    """All but the matchers of its virtual hosts. `settings`: of each host in turn, what its routes share."""
    return RouteConfiguration(
        name=listener.name,
        virtual_hosts=[
            _emit_virtual_host(host, listener.https_redirect, shared)
            for host, shared in zip(listener.virtual_hosts, settings, strict=True)
        ],
        # An upstream must not be able to speak in our name.
        response_headers_to_remove=[REASON_HEADER],
        # So that the removal above does not take what a route of ours adds.
        most_specific_header_mutations_wins=True,
        ignore_port_in_host_matching=True,
        max_direct_response_body_size_bytes=UInt32Value(value=MAX_BODY_BYTES),
    )


def _emit_virtual_host(host: VirtualHost, https_redirect: bool, shared: Shared) -> EnvoyVirtualHost:
    return EnvoyVirtualHost(
        name=host.name,
        domains=host.domains,
        typed_per_filter_config=_emit_shared(shared),
        require_tls=EnvoyVirtualHost.ALL if https_redirect else EnvoyVirtualHost.NONE,
    )


def _emit_shared(shared: Shared) -> dict[str, AnyMessage]:
    watch = {} if shared.watch is None else {WATCH: _emit_watch(*shared.watch)}
    # Asked about, unless a route says in so many words that it is open.
    return {EXT_AUTHZ: _emit_asking(None, False), HEADER_MUTATION: _emit_strip(shared.strip, ours=True), **watch}


def emit_route(route: Route, shared: Shared = NOTHING_SHARED) -> EnvoyRoute:
    """`shared` is what its virtual host says already."""
    action = route.action
    reason = action.reason if isinstance(action, Respond) else None
    return EnvoyRoute(
        name=route.name,
        match=_emit_match(route.match),
        **_emit_action(action),
        metadata=_emit_metadata(route, asked=True),
        typed_per_filter_config=_emit_filters(route, shared),
        response_headers_to_add=[_set_header(REASON_HEADER, reason)] if reason else [],
    )


def emit_lane(route: Route, lane: EnvoyLane, shared: Shared = NOTHING_SHARED) -> EnvoyRoute:
    """The route for its plain requests: Envoy checks their keys and signs them, and asks nobody."""
    filters = {EXT_AUTHZ: _OFF, **_emit_own_watch(route, shared)}
    if lane.slot is not None:
        filters[slot_name(lane.slot)] = _ON
    strip, removed = _strip_of_lane(route.strip, lane), [CONSUMER_HEADER]
    if lane.slot is not None and lane.signer is not None and not strip.prefixes:
        # Nothing before the router reads what is stripped here, and the rest of it is taken off upstream (see
        # `clusters`): the router removes names at no cost, and a filter that does nothing else would.
        filters[HEADER_MUTATION] = _OFF
        removed += strip.names
    else:
        filters |= _emit_own_strip(strip, shared)
    return EnvoyRoute(
        name=lane.name,
        # What else the route asks for has been asked by then.
        match=_emit_match(Match(path=route.match.path)),
        **_emit_action(_action_of_lane(route.action, lane)),
        metadata=_emit_metadata(route, asked=False),
        typed_per_filter_config=filters,
        # Who is calling is for the log; a step says so in the header that its author wants, and only there.
        request_headers_to_remove=removed,
    )


def _action_of_lane(action: Action, lane: EnvoyLane) -> Action:
    if not isinstance(action, Forward) or lane.signer is None:
        return action
    signer = lane.signer
    return replace(
        action,
        destinations=tuple(
            replace(each, destination=signed_name(each.destination, signer)) for each in action.destinations
        ),
        path_rewrite=None if lane.replacement is None else PathRewrite(replacement=lane.replacement),
        signed=False,
    )


def _strip_of_lane(strip: Strip, lane: EnvoyLane) -> Strip:
    if lane.signer is None:
        return strip
    # To look for a name twice costs every request and every route.
    return replace(strip, names=tuple(dict.fromkeys((*strip.names, *SIGNATURE_HEADERS))))


def _set_header(name: str, value: str) -> HeaderValueOption:
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value), append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    )


def _emit_match(match: Match) -> RouteMatch:
    path = match.path
    return RouteMatch(
        path=path.value if path.kind is PathKind.EXACT else None,
        prefix=path.value if path.kind is PathKind.PREFIX else None,
        safe_regex=RegexMatcher(regex=path.value) if path.kind is PathKind.REGEX else None,
        case_sensitive=BoolValue(value=False) if path.ignore_case else None,
        headers=[
            *([_method_matcher(match.method)] if match.method else []),
            *(_emit_header_match(header) for header in match.headers),
        ],
        query_parameters=[_emit_query_match(query) for query in match.query],
    )


def _refuse_odd_paths() -> EnvoyRoute:
    """For what finds no route because of its spelling."""
    return EnvoyRoute(
        name="odd-path",
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=400),
        response_headers_to_add=[_set_header(REASON_HEADER, "path_refused")],
        typed_per_filter_config={EXT_AUTHZ: _OFF, HEADER_MUTATION: _OFF, WATCH: _OFF},
    )


def _method_matcher(method: str) -> HeaderMatcher:
    return HeaderMatcher(name=":method", string_match=StringMatcher(exact=method))


def _text_matcher(value: str, regex: bool) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(regex=value)) if regex else StringMatcher(exact=value)


def _emit_header_match(header: HeaderMatch) -> HeaderMatcher:
    return HeaderMatcher(
        name=header.name,
        string_match=None if header.value is None else _text_matcher(header.value, header.regex),
        present_match=True if header.value is None else None,
        invert_match=header.invert,
        # Without it Envoy does not let an absent header satisfy an inverted match.
        treat_missing_header_as_empty=header.invert and header.value is not None,
    )


def _emit_query_match(query: QueryMatch) -> QueryParameterMatcher:
    return QueryParameterMatcher(
        name=query.name,
        string_match=None if query.value is None else _text_matcher(query.value, query.regex),
        present_match=True if query.value is None else None,
    )


def _emit_action(action: Action) -> _ActionField:
    match action:
        case Forward():
            return {"route": _emit_forward(action)}
        case Redirect():
            return {"redirect": _emit_redirect(action)}
        case Respond():
            return {"direct_response": _emit_respond(action)}
        case _:
            assert_never(action)


def _emit_forward(action: Forward) -> RouteAction:
    single = action.destinations[0].destination if len(action.destinations) == 1 else None
    rewrite = action.path_rewrite
    return RouteAction(
        cluster=single,
        weighted_clusters=None
        if single is not None
        else WeightedCluster(
            clusters=[
                WeightedCluster.ClusterWeight(name=target.destination, weight=UInt32Value(value=target.weight))
                for target in action.destinations
            ]
        ),
        host_rewrite_literal=action.host_rewrite,
        auto_host_rewrite=BoolValue(value=True) if action.auto_host_rewrite else None,
        # The auth service has signed a path and tells it; Envoy keeps the query as it came.
        path_rewrite=f"%DYNAMIC_METADATA({EXT_AUTHZ}:{TARGET_HEADER})%" if action.signed else "",
        prefix_rewrite=rewrite.replacement if isinstance(rewrite, PathRewrite) else "",
        regex_rewrite=RegexMatchAndSubstitute(
            pattern=RegexMatcher(regex=rewrite.pattern), substitution=rewrite.substitution
        )
        if isinstance(rewrite, RegexRewrite)
        else None,
        # Gloo has no request timeout unless a policy sets one; Envoy's own default of 15 s would cut long downloads.
        timeout=Duration(seconds=0),
    )


def _emit_redirect(action: Redirect) -> RedirectAction:
    return RedirectAction(
        host_redirect=action.host or "",
        path_redirect=action.path,
        https_redirect=True if action.https else None,
        response_code=_REDIRECT_CODES[action.status],
    )


def _emit_respond(action: Respond) -> DirectResponseAction:
    return DirectResponseAction(
        status=action.status, body=DataSource(inline_string=action.body) if action.body else None
    )


def _emit_metadata(route: Route, *, asked: bool) -> Metadata | None:
    """For the access log, and where the auth service is `asked`, for it."""
    guard = route.guard
    if guard is None:
        return None
    fields = {METADATA_POLICY: guard.policy}
    if asked:
        fields[METADATA_PROGRAM] = guard.program
    if guard.outbound is not None:
        fields[METADATA_OUTBOUND] = guard.outbound
    facts = Struct()
    facts.update(fields)
    return Metadata(filter_metadata={METADATA: facts})


def _emit_filters(route: Route, shared: Shared) -> dict[str, AnyMessage]:
    """What the route says otherwise than its virtual host. A route that says nothing is asked about."""
    guard = route.guard
    filters = {**_emit_own_strip(route.strip, shared), **_emit_own_watch(route, shared)}
    if guard is None:
        filters[EXT_AUTHZ] = _OFF
    elif guard.body_limit is not None:
        filters[EXT_AUTHZ] = _emit_asking(guard.body_limit, guard.body_may_be_cut)
    if guard is not None and guard.tells_query:
        filters[TOLD_QUERY] = _ON
    return filters


def _emit_own_strip(strip: Strip, shared: Shared) -> dict[str, AnyMessage]:
    """Envoy does what the virtual host says, and this too."""
    own = Strip(
        names=tuple(name for name in strip.names if name not in shared.strip.names),
        prefixes=tuple(prefix for prefix in strip.prefixes if prefix not in shared.strip.prefixes),
    )
    return {} if own == Strip() else {HEADER_MUTATION: _emit_strip(own, ours=False)}


def _emit_own_watch(route: Route, shared: Shared) -> dict[str, AnyMessage]:
    watch = watch_of(route)
    if watch == shared.watch:
        return {}
    return {WATCH: _OFF if watch is None else _emit_watch(*watch)}


# Of thousands of routes hardly any two differ in these.
@lru_cache(1024)
def _emit_watch(policy: str, kind: str) -> AnyMessage:
    return emit_any(emit_watch_of(policy, kind))


@lru_cache(1024)
def _emit_asking(body_limit: int | None, body_may_be_cut: bool) -> AnyMessage:
    """`body_limit` None: the body is not sent along."""
    if body_limit is None:
        settings = CheckSettings(disable_request_body_buffering=True)
    else:
        buffer = BufferSettings(max_request_bytes=body_limit, allow_partial_message=body_may_be_cut)
        settings = CheckSettings(with_request_body=buffer)
    return emit_any(ExtAuthzPerRoute(check_settings=settings))


@lru_cache(1024)
def _emit_strip(strip: Strip, *, ours: bool) -> AnyMessage:
    """`ours`: and all that only we may say."""
    names = [HeaderRule(remove=name) for name in strip.names]
    prefixes = [
        HeaderRule(remove_on_match=HeaderRule.RemoveOnMatch(key_matcher=StringMatcher(prefix=prefix, ignore_case=True)))
        for prefix in (*((OUR_HEADERS_PREFIX,) if ours else ()), *strip.prefixes)
    ]
    return emit_any(HeaderMutationPerRoute(mutations=Mutations(request_mutations=[*names, *prefixes])))
