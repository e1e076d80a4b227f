"""One flag varied, and steps by batch and context: the numbers behind a decision, with their reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rooftune.errors import InputError
from rooftune.report.figures.sweep import draw_sweep
from rooftune.simulator.steptime.table import steptime_table
from rooftune.simulator.virtual.sweep import sweep, values
from rooftune.workloads.spec import Workload

T4 = {"gpu": "T4", "model": "llama-2-7b", "engine_version": "0.15.1"}
AWQ = {"quantization": "awq", "enforce_eager": True, "max_model_len": 2048}


def busy() -> Workload:
    return Workload.model_validate(
        {
            "name": "busy",
            "arrivals": {"process": "poisson", "rate_per_s": 20},
            "prompt_tokens": {"distribution": "fixed", "value": 50},
            "output_tokens": {"distribution": "fixed", "value": 60},
            "duration_s": 30,
            "warmup_s": 10,
            "slo": {"tpot_ms": 100},
        }
    )


def test_values_of_a_range_are_doubling_steps_and_their_halves() -> None:
    found = values("max_num_seqs=1:32")
    assert found.flag == "max_num_seqs"
    assert found.values == [str(n) for n in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)]
    assert values("max-num-seqs=16:40", tiled=True).values == ["16", "17", "24", "32", "33", "40"]
    assert values("kv_cache_dtype=auto,fp8").values == ["auto", "fp8"]


@pytest.mark.parametrize("asked", ["", "max_num_seqs", "max_num_seqs=", "max_num_seqs=8:1", "max_num_seqs=a:b", "=1"])
def test_a_sweep_that_cannot_be_read_is_refused_with_the_way_out(asked: str) -> None:
    with pytest.raises(InputError, match="--sweep"):
        values(asked)


def test_a_sweep_on_the_old_kernel_shows_the_tiles_and_says_so(tmp_path: Path) -> None:
    found = sweep(busy(), **T4, flags=AWQ, asked="max_num_seqs=4:64")
    rate = {r.value: r.prediction.metrics["output_throughput"] for r in found.rows if r.prediction}
    assert rate[17] < rate[16], "one sequence more costs a second pass over the weights"
    assert rate[33] < rate[32]
    assert found.best is not None
    assert rate[found.best.value] >= 0.99 * max(rate.values())
    assert "16" in " ".join(found.why)
    assert any("100 ms" in sentence for sentence in found.why)
    path = tmp_path / "sweep.png"
    draw_sweep(found, "title", path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_value_that_vllm_refuses_stays_in_the_table_with_its_reason() -> None:
    found = sweep(busy(), **T4, flags=AWQ, asked="gpu_memory_utilization=0.9,0.2")
    assert [bool(r.prediction) for r in found.rows] == [True, False]
    assert "No available memory" in found.rows[1].refusal


def steps(**changes: Any) -> dict[str, Any]:
    return steptime_table(**{**T4, "flags": AWQ, "batches": [1, 8, 16, 17, 64], "contexts": [200], **changes})


def test_a_table_of_steps_keeps_its_contract() -> None:
    found = steps(prefills=[256, 5000])
    assert [set(r) for r in found["decode"]] == [
        {"batch", "context", "step_ms", "bound", "intensity_flop_per_byte"}
    ] * 5
    assert {r["bound"] for r in found["decode"]} <= {"memory", "compute", "overhead"}
    assert [r["tokens"] for r in found["prefill"]] == [256, 5000]
    assert found["prefill"][1]["ms"] > 10 * found["prefill"][0]["ms"], "5,000 tokens take three chunks of the budget"


def test_the_old_kernel_is_bound_by_its_arithmetic_above_one_tile() -> None:
    found = {r["batch"]: r for r in steps()["decode"]}
    assert found[17]["step_ms"] > 1.2 * found[16]["step_ms"]
    assert found[64]["bound"] == "compute"


def test_a_long_context_is_bound_by_memory_and_a_tiny_model_by_the_host() -> None:
    long = steptime_table(
        **{**T4, "engine_version": "0.32.0"}, flags={"quantization": "awq_marlin"}, batches=[8], contexts=[2000]
    )
    assert long["decode"][0]["bound"] == "memory"
    tiny = steptime_table(
        gpu="H100", model="qwen2.5-0.5b", engine_version="0.32.0", flags={"enforce_eager": True}, batches=[1]
    )
    assert tiny["decode"][0]["bound"] == "overhead"


def test_intensity_grows_with_the_batch_and_falls_with_the_context() -> None:
    found = steps(batches=[1, 16], contexts=[100, 1500])["decode"]
    by = {(r["batch"], r["context"]): r["intensity_flop_per_byte"] for r in found}
    assert by[16, 100] > 5 * by[1, 100]
    assert by[16, 1500] < by[16, 100]


def test_a_batch_above_the_default_limit_is_timed_all_the_same() -> None:
    assert steps(batches=[400])["decode"][0]["step_ms"] > steps(batches=[200])["decode"][0]["step_ms"] / 2


def test_nothing_below_one() -> None:
    with pytest.raises(InputError):
        steps(batches=[0])
