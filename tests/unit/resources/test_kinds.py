from __future__ import annotations

import pytest

from apostille.resources.ext_auth import ExtAuthPolicy, UnbuiltPolicy
from apostille.resources.kinds import KINDS, Support, identify, spec_of
from apostille.resources.routes import RouteTable


def test_every_built_kind_is_found_by_its_exact_name() -> None:
    for kind in KINDS:
        assert identify(kind.api_version, kind.name).kind is kind


def test_the_guards_among_the_unbuilt_kinds_are_these() -> None:
    assert {kind.name for kind in KINDS if kind.support is Support.UNBUILT_GUARD} == {
        "JWTPolicy",
        "WAFPolicy",
        "CSRFPolicy",
        "AccessPolicy",
        "DLPPolicy",
        "GraphQLAllowedQueryPolicy",
    }


def message(api_version: object, name: object) -> str:
    problem = identify(api_version, name).problem
    assert problem is not None
    return problem.message


def test_a_misspelt_kind_is_met_with_a_suggestion() -> None:
    assert "did you mean RouteTable of networking.gloo.solo.io/v2" in message(
        "networking.gloo.solo.io/v2", "RouteTabel"
    )
    assert identify("networking.gloo.solo.io/v2", "RouteTabel").kind is None


def test_another_version_is_met_with_the_right_one() -> None:
    assert "write networking.gloo.solo.io/v2" in message("networking.gloo.solo.io/v1", "RouteTable")
    assert identify("networking.gloo.solo.io/v1", "RouteTable").kind is None


def test_another_group_is_met_with_the_right_one() -> None:
    assert "write admin.gloo.solo.io/v2" in message("networking.gloo.solo.io/v2", "ExtAuthServer")


def test_a_kind_of_an_older_product_is_named_as_such() -> None:
    assert "older product" in message("networking.mesh.gloo.solo.io/v1", "VirtualMesh")


@pytest.mark.parametrize(
    ("api_version", "name"),
    [
        ("security.policy.gloo.solo.io/v1", "ExtAuthPolicy"),
        ("security.gloo.solo.io/v2", "ExtAuthPolicy"),
        ("security.polcy.gloo.solo.io/v2", "ExtAuthPolicy"),
        ("networking.gloo.solo.io/v2", "ExtAuthPolicy"),
        (None, "ExtAuthPolicy"),
        (None, "JWTPolicy"),
        ("security.policy.gloo.solo.io/v2", "ExtAuthPolcy"),
        ("security.policy.gloo.solo.io/v2", "BrandNewPolicy"),
        ("apostille.dev/v1", "OutbondAuthPolicy"),
    ],
)
def test_what_may_be_a_guard_is_taken_for_one(api_version: object, name: str) -> None:
    identity = identify(api_version, name)
    assert identity.problem is not None
    assert identity.kind is not None
    assert identity.kind.guards
    assert "ignored" not in identity.problem.message


@pytest.mark.parametrize("group", ["security.istio.io/v1", "example.com/v1"])
def test_a_foreign_kind_is_left_alone(group: str) -> None:
    identity = identify(group, "AuthorizationPolicy")
    assert identity.kind is None
    assert "did you mean" not in message(group, "AuthorizationPolicy")


@pytest.mark.parametrize("name", [None, 5, "", ()])
def test_a_document_without_a_kind_is_nothing(name: object) -> None:
    assert identify("v1", name).kind is None
    assert "`kind` is missing" in message("v1", name)


def test_the_spec_class_of_a_kind_is_known_by_its_name() -> None:
    assert spec_of("RouteTable") is RouteTable
    assert spec_of("ExtAuthPolicy") is ExtAuthPolicy
    assert spec_of("JWTPolicy") is UnbuiltPolicy
    assert spec_of("CORSPolicy") is None
