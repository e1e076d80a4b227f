"""How much a trial of the same configuration varies: A/A trials of an engine, each with its own server.

Prints one CSV row per trial. Odd and even trials draw different requests, so that both the noise between trials and
the effect of the requests drawn can be estimated. ``load_before`` shows whether others used the machine.

    python -m benchmarks.validity.noise --engine vllm --trials 8 > tests/evidence/data/vllm_cpu_aa_trials.csv
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.fidelity.agreement import case
from rooftune.engines.interpreter import vllm_python
from rooftune.engines.launch import running
from rooftune.engines.tiny_model import SMALL, make_tiny_model
from rooftune.evidence.aggregate import aggregate
from rooftune.loadgen.client import run_load
from rooftune.loadgen.summary import LoadOptions
from rooftune.runfolder import TrialFolder
from rooftune.trial_order import TrialOrder
from rooftune.workloads.draw import draw
from rooftune.workloads.load import load_workload
from rooftune.workloads.spec import Workload

METRICS = (
    "output_throughput",
    "median_tpot_ms",
    "mean_tpot_ms",
    "p90_tpot_ms",
    "median_itl_ms",
    "median_ttft_ms",
    "mean_ttft_ms",
    "p90_ttft_ms",
    "median_e2el_ms",
)
COLUMNS = ("trial", "seed", *METRICS, "completed", "scheduled", "ready_after_s", "load_before", "believed")


async def trial(number: int, spec: Workload, asked: argparse.Namespace, scratch: Path) -> dict[str, object]:
    """One trial: a fresh server, the load, its figures."""
    python = vllm_python(asked.vllm_python)
    target, config = case(asked.engine, make_tiny_model(scratch / "model", python, SMALL), python)
    folder, load_before = TrialFolder(scratch / f"{number}"), os.getloadavg()[0]
    async with running(target, config, folder) as server:
        options = LoadOptions(
            url=server.url, model=server.model, vocab_size=server.vocab_size, time_scale=server.time_scale
        )
        await run_load(spec, draw(spec), options, folder)
    order = TrialOrder(candidate="baseline", n=number, position=number, config=config, seed=spec.seed, phase="baseline")
    found = aggregate(folder, order, spec, target)
    census = found.census
    return {
        "trial": number,
        "seed": spec.seed,
        **{m: round(found.metrics[m], 4) if m in found.metrics else "" for m in METRICS},
        "completed": census.completed if census else "",
        "scheduled": census.scheduled if census else "",
        "ready_after_s": round(server.ready_after_s, 2),
        "load_before": round(load_before, 2),
        "believed": found.believed,
    }


def main() -> None:
    """Entry point."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--engine", choices=("simulated", "vllm"), default="vllm")
    p.add_argument("--workload", default="chat-low")
    p.add_argument("--trials", type=int, default=8)
    p.add_argument("--first", type=int, default=1, help="number of the first trial, to go on with a table")
    p.add_argument("--warmup", type=float, default=10.0)
    p.add_argument("--duration", type=float, default=40.0)
    p.add_argument("--rate", type=float, default=2.0)
    p.add_argument("--vllm-python", default=None)
    asked = p.parse_args()
    spec = load_workload(asked.workload)
    arrivals = spec.arrivals.model_copy(update={"rate_per_s": asked.rate})
    spec = spec.model_copy(update={"duration_s": asked.duration, "warmup_s": asked.warmup, "arrivals": arrivals})
    out = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    if asked.first == 1:
        out.writeheader()
    with tempfile.TemporaryDirectory(prefix="rooftune-") as scratch:
        for number in range(asked.first, asked.first + asked.trials):
            one = spec.model_copy(update={"seed": 1 + number % 2})
            out.writerow(asyncio.run(trial(number, one, asked, Path(scratch))))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
