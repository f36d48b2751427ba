"""Where this system keeps the certificates of the authorities it trusts."""

from __future__ import annotations

import ssl
from pathlib import Path

# Debian and its kin, Fedora and its kin, Alpine and others.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def find_system_ca() -> str | None:
    """The CA bundle file, or None when this machine has none."""
    for path in (ssl.get_default_verify_paths().cafile, *_BUNDLES):
        if path is not None and Path(path).is_file():
            return path
    return None
