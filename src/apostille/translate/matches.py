"""Matchers of a route, compiled; and what is left of one that is broken."""

from __future__ import annotations

from dataclasses import dataclass, replace

from apostille.model.route import HeaderMatch, Match, PathKind, PathMatch, QueryMatch
from apostille.resources.broken import BrokenItem
from apostille.resources.routes import HTTPRequestMatcher, StringMatch
from apostille.status.problem import FieldPath, Problem
from apostille.status.reasons import Reason
from apostille.translate.paths import literal_prefix, regex_problem

EVERYTHING = PathMatch(kind=PathKind.PREFIX, value="/")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledMatch:
    """`match` of None: nobody can tell which requests were meant. `sound` False: `match` takes at least the requests
    that were meant, to be refused. `port`: the listener port it is for, None for every one."""

    match: Match | None
    sound: bool
    port: int | None = None


def compile_match(
    matcher: HTTPRequestMatcher | BrokenItem[HTTPRequestMatcher], at: FieldPath
) -> tuple[CompiledMatch, tuple[Problem, ...]]:
    """Problems of a `BrokenItem` were told when it was read."""
    if isinstance(matcher, BrokenItem):
        kept = matcher.kept
        if kept is None or "uri" in matcher.lost:
            return CompiledMatch(match=None, sound=False), ()
        compiled, _ = _compile(kept, at)
        return replace(compiled, sound=False), ()
    return _compile(matcher, at)


def _compile(matcher: HTTPRequestMatcher, at: FieldPath) -> tuple[CompiledMatch, tuple[Problem, ...]]:
    problems: list[Problem] = []
    path = _compile_path(matcher.uri, (*at, "uri"), problems) if matcher.uri is not None else EVERYTHING
    headers: list[HeaderMatch] = []
    for index, header in enumerate(matcher.headers):
        if not header.regex or _regex_is_sound(header.value, (*at, "headers", index, "value"), problems):
            headers.append(
                HeaderMatch(
                    name=header.name.lower(), value=header.value, regex=header.regex, invert=header.invert_match
                )
            )
    query: list[QueryMatch] = []
    for index, parameter in enumerate(matcher.query_parameters):
        if not parameter.regex or _regex_is_sound(parameter.value, (*at, "queryParameters", index, "value"), problems):
            query.append(QueryMatch(name=parameter.name, value=parameter.value, regex=parameter.regex))
    match = None
    if path is not None:
        match = Match(path=path, headers=tuple(headers), query=tuple(query), method=matcher.method)
    return CompiledMatch(match=match, sound=not problems, port=matcher.port or None), tuple(problems)


def _compile_path(uri: StringMatch, at: FieldPath, problems: list[Problem]) -> PathMatch | None:
    if uri.exact is not None:
        return PathMatch(kind=PathKind.EXACT, value=uri.exact, ignore_case=uri.ignore_case)
    if uri.prefix is not None:
        # An empty prefix means everything, and Envoy takes it for no path match at all.
        return PathMatch(kind=PathKind.PREFIX, value=uri.prefix or "/", ignore_case=uri.ignore_case)
    if uri.regex is None:
        text = "`suffix` is not supported; write a `regex` such as .*\\.json"
        problems.append(Problem(at=(*at, "suffix"), reason=Reason.NOT_BUILT, message=text))
        return None
    if _regex_is_sound(uri.regex, (*at, "regex"), problems):
        return PathMatch(kind=PathKind.REGEX, value=uri.regex)
    # Requests of the broken expression must not fall through to a route without its guard.
    prefix = literal_prefix(uri.regex)
    return PathMatch(kind=PathKind.PREFIX, value=prefix) if len(prefix) > 1 else None


def _regex_is_sound(pattern: str | None, at: FieldPath, problems: list[Problem]) -> bool:
    trouble = regex_problem(pattern) if pattern is not None else None
    if trouble is None:
        return True
    problems.append(Problem(at=at, reason=Reason.INVALID_VALUE, message=f"{trouble}."))
    return False
