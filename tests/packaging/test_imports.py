"""Importing a module does nothing, and asking for help imports little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
HEAVY = (
    "aiohttp",
    "botocore",
    "envoy",
    "google",
    "granian",
    "grpc",
    "pydantic",
    "rich",
    "starlette",
    "uvicorn",
    "yaml",
)

# Runs in a fresh interpreter. A deed is ours when the innermost module body on the stack is a file of ours; reading
# the environment is ours when the innermost frame outside the standard library is (pydantic reads it for itself).
WITNESS = r"""
import importlib, json, logging, os, signal, sys, sysconfig, threading
from pathlib import Path

source, modules = Path(sys.argv[1]), sys.argv[2:]
ours = str(source / "apostille") + os.sep
library = sysconfig.get_path("stdlib") + os.sep
seen, watching = [], False
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
DEEDS = ("socket.", "subprocess.", "os.fork", "os.posix_spawn", "os.exec", "os.mkdir", "os.remove", "os.rename",
         "os.rmdir", "os.chmod", "os.putenv", "os.unsetenv", "os.kill", "shutil.", "tempfile.", "signal.")

def frames():
    frame = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back

def in_our_module_body():
    body = next((f for f in frames() if f.f_code.co_name == "<module>"), None)
    return body is not None and body.f_code.co_filename.startswith(ours) and body.f_code.co_filename

def audit(event, args):
    if not watching:
        return
    wrote = event == "open" and isinstance(args[2], int) and args[2] & WRITES
    if (wrote or event.startswith(DEEDS)) and (file := in_our_module_body()):
        seen.append(f"{file}: {event} {args[:1]!r}")

class Watched(type(os.environ)):
    def __getitem__(self, key):
        user = next((f.f_code.co_filename for f in frames()
                     if "site-packages" in f.f_code.co_filename
                     or not f.f_code.co_filename.startswith((library, "<", __file__))), "")
        if watching and user.startswith(ours):
            seen.append(f"{user}: reads the environment, {key!r}")
        return super().__getitem__(key)
    __contains__ = lambda self, key: (self.get(key) is not None)

start_thread = threading.Thread.start

def watched_start(thread):
    if watching and (file := in_our_module_body()):
        seen.append(f"{file}: starts a thread")
    start_thread(thread)

__file__ = "<witness>"
threading.Thread.start = watched_start
os.environ.__class__ = Watched
sys.addaudithook(audit)
handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
watching = True
for module in modules:
    importlib.import_module(module)
watching = False
if {number: signal.getsignal(number) for number in handlers} != handlers:
    seen.append("a signal handler was set")
if logging.root.handlers or any(
    getattr(logger, "handlers", None) for name, logger in logging.root.manager.loggerDict.items()
    if name.startswith("apostille")
):
    seen.append("a logging handler was set")
print(json.dumps(seen))
"""


def modules_of(source: Path) -> list[str]:
    names = []
    for path in sorted((source / "apostille").rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def deeds_of_importing(source: Path) -> list[str]:
    command = [sys.executable, "-B", "-c", WITNESS, str(source), *modules_of(source)]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=50, check=False, env={"PYTHONPATH": str(source)}
    )
    assert run.returncode == 0, run.stderr
    deeds: list[str] = json.loads(run.stdout)
    return deeds


def test_importing_any_module_does_nothing() -> None:
    assert len(modules_of(SOURCE)) > 10
    assert deeds_of_importing(SOURCE) == []


@pytest.mark.parametrize(
    "deed",
    [
        "import socket; socket.socket()",
        "import os; os.environ.get('HOME')",
        "import os; 'HOME' in os.environ",
        "import os; os.getenv('HOME')",
        "open(__file__ + '.txt', 'w')",
        "from pathlib import Path; Path(__file__).with_suffix('.txt').write_text('')",
        "from pathlib import Path; Path(__file__).with_suffix('.folder').mkdir()",
        "import subprocess, sys; subprocess.run([sys.executable, '-c', ''])",
        "import threading; threading.Thread(target=lambda: None).start()",
        "import logging; logging.basicConfig()",
        "import logging; logging.getLogger('apostille.x').addHandler(logging.NullHandler())",
        "import signal; signal.signal(signal.SIGTERM, lambda *_: None)",
    ],
)
def test_the_witness_of_imports_sees(deed: str, tmp_path: Path) -> None:
    package = tmp_path / "apostille"
    package.mkdir()
    (package / "__init__.py").write_text(deed + "\n")
    assert len(deeds_of_importing(tmp_path)) == 1


def test_asking_for_help_imports_nothing_heavy() -> None:
    program = (
        "import sys, json; from apostille.cli.main import main; code = main(['--help']); "
        f"print(json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert run.stdout.startswith("Usage: apostille")
    assert json.loads(run.stderr) == [0, []]


def test_the_package_runs_as_a_program() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "apostille", "--help"], capture_output=True, text=True, timeout=50, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("Usage: apostille")
