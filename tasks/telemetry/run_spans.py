"""What the spans of runs and trials say: names, numbers and verdicts; never a prompt or an answer."""

from __future__ import annotations

import math

from rooftune.engines.target import Target
from rooftune.evidence.records.trial import TrialResult
from rooftune.runfolder import RunFolder
from rooftune.trial_order import TrialOrder
from rooftune.tuning.configuration import describe, difference
from rooftune.tuning.plan import Decision, Plan
from rooftune.vllm_rules.config import EngineConfig
from tasks.run_files import short_path, target_of, workload_of
from tasks.telemetry.span import Attributes, Span
from tasks.telemetry.spans import failure_words


def target_attributes(target: Target) -> Attributes:
    """What is measured."""
    return {
        "engine": target.engine,
        "engine_version": target.engine_version,
        "gpu": target.gpu,
        "model": target.model,
        "simulated": target.simulated,
    }


def run_attributes(run: RunFolder, kind: str) -> Attributes:
    """A run that begins.

    Args:
        kind: optimize, gate or capacity.
    """
    workload = {"kind": kind, "workload": workload_of(run).name, "run": short_path(run.path)}
    return {**workload, **target_attributes(target_of(run))}


def trial_attributes(order: TrialOrder, baseline: EngineConfig) -> Attributes:
    """A trial that begins."""
    return {
        "candidate": order.candidate,
        "trial": order.n,
        "position": order.position,
        "phase": order.phase,
        "seed": order.seed,
        "change": describe(difference(order.config, baseline)),
        "why": order.why or None,
    }


def record_trial(span: Span, trial: TrialResult, verdict: str | None = None) -> None:
    """A trial that has ended: its metrics, its audit, and what its candidate is worth so far."""
    failed = [c.id for c in trial.checks if c.status == "fail"]
    warned = [c.id for c in trial.checks if c.status == "warn"]
    metrics = {f"metric.{name}": value for name, value in trial.metrics.items() if math.isfinite(value)}
    audit = {"audit.trusted": trial.believed, "audit.failed": failed or None, "audit.warned": warned or None}
    span.set({"status": trial.status, "overloaded": trial.overloaded, "verdict": verdict, **audit, **metrics})
    if trial.status == "failed":
        span.fail(f"trial.{trial.failure_kind or 'failed'}", failure_words(trial.failure or "", trial.failure_kind))


def verdict_of(decision: Decision, candidate: str) -> str | None:
    """What the trials so far show about a candidate."""
    return next((v.verdict for v in decision.verdicts if v.candidate == candidate), None)


def record_decision(span: Span, decision: Decision, plan: Plan) -> None:
    """The end of a run: the recommendation, and a verdict for each candidate."""
    span.set({"recommended": decision.incumbent, "answer": decision.first_sentence, "complete": decision.complete})
    span.set({"objective": plan.objective.metric})
    for verdict in decision.verdicts:
        ratio = verdict.ratios.get(verdict.metric)
        span.event(
            "verdict",
            {
                "candidate": verdict.candidate,
                "phase": verdict.phase,
                "verdict": verdict.verdict,
                "reason": verdict.reason if verdict.verdict != "failed" else None,
                "metric": verdict.metric or None,
                "ratio": ratio.estimate if ratio else None,
                "ratio_low": ratio.low if ratio else None,
                "ratio_high": ratio.high if ratio else None,
            },
        )
