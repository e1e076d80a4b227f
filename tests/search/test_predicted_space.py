"""What the simulator says about a space before the search begins."""

from __future__ import annotations

import pytest

from rooftune.engines.target import Target
from rooftune.hardware.named import accelerator
from rooftune.knobs.context import SpaceContext
from rooftune.knobs.space import configurations
from rooftune.simulator.fastpath.compilation import wanted
from rooftune.tuning.guided.predicted_space import TIED, predicted_space
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.load import load_workload
from rooftune.workloads.spec import Slo


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
    assert slopes[192] == pytest.approx(max(s for s in slopes.values() if s is not None))
    assert slopes[192] > 1.2
    best = max(found.objective)
    tied = [i for i, value in enumerate(found.objective) if value >= TIED * best]
    assert set(tied) <= set(found.behaviour)
    assert all(found.behaviour[i].beyond.goodput_per_s > 0 for i in tied)
