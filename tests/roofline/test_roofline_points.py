"""Points of the roofline: placed from what a trial shows, bounded by the ceilings, their bottleneck named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooftune.engines.server import EffectiveConfig
from rooftune.evidence.records.trial import Check, TrialResult
from rooftune.hardware.accelerator import Ceiling, Hardware
from rooftune.hardware.named import accelerator
from rooftune.hardware.probe import probe, unknown
from rooftune.metrics.window import Window
from rooftune.models.catalogue import model_facts
from rooftune.models.costs import decode_bytes
from rooftune.roofline.model import Point, Roofline
from rooftune.roofline.points import roofline
from rooftune.vllm_rules.config import EngineConfig

LLAMA = model_facts("llama-2-7b")


def hardware(gpu: str = "T4", *ceilings: Ceiling, simulated: bool = False) -> Hardware:
    return Hardware(accelerator=accelerator(gpu), simulated=simulated, engine_version="0.15.1", ceilings=list(ceilings))


def trial(candidate: str = "baseline", batch: float = 8, tpot: float = 40.0, **more: Any) -> TrialResult:
    server = {"running": batch, "waiting": 0.0, "kv_usage": 0.1, "mean_ttft_ms": 200.0, "mean_queue_ms": 100.0}
    rate = 1000 * batch / tpot
    lengths = {"mean_input_tokens": 400.0, "mean_output_tokens": 200.0}
    base: dict[str, Any] = {
        "candidate": candidate, "n": 1, "seed": 1, "position": 0, "status": "measured",
        "workload": "chat", "workload_hash": "0", "window": Window(start_s=0, end_s=60),
        "engine": "vllm", "engine_version": "0.15.1", "gpu": "T4", "model": "llama-2-7b",
        "effective": EffectiveConfig(max_num_seqs=256, dtype="float16"), "server": server,
        "metrics": {"output_throughput": rate, "mean_tpot_ms": tpot, **lengths},
    }  # fmt: skip
    return TrialResult(**{**base, **more})


def place(*trials: TrialResult, gpu: str = "T4", quantization: str | None = None, **flags: Any) -> Roofline:
    facts = model_facts("llama-2-7b", quantization=quantization)
    return roofline(hardware(gpu), facts, EngineConfig(model="llama-2-7b").with_change(flags), list(trials))


def decode(found: Roofline, i: int = 0) -> Point:
    return found.of("decode")[i]


def test_a_decode_point_is_arithmetic_over_time() -> None:
    p = decode(place(trial(batch=8, tpot=50.0)))
    assert (p.batch, p.context, p.step_ms) == (8, 500, 50)
    flops = 8 * (2 * (LLAMA.linear_parameters + LLAMA.embedding_parameters) + 4 * 32 * 4096 * 500)
    assert p.achieved_flops_per_s == pytest.approx(flops / 0.05)
    assert p.intensity_flop_per_byte == pytest.approx(flops / decode_bytes(LLAMA, 8, 500))
    assert p.attainable_flops_per_s == pytest.approx(p.intensity_flop_per_byte * 320e9)
    assert p.tokens_per_s == 160


def test_ceilings_and_ridge_of_a_t4() -> None:
    found = place(trial())
    assert [(r.kind, r.name, r.value) for r in found.roofs] == [
        ("bandwidth", "memory bandwidth", 320e9),
        ("compute", "fp16", 65e12),
    ]
    assert found.ridges[0].flop_per_byte == pytest.approx(203.1, abs=0.1)


def test_the_context_is_read_from_the_kv_cache_in_use() -> None:
    effective = EffectiveConfig(kv_cache_tokens=18608, max_num_seqs=256)
    p = decode(place(trial(batch=8, effective=effective)))
    assert p.context == pytest.approx(0.1 * 18608 / 8 - 8)
    assert "KV cache in use" in p.how


def test_the_batch_of_busy_steps_is_taken_over_the_mean_with_idle_time() -> None:
    idle = trial(batch=2, server={"running": 2.0, "generation_tokens_per_s": 60.0, "steps_per_s": 10.0})
    assert decode(place(idle)).batch == 6


def test_weights_limit_a_small_batch_and_kv_a_large_one() -> None:
    small = decode(place(trial(batch=1, tpot=55.0)))
    assert small.bound == "weight bandwidth"
    assert "reading the weights (13.2 GB) takes 41.3 ms" in small.sentence
    large = trial(
        batch=60, tpot=150.0, metrics={"output_throughput": 400.0, "mean_tpot_ms": 150.0, "mean_input_tokens": 1000.0}
    )
    assert decode(place(large)).bound == "KV bandwidth"


def test_arithmetic_limits_a_huge_batch() -> None:
    seen = trial(
        batch=1000, tpot=300.0, metrics={"output_throughput": 3333.0, "mean_tpot_ms": 300.0, "mean_input_tokens": 10.0}
    )
    p = decode(place(seen))
    assert p.bound == "compute"
    assert "FP16 peak" in p.sentence


def test_the_old_awq_kernel_is_named() -> None:
    p = decode(place(trial(batch=97, tpot=265.0), quantization="awq"))
    assert p.bound == "overhead", "the flag did not force it"
    p = decode(place(trial(batch=97, tpot=265.0, flags={"quantization": "awq"}), quantization="awq"))
    assert p.bound == "kernel"
    assert "once for each 16 rows, here 7 times" in p.sentence
    marlin = EffectiveConfig(linear_kernel="MarlinLinearKernel")
    p = decode(place(trial(batch=97, flags={"quantization": "awq"}, effective=marlin), quantization="awq"))
    assert p.bound != "kernel"
    new = trial(batch=97, tpot=265.0, flags={"quantization": "awq"}, engine_version="0.32.0")
    assert decode(place(new, quantization="awq")).bound != "kernel"


def test_a_batch_limit_with_a_queue_is_reported() -> None:
    held = trial(
        batch=8, effective=EffectiveConfig(max_num_seqs=8), server={"running": 8.0, "waiting": 92.0}, overloaded=True
    )
    assert "limit of 8 sequences keeps the batch small while 92 requests wait" in decode(place(held)).sentence
    full = trial(batch=30, server={"running": 30.0, "waiting": 5.0, "preemptions": 12.0})
    assert "KV cache is full" in decode(place(full)).sentence
    more = trial(batch=30, overloaded=True)
    assert "queue grows" in decode(place(more)).sentence


def test_faster_than_the_ceilings_is_not_believed() -> None:
    p = decode(place(trial(batch=8, tpot=20.0)))
    assert p.bound == "unknown"
    assert "more than the ceiling allows" in p.sentence
    fast = trial(server={**trial().server, "mean_ttft_ms": 105.0})
    assert place(fast).of("prefill")[0].bound == "unknown"


def test_a_slow_step_without_a_cause_is_overhead() -> None:
    p = decode(place(trial(batch=1, tpot=400.0), enforce_eager=True))
    assert p.bound == "overhead"
    assert "eager" in p.sentence


def test_prefill_is_placed_from_the_servers_times() -> None:
    p = place(trial()).of("prefill")[0]
    assert p.step_ms == pytest.approx(100)
    assert p.context == 400
    assert "minus time in the queue" in p.how
    cached = trial(server={**trial().server, "prefix_hit_share": 0.6})
    assert place(cached).of("prefill")[0].context == 160


def test_prefill_of_an_overloaded_trial_is_not_guessed() -> None:
    seen = trial(overloaded=True, server={"running": 8.0}, metrics={**trial().metrics, "median_ttft_ms": 9000.0})
    assert place(seen).of("prefill") == []


def test_types_by_weights_and_chip() -> None:
    def kind(gpu: str, quantization: str | None, **flags: Any) -> str:
        return decode(place(trial(effective=EffectiveConfig()), gpu=gpu, quantization=quantization, **flags)).compute

    assert kind("L4", "fp8") == "fp8"
    assert kind("A100-80", "fp8") == "fp16", "weight-only where the chip has no FP8"
    assert kind("T4", "int8") == "int8"
    assert kind("H100", "awq", dtype="bfloat16") == "bf16"
    assert kind("T4", None, dtype="bfloat16") == "fp16", "no BF16 there"


def test_weights_converted_at_load_time_are_counted_in_their_new_type() -> None:
    plain, shrunk = trial(), trial("fp8", flags={"quantization": "fp8"})
    found = place(plain, shrunk, gpu="L4")
    assert decode(found, 1).intensity_flop_per_byte > 1.7 * decode(found, 0).intensity_flop_per_byte


def test_several_accelerators_raise_the_ceilings() -> None:
    two = place(trial(flags={"tensor_parallel_size": 2}))
    assert (two.count, two.roofs[0].value) == (2, 640e9)


def test_measured_ceilings_are_next_to_the_catalogues() -> None:
    copy = Ceiling(name="memory_copy", value=250e9, unit="bytes/s", how="copy")
    product = Ceiling(name="matmul_fp16", value=30e12, unit="FLOP/s", how="product")
    found = roofline(hardware("T4", copy, product), LLAMA, EngineConfig(model="m"), [trial()])
    assert [(r.name, r.measured) for r in found.roofs] == [
        ("memory bandwidth", False), ("fp16", False), ("memory bandwidth", True), ("fp16", True)
    ]  # fmt: skip
    assert decode(found).attainable_flops_per_s == pytest.approx(decode(found).intensity_flop_per_byte * 320e9)


def test_a_cpu_is_placed_under_its_measured_ceilings() -> None:
    host = probe(engine="vllm", gpu="cpu", engine_version="0.32.0")
    found = roofline(host, model_facts("qwen2.5-0.5b"), EngineConfig(model="m", dtype="float32"), [trial(tpot=100.0)])
    assert all(r.measured for r in found.roofs)
    assert decode(found).compute == "fp32"


def test_what_is_not_believed_is_named_and_not_placed() -> None:
    doubted = trial("bad", checks=[Check(id="x", status="fail", sentence="no")])
    failed = trial("dead", status="failed", failure="died")
    found = place(doubted, failed)
    assert found.points == []
    assert found.notes == ["These trials failed their audit and are not shown: bad trial 1."]


def test_an_unknown_accelerator_places_nothing_and_says_so() -> None:
    blank = Hardware(accelerator=unknown(), simulated=False, engine_version="0.32.0")
    found = roofline(blank, LLAMA, EngineConfig(model="m"), [trial()])
    assert (found.points, found.roofs) == ([], [])
    assert "are unknown" in found.notes[0]


def test_a_trial_without_measurements_is_named() -> None:
    found = place(trial(server={}, metrics={}))
    assert found.points == []
    assert found.notes == ["baseline trial 1: the server reported too little to place it."]


def test_simulated_is_marked() -> None:
    found = roofline(hardware(simulated=True), LLAMA, EngineConfig(model="m"), [trial(simulated=True)])
    assert found.simulated
    assert found.notes[0].startswith("Simulated")
    assert Roofline.model_validate_json(found.model_dump_json()) == found


@given(
    batch=st.floats(1, 500),
    tpot=st.floats(5, 1000),
    prompt=st.floats(1, 4000),
    gpu=st.sampled_from(["T4", "L4", "A100-80", "H100"]),
    quantization=st.sampled_from([None, "awq", "fp8"]),
)
def test_every_point_is_consistent(
    batch: float, tpot: float, prompt: float, gpu: str, quantization: str | None
) -> None:
    metrics = {"output_throughput": 1000 * batch / tpot, "mean_tpot_ms": tpot, "mean_input_tokens": prompt}
    found = place(trial(batch=batch, metrics=metrics), gpu=gpu, quantization=quantization)
    top = max(r.value for r in found.roofs if r.kind == "compute")
    assert len(found.points) == 2
    for p in found.points:
        assert 0 < p.attainable_flops_per_s <= top * 1.0001
        assert p.share == pytest.approx(p.achieved_flops_per_s / p.attainable_flops_per_s)
        assert p.sentence.endswith(".")
