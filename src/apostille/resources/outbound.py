"""OutboundAuthPolicy: what a foreign service wants to see on a request. Its kinds are plug-ins."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from apostille.resources.broken import BrokenItem, Tolerates
from apostille.resources.plugin import PluginEntry
from apostille.resources.resource import Spec
from apostille.resources.selectors import GuardSpec


class OutboundConfig(PluginEntry):
    """Exactly one integration under the name of its kind."""

    called = "integration"
    example = "`awsSigV4`"


class OutboundAuthPolicy(GuardSpec):
    """Selected destinations may be of every kind. A policy that selects nothing is wrong: nobody signs for everything.

    With a broken `config` everything the policy covers is shut: no credential, no request.
    """

    config: Annotated[
        OutboundConfig | BrokenItem[Spec],
        Tolerates(OutboundConfig),
        # None is no valid config, and validated so that a missing one becomes a BrokenItem like any other.
        Field(default=None, validate_default=True),
    ]
