"""Questions about a request's headers, for matchers (xds.type.matcher.v3.Matcher).

Such a question is about all lines of a header, joined with commas; a RouteMatch would look at each line by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig as FilterExtension
from envoy.extensions.common.matching.v3.extension_matcher_pb2 import ExtensionWithMatcher
from envoy.extensions.filters.common.matcher.action.v3.skip_action_pb2 import SkipFilter
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput, HttpResponseHeaderMatchInput
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher
from xds.type.matcher.v3.regex_pb2 import RegexMatcher
from xds.type.matcher.v3.string_pb2 import StringMatcher

from apostille.model.lane import Plain
from apostille.routing.spellings import ODD_PATH
from apostille.xds.packing import emit_any

Predicate = Matcher.MatcherList.Predicate


def header_matches(name: str, pattern: str) -> Predicate:
    """RE2, for the whole value; false when the header is not there."""
    value = StringMatcher(safe_regex=RegexMatcher(google_re2=RegexMatcher.GoogleRE2(), regex=pattern))
    return Predicate(single_predicate=Predicate.SinglePredicate(input=_header(name), value_match=value))


def header_is(name: str, text: str) -> Predicate:
    return Predicate(
        single_predicate=Predicate.SinglePredicate(input=_header(name), value_match=StringMatcher(exact=text))
    )


def header_has(name: str, text: str) -> Predicate:
    """Somewhere in its value. Of all questions about a long value the cheapest."""
    return Predicate(
        single_predicate=Predicate.SinglePredicate(input=_header(name), value_match=StringMatcher(contains=text))
    )


def status_is(status: int) -> Predicate:
    """Of the answer; undecided before it comes."""
    code = TypedExtensionConfig(
        name="status", typed_config=emit_any(HttpResponseHeaderMatchInput(header_name=":status"))
    )
    return Predicate(
        single_predicate=Predicate.SinglePredicate(input=code, value_match=StringMatcher(exact=str(status)))
    )


def path_begins(text: str) -> Predicate:
    return Predicate(single_predicate=Predicate.SinglePredicate(input=_path(), value_match=StringMatcher(prefix=text)))


def path_is(text: str) -> Predicate:
    """With any query."""
    whole = Predicate.SinglePredicate(input=_path(), value_match=StringMatcher(exact=text))
    return any_of(Predicate(single_predicate=whole), path_begins(f"{text}?"))


def _path() -> TypedExtensionConfig:
    return TypedExtensionConfig(name="path", typed_config=emit_any(HttpRequestHeaderMatchInput(header_name=":path")))


def _header(name: str) -> TypedExtensionConfig:
    return TypedExtensionConfig(name=name, typed_config=emit_any(HttpRequestHeaderMatchInput(header_name=name)))


def all_of(predicates: Sequence[Predicate]) -> Predicate:
    """Envoy wants at least two in a list."""
    return (
        predicates[0] if len(predicates) == 1 else Predicate(and_matcher=Predicate.PredicateList(predicate=predicates))
    )


def is_plain(plain: Plain) -> Predicate:
    """But for the route's own path, which the matcher tree asks for."""
    methods = [] if plain.methods is None else [header_matches(":method", "|".join(map(re.escape, plain.methods)))]
    path = negated(header_matches(":path", ODD_PATH)) if plain.path is None else header_matches(":path", plain.path)
    return all_of(
        [
            *methods,
            path,
            *(negated(_is_there(name)) for name in plain.absent),
            *(negated(header_matches(each.name, each.pattern)) for each in plain.never),
            *(any_of(header_matches(each.name, each.pattern), negated(_is_there(each.name))) for each in plain.only),
        ]
    )


def emit_unless(predicate: Predicate, extension: FilterExtension) -> ExtensionWithMatcher:
    """A filter that is passed over where the predicate is true. It is made for every request, but not asked."""
    skip = TypedExtensionConfig(name="skip", typed_config=emit_any(SkipFilter()))
    first = Matcher.MatcherList.FieldMatcher(predicate=predicate, on_match=Matcher.OnMatch(action=skip))
    return ExtensionWithMatcher(
        xds_matcher=Matcher(matcher_list=Matcher.MatcherList(matchers=[first])), extension_config=extension
    )


def _is_there(name: str) -> Predicate:
    # Bytes, since a dot stands for no byte that is not UTF-8.
    return header_matches(name, r"\C*")


def negated(predicate: Predicate) -> Predicate:
    return Predicate(not_matcher=predicate)


def any_of(*predicates: Predicate) -> Predicate:
    return (
        predicates[0] if len(predicates) == 1 else Predicate(or_matcher=Predicate.PredicateList(predicate=predicates))
    )
