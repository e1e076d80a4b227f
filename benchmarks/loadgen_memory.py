"""Memory of the client over a load of 200 requests/s: resident size of all its processes, its slope, and what an hour would come to.

    python -m benchmarks.loadgen_memory [--seconds 80] [--rate 200]

The first fifteen seconds fill the pipeline (about rate times 2.6 s requests in flight) and do not count for the slope. The hour is
extrapolated from the slope, not measured. Exit code 0 when it stays under 500 MiB.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.loadgen_clients import ROOT

LIMIT_MIB, HOUR_S, SETTLED_S = 500.0, 3600.0, 15.0


def main() -> int:
    """Load, sample, extrapolate."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=float, default=80.0)
    p.add_argument("--rate", type=float, default=200.0)
    asked = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="rooftune-bench-") as scratch:
        samples, load = measure(asked.rate, asked.seconds, Path(scratch))
    at, mib = np.array([s[0] for s in samples]), np.array([s[1] for s in samples])
    settled = (at > SETTLED_S) & (at < asked.seconds)
    slope, level = np.polyfit(at[settled], mib[settled], 1)
    hour = level + slope * HOUR_S
    print("| requests/s | seconds | requests | in flight | resident at the end, MiB | slope, KiB/s | after an hour, extrapolated, MiB |\n|---|---|---|---|---|---|---|")  # fmt: skip
    print(f"| {asked.rate:g} | {asked.seconds:g} | {load['scheduled']:,} | about {load['connections_peak']} | {mib[settled][-1]:.0f} | {slope * 1024:+.1f} | {hour:.0f} |")  # fmt: skip
    return 0 if hour < LIMIT_MIB else 1


def measure(rate: float, seconds: float, scratch: Path) -> tuple[list[tuple[float, float]], dict[str, float]]:
    """(seconds since the start, MiB of all client processes) twice a second, and load.json."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stub = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.loadgen_stub", str(port), str(scratch / "stub.json"), "lazy"], cwd=ROOT
    )
    time.sleep(1.0)
    client = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.loadgen_ours", str(port), str(rate), str(seconds), str(scratch)], cwd=ROOT
    )
    found = []
    began = time.monotonic()
    me = psutil.Process(client.pid)
    while client.poll() is None:
        try:
            family = [me, *me.children(recursive=True)]
            found.append((time.monotonic() - began, sum(q.memory_info().rss for q in family) / 2**20))
        except psutil.Error:
            pass
        time.sleep(0.5)
    stub.send_signal(signal.SIGTERM)
    stub.wait()
    return found, json.loads((scratch / "load.json").read_text())


if __name__ == "__main__":
    sys.exit(main())
