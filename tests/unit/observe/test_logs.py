from __future__ import annotations

import json
import subprocess
import sys

CANARY = "canary-5c1f0b7d"
PROGRAM = """\
import sys
import structlog
from apostille.base.secrets import SecretText
from apostille.observe.logs import start_logs

def fail(manifest):
    environment = {"AWS_SECRET_ACCESS_KEY": manifest}
    raise LookupError("what went wrong")

start_logs(debug=True)
log = structlog.get_logger()
canary = sys.stdin.read()
log.info("held", key=SecretText(canary))
try:
    fail(canary)
except LookupError:
    log.exception("failed")
"""


def test_a_traceback_in_the_log_names_the_error_and_the_place_and_no_local_variable() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM], input=CANARY, capture_output=True, text=True, check=True
    )
    held, failed = (json.loads(line) for line in done.stderr.splitlines())
    assert held["key"] == "[redacted]"
    assert failed["event"] == "failed"
    (told,) = failed["exception"]
    assert (told["exc_type"], told["exc_value"]) == ("LookupError", "what went wrong")
    assert [frame["name"] for frame in told["frames"]] == ["<module>", "fail"]
    assert CANARY not in done.stdout + done.stderr
