"""Memory of the client over an hour at 200 requests/s: measured with ``--seconds 3600``, else extrapolated.

    python -m benchmarks.loadgen.memory [--seconds 80] [--rate 200]

The plan is that of a whole hour (720,000 requests), and the load is cancelled after ``--seconds``. The resident size
of all client processes is sampled twice per second. The first fifteen seconds fill the pipeline and are excluded
from the slope. The parts are then multiplied to an hour's and joined as at the end of a load, and the largest size
of that process is recorded. The exit code is 0 if both stay below 500 MiB.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq

from benchmarks.loadgen.clients import ROOT

LIMIT_MIB, HOUR_S, SETTLED_S = 500.0, 3600.0, 15.0


def main() -> int:
    """Load, sample, extrapolate."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=float, default=80.0)
    p.add_argument("--rate", type=float, default=200.0)
    asked = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="rooftune-bench-") as scratch:
        samples = measure(asked.rate, asked.seconds, Path(scratch))
        rows, joined = join_of_an_hour(Path(scratch), asked.seconds)
    at, mib = np.array([s[0] for s in samples]), np.array([s[1] for s in samples])
    settled = (at > SETTLED_S) & (at < asked.seconds)
    (slope, level), spread = np.polyfit(at[settled], mib[settled], 1, cov=True)
    error = float(np.sqrt(spread[0, 0]))
    hour = level + max(0.0, slope) * HOUR_S if abs(slope) > 3 * error else float(mib[settled].max())
    columns = [
        "requests/s",
        "seconds",
        "resident, MiB: mean, largest",
        "slope, KiB/s",
        "after an hour, extrapolated, MiB",
    ]
    print(f"| {' | '.join(columns)} | joining the records of an hour, largest, MiB |\n|---|---|---|---|---|---|")
    sizes = f"{mib[settled].mean():.0f}, {mib[settled].max():.0f} | {slope * 1024:+.1f} ± {error * 1024:.1f}"
    print(f"| {asked.rate:g} | {asked.seconds:g} | {sizes} | {hour:.0f} | {joined:.0f} ({rows:,} rows) |")
    return 0 if max(hour, joined) < LIMIT_MIB else 1


def join_of_an_hour(scratch: Path, seconds: float) -> tuple[int, float]:
    """Multiply the parts to an hour's and join them; return the rows and the largest resident size in MiB."""
    parts = sorted((scratch / "parts").glob("requests-*.parquet"))
    for copy in range(1, round(HOUR_S / seconds)):
        for part in parts:
            head, _, number = part.stem.rpartition("-")
            os.link(part, part.with_name(f"{head}-{int(number) + copy * 10_000:07}.parquet"))
    process = subprocess.Popen([sys.executable, "-m", "rooftune.loadgen.recover", str(scratch)], cwd=ROOT)
    _, status, spent = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("the parts could not be joined")
    return pq.ParquetFile(scratch / "requests.parquet").metadata.num_rows, spent.ru_maxrss / 1024


def measure(rate: float, seconds: float, scratch: Path) -> list[tuple[float, float]]:
    """Sample twice per second: seconds since the start, MiB of all client processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stub = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.loadgen.stub", str(port), str(scratch / "stub.json"), "lazy"], cwd=ROOT
    )
    time.sleep(1.0)
    client = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchmarks.loadgen.ours",
            str(port),
            str(rate),
            str(HOUR_S),
            str(scratch),
            str(seconds),
        ],
        cwd=ROOT,
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
    return found


if __name__ == "__main__":
    sys.exit(main())
