"""From playbook, hardware and model to a plan: which candidates apply, their gates, expected effects and commands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rooftune.engines.server import EffectiveConfig
from rooftune.engines.target import Target
from rooftune.hardware.accelerator import Hardware
from rooftune.models.facts import ModelFacts
from rooftune.tuning import gates as rules
from rooftune.tuning.configuration import base_config, command_text
from rooftune.tuning.entries import (
    Entry,
    Playbook,
    When,
    asked_playbook,
    default_playbook,
    load_playbook,
    with_candidates,
)
from rooftune.tuning.expectation import Predictions, effect_of, predictions
from rooftune.tuning.goal import check_measurable, goal_of
from rooftune.tuning.plan import Candidate, ExpectedEffect, Gate, Plan
from rooftune.tuning.starts import Starts
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.effects import unmodelled
from rooftune.vllm_rules.kernels import may_force_old_awq
from rooftune.vllm_rules.start.startup import Refusal
from rooftune.vllm_rules.versions import between, version
from rooftune.workloads.spec import Workload
from rooftune.workloads.texts.prompt_set import prompt_file

__all__ = ["Playbook", "asked_playbook", "build_plan", "default_playbook", "load_playbook", "with_candidates"]


def build_plan(
    workload: Workload,
    target: Target,
    hardware: Hardware,
    facts: ModelFacts | None,
    playbook: Playbook | None = None,
    *,
    predict: bool = True,
) -> Plan:
    """The plan of a run: the baseline, then every candidate of the playbook that applies to this case.

    An endpoint has only a baseline, because rooftune cannot change its flags. A candidate that cannot or need not run
    stays in the plan with its gate, so the report can give the reason. Without ``predict`` the expected effects come
    from publications instead of the simulator.

    Raises:
        InputError: the workload's objective or a constraint cannot be measured here.
    """
    check_measurable(workload, target, hardware)
    book = playbook or default_playbook()
    lengths = request_lengths(workload)
    starts = Starts(target, hardware.accelerator, facts, lengths.longest)
    start = starts.of(base_config(target, facts))
    base = start.config if start is not None else base_config(target, facts)
    refusal = start.refusal if start is not None else None
    effective = rules.predicted_effective(base, hardware, facts, target.engine_version)
    case = PlanCase(target, hardware, facts, base, effective, lengths.mean_prompt, starts, refusal)
    entries = [e for e in _in_order(book) if case.meets(e.when)]
    if target.engine == "endpoint":
        entries = []
    configs = {"baseline": base, **{e.id: base.with_change(_change(e, book)) for e in entries}}
    foreseen = predictions(workload, target, facts, configs) if predict else Predictions()
    goal = goal_of(workload)
    candidates = [
        _candidate(e, book, configs[e.id], case).model_copy(
            update={"expected": effect_of(e.id, foreseen, goal) or _literature(e, goal.metric)}
        )
        for e in entries
    ]
    return Plan(
        workload=workload.name,
        target=target,
        playbook=book.name,
        candidates=[_baseline(base, foreseen), *candidates],
        phases=book.phases,
        objective=goal,
        predicted=foreseen.metrics,
        predicted_error=foreseen.error,
        context=start.context if start is not None else None,
        memory=start.memory if start is not None else None,
        refusal=refusal,
        unmodelled=list(map(str, unmodelled(base, target.engine_version)))
        if foreseen.metrics or target.simulated
        else [],
        splits_prompts=workload.prompts is not None and prompt_file(workload.prompts).split.divided,
    )


@dataclass(frozen=True)
class PlanCase:
    """What a plan is made for: target, hardware, model, baseline and the workload's mean prompt length."""

    target: Target
    hardware: Hardware
    facts: ModelFacts | None
    base: EngineConfig
    effective: EffectiveConfig
    """What the engine will resolve the baseline's flags to, by the rules of its version."""
    prompt_tokens: float
    starts: Starts
    refusal: Refusal | None = None
    """Why the baseline would not start."""

    def meets(self, when: When) -> bool:
        """Whether a condition of the playbook holds."""
        if when.prompt_tokens_from is not None and self.prompt_tokens < when.prompt_tokens_from:
            return False
        if when.kind is not None and when.kind != self.hardware.accelerator.kind:
            return False
        if when.engine is not None and self.target.engine not in when.engine:
            return False
        quantization = self.base.quantization or (self.facts.quantization if self.facts else None) or "none"
        if when.quantization is not None and quantization not in when.quantization:
            return False
        old_awq = may_force_old_awq(self.base, version(self.target.engine_version))
        if when.old_awq_kernel is not None and when.old_awq_kernel != old_awq:
            return False
        return between(self.target.engine_version, when.since, when.until)


def _in_order(book: Playbook) -> list[Entry]:
    """Entries by phase, and inside a phase by first appearance of their group."""
    first: dict[tuple[str, str], int] = {}
    for place, entry in enumerate(book.candidates):
        first.setdefault((entry.phase, entry.group or entry.id), place)
    return sorted(book.candidates, key=lambda e: (book.phases.index(e.phase), first[(e.phase, e.group or e.id)]))


@dataclass(frozen=True)
class RequestLengths:
    """Lengths of a workload's requests in tokens."""

    mean_prompt: float
    """Infinity where there is no request."""
    longest: int
    """Prompt and answer together."""


def request_lengths(workload: Workload) -> RequestLengths:
    """The lengths that the workload's own seed draws."""
    from rooftune.workloads.draw import draw

    drawn = draw(workload)
    mean = float(drawn.prompt_tokens.mean()) if len(drawn) else math.inf
    return RequestLengths(mean, drawn.longest_request)


def _change(entry: Entry, book: Playbook) -> dict[str, FlagValue | None]:
    """The change, with the playbook's artefact in place of ``{artefact}``."""
    given = book.artifacts.get(entry.artifact or "")
    return {k: _filled(v, entry.artifact, given) for k, v in entry.change.items()}


def _filled(value: Any, name: str | None, given: str | None) -> Any:
    if isinstance(value, dict):
        return {k: _filled(v, name, given) for k, v in value.items()}
    if given is not None and value == f"{{{name}}}":
        return given
    return value


def _baseline(config: EngineConfig, foreseen: Predictions) -> Candidate:
    return Candidate(
        id="baseline",
        name="Baseline",
        phase="baseline",
        change={},
        hypothesis="The server before any change.",
        relieves="none",
        config=config,
        command=command_text(config),
        expected=foreseen.baseline_effect,
    )


def _candidate(entry: Entry, book: Playbook, config: EngineConfig, case: PlanCase) -> Candidate:
    candidate = Candidate(
        id=entry.id,
        name=entry.name,
        phase=entry.phase,
        change=_change(entry, book),
        on=entry.on,
        hypothesis=entry.hypothesis,
        relieves=entry.relieves,
        config=config,
        command=command_text(config),
        group=entry.group or entry.id,
        changes_output=entry.changes_output,
        notes=list(entry.notes),
    )
    found = [
        *rules.capability_gates(entry.needs, entry.needs_any, case.hardware),
        *_artifact_gate(entry, book, case.facts),
        *_texts_gate(entry, case.target),
        *_flag_gates(candidate, case.target),
    ]
    if not found:
        found += _automatic_gate(entry, case.target) or _predicted_gates(candidate, case)
    if not found:
        found += case.starts.gates(config, case.refusal)
    found += [Gate(id="trap", verdict="trap", reason=trap.reason) for trap in entry.traps if case.meets(trap.when)]
    return candidate.model_copy(update={"gates": found})


def _predicted_gates(candidate: Candidate, case: PlanCase) -> list[Gate]:
    note = rules.PREDICTED.format(version=case.target.engine_version)
    return [
        g.model_copy(update={"id": "already-on-predicted", "reason": g.reason.replace("reports", "has") + f" ({note})"})
        for g in rules.gate_effective(candidate, case.effective, case.target.engine_version)
    ]


def _automatic_gate(entry: Entry, target: Target) -> list[Gate]:
    if entry.automatic and between(target.engine_version, entry.automatic.since, None):
        return [Gate(id="automatic", verdict="already on", reason=entry.automatic.reason)]
    return []


def _artifact_gate(entry: Entry, book: Playbook, facts: ModelFacts | None) -> list[Gate]:
    if entry.artifact is None or entry.artifact in book.artifacts:
        return []
    what = entry.artifact.replace("_", " ")
    detail = ""
    if entry.artifact == "draft_model" and facts is not None:
        detail = f" with the vocabulary of {facts.name} ({facts.vocab_size:,} tokens)"
    reason = f"it needs a {what}{detail}; name one under `artifacts: {{{entry.artifact}: …}}` in a playbook file"
    return [Gate(id=f"artifact-{entry.artifact}", verdict="no artefact", reason=reason)]


def _texts_gate(entry: Entry, target: Target) -> list[Gate]:
    """A candidate whose effect depends on real text cannot be measured on an engine that generates none."""
    if not entry.needs_texts or target.engine != "simulated" or target.answers:
        return []
    reason = (
        "it needs real text: the acceptance rate depends on what users write, and a simulated engine generates no "
        "text; give prompts with recorded answers, or measure it with --engine vllm"
    )
    return [Gate(id="texts", verdict="no artefact", reason=reason)]


def _flag_gates(candidate: Candidate, target: Target) -> list[Gate]:
    """A flag that this engine version lacks, or that contradicts another."""
    from rooftune.errors import InputError
    from rooftune.vllm_rules.validation import validate

    try:
        validate(candidate.config, target.engine_version)
    except InputError as error:
        return [Gate(id="flags", verdict="not supported", reason=str(error))]
    return []


def _literature(entry: Entry, metric: str) -> ExpectedEffect | None:
    if entry.expected is None:
        return None
    e = entry.expected
    return ExpectedEffect(metric=metric, ratio=e.ratio, low=e.low, high=e.high, sentence=e.sentence, source=e.source)
