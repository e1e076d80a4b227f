"""The roofline of a run: ceilings, and a decode and a prefill point per believed trial, each with its bottleneck."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rooftune.evidence.records.trial import TrialResult
from rooftune.hardware.accelerator import Hardware
from rooftune.models.catalogue import QUANTIZATIONS
from rooftune.models.costs import (
    decode_bytes,
    flops_per_token,
    kv_read_bytes,
    prefill_bytes,
    prefill_flops,
)
from rooftune.models.facts import ModelFacts
from rooftune.roofline import bottleneck
from rooftune.roofline.bottleneck import Circumstances, StepNeeds
from rooftune.roofline.model import Point, Roof, Roofline
from rooftune.roofline.observed import Observed, observe
from rooftune.roofline.roofs import bandwidth, compute, compute_type, ridges, roofs
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.kernels import OLD_AWQ_IS_FORCED
from rooftune.vllm_rules.kv_cache import bytes_per_value
from rooftune.vllm_rules.versions import version

__all__ = ["Point", "Roofline", "roofline"]


@dataclass(frozen=True)
class _Case:
    """One trial with what its configuration means."""

    trial: TrialResult
    config: EngineConfig
    facts: ModelFacts
    kind: str
    tensor_parallel: int
    kv_bytes: float
    flow: Roof
    rate: Roof

    def point(self, flops: float, moved: float, seconds: float, **more: object) -> Point:
        """The point of work with this arithmetic, memory traffic and duration."""
        achieved, intensity = flops / seconds, flops / moved
        attainable = min(self.rate.value, intensity * self.flow.value)
        return Point.model_validate(
            {
                "candidate": self.trial.candidate,
                "n": self.trial.n,
                "simulated": self.trial.simulated,
                "compute": self.rate.name,
                "intensity_flop_per_byte": intensity,
                "achieved_flops_per_s": achieved,
                "attainable_flops_per_s": attainable,
                "share": achieved / attainable,
                "step_ms": 1000 * seconds,
                **more,
            }
        )

    def needs(self, weights: float, kv: float, flops: float, seconds: float, rows: float) -> StepNeeds:
        """What a step must move and compute, with the ceilings of this case."""
        return StepNeeds(weights, kv, flops, seconds, self.flow.value, self.rate.value, self.rate.name, rows)


def roofline(
    hardware: Hardware,
    facts: ModelFacts,
    config: EngineConfig,
    trials: list[TrialResult],
    checkpoints: Mapping[str, ModelFacts] | None = None,
) -> Roofline:
    """Ceilings and points of a run.

    Args:
        checkpoints: facts of the models that trials served instead of the run's own, by name.
        config: the flags that all trials share; the flags of a trial override them.
        trials: the believed ones get points, and the notes name the others.
    """
    believed = [t for t in trials if t.believed]
    configs = [config.with_change(t.flags) for t in believed]
    served = [(checkpoints or {}).get(t.model, facts) for t in believed]
    models = [_weights(own, c) for own, c in zip(served, configs, strict=True)]
    kinds = [compute_type(hardware, m, c, t.effective) for m, c, t in zip(models, configs, believed, strict=True)]
    widest = max([c.tensor_parallel_size or 1 for c in configs], default=1)
    found = roofs(hardware, set(kinds) or {compute_type(hardware, facts, config)}, widest)
    points, notes = [], _notes(hardware, trials, found)
    for trial, own, model, kind in zip(believed, configs, models, kinds, strict=True):
        flow, rate = bandwidth(found), compute(found, kind)
        if flow is None or rate is None:
            continue
        case = _Case(trial, own, model, kind, own.tensor_parallel_size or 1, bytes_per_value(own), flow, rate)
        seen = observe(trial)
        made = [p for p in (_decode(case, seen), _prefill(case, seen)) if p is not None]
        points += made
        notes += [] if made else [f"{trial.candidate} trial {trial.n}: the server reported too little to place it."]
    return Roofline(
        accelerator=hardware.accelerator.name,
        count=widest,
        model=facts.name,
        simulated=any(t.simulated for t in trials) or hardware.simulated,
        roofs=found,
        ridges=ridges(found),
        points=points,
        notes=list(dict.fromkeys(notes)),
    )


def _weights(facts: ModelFacts, config: EngineConfig) -> ModelFacts:
    """The model with the weights that the flags select (FP8 converted at load time, or another checkpoint)."""
    asked = config.quantization
    if asked is None or asked not in QUANTIZATIONS or QUANTIZATIONS[asked] == facts.quantization:
        return facts
    return facts.stored_as(QUANTIZATIONS[asked])


def _notes(hardware: Hardware, trials: list[TrialResult], found: list[Roof]) -> list[str]:
    notes = []
    doubted = [f"{t.candidate} trial {t.n}" for t in trials if t.status == "measured" and not t.believed]
    if doubted:
        notes.append(f"These trials failed their audit and are not shown: {', '.join(doubted)}.")
    if not found or bandwidth(found) is None:
        notes.append(f"The ceilings of the accelerator {hardware.accelerator.name!r} are unknown, so nothing is shown.")
    if hardware.simulated or any(t.simulated for t in trials):
        notes.append(
            f"Simulated: the ceilings of {hardware.accelerator.name} come from the catalogue; no such device was "
            "measured."
        )
    return notes


def _decode(case: _Case, seen: Observed) -> Point | None:
    batch, step_s = seen.batch.value, seen.step_s
    if batch is None or step_s is None:
        return None
    context = seen.context.value or 0.0
    flops = batch * flops_per_token(case.facts, context)
    moved = decode_bytes(case.facts, batch, context, case.kv_bytes)
    kv = kv_read_bytes(case.facts, batch, context, case.kv_bytes)
    found = bottleneck.decode(case.needs(moved - kv, kv, flops, step_s, batch), _circumstances(case, seen))
    return case.point(
        flops,
        moved,
        step_s,
        stage="decode",
        tokens_per_s=batch / step_s,
        batch=batch,
        context=context,
        bound=found.bound,
        sentence=found.sentence,
        how=f"batch: {seen.batch.how}; context: {seen.context.how}; step: time per output token",
    )


def _prefill(case: _Case, seen: Observed) -> Point | None:
    prefill_s = seen.prefill_s.value
    if not seen.prompt_tokens or not prefill_s:
        return None
    tokens = max(1.0, seen.prompt_tokens - _cached(case.trial, seen.prompt_tokens))
    flops, moved = prefill_flops(case.facts, tokens), prefill_bytes(case.facts, tokens, case.kv_bytes)
    found = bottleneck.prefill(case.needs(moved, 0.0, flops, prefill_s, tokens), tokens)
    return case.point(
        flops,
        moved,
        prefill_s,
        stage="prefill",
        tokens_per_s=tokens / prefill_s,
        batch=1.0,
        context=tokens,
        bound=found.bound,
        sentence=found.sentence,
        how=seen.prefill_s.how,
    )


def _cached(trial: TrialResult, prompt: float) -> float:
    """Tokens of a mean prompt that came from the prefix cache."""
    return prompt * trial.server.get("prefix_hit_share", 0.0)


def _circumstances(case: _Case, seen: Observed) -> Circumstances:
    effective = case.trial.effective
    eager = effective.enforce_eager if effective.enforce_eager is not None else bool(case.config.enforce_eager)
    return Circumstances(
        old_awq=_old_awq(case),
        eager=eager,
        waiting=seen.waiting,
        max_num_seqs=effective.max_num_seqs or case.config.max_num_seqs,
        overloaded=case.trial.overloaded,
        preemptions=case.trial.server.get("preemptions", 0.0),
    )


def _old_awq(case: _Case) -> bool:
    """Whether the linear layers ran on AWQ's old kernel: as the engine reports, else by version and flag."""
    kernel = (case.trial.effective.linear_kernel or "").lower()
    if kernel:
        return "awq" in kernel and "marlin" not in kernel
    return case.config.quantization == "awq" and bool(OLD_AWQ_IS_FORCED.has(version(case.trial.engine_version)))
