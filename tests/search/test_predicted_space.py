"""What the simulator says about a space before the search begins."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rooftune.engines.target import Target
from rooftune.hardware.named import accelerator
from rooftune.knobs.configuration import Configuration, KnobValue
from rooftune.knobs.context import SpaceContext
from rooftune.knobs.space import configurations
from rooftune.machine_code import wanted
from rooftune.simulator.virtual.capacity import PredictedCapacity
from rooftune.simulator.virtual.judging import Judged, Round
from rooftune.tuning.guided.foresight import Foresight
from rooftune.tuning.guided.predicted_space import TIED, predicted_space
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.load import load_workload
from rooftune.workloads.slo import Slo


@pytest.mark.slow
@pytest.mark.skipif(not wanted(), reason="without numba slopes would take minutes")
def test_the_best_have_slopes_with_the_speed_and_the_tied_ones_their_behaviour() -> None:
    """An A100 at a TPOT of 30 ms: 32 sequences keep it with room to spare, 192 do not."""
    workload = load_workload("chat-high")
    context = SpaceContext(
        gpu=accelerator("A100-80"),
        engine_version="0.32.0",
        workload=workload.model_copy(update={"slo": Slo(tpot_ms=30, ttft_ms=2000)}),
        baseline=EngineConfig(model="meta-llama/Llama-3.1-8B-Instruct", max_model_len=4096, quantization="awq"),
    )
    limits = [c for c in configurations(context) if set(c.labels) <= {"max_num_seqs"}]
    target = Target(engine="simulated", gpu="A100-80", model="llama-3.1-8b", engine_version="0.32.0")
    found = predicted_space(context, limits, target, range(len(limits)), "capacity")
    assert found is not None
    slopes = {c.values["max_num_seqs"]: found.speed_slopes.get(i) for i, c in enumerate(found.configurations)}
    assert slopes[8] is None, "too slow to be the best, whatever the speed"
    known = {n: s for n, s in slopes.items() if s is not None}
    assert max(known, key=lambda n: known[n]) >= 192
    assert known[192] > 1.2 > known[96]
    best = max(found.objective)
    tied = [i for i, value in enumerate(found.objective) if value >= TIED * best]
    assert set(tied) <= set(found.behaviour)
    assert all(found.behaviour[i].beyond.goodput_per_s > 0 for i in tied)


PLAIN: dict[str, KnobValue] = {
    "kv_cache_dtype": "baseline",
    "max_num_batched_tokens": 2048,
    "prefix_caching": "baseline",
}
GAINS = {("kv_cache_dtype", "fp8"): 0.2, ("max_num_batched_tokens", 512): 0.001, ("prefix_caching", False): 0.1}


def made(**change: KnobValue) -> Configuration:
    return Configuration(dict(change), {k: f"{k} {v}" for k, v in change.items()}, {**PLAIN, **change}, ())


def invented(configurations: Sequence[Configuration], _: Sequence[Round]) -> list[Judged]:
    rates = [1 + sum(GAINS.get(pair, 0.0) for pair in c.values.items()) for c in configurations]
    return [Judged({}, PredictedCapacity(rate, "ttft_ms", 0.5, 2.0, 1)) for rate in rates]


def test_the_best_is_also_predicted_with_each_of_its_knobs_left_as_in_the_baseline() -> None:
    """Prefix caching is tried on the best configuration alone, so what is best with it has no other neighbours."""
    space = [made(), made(kv_cache_dtype="fp8"), made(kv_cache_dtype="fp8", max_num_batched_tokens=512)]
    found = Foresight(list(space), invented, lambda judged: judged.rate_per_s)
    found.refine(
        range(len(space)),
        lambda around: [made(**{**around.change, "prefix_caching": False})],
        lambda leader: [made(**{k: v for k, v in leader.change.items() if k != knob}) for knob in leader.change],
    )
    changes = [found.configurations[i].change for i in found.judged]
    assert {"kv_cache_dtype": "fp8", "max_num_batched_tokens": 512, "prefix_caching": False} in changes
    assert {"kv_cache_dtype": "fp8", "prefix_caching": False} in changes
    assert {"max_num_batched_tokens": 512, "prefix_caching": False} in changes
    assert len({repr(sorted(change.items())) for change in changes}) == len(changes) == len(found.configurations)
