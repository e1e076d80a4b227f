"""What an engine reports becomes a fact of the guided search: on already, overridden, recommended."""

from __future__ import annotations

from typing import Any

import guided_world as made

from rooftune.engines.logs import read_effective
from rooftune.evidence.records.trial import TrialResult
from rooftune.trial_order import TrialOrder
from rooftune.tuning.guided.log_facts import overridden, recommended, without_repeats
from rooftune.tuning.guided.progress import Progress
from rooftune.tuning.guided.search_plan import PlannedOption
from rooftune.tuning.plan import Plan
from rooftune.tuning.search import decide

FORCED = (
    "Detected that the model can run with awq_marlin, however you specified quantization=awq explicitly, so forcing "
    "awq. Use quantization=awq_marlin for faster inference"
)


def option(id: str, predicted: float, **change: Any) -> PlannedOption:
    knobs = {"max_num_seqs": 256, "async_scheduling": "baseline", "kv_cache_dtype": "baseline", **change}
    return PlannedOption(id=id, name=id, phase="easy-wins", change=change, knobs=knobs, predicted=predicted)


def with_options(*options: PlannedOption) -> Plan:
    plan = made.plan()
    assert plan.search is not None
    first = plan.search.options[0]
    return plan.model_copy(update={"search": plan.search.model_copy(update={"options": [first, *options]})})


PLAN = with_options(
    option("async", 1.6, async_scheduling=True),
    option("async+fp8-kv", 1.7, async_scheduling=True, kv_cache_dtype="fp8"),
    option("fp8-kv", 1.5, kv_cache_dtype="fp8"),
    option("triton-attn+fp8-kv", 1.4, attention_backend="TRITON_ATTN", kv_cache_dtype="fp8"),
    option("seqs128", 1.3, max_num_seqs=128),
)


class Reporting(made.GuidedWorld):
    """Servers that report some settings."""

    def __init__(self, plan: Plan, **reported: Any) -> None:
        super().__init__(plan, seed=1)
        self.reported = reported

    def run(self, order: TrialOrder) -> TrialResult:
        found = super().run(order)
        return found.model_copy(update={"effective": found.effective.model_copy(update=self.reported)})


def test_what_the_baseline_reports_as_on_is_never_measured_again() -> None:
    assert PLAN.search is not None
    world = Reporting(PLAN, async_scheduling=True, attention_backend="TRITON_ATTN", max_num_seqs=128)
    results = world.search(budget=400, cost=14)
    assert {r.candidate for r in results} <= {"baseline", "fp8-kv", "triton-attn+fp8-kv"}
    left = {o.id for o in without_repeats(PLAN.search, results[:1]).options}
    assert left == {"baseline", "fp8-kv", "triton-attn+fp8-kv"}, "an FP8 cache may come with another attention backend"


def test_without_such_a_report_all_options_stay() -> None:
    assert PLAN.search is not None
    results = Reporting(PLAN, async_scheduling=False, attention_backend=None, max_num_seqs=256).search(most=1)
    assert without_repeats(PLAN.search, results) == PLAN.search
    assert without_repeats(PLAN.search, []) == PLAN.search


def test_an_option_that_was_measured_stays_although_the_report_makes_it_a_repeat() -> None:
    assert PLAN.search is not None
    results = Reporting(PLAN, async_scheduling=False).search(most=6)
    assert "async+fp8-kv" in {r.candidate for r in results}
    later = [
        r.model_copy(update={"effective": r.effective.model_copy(update={"async_scheduling": True})}) for r in results
    ]
    assert "async+fp8-kv" in {o.id for o in without_repeats(PLAN.search, later).options}
    assert "async" not in {o.id for o in without_repeats(PLAN.search, later).options}


def test_a_flag_that_the_engine_did_not_follow_is_in_the_reason() -> None:
    world = Reporting(PLAN, kv_cache_dtype="auto", async_scheduling=False, max_num_seqs=256)
    results = world.search(budget=400, cost=14)
    measured = next(r for r in results if r.candidate == "async+fp8-kv")
    assert overridden(measured, {"kv_cache_dtype": "fp8"}) == [
        "the engine reports kv_cache_dtype auto where fp8 was asked for"
    ]
    assert overridden(measured, {"kv_cache_dtype": "auto", "enforce_eager": None}) == []
    row = next(v for v in decide(PLAN, results).verdicts if v.candidate == "async+fp8-kv")
    assert "; the engine reports kv_cache_dtype auto where fp8 was asked for" in row.reason
    assert "; the engine reports async_scheduling False where True was asked for" in row.reason


def test_the_log_of_an_engine_is_read_for_what_it_recommends() -> None:
    assert read_effective(FORCED).recommended == {"quantization": "awq_marlin"}
    assert read_effective("Use --block-size 32 for better locality").recommended == {"block_size": "32"}
    assert read_effective("Use tensor parallelism for better results").recommended == {}
    assert read_effective("INFO Using TRITON_ATTN attention backend for faster decode").recommended == {}


def test_what_the_log_recommends_is_measured_even_if_the_model_expects_nothing_of_it() -> None:
    plan = with_options(option("slow", 0.6, quantization="awq_marlin"), option("fp8-kv", 1.5, kv_cache_dtype="fp8"))
    world = Reporting(plan, recommended={"quantization": "awq_marlin", "block_size": "32"})
    results = world.search(budget=400, cost=14)
    assert "slow" in {r.candidate for r in results}
    assert plan.search is not None
    assert recommended(plan.search, results) == {"quantization": "awq_marlin"}
    before = [r for r in results if r.candidate == "baseline"][:1] + [r for r in results if r.candidate == "fp8-kv"][:1]
    step = Progress.of(plan, before).step.next
    assert step is not None
    assert step.why == "the engine's log recommends quantization=awq_marlin, with what is best beside it: slow"
