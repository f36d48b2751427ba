"""A certificate authority for one run, and server certificates by it. Its own key never leaves memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A server certificate in two PEM files: the chain, and the private key (readable by the owner alone)."""

    chain: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """`roots` is the PEM file that a client has to trust."""

    roots: Path
    folder: Path
    ca: trustme.CA

    def issue(self, *names: str) -> Certificate:
        """A certificate for host names or IP addresses; the files are named after the first."""
        leaf = self.ca.issue_cert(*names)
        stem = names[0].replace("*", "any")
        certificate = Certificate(chain=self.folder / f"{stem}.pem", key=self.folder / f"{stem}.key")
        certificate.chain.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        _write_private(certificate.key, leaf.private_key_pem.bytes())
        return certificate


def make_authority(folder: Path) -> Authority:
    """Make a new authority; its files go to `folder`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca = trustme.CA(organization_name="Apostille demonstration")
    roots = folder / "roots.pem"
    roots.write_bytes(ca.cert_pem.bytes())
    return Authority(roots=roots, folder=folder, ca=ca)


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
