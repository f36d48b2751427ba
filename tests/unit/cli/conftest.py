from __future__ import annotations

from tests.unit.keys.conftest import clock, server, shared_server, store

__all__ = ["clock", "server", "shared_server", "store"]
