"""A whole run made up without a server: true rates by candidate, noise, and the files that a run folder has."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rooftune.engines.target import Target
from rooftune.evidence.comparison.compare import Comparison
from rooftune.evidence.records.trial import Census, Check, TrialResult
from rooftune.files import write_json
from rooftune.hardware.accelerator import Capability, Hardware
from rooftune.hardware.named import accelerator
from rooftune.loadgen.schema import REQUESTS
from rooftune.metrics.window import Window
from rooftune.models.catalogue import model_facts
from rooftune.roofline.model import Point, Ridge, Roof, Roofline
from rooftune.runfolder import RunFolder
from rooftune.trial_order import TrialOrder
from rooftune.tuning.case import TargetRequest, target_for
from rooftune.tuning.gates import predicted_effective
from rooftune.tuning.plan import Plan
from rooftune.tuning.playbook import Playbook, build_plan
from rooftune.tuning.search import decide, next_trial
from rooftune.workloads.spec import Workload

CAPABILITIES = {
    "fp16": True,
    "bf16": False,
    "int8": True,
    "fp8": False,
    "fp8_kv": True,
    "flash_attention_2": False,
    "flash_attention_3": False,
    "flashinfer": True,
    "triton_attention": True,
    "marlin": True,
    "cuda_graphs": True,
    "tensor_parallel": False,
    "int8_kv": False,
}
RATES = {
    "baseline": 365.0,
    "batch-8": 200.0,
    "batch-16": 340.0,
    "batch-32": 360.0,
    "cuda-graphs": 300.0,
    "cuda-graphs-decode": 385.0,
    "awq-marlin": 700.0,
    "awq-marlin-graphs": 760.0,
    "attention-triton": 600.0,
    "fp8-kv": 765.0,
    "token-budget-512": 745.0,
    "token-budget-8192": 750.0,
    "spec-ngram": 500.0,
}
WITHHELD = ("median_ttft_ms", "p99_ttft_ms", "median_e2el_ms", "p99_e2el_ms", "request_goodput")
GROWING_QUEUE = "the queue grew for the whole window, so the value depends on how long the load lasted"
RUNNING = {"batch-8": 8.0, "batch-16": 16.0, "batch-32": 32.0}


def workload(rate: float = 20.0, **more: Any) -> Workload:
    """A small chat workload."""
    fixed = {"distribution": "fixed"}
    return Workload.model_validate(
        {
            "name": "chat-medium",
            "arrivals": {"process": "poisson", "rate_per_s": rate},
            "prompt_tokens": {**fixed, "value": 50},
            "output_tokens": {**fixed, "value": 150},
            "duration_s": 60,
            "warmup_s": 20,
            "slo": {"ttft_ms": 2000, "tpot_ms": 100},
            "objective": {"metric": "output_throughput"},
            **more,
        }
    )


def hardware(version: str = "0.15.1", **changed: bool) -> Hardware:
    """A T4 with the capabilities of vLLM 0.15.1."""
    table = {**CAPABILITIES, **changed}
    return Hardware(
        accelerator=accelerator("T4"),
        simulated=True,
        engine_version=version,
        capabilities=[
            Capability(id=k, name=k.replace("_", " "), available=v, reason=f"the rule about {k}")
            for k, v in table.items()
        ],
    )


def plan_of(load: Workload, target: Target | None = None, playbook: Playbook | None = None) -> Plan:
    """The plan of the published case without predictions."""
    facts = model_facts("llama-2-7b", quantization="awq")
    return build_plan(load, target or target_for(TargetRequest()), hardware(), facts, playbook, predict=False)


class World:
    """Answers trial orders as a server with these true rates would."""

    def __init__(self, plan: Plan, rates: dict[str, float] | None = None, noise: float = 0.01, seed: int = 0) -> None:
        self.plan, self.rates, self.noise = plan, {**RATES, **(rates or {})}, noise
        self.random = np.random.default_rng(seed)
        self.failing: dict[str, str] = {}
        self.doubted: set[str] = set()
        self.late_sends: dict[str, set[int]] = {}
        """Trials, by candidate, in which the machine kept the client from sending on time."""
        self.drift_per_trial = 0.0
        self.capacity_only = True

    def run(self, order: TrialOrder) -> TrialResult:
        """The result of one trial."""
        common = {
            "candidate": order.candidate, "n": order.n, "workload": self.plan.workload, "workload_hash": "0" * 16,
            "seed": order.seed, "position": order.position, "simulated": True, "time_scale": 25.0,
            "engine": "simulated", "engine_version": "0.15.1", "gpu": "T4", "model": "llama-2-7b",
            "flags": order.config.flags(),
        }  # fmt: skip
        if order.candidate in self.failing:
            return TrialResult(status="failed", failure=self.failing[order.candidate], failure_kind="dtype", **common)
        drift = 1 - self.drift_per_trial * order.position
        rate = self.rates[order.candidate] * drift * math.exp(self.random.normal(0, self.noise))
        running = RUNNING.get(order.candidate, 97.0)
        bad, late = order.candidate in self.doubted, order.n in self.late_sends.get(order.candidate, ())
        return TrialResult(
            status="measured",
            effective=predicted_effective(
                order.config, hardware(), model_facts("llama-2-7b", quantization="awq"), "0.15.1"
            ),
            window=Window(start_s=20, end_s=80),
            census=Census(scheduled=1600, completed=300, cut=100, never_begun=1200),
            overloaded=rate / 150 < 20,
            asked_rate_per_s=20.0,
            served_rate_per_s=rate / 150,
            metrics={
                "output_throughput": rate,
                "request_throughput": rate / 150,
                "median_tpot_ms": 1000 * running / rate,
                "p99_tpot_ms": 1100 * running / rate,
            },
            withheld=dict.fromkeys(WITHHELD, GROWING_QUEUE),
            server={
                "running": running,
                "waiting": 600.0,
                "kv_usage": 0.8,
                "preemptions": 3.0,
                "iteration_tokens": 110.0,
            },
            checks=[
                Check(id="census", status="pass", sentence="Every request is accounted for."),
                Check(id="window", status="fail" if bad else "pass", sentence="The window was disturbed."),
                Check(id="send-lag", status="fail" if late else "pass", sentence="The client sent late."),
            ],
            **common,
        )

    def search(self, budget: float | None = None, cost: float = 10.0, most: int = 200) -> list[TrialResult]:
        """Run the search to its end."""
        results: list[TrialResult] = []
        left = budget
        while len(results) < most and (order := next_trial(self.plan, results, left, cost)):
            results.append(self.run(order))
            left = None if left is None else left - cost
        return results


def write_requests(path: Path, trial: TrialResult, n: int = 120) -> None:
    """A plausible requests.parquet."""
    random = np.random.default_rng(trial.position)
    scheduled = np.sort(random.uniform(0, 80, n))
    gap = trial.metrics["median_tpot_ms"] / 1000
    rows = []
    for i, at in enumerate(scheduled):
        done = i < n // 3
        chunks = np.cumsum(random.uniform(0.8, 1.2, 150 if done else 20) * gap) + 2.0
        row: dict[str, Any] = dict.fromkeys(REQUESTS.names)
        row |= {"index": i, "status": "completed" if done else "cut", "scheduled_s": at, "sent_s": at}
        row |= {"first_token_s": at + chunks[0], "last_token_s": at + chunks[-1], "planned_prompt_tokens": 50}
        row |= {"planned_output_tokens": 150, "streamed_tokens": len(chunks), "chunks": len(chunks), "prefix_id": -1}
        row |= {"conversation": -1, "turn": 0, "part": 0, "process": 0, "bytes_received": 1000, "chunk_s": chunks}
        rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=REQUESTS), path)


def chart_of(results: list[TrialResult]) -> Roofline:
    """A roofline with one decode point a trial; its sentences are made up, so that no other room's wording matters."""
    points = []
    for t in results:
        if t.status == "measured":
            rate = t.metrics["output_throughput"]
            intensity = 3.5 * t.server["running"]
            ceiling = min(65e12, 320e9 * intensity)
            points.append(
                Point(
                    candidate=t.candidate, n=t.n, stage="decode", simulated=True, intensity_flop_per_byte=intensity,
                    achieved_flops_per_s=13.2e9 * rate, attainable_flops_per_s=ceiling, share=13.2e9 * rate / ceiling,
                    tokens_per_s=rate, batch=t.server["running"], context=125, step_ms=t.metrics["median_tpot_ms"],
                    compute="fp16", bound="kernel" if rate < 600 else "overhead", sentence="A step took its time.",
                    how="made up",
                )
            )  # fmt: skip
    how = {"measured": False, "how": "catalogue"}
    return Roofline(
        accelerator="T4",
        count=1,
        model="llama-2-7b",
        simulated=True,
        roofs=[
            Roof(kind="bandwidth", name="memory bandwidth", value=320e9, **how),
            Roof(kind="compute", name="fp16", value=65e12, **how),
        ],
        ridges=[Ridge(compute="fp16", measured=False, flop_per_byte=203)],
        points=points,
    )


def plain_compare(a: Any, b: Any, metric: str, **more: Any) -> Comparison:
    """A comparison that stays the same whatever becomes of the real one: ratio of means with a t interval."""
    x, y = ([math.log(t.metrics[metric]) for t in side] for side in (a, b))
    difference = float(np.mean(x) - np.mean(y))
    half = max(float(2.5 * np.hypot(np.std(x) / len(x) ** 0.5, np.std(y) / len(y) ** 0.5)), 0.01)
    gain = -difference if metric.endswith("_ms") else difference
    least = max(half, math.log1p(0.02))
    answer = "better" if gain > least else "worse" if gain < -least else "no measurable difference"
    return Comparison(
        metric=metric,
        direction="lower" if metric.endswith("_ms") else "higher",
        estimate=math.exp(difference),
        low=math.exp(difference - half),
        high=math.exp(difference + half),
        answer=answer,
        reason="the plain rule of this test says so",
        trials_a=len(x),
        trials_b=len(y),
    )


def write_run(root: Path, world: World, results: list[TrialResult], load: Workload) -> RunFolder:
    """The folder of that run, as the phases before the report leave it."""
    run = RunFolder(root / load.name / "20260101-000000-test")
    write_json(
        run.run_json,
        {
            "format": 1,
            "run_id": run.path.name,
            "workload": load.name,
            "created": "2026-01-01T00:00:00+00:00",
            "workload_spec": load.model_dump(mode="json"),
        },
    )
    write_json(run.hardware_json, hardware().model_dump(mode="json"))
    write_json(run.plan_json, world.plan.model_dump(mode="json"))
    write_json(run.decision_json, decide(world.plan, results, budget_spent_s=300).model_dump(mode="json"))
    chart = chart_of(results)
    write_json(run.roofline_json, chart.model_dump(mode="json"))
    for trial in results:
        folder = run.trial(trial.candidate, trial.n)
        write_json(folder.trial_json, trial.model_dump(mode="json"))
        if trial.status == "measured":
            write_requests(folder.requests, trial)
    return run
