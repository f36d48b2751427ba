"""The same input gives the same versions: in this process, in another one, whatever the hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given

from tests.properties.strategies import Document, broken_sets, sound_documents
from tests.properties.world import emit, translate_documents

EXAMPLE = Path(__file__).parent.parent / "unit" / "resources" / "data" / "seed"
PRINT_VERSIONS = """
import sys
from pathlib import Path
from tests.properties.world import emit, translate_files

gateway = translate_files({p.name: p.read_text() for p in Path(sys.argv[1]).glob("*.yaml")}).gateway
print(emit(gateway).version, [program.id for program in gateway.programs], gateway.keyrings)
"""


@given(sound=sound_documents(), broken=broken_sets())
def test_the_same_documents_give_the_same_versions(sound: list[Document], broken: list[Document]) -> None:
    one, two = (translate_documents([*sound, *broken]) for _ in range(2))
    assert one.gateway == two.gateway
    assert emit(one.gateway).version == emit(two.gateway).version
    assert one.findings == two.findings


def test_the_worked_example_has_the_same_versions_in_every_process() -> None:
    root = Path(__file__).parent.parent.parent
    answers = {
        subprocess.run(
            [sys.executable, "-c", PRINT_VERSIONS, str(EXAMPLE)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(answers) == 1
    assert "gateway/api-key-then-sigv4@" in answers.pop()
