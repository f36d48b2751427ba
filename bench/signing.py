"""``python -m bench.signing``: how long one signature takes, with the derived key at hand."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

from apostille.base.secrets import SecretText
from apostille.signing.sigv4 import Credentials, Request, SigningKeys, sign
from bench.design import ACCESS_KEY, BUCKET_HOST, OBJECT_PATH, REGION, SECRET_KEY
from bench.figures import spread

_BATCH = 500


def measure(*, quick: bool) -> dict[str, Any]:
    """Microseconds for a SigV4 GET: each value is the mean of a batch, so that the clock's own cost does not count."""
    credentials = Credentials(access_key=ACCESS_KEY, secret_key=SecretText(SECRET_KEY))
    request = Request(method="GET", host=BUCKET_HOST, path=OBJECT_PATH)
    keys = SigningKeys()
    now = datetime.now(UTC)
    batches = 20 if quick else 100
    values: list[float] = []
    for _ in range(batches + 1):
        began = time.thread_time_ns()
        for _ in range(_BATCH):
            sign(request, credentials, region=REGION, service="s3", now=now, keys=keys)
        values.append((time.thread_time_ns() - began) / _BATCH / 1000)
    # The first batch derives the key and warms the interpreter up.
    found = spread(values[1:])
    return {"us": found.median, "low": found.low, "high": found.high, "batches": found.count, "batch": _BATCH}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(quick=False), indent=1) + "\n")
