"""Where the time of a step goes: the parts are those of the simulator at the load that was measured."""

from __future__ import annotations

import pytest
import synthetic_run as made

from rooftune.evidence.records.trial import TrialResult
from rooftune.report.step_parts import StepParts, step_parts
from rooftune.simulator.steptime.durations import decode_seconds
from rooftune.simulator.virtual.predict import engine_of

TARGET = made.plan_of(made.workload()).target
FLAGS = {"dtype": "half", "quantization": "awq_marlin", "max_model_len": 2048, "gpu_memory_utilization": 0.9}


def trial(running: float = 32.0, prompts: float = 0.0, **flags: object) -> TrialResult:
    """A measured trial with this many running requests, and prompts of 50 tokens that arrived in its window."""
    found = made.World(made.plan_of(made.workload())).search()[0]
    server = {"running": running, "steps_per_s": 25.0, "prompt_tokens": 50 * prompts}
    metrics = {"mean_input_tokens": 50.0, "mean_output_tokens": 150.0, "mean_tpot_ms": 40.0}
    update = {"server": server, "metrics": metrics, "flags": {**FLAGS, **flags}}
    return found.model_copy(update=update)


def parts(given: TrialResult, gpu: str = "T4") -> StepParts:
    """The parts of its step."""
    found = step_parts(TARGET, gpu, [given])
    assert found is not None
    return found


def test_the_parts_of_a_step_without_prompts_are_a_step_of_the_simulator() -> None:
    found = parts(trial())
    engine = engine_of("T4", TARGET.model, TARGET.engine_version, FLAGS)
    assert found.context == 50 + 150 / 2
    assert found.total == pytest.approx(1000 * decode_seconds(engine.step_time, 32, found.context), rel=1e-6)
    assert found.prefill == found.all_reduce == 0
    assert found.measured_ms == 40.0


def test_prompts_add_to_the_mean_step_by_their_number() -> None:
    one, two = parts(trial(prompts=600)), parts(trial(prompts=1200))
    assert one.prefill > 0
    assert two.prefill == pytest.approx(2 * one.prefill)
    assert two.weights == one.weights


@pytest.mark.parametrize("running", [7.6, 8.0, 8.7])
def test_a_full_batch_has_parts_too(running: float) -> None:
    found = parts(trial(running=running, prompts=600, max_num_seqs=8))
    assert found.prefill > 0
    assert found.weights == pytest.approx(parts(trial(running=8.0, max_num_seqs=8)).weights)


def test_a_larger_batch_reads_more_of_the_kv_cache() -> None:
    assert parts(trial(running=64)).kv_cache > 1.5 * parts(trial(running=32)).kv_cache


def test_several_gpus_exchange_and_one_does_not() -> None:
    found = parts(trial(tensor_parallel_size=2))
    assert found.all_reduce > 0
    assert found.weights < parts(trial()).weights


def test_a_trial_without_gauges_has_no_parts() -> None:
    bare = trial().model_copy(update={"server": {}, "metrics": {}})
    assert step_parts(TARGET, "T4", [bare]) is None
    assert step_parts(TARGET, "T4", []) is None


@pytest.mark.parametrize(
    ("measured_ms", "explains"), [(None, True), (46.0, True), (40.0, True), (16.5, False), (80.0, False)]
)
def test_parts_that_do_not_add_up_to_the_measured_time_explain_nothing(
    measured_ms: float | None, explains: bool
) -> None:
    parts = StepParts(
        weights=28, kv_cache=2.6, all_reduce=0, host=3.4, prefill=12, batch=3.8, context=300, measured_ms=measured_ms
    )
    assert parts.explains == explains
