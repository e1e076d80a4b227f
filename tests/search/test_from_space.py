"""From the configuration space of a case to a search, and how configurations behave beyond their capacity."""

from __future__ import annotations

import math

import pytest

from rooftune.errors import InputError
from rooftune.knobs.configuration import Configuration
from rooftune.search.beyond import behaviour_at, beyond_capacity
from rooftune.search.factors import shared_errors
from rooftune.search.from_space import FLOOR, Foreseen, TrialCost, options_of
from rooftune.search.next_step import next_step
from rooftune.search.options import Problem
from rooftune.simulator.virtual.capacity import capacity, sample
from rooftune.simulator.virtual.predict import engine_of
from rooftune.vllm_rules.config import FlagValue
from rooftune.workloads.load import load_workload

COST = TrialCost(60.0, 120.0)


def configuration(weights: str, sequences: int, **more: object) -> Configuration:
    labels = {} if weights == "16-bit" and sequences == 256 else {"weights": weights, "max_num_seqs": str(sequences)}
    return Configuration(
        change={},
        labels=labels,
        values={"weights": weights, "max_num_seqs": sequences},
        families=(f"weights={weights}", "gpus=1"),
        **more,  # type: ignore[arg-type]
    )


SPACE = [
    configuration("16-bit", 256),
    configuration("16-bit", 64),
    configuration("fp8", 256, changes_outputs=True),
    configuration("fp8", 64, changes_outputs=True, predictable=False),
]


def test_the_baseline_stays_without_a_value_and_what_the_model_rules_out_does_not() -> None:
    found = options_of(SPACE, [Foreseen(0.0), Foreseen(0.0), Foreseen(4.0), Foreseen(2.0)], COST)
    assert [o.id for o in found] == ["baseline", "fp8, 256", "fp8, 64"]
    assert found[0].predicted_log == pytest.approx(math.log(4.0) - FLOOR)
    assert [o.changes_outputs for o in found] == [False, True, True]
    step = next_step(Problem(found, "baseline"), [])
    assert step.next is not None
    assert step.next.option == "baseline"


def test_times_are_better_when_lower_and_what_is_not_modelled_is_less_certain() -> None:
    found = options_of(SPACE, [Foreseen(float(v)) for v in (40, 20, 10, 30)], COST, lower_is_better=True)
    assert max(found, key=lambda o: o.predicted_log).id == "fp8, 256"
    errors = shared_errors(Problem(found, "baseline"))
    assert errors.residual[3] > 2 * errors.residual[2]


def test_a_family_that_everything_belongs_to_is_the_common_error() -> None:
    found = options_of(SPACE, [Foreseen(1.0)] * 4, COST)
    errors = shared_errors(Problem(found, "baseline"))
    assert (errors.loadings != 0).all(axis=0).sum() == 1


def test_a_space_without_any_value_is_an_input_error() -> None:
    with pytest.raises(InputError, match="loosen the SLO"):
        options_of(SPACE, [Foreseen(0.0)] * 4, COST)


def test_beyond_the_capacity_a_smaller_batch_keeps_the_tpot() -> None:
    """The published T4 with Marlin and FP8 KV: both carry about the same within the SLO, and 256 decodes slower
    beyond."""
    workload = load_workload("chat-medium")
    drawn = sample(workload, 1_000)
    found = {}
    for sequences in (128, 256):
        flags: dict[str, FlagValue] = {
            "dtype": "half", "max_model_len": 2048, "quantization": "awq_marlin", "enforce_eager": True,
            "kv_cache_dtype": "fp8", "max_num_seqs": sequences,
        }  # fmt: skip
        engine = engine_of("T4", "llama-2-7b", "0.15.1", flags)
        rate = capacity(engine, drawn).rate_per_s
        found[sequences] = (rate, behaviour_at(engine, drawn, 0.7 * rate), beyond_capacity(engine, drawn, rate))
    few, many = found[128], found[256]
    assert few[0] == pytest.approx(many[0], rel=0.05)
    assert few[2].tpot_ms < 0.75 * many[2].tpot_ms
    assert few[2].score > many[2].score + 0.05
    assert few[1].goodput_per_s == pytest.approx(0.7 * few[0], rel=0.03)
