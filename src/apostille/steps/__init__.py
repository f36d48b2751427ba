"""The built-in steps of an auth chain, one module each. A new one is one more line here."""

from __future__ import annotations

from typing import Any

from apostille.sdk import StepKind
from apostille.steps import api_key, pass_through

# Any: each kind has its own spec and config type, and no one type covers them all.
STEPS: tuple[StepKind[Any, Any], ...] = (api_key.KIND, pass_through.KIND)
