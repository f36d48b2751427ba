"""What machine the figures are of."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from apostille.proxy.binary import find_envoy
from bench.load import find_wrk


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    processor: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    envoy: str
    load: str


def describe() -> Machine:
    cpu = Path("/proc/cpuinfo").read_text()
    named = [line.partition(":")[2].strip() for line in cpu.splitlines() if line.startswith("model name")]
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return Machine(
        processor=named[0] if named else platform.machine(),
        cores=os.cpu_count() or 1,
        memory_gib=round(int(memory.split()[1]) / 1024**2, 1),
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        envoy=find_envoy().version,
        load="wrk" if find_wrk() else "bench.generator, as wrk is not installed",
    )
