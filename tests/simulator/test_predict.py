"""Predictions judge a load by the rules for measured trials, and report what a user needs to know."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rooftune.errors import EngineError, InputError
from rooftune.evidence.metrics import overload
from rooftune.evidence.metrics.request_metrics import request_metrics
from rooftune.evidence.records.columns import ChunkArrivals, Requests, requests_from
from rooftune.metrics.window import Window
from rooftune.simulator.engine.prefixes import block_identities
from rooftune.simulator.runs import ENGINE_ALONE, ServerPath
from rooftune.simulator.virtual.predict import Prediction, client_of, engine_of, predict
from rooftune.simulator.virtual.stepwise import run_stepwise
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Closed, Workload

T4 = {"gpu": "T4", "model": "llama-2-7b", "engine_version": "0.15.1"}
AWQ = {"quantization": "awq", "enforce_eager": True, "max_model_len": 2048}


def workload(arrivals: dict[str, Any], **changes: Any) -> Workload:
    fields = {
        "name": "made",
        "arrivals": arrivals,
        "prompt_tokens": {"distribution": "lognormal", "mean": 50, "sigma": 0.5, "low": 8, "high": 200},
        "output_tokens": {"distribution": "lognormal", "mean": 40, "sigma": 0.4, "low": 1, "high": 120},
        "duration_s": 30,
        "warmup_s": 10,
        "drain_s": 10,
        "seed": 3,
        "slo": {"ttft_ms": 2000, "tpot_ms": 100},
        **changes,
    }
    return Workload.model_validate(fields)


def poisson(rate: float) -> dict[str, Any]:
    return {"process": "poisson", "rate_per_s": rate}


def records(load: Workload, flags: dict[str, Any], where: dict[str, str]) -> Requests:
    """What the load generator would have recorded of the same run, made from the stepwise scheduler."""
    engine, plan = engine_of(where["gpu"], where["model"], where["engine_version"], flags), draw(load)
    run = run_stepwise(plan, engine.step_time, engine.limits, client_of(load, plan), acceptance=0.6)
    scheduled = run.sent_s if isinstance(load.arrivals, Closed) else run.due_s
    sent = np.isfinite(scheduled) & (np.isfinite(run.sent_s) | (plan.turn == 0))
    ended = run.generated >= plan.output_tokens
    number = np.cumsum(sent) - 1
    tokens = [(t, number[r], c) for t, r, c in run.tokens]
    tokens.sort(key=lambda x: (x[1], x[0]))
    n = int(sent.sum())
    columns = {
        "status": np.where(ended, "completed", "cut")[sent].astype(object),
        "scheduled_s": scheduled[sent],
        "sent_s": run.sent_s[sent],
        "first_token_s": run.first_s[sent],
        "last_token_s": run.last_s[sent],
        "end_s": np.where(ended, run.last_s, run.end_s)[sent],
        "planned_prompt_tokens": plan.prompt_tokens[sent],
        "planned_output_tokens": plan.output_tokens[sent],
        "prompt_tokens": np.where(run.generated > 0, plan.prompt_tokens, np.nan)[sent],
        "output_tokens": np.where(ended, run.generated, np.nan)[sent],
        "streamed_tokens": run.generated[sent],
    }
    assert len(columns["status"]) == n
    return requests_from(
        columns,
        ChunkArrivals(
            at_s=np.array([t for t, _, _ in tokens]),
            tokens=np.array([float(c) for _, _, c in tokens]),
            owner=np.array([r for _, r, _ in tokens], dtype=np.int64),
        ),
    )


CASES = {
    "served": (workload(poisson(4), output_tokens={"distribution": "uniform", "low": 1, "high": 60}), AWQ),
    "overloaded": (workload(poisson(25)), AWQ),
    "held down": (workload(poisson(12)), {**AWQ, "max_num_seqs": 8}),
    "closed loop": (workload({"process": "closed", "concurrency": 20}), AWQ),
    "users who think": (workload({"process": "closed", "concurrency": 30, "think_s": 2.0}), AWQ),
    "users who converse": (
        workload(
            {"process": "closed", "concurrency": 24, "think_s": 0.5},
            conversations={"turns": {"distribution": "fixed", "value": 3}, "think_s": 1.0},
            prompt_tokens={"distribution": "fixed", "value": 30},
        ),
        AWQ,
    ),
    "cut short": (workload(poisson(6), drain_s=0), AWQ),
    "conversations": (
        workload(
            poisson(0.7),
            conversations={"turns": {"distribution": "fixed", "value": 3}, "think_s": 1.0},
            prompt_tokens={"distribution": "fixed", "value": 30},
        ),
        AWQ,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_metrics_are_those_of_the_evidence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run, once through the fast path and its totals, once as records of every token through the evidence."""
    monkeypatch.setattr("rooftune.simulator.virtual.predict.server_path", lambda constants: ENGINE_ALONE)
    load, flags = CASES[name]
    found, seen = predict(load, flags=flags, **T4), records(load, flags, T4)
    window = Window(start_s=load.warmup_s, end_s=load.total_s)
    state = overload.assess(seen, window, load.slo, closed=isinstance(load.arrivals, Closed))
    measured = request_metrics(seen, window, load.slo, overloaded=state.overloaded)
    assert found.overloaded == state.overloaded == (name in ("overloaded", "held down"))
    assert set(found.metrics) == set(measured.metrics)
    assert set(found.withheld) == set(measured.withheld)
    for metric, value in measured.metrics.items():
        close = {"std_itl_ms": 0.1, "p99_itl_ms": 5e-3}.get(metric, 3e-3 if "_itl_" in metric else 1e-6)
        assert found.metrics[metric] == pytest.approx(value, rel=close, abs=1e-9), metric
    if state.overloaded:
        assert found.served_rate_per_s == pytest.approx(state.served_rate_per_s, rel=1e-6)
    if state.asked_rate_per_s is not None:
        assert found.asked_rate_per_s == pytest.approx(state.asked_rate_per_s)


def test_overload_is_reported_with_the_rate_that_can_be_served() -> None:
    found = predict(workload(poisson(50)), flags=AWQ, **T4)
    assert found.overloaded
    assert "median_ttft_ms" not in found.metrics
    assert "queue grew" in found.withheld["median_ttft_ms"]
    assert "request_goodput" in found.withheld
    assert found.served_rate_per_s is not None
    again = predict(workload(poisson(0.8 * found.served_rate_per_s)), flags=AWQ, **T4)
    assert not again.overloaded
    assert "request_goodput" in again.metrics


def test_the_rate_that_a_server_can_serve_is_predicted_without_overload_too() -> None:
    """The capacity predicted without overload equals the rate served in overload."""
    idle, busy = (predict(workload(poisson(rate)), flags=AWQ, **T4) for rate in (1, 50))
    assert not idle.overloaded
    assert idle.served_rate_per_s == pytest.approx(busy.served_rate_per_s, rel=0.1)


def test_the_same_seed_gives_the_same_figures_and_another_others() -> None:
    load = workload(poisson(3))
    a, b, c = (predict(load, flags=AWQ, seed=s, **T4).metrics for s in (1, 1, 2))
    assert a == b
    assert a != c


def test_requests_that_do_not_fit_the_model_are_refused_and_counted() -> None:
    load = workload(poisson(2), prompt_tokens={"distribution": "empirical", "values": [20, 20, 20, 400]})
    found = predict(load, flags={**AWQ, "max_model_len": 256}, **T4)
    assert found.metrics["failed"] > 0
    assert any("max_model_len=256" in note for note in found.notes)
    assert found.metrics["request_goodput"] <= (1 - 0.1) * (found.asked_rate_per_s or 0)


def test_speculative_tokens_come_together_so_gaps_between_them_are_withheld() -> None:
    flags = {**AWQ, "speculative_config": {"method": "ngram", "num_speculative_tokens": 3}}
    found = predict(workload(poisson(2)), flags=flags, **T4)
    assert "median_itl_ms" not in found.metrics
    assert "tokens per chunk" in found.withheld["median_itl_ms"]
    assert any("0.6" in note for note in found.notes)


def test_the_bottleneck_is_what_limits_the_batch_and_what_bounds_the_step() -> None:
    def words(**changes: Any) -> str:
        return predict(workload(poisson(40)), flags={**AWQ, **changes}, **T4).bottleneck

    assert "max_num_seqs=4" in words(max_num_seqs=4)
    assert "old AWQ kernel" in words(max_num_seqs=64)
    full = predict(workload(poisson(40)), flags={**AWQ, "num_gpu_blocks_override": 160}, **T4)
    assert "KV cache is full" in full.bottleneck
    assert full.kv_cache_tokens == 2560


def test_windows_leave_room_for_more_long_sequences() -> None:
    """Gemma 2 9B: half of the layers give back what lies more than 4,096 tokens behind."""
    long = workload(
        {"process": "closed", "concurrency": 40},
        prompt_tokens={"distribution": "fixed", "value": 7000},
        output_tokens={"distribution": "fixed", "value": 64},
    )
    where = {"gpu": "L40S", "model": "gemma-2-9b", "engine_version": "0.19.1"}
    freed = predict(long, **where)
    kept = predict(long, flags={"disable_hybrid_kv_cache_manager": True}, **where)
    assert freed.server["running"] > 1.15 * kept.server["running"]
    assert freed.memory.kv_cache_bytes == kept.memory.kv_cache_bytes
    assert freed.kv_cache_tokens == pytest.approx(kept.kv_cache_tokens, rel=0.01), "0.19 logs blocks evenly divided"


def test_what_vllm_would_refuse_is_refused_with_its_words() -> None:
    with pytest.raises(EngineError, match="Bfloat16 is only supported"):
        predict(workload(poisson(1)), flags={**AWQ, "dtype": "bfloat16"}, **T4)
    with pytest.raises(InputError, match="T5"):
        predict(workload(poisson(1)), flags=AWQ, **{**T4, "gpu": "T5"})


def test_nothing_arrives() -> None:
    found: Prediction = predict(workload({"process": "constant", "rate_per_s": 0.01}, warmup_s=1), flags=AWQ, **T4)
    assert found.metrics["output_throughput"] == 0
    assert not found.overloaded


def test_prefix_caching_helps_prompts_that_share_their_beginning() -> None:
    load = workload(
        poisson(0.5),
        prompt_tokens={"distribution": "fixed", "value": 600},
        shared_prefix={"share": 1.0, "tokens": 512, "groups": 2},
    )
    on, off = (predict(load, flags={**AWQ, "enable_prefix_caching": x}, **T4) for x in (True, False))
    assert on.server["prefix_hit_rate"] > 0.7
    assert off.server["prefix_hit_rate"] == 0
    assert on.metrics["median_ttft_ms"] < off.metrics["median_ttft_ms"]
    other = predict(load.model_copy(update={"shared_prefix": None}), flags=AWQ, **T4)
    assert other.server["prefix_hit_rate"] == 0, "distinct prompts hit nothing by accident"


def test_a_given_plan_is_used_unchanged() -> None:
    load = workload(poisson(2))
    plan = draw(load)
    shorter = replace(plan, output_tokens=np.ones_like(plan.output_tokens))
    assert predict(load, flags=AWQ, plan=shorter, **T4).metrics["total_output_tokens"] == pytest.approx(
        ((plan.arrival_s >= 10) & (plan.arrival_s < 40)).sum(), abs=3
    )


def test_requests_share_the_blocks_that_a_trace_gives_the_same_name() -> None:
    """Requests share named blocks up to the first one in which their prompts differ."""
    same = block_identities(
        replace(
            draw(workload({"process": "constant", "rate_per_s": 0.1})),
            prompt_tokens=np.array([100, 100, 64, 40], np.int32),
            blocks=((7, 8, 9), (7, 8, 10), (7, 11), ()),
            block_tokens=32,
        )
    )
    a, b, c, d = (same.names(r, n) for r, n in enumerate((6, 6, 4, 2)))
    assert a[:4] == b[:4]
    assert a[4:] != b[4:]
    assert a[:2] == c[:2]
    assert set(a[2:]).isdisjoint(c[2:])
    assert set(d).isdisjoint({*a, *b, *c})


def test_flags_of_newer_versions_reach_the_scheduler() -> None:
    """A cap on running sequences, a smaller budget of scheduled tokens, admission by the first chunk."""
    flags = {"quantization": "awq_marlin", "max_model_len": 2048}
    usual = engine_of("T4", "llama-2-7b", "0.32.0", flags).limits
    more = {"max_num_active_seqs": 5, "max_num_scheduled_tokens": 512, "scheduler_reserve_full_isl": False}
    found = engine_of("T4", "llama-2-7b", "0.32.0", {**flags, **more}).limits
    assert (usual.max_num_seqs, usual.max_num_batched_tokens, usual.whole_prompt_must_fit) == (256, 2048, True)
    assert (found.max_num_seqs, found.max_num_batched_tokens, found.whole_prompt_must_fit) == (5, 512, False)
    old = engine_of("T4", "llama-2-7b", "0.15.1", {**flags, "quantization": "awq"}).limits
    assert not old.whole_prompt_must_fit
    assert old.async_scheduling


def test_time_to_the_first_token_has_the_way_through_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests one at a time: the path adds its parts, and the front works on requests that come together in turn."""
    alone, together = (workload({"process": "closed", "concurrency": n}) for n in (1, 8))
    path = ServerPath(inbound_s=0.010, request_s=0.003, prompt_token_s=1e-5, outbound_s=0.002)
    found = {}
    for name, way in (("engine", ENGINE_ALONE), ("server", path)):
        monkeypatch.setattr("rooftune.simulator.virtual.predict.server_path", lambda constants, way=way: way)
        found[name] = [predict(load, flags=AWQ, **T4).metrics for load in (alone, together)]
    added = found["server"][0]["median_ttft_ms"] - found["engine"][0]["median_ttft_ms"]
    assert 15 < added < 15 + 0.01 * 4096
    assert found["server"][1]["output_throughput"] < found["engine"][1]["output_throughput"]
