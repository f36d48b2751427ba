from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from apostille.control.app import compile_judging
from apostille.control.candidate import Judging
from tests.golden.cases import PORTS


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates that a real Envoy can load; made anew for each run, so that none is in the repository."""
    folder = tmp_path_factory.mktemp("files")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "roots.pem"))
    client = ca.issue_cert("client.example.com")
    client.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    client.private_key_pem.write_to_path(str(folder / "client.key"))
    return folder


@pytest.fixture(scope="session")
def judging(files: Path) -> Judging:
    """Everything that is built in, on a machine that is the same everywhere."""
    found = compile_judging(address="127.0.0.1", ports=PORTS, envoy=None)
    return replace(found, site=replace(found.site, ca_file=str(files / "roots.pem")))
