"""The built-in integrations, one kind each: what a foreign service demands. A new one is one more line here."""

from __future__ import annotations

from typing import Any

from apostille.integrations import aws_sigv4
from apostille.sdk import IntegrationKind

# Any: each kind has types of its own, and checks what it is given.
INTEGRATIONS: tuple[IntegrationKind[Any, Any], ...] = (aws_sigv4.KIND,)
