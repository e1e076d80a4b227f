"""Runs Vidur beside our simulator, if an interpreter that has it is named.

    python -m benchmarks.simulator --vidur-python PATH

That interpreter runs this file as well. Vidur learns its step times from profiles that it downloads from a hub. To
need no network, this file makes tables of the same shape by a simple formula. Everything else is Vidur's own and
unchanged: it trains its random forest on the tables, looks up each step in it, schedules, and advances its clock. The
tables decide how long a step takes, not how fast Vidur finds that out. The training (one forest of its size, no
search for the best) runs once beforehand and is not timed, because Vidur keeps it on disk. Vidur's metrics, plots and
traces are off, and ours are not timed either. Install it with `pip install vidur` (0.0.26) into a separate
environment.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

REQUESTS = 2_000
ARGUMENTS = (
    "--request_generator_config_type", "synthetic",
    "--synthetic_request_generator_config_num_requests", str(REQUESTS),
    "--length_generator_config_type", "fixed",
    "--fixed_request_length_generator_config_prefill_tokens", "50",
    "--fixed_request_length_generator_config_decode_tokens", "150",
    "--interval_generator_config_type", "poisson",
    "--poisson_request_interval_generator_config_qps", "20",
    "--replica_config_tensor_parallel_size", "1",
    "--replica_config_num_pipeline_stages", "1",
    "--replica_scheduler_config_type", "vllm",
    "--vllm_scheduler_config_batch_size_cap", "256",
    "--cache_config_num_blocks", "8000",
    "--execution_time_predictor_config_type", "random_forrest",
    "--random_forrest_execution_time_predictor_config_prediction_max_tokens_per_request", "8192",
    "--random_forrest_execution_time_predictor_config_prediction_max_batch_size", "256",
    "--random_forrest_execution_time_predictor_config_num_estimators", "250",
    "--random_forrest_execution_time_predictor_config_max_depth", "16",
    "--random_forrest_execution_time_predictor_config_min_samples_split", "2",
    "--random_forrest_execution_time_predictor_config_k_fold_cv_splits", "2",
    "--no-metrics_config_write_metrics", "--no-metrics_config_store_plots", "--no-metrics_config_enable_chrome_trace",
)  # fmt: skip
STEP_MS = 20.0
"""Roughly what one of our steps takes in this case."""
LAYERS, PARTS = 32, 12
DENSE = ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj", "mlp_act", "input_layernorm",
         "post_attention_layernorm", "attn_rope", "add")  # fmt: skip


class Speed(NamedTuple):
    """What Vidur's interpreter measured."""

    requests_per_s: float
    start_s: float
    """Seconds from start to the first event."""


def measure(python: Path) -> Speed:
    """Run Vidur's simulation twice in that interpreter: once to train, once to measure.

    Raises:
        RuntimeError: Vidur does not run there; the message is the last line of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        for _ in ("trains", "is measured"):
            done = subprocess.run(
                [str(python), str(Path(__file__).resolve())], capture_output=True, text=True, cwd=folder, check=False
            )
            if done.returncode:
                raise RuntimeError(done.stderr.strip().split("\n")[-1])
    speed, start = done.stdout.strip().split("\n")[-1].split()
    return Speed(float(speed), float(start))


def run() -> None:
    """Inside Vidur's interpreter: simulate, and print requests/s and the start time in seconds."""
    began = time.perf_counter()
    sys.argv = ["vidur", *ARGUMENTS]
    from vidur.config import SimulationConfig  # type: ignore[import-not-found]
    from vidur.execution_time_predictor import (  # type: ignore[import-not-found]
        sklearn_execution_time_predictor as predictor,
    )
    from vidur.simulator import Simulator  # type: ignore[import-not-found]

    config = SimulationConfig.create_from_cli_args()
    replica, block = config.cluster_config.replica_config, config.cluster_config.cache_config.block_size

    def profiles(repo_id: str, **_: Any) -> str:
        if "predictions" in repo_id:
            raise OSError("there are no ready-made predictions")
        return tables(Path("profiles").absolute(), replica, block)

    predictor.snapshot_download = profiles
    simulator = Simulator(config)
    ready = time.perf_counter()
    simulator.run()
    print(f"{REQUESTS / (time.perf_counter() - ready):.1f} {ready - began:.1f}")


def tables(folder: Path, replica: Any, block_size: int) -> str:
    """Profiles in Vidur's format for its model, one GPU."""
    import pandas as pd

    if (folder / "config.json").exists():
        return str(folder)
    folder.mkdir()
    m, each = replica.model_config, STEP_MS / LAYERS / PARTS
    dense = {
        "n_head": m.num_q_heads, "n_kv_head": m.num_kv_heads, "n_embd": m.embedding_dim, "n_expanded_embd": m.mlp_hidden_dim,
        "use_gated_mlp": m.use_gated_mlp, "vocab_size": m.vocab_size, "num_tensor_parallel_workers": 1,
    }  # fmt: skip
    counts = [*range(1, 64), *range(64, 8193, 64)]
    rows = [
        {**dense, "num_tokens": n} | {f"time_stats.{name}.median": each * (0.8 + n / 320) for name in DENSE}
        for n in counts
    ]
    pd.DataFrame(rows).to_csv(folder / "mlp.csv.xz", index=False, compression="xz")
    attention = {"n_embd": m.embedding_dim, "n_q_head": m.num_q_heads, "n_kv_head": m.num_kv_heads,
                 "block_size": block_size, "num_tensor_parallel_workers": 1}  # fmt: skip
    shapes = [(b, 0, kv) for b in (1, 2, 4, 8, 16, 32, 64, 128, 256) for kv in range(0, 8193, 512)]
    shapes += [(1, chunk, kv) for chunk in range(32, 4097, 128) for kv in range(0, 8193, 1024)]
    rows = [
        {
            **attention, "batch_size": b, "prefill_chunk_size": chunk, "kv_cache_size": kv,
            "time_stats.attn_kv_cache_save.median": each * 0.5,
            "time_stats.attn_prefill.median": each * (0.5 + chunk * (chunk + kv) / 1e6) if chunk else None,
            "time_stats.attn_decode.median": None if chunk else each * (0.5 + b * kv / 1e5),
        }
        for b, chunk, kv in shapes
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "attention.csv.xz", index=False, compression="xz")
    about = {"model": replica.model_name, "device_sku": replica.device, "sku": replica.network_device}
    (folder / "config.json").write_text(json.dumps(about), encoding="utf-8")
    return str(folder)


if __name__ == "__main__":
    run()
