"""Trials that measure a capacity, on the simulated engine: near it, far from it, and where no rate keeps the SLO."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from flows.inputs.parameters import GoalOptions, TargetOptions, WorkloadOptions
from flows.inputs.targets import resolve_target
from flows.inputs.workloads import changed_workload
from rooftune.engines.price import price_of
from rooftune.evidence.audit_path import audit_path
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import read_trial, read_trials
from rooftune.runfolder import RunFolder
from rooftune.simulator.virtual.capacity import capacity, sample
from rooftune.simulator.virtual.predict import engine_of
from rooftune.trial_order import TrialLoad, TrialOrder
from rooftune.tuning.search import decide
from rooftune.tuning.trial_load import BY_CHANCE
from tasks import run_files

pytestmark = [pytest.mark.usefixtures("prefect", "patient_audit"), pytest.mark.slow]
SMALL = """\
name: small
arrivals: {process: poisson, rate_per_s: 100}
prompt_tokens: {distribution: fixed, value: 32}
output_tokens: {distribution: uniform, low: 16, high: 48}
duration_s: 30
slo: {ttft_ms: 2000, tpot_ms: 200, share: 0.9}
"""
MEAN_OUTPUT = 32
SCALE = 4.0
FLAGS = ["max_num_seqs=4", "quantization=awq_marlin"]


@pytest.fixture
async def planned(tmp_path: Path) -> RunFolder:
    """A run folder whose plan is made."""
    return await planned_run(tmp_path, SMALL)


async def planned_run(folder: Path, text: str, **goal: object) -> RunFolder:
    from flows.plan import plan
    from flows.probe import probe

    path = folder / "small.yaml"
    path.write_text(text)
    target = await resolve_target(TargetOptions(flags=FLAGS), SCALE)
    spec = changed_workload(str(path), WorkloadOptions(), goal=GoalOptions(**goal))  # type: ignore[arg-type]
    about = {"target": target.model_dump(mode="json"), "workload_spec": spec.model_dump(mode="json"), "settings": {}}
    run = RunFolder.create(folder / "artifacts", spec.name, about)
    await probe(str(run.path))
    await plan(str(run.path))
    return run


def true_capacity(run: RunFolder, speed: float = 1.0) -> float:
    """Of the baseline, in virtual time, on a server of that speed."""
    config = run_files.plan_of(run).candidate("baseline").config
    target = run_files.target_of(run)
    engine = engine_of("T4", target.model, target.engine_version, config.flags())
    return capacity(engine, sample(run_files.workload_of(run), 20_000), speed=speed, tolerance=0.01).rate_per_s


async def measured(run: RunFolder, rate_per_s: float, **more: float) -> TrialResult:
    """The baseline's trial with a load at that rate."""
    from flows.trial import trial

    config = run_files.plan_of(run).candidate("baseline").config
    load = TrialLoad(rate_per_s=rate_per_s, settle_s=5, requests=300, drain_s=10, **more)
    order = TrialOrder(candidate="baseline", n=1, position=0, config=config, seed=3, phase="baseline", load=load)
    await trial(str(run.path), order)
    return read_trial(run.trial("baseline", 1))


async def test_a_load_far_from_the_capacity_is_corrected_once(planned: RunFolder) -> None:
    true = true_capacity(planned)
    found = await measured(planned, 2.5 * true)
    assert found.capacity is not None
    first, second = found.capacity.steps
    assert first.rate_per_s == pytest.approx(2.5 * true)
    assert first.attainment < 0.5
    carried = found.metrics["capacity"]
    assert abs(math.log(second.rate_per_s / carried)) < abs(math.log(first.rate_per_s / carried)) / 3
    assert second.log_speed is not None
    speed = math.exp(second.log_speed)
    assert speed < 1.12, "a busy machine slows the emulated server, and nothing makes it faster"
    slowed = true_capacity(planned, speed)
    assert 0.6 * slowed < carried < 1.12 * slowed, "other work also delays first tokens, and never raises the capacity"
    if {c.status for c in found.checks if c.id in BY_CHANCE} <= {"pass", "no data"}:
        assert carried == pytest.approx(slowed, rel=0.12)
        assert carried == pytest.approx(true, rel=0.12)
    price = price_of(run_files.target_of(planned))
    assert price is not None
    dollars = price.usd_per_hour / 3600 / (carried * MEAN_OUTPUT) * 1e6
    assert found.metrics["cost_per_million_output_tokens_usd"] == pytest.approx(dollars, rel=0.03), "at the capacity"
    files = planned.trial("baseline", 1)
    assert (files.path / "steps" / "1" / "requests.parquet").is_file()
    assert files.requests.is_file()
    assert found.seed == 3, "that of the order, for the pairs of a comparison"
    again = await measured(planned, 2.5 * true)
    assert again == found, "a trial that is there already is kept"
    assert first.seed != second.seed, "a prefix cache must not answer for the server"
    assert found.asked_rate_per_s == pytest.approx(second.rate_per_s, rel=0.2), "its other metrics are of the last load"
    assert not [
        c for c in audit_path(planned.path) if c.id in ("fresh-prompts", "answer-lengths") and c.status != "pass"
    ]


async def test_where_one_request_at_a_time_breaks_the_slo_the_answer_is_0_and_the_limit(tmp_path: Path) -> None:
    """The first load is meant to measure a rate; what it shows sends requests one at a time instead."""
    run = await planned_run(tmp_path, SMALL.replace("tpot_ms: 200", "tpot_ms: 5"))
    found = await measured(run, 5.0)
    assert found.metrics["capacity"] == 0
    assert found.capacity is not None
    assert found.capacity.lone is not None
    assert found.capacity.limited_by == found.capacity.lone.limit == "tpot_ms"
    decision = decide(run_files.plan_of(run), read_trials(run))
    assert decision.first_sentence.startswith("One T4 (simulated) cannot keep the SLO of small with baseline: ")
    assert "times the limit at the median" in decision.first_sentence


async def test_the_whole_search_recommends_what_carries_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two candidates: one carries more, the other less by far. Every rate that the decision quotes keeps the SLO."""
    from flows.optimize import optimize

    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "book.yaml").write_text(
        "name: two\n"
        "drop: [batch-8, batch-16, batch-32, cuda-graphs, cuda-graphs-decode, awq-marlin, awq-marlin-graphs, "
        "attention-triton, fp8-kv, token-budget-512, token-budget-8192]\n"
    )
    result = await optimize(
        workload="small.yaml",
        flags=["max_num_seqs=2", "quantization=awq_marlin"],
        playbook="book.yaml",
        candidates=["more=max_num_seqs=4", "less=max_num_seqs=1"],
        search="ladder",
        time_scale=2 * SCALE,
        budget="1500s",
    )
    run = RunFolder(tmp_path / result.run)
    decision = run_files.decision_of(run)
    assert decision.incumbent == "more", decision.first_sentence
    assert result.first_sentence.startswith("One T4 (simulated) with more carries ")
    less = next(v for v in decision.verdicts if v.candidate == "less")
    assert less.verdict == "no gain"
    assert sum(t.candidate == "less" and t.believed for t in read_trials(run)) == 1
    assert decision.replicas is not None
    assert [row.replicas for row in decision.replicas.rows], "what one server fewer and one more mean"
    within = [row for row in decision.replicas.rows if row.replicas >= decision.replicas.at_estimate]
    assert all(row.attainment >= 0.88 and not row.overloaded for row in within)
    assert [c.sentence for c in audit_path(run.path) if c.status == "fail"] == []
