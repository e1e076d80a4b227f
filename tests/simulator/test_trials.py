"""What real trials showed of kernels, host and memory, and the error that predictions quote."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_steptime import step

from benchmarks.trials.prediction import Simulator, plan_of
from benchmarks.trials.ranking import Judged, losses, order
from benchmarks.trials.records import Trial, measured, trials
from benchmarks.trials.serving import predicted, serving_figures
from rooftune.hardware.named import accelerator
from rooftune.simulator.steptime.accuracy import CAPPED_FACTOR, error_bands
from rooftune.simulator.steptime.durations import decode_seconds, prefill_seconds
from rooftune.simulator.steptime.linear import in_tiles


def trial(**wanted: Any) -> Trial:
    return next(t for t in measured() if all(getattr(t, k) == v for k, v in wanted.items()))


def test_marlin_multiplies_long_prompts_slower_than_16_bits_and_fp8_slowest() -> None:
    at = {q: prefill_seconds(step("A40", "qwen2.5-7b", q), 2048) for q in (None, "gptq", "fp8")}
    assert at[None] < at["gptq"] < at["fp8"]
    assert 1.1 < at["gptq"] / at[None] < 1.8
    assert decode_seconds(step("A40", "qwen2.5-7b", "gptq"), 1, 512) < decode_seconds(
        step("A40", "qwen2.5-7b", None), 1, 512
    )


def test_a_geforce_card_loses_less_to_marlin_because_its_own_rate_is_halved() -> None:
    def slower(gpu: str) -> float:
        versions = {"version": "0.11.0"}
        return prefill_seconds(step(gpu, "qwen2.5-3b", "fp8", **versions), 2048) / prefill_seconds(
            step(gpu, "qwen2.5-3b", None, **versions), 2048
        )

    assert slower("RTX 3090") < slower("A40")


def test_rows_fill_whole_tiles() -> None:
    assert in_tiles(np.array([0, 1, 16, 17, 65, 128, 129, 300])).tolist() == [0, 16, 16, 32, 128, 128, 256, 384]


def test_a_draft_model_costs_its_passes_and_searching_the_text_little() -> None:
    def at(**config: Any) -> float:
        return decode_seconds(step("A100-80", "llama-3.1-8b", None, version="0.29.0", **config), 8, 400)

    plain = at()
    draft = at(speculative_config={"method": "draft_model", "model": "llama-3.2-1b", "num_speculative_tokens": 4})
    ngram = at(speculative_config={"method": "ngram_gpu", "num_speculative_tokens": 4})
    assert plain < ngram < 1.3 * plain
    assert draft > 1.5 * plain


@pytest.mark.parametrize(
    ("wanted", "within"),
    [
        ({"gpu": "A40", "quant": "fp8", "concurrency": 128}, 0.2),
        ({"gpu": "L4", "quant": "bf16", "workload": "chat", "concurrency": 8}, 0.06),
        ({"gpu": "A40", "vllm_version": "0.29.0", "quant": "gptq", "concurrency": 32}, 0.12),
        ({"gpu": "RTX 3090", "quant": "bf16", "workload": "rag", "concurrency": 1}, 0.1),
    ],
)
def test_trials_come_out_as_measured(wanted: dict[str, Any], within: float) -> None:
    one = trial(**wanted)
    found = Simulator().predict(one)
    assert found.tok_s == pytest.approx(one.tok_s, rel=within)
    assert found.tpot_ms == pytest.approx(one.tpot_ms, rel=within)


def test_tensor_parallelism_over_pcie_as_measured() -> None:
    """LLMServingSim, Qwen3-32B on two RTX PRO 6000 without NVLink: 1,250 tokens/s and 80.3 ms."""
    figure = next(f for f in serving_figures() if f.id == "llmservingsim-pro6000-qwen3-32b-tp2")
    found = predicted(Simulator(), figure)
    assert found is not None
    assert found["output_throughput"] == pytest.approx(1250, rel=0.08)
    assert found["tpot_ms"] == pytest.approx(80.3, rel=0.08)


def test_a_plan_has_the_lengths_that_are_known_and_what_was_cached_before() -> None:
    one = trial(natural_stop=True, concurrency=32)
    plan, load = plan_of(one)
    assert len(plan) == one.requests
    assert plan.output_tokens[load].mean() == pytest.approx(one.mean_output_tokens, rel=0.03)
    cached = trial(prompts_cached_by_earlier_level=True)
    plan, load = plan_of(cached)
    assert len(plan) == 2 * (cached.requests or 0)
    assert plan.prompt_seed[load].tolist() == plan.prompt_seed[: cached.requests].tolist()


def test_order_and_loss_look_at_groups_alone() -> None:
    rows = [t for t in measured() if t.group == trial(gpu="L4", workload="chat", concurrency=8).group]
    right = [Judged(t, Simulator().predict(t)) for t in rows]
    assert order(right, 0.3, 10).share == 1.0
    turned = [Judged(t, type(j.predicted)(1 / j.predicted.tok_s, 1, 1)) for t, j in zip(rows, right, strict=True)]
    assert order(turned, 0.3, 10).right == 0
    assert max(losses(turned)) > max(losses(right))


def test_what_did_not_start_is_refused() -> None:
    """Weight-only FP8 on an A40 with vLLM 0.29 (issue 55008)."""
    from benchmarks.trials.prediction import server_of
    from rooftune.errors import EngineError

    failed = [t for t in trials() if t.failed]
    assert failed
    for one in failed:
        with pytest.raises(EngineError):
            server_of(one)


def test_errors_are_quoted_by_quantity_and_wider_for_capped_boards() -> None:
    entry = {q: {"figures": 20, "within_90": 0.1} for q in ("throughput", "tpot", "ttft")}
    few = {q: {"figures": 3, "within_90": 0.01} for q in ("throughput", "tpot", "ttft")}
    table = {"A6000/marlin": few, "ampere/marlin": entry, "all": entry, "ada": entry}
    found = error_bands(accelerator("A6000"), "marlin", table)
    assert found is not None
    assert found.by_quantity == {"throughput": 0.1, "tpot": 0.1, "ttft": 0.1}
    capped = error_bands(accelerator("L4"), "fp8", table)
    assert capped is not None
    assert capped.tpot == pytest.approx(0.1 * CAPPED_FACTOR)
    assert error_bands(accelerator("cpu"), "gemm_16bit", table) is None
