"""Structured logs on standard error: JSON for machines, readable lines on a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from apostille.base.secrets import SecretText


def start_logs(*, debug: bool = False) -> None:
    """Called once, by the command that owns the process."""
    level = logging.DEBUG if debug else logging.INFO
    terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(default=str)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if terminal else _tracebacks,
            _redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


# Without local variables, which structlog shows unless told otherwise: they hold manifests, keys and environments.
_tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


# The event dictionary of structlog is untyped by its own contract.
def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Runs last before rendering: what is a secret by type shows as such wherever it was put."""
    for name, value in event.items():
        if isinstance(value, SecretText):
            event[name] = str(value)
    return event
