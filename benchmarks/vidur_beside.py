"""Runs Vidur beside our simulator, where an interpreter that has it is named: `python -m benchmarks.simulator --vidur-python PATH`.

This file is also what that interpreter runs. Vidur's step times come out of profiles that it downloads from a hub; a constant step
time stands in for them here, which costs nothing, so what is timed is Vidur's event loop and scheduler alone: an upper bound of its
speed. (`pip install vidur` into an environment of its own; measured with 0.0.26.)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

REQUESTS = 2_000
ARGUMENTS = (
    "--request_generator_config_type", "synthetic",
    "--synthetic_request_generator_config_num_requests", str(REQUESTS),
    "--length_generator_config_type", "fixed",
    "--fixed_request_length_generator_config_prefill_tokens", "50",
    "--fixed_request_length_generator_config_decode_tokens", "150",
    "--interval_generator_config_type", "poisson",
    "--poisson_request_interval_generator_config_qps", "20",
    "--replica_scheduler_config_type", "vllm",
    "--vllm_scheduler_config_batch_size_cap", "256",
    "--cache_config_num_blocks", "8000",
    "--no-metrics_config_write_metrics", "--no-metrics_config_store_plots", "--no-metrics_config_enable_chrome_trace",
)  # fmt: skip
STEP_MS = 20.0
"""About what a step of ours takes in the same place."""


def requests_per_s(python: Path) -> tuple[float, float]:
    """(requests/s of Vidur's simulation, seconds from start to the first event) as that interpreter measures them.

    Raises:
        RuntimeError: Vidur does not run there; with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [str(python), str(Path(__file__).resolve())], capture_output=True, text=True, cwd=folder, check=False
        )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().split("\n")[-1])
    speed, start = done.stdout.strip().split("\n")[-1].split()
    return float(speed), float(start)


def run() -> None:
    """Inside Vidur's interpreter: simulate and print requests/s and the seconds of the start."""
    began = time.perf_counter()
    sys.argv = ["vidur", *ARGUMENTS]
    from vidur._native.entities import ExecutionTime  # type: ignore[import-not-found]
    from vidur.config import SimulationConfig  # type: ignore[import-not-found]
    from vidur.execution_time_predictor import (  # type: ignore[import-not-found]
        ExecutionTimePredictorRegistry,
    )
    from vidur.simulator import Simulator  # type: ignore[import-not-found]

    class Constant:
        """A step time that costs nothing to look up."""

        def get_execution_time(self, batch: object, pipeline_stage: int) -> object:
            return ExecutionTime(32, *[STEP_MS / 32 / 12] * 12, 0.0, 0.0)

    ExecutionTimePredictorRegistry.get = classmethod(lambda cls, *a, **k: Constant())
    simulator = Simulator(SimulationConfig.create_from_cli_args())
    ready = time.perf_counter()
    simulator.run()
    print(f"{REQUESTS / (time.perf_counter() - ready):.1f} {ready - began:.1f}")


if __name__ == "__main__":
    run()
