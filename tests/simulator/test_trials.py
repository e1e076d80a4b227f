"""What real trials showed of kernels, host and memory, and the error that predictions quote."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_steptime import step

from benchmarks.trials.held_back import Evidence, coverage
from benchmarks.trials.prediction import Figures, Simulator, plan_of
from benchmarks.trials.ranking import Judged, losses, order
from benchmarks.trials.records import Trial, measured, trials
from benchmarks.trials.serving import predicted, serving_figures
from rooftune.hardware.named import accelerator
from rooftune.simulator.steptime.accuracy import CAPPED_FACTOR, UNTIMED, error_bands, kernel_case
from rooftune.simulator.steptime.durations import decode_seconds, prefill_seconds
from rooftune.simulator.steptime.linear import in_tiles
from rooftune.simulator.steptime.model import StepTime


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


def test_four_gpus_share_what_two_have_over_pcie() -> None:
    """IsseiHasegawa/vLLM-experiment: Qwen2.5-7B on four A40, 1 to 8 requests/s and all at once."""
    simulator = Simulator()
    errors = []
    for figure in serving_figures():
        if figure.id.startswith("issei-a40-g4-"):
            found = predicted(simulator, figure)
            assert found is not None
            assert figure.tpot_ms is not None
            errors.append(abs(found["tpot_ms"] / figure.tpot_ms - 1))
            if figure.output_throughput:
                assert found["output_throughput"] == pytest.approx(figure.output_throughput, rel=0.08)
    assert len(errors) == 8
    assert np.median(errors) < 0.06
    assert max(errors) < 0.25


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


def test_bands_are_widened_by_the_factor_of_their_quantity() -> None:
    entry = {q: {"figures": 20, "within_90": 0.1} for q in ("throughput", "tpot", "ttft")}
    found = error_bands(accelerator("A6000"), "marlin", {"all": entry, "factors": {"tpot": 1.2, "ttft": 1.5}})
    assert found is not None
    assert found.by_quantity == pytest.approx({"throughput": 0.1, "tpot": 0.12, "ttft": 0.15})


def test_a_kernel_measured_on_other_generations_gets_at_least_the_band_of_all_cards() -> None:
    narrow = {q: {"figures": 20, "within_90": 0.03} for q in ("throughput", "tpot", "ttft")}
    wide = {q: {"figures": 90, "within_90": 0.2} for q in ("throughput", "tpot", "ttft")}
    table = {"kernel fp8": narrow, "ada/fp8": narrow, "all": wide}
    seen, unseen = (error_bands(accelerator(gpu), "fp8", table) for gpu in ("L40S", "B200"))
    assert seen is not None
    assert unseen is not None
    assert (seen.throughput, unseen.throughput) == (0.03, 0.2)


def test_the_factor_makes_the_other_sources_cover_a_source_that_is_worse() -> None:
    """Three sources within 10 % and one within 30 %: the bands of the others miss it, with the factor they do not."""
    found = [
        Evidence(source, "A40", "marlin", quantity, size * (i + 1) / 20)
        for source, size in (("a", 0.1), ("b", 0.1), ("c", 0.1), ("d", 0.3))
        for quantity in ("throughput", "tpot", "ttft")
        for i in range(20)
    ]
    factors = coverage(found)
    assert set(factors) == {"throughput", "tpot", "ttft"}
    assert 1.5 < factors["ttft"] < 3
    even = coverage([e for e in found if e.source != "d"])
    assert even["ttft"] == pytest.approx(1.0, abs=0.03)


def test_weights_without_a_measured_step_time_get_their_own_wide_band() -> None:
    """MXFP4 is timed as 16-bit products; 12 figures of gpt-oss-20b show how wrong that is."""
    resolved = step("H100", "qwen2.5-7b", None, version="0.32.0").r
    assert kernel_case(resolved) == "gemm_16bit"
    untimed = replace(resolved, quantization="mxfp4")
    assert kernel_case(untimed) == UNTIMED
    wide = error_bands(accelerator("H100"), kernel_case(untimed))
    assert wide is not None
    assert wide.tpot > 0.4
    assert "without a measured step time" in wide.words
    assert error_bands(accelerator("L4"), UNTIMED, {"all": {}, "ada": {}}) is None


def test_a_configuration_that_ran_twice_has_the_mean_of_its_runs() -> None:
    first = trial(gpu="RTX 3090", quant="fp8", concurrency=64, max_num_seqs=64)
    runs = [first.model_copy(update={"tok_s": value}) for value in (900.0, 1100.0)]
    other = first.model_copy(update={"quant": "bf16", "tok_s": 1050.0})
    figures = Figures(1000.0, 1.0, 1.0)
    taken = [Judged(t, figures) for t in runs] + [Judged(other, Figures(500.0, 1.0, 1.0))]
    assert losses(taken) == pytest.approx([1 - 1000 / 1050])
    tied = [Judged(t, figures) for t in (*runs, other)]
    assert losses(tied) == pytest.approx([1 - (1000 + 1050) / 2 / 1050])


def test_fp8_through_marlin_slows_with_the_clock_that_a_board_holds() -> None:
    """An A40 holds three quarters of its clock in matrix work, a card that halves 16-bit products all of it."""
    held = step("A40", "qwen2.5-7b", "fp8", version="0.11.0")
    free = StepTime(held.gpu, held.facts, held.r, constants=held.k.replaced({"device.clock": 1.0}))
    assert 1.1 < prefill_seconds(held, 2048) / prefill_seconds(free, 2048) < 1.34
    four = step("A40", "qwen2.5-7b", "gptq", version="0.11.0")
    same = StepTime(four.gpu, four.facts, four.r, constants=four.k.replaced({"device.clock": 1.0}))
    assert prefill_seconds(four, 2048) == prefill_seconds(same, 2048)
