"""Our client as the benchmarks run it: ``python -m benchmarks.loadgen.ours PORT RATE SECONDS FOLDER [STOP_AFTER]``.

STOP_AFTER: seconds after which the load is cancelled, as by Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from rooftune.loadgen.client import run_load
from rooftune.loadgen.summary import LoadOptions
from rooftune.runfolder import TrialFolder
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Workload


def workload(rate: float, seconds: float, drain_s: float = 15.0) -> Workload:
    """Constant arrivals, 8 tokens in, 128 out."""
    value = {
        "name": "benchmark",
        "arrivals": {"process": "constant", "rate_per_s": rate},
        "prompt_tokens": {"distribution": "fixed", "value": 8},
        "output_tokens": {"distribution": "fixed", "value": 128},
        "duration_s": seconds,
        "drain_s": drain_s,
    }
    return Workload.model_validate(value)


def main() -> None:
    """Run the load."""
    load = workload(float(sys.argv[2]), float(sys.argv[3]))
    options = LoadOptions(url=f"http://127.0.0.1:{sys.argv[1]}", model="stub", processes=1)
    running = run_load(load, draw(load), options, TrialFolder(Path(sys.argv[4])))
    with contextlib.suppress(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(running, float(sys.argv[5]) if len(sys.argv) > 5 else None))


if __name__ == "__main__":
    main()
