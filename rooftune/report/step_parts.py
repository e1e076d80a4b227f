"""Where the time of an engine step goes, by the simulator, at the load that a trial measured: content of steps.json."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from rooftune.capacity.reference_server import reference_server
from rooftune.engines.target import Target
from rooftune.evidence.records.trial import TrialResult
from rooftune.roofline.observed import Observed, observe
from rooftune.simulator.engine.shape import StepShape
from rooftune.simulator.steptime.model import StepTime

STEPS = "steps.json"
EXPLAINED_WITHIN = 0.25
"""Largest relative difference between the sum of the simulated parts and the measured time that is an explanation."""
PROMPTS, STEP_RATE, HITS = "prompt_tokens", "steps_per_s", "prefix_hit_share"


class StepParts(BaseModel):
    """The mean step of one configuration in milliseconds, by what it is spent on. Simulated, except for the last."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    weights: float = Field(description="weight matrices, LM head and sampling of a decode step")
    kv_cache: float = Field(description="attention of a decode step, which reads the KV cache")
    all_reduce: float = Field(description="exchange between accelerators")
    host: float = Field(description="scheduling and launches that the accelerator waits for")
    prefill: float = Field(description="what the prompts of other requests add to a mean step")
    batch: float = Field(description="sequences that decode together, as measured")
    context: float = Field(description="mean tokens of a sequence, as measured")
    measured_ms: float | None = Field(default=None, description="mean time per output token, as measured")

    @property
    def total(self) -> float:
        """The whole step."""
        return self.weights + self.kv_cache + self.all_reduce + self.host + self.prefill

    @property
    def explains(self) -> bool:
        """Whether the parts add up to about the measured time, so that they say something about it."""
        return self.measured_ms is None or abs(self.total / self.measured_ms - 1) <= EXPLAINED_WITHIN


class StepBreakdown(BaseModel):
    """The mean step of the baseline and of the recommended configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: int = 1
    steps: dict[str, StepParts] = Field(default_factory=dict, description="by configuration")


def step_parts(target: Target, gpu: str, trials: Sequence[TrialResult]) -> StepParts | None:
    """The mean step of one configuration's last believed trial; None where it did not record its batch.

    Raises:
        RooftuneError: the configuration cannot be simulated.
    """
    trial = next((t for t in reversed(trials) if t.believed), None)
    if trial is None:
        return None
    seen = observe(trial)
    if seen.batch.value is None:
        return None
    own = target if trial.model in ("", target.model) else target.model_copy(update={"model": trial.model})
    step_time = reference_server(own, trial.flags, gpu).engine().step_time
    batch = max(1, min(round(seen.batch.value), step_time.r.max_num_seqs))
    context = seen.context.value or 0.0
    shape = _decode(step_time, batch, context)
    seconds, parts = step_time.seconds(shape), step_time.parts(shape)
    busy = parts["linear"] + parts["head"] + parts["attention"]
    return StepParts(
        weights=1000 * (parts["linear"] - parts["all_reduce"] + parts["head"]),
        kv_cache=1000 * parts["attention"],
        all_reduce=1000 * parts["all_reduce"],
        host=1000 * max(seconds - busy, 0.0),
        prefill=1000 * _prefill(step_time, trial, seen, shape),
        batch=seen.batch.value,
        context=context,
        measured_ms=1000 * seen.step_s if seen.step_s else None,
    )


def _decode(step_time: StepTime, batch: int, context: float) -> StepShape:
    tokens = batch * (1 + step_time.r.speculative_tokens)
    return StepShape(decode_seqs=batch, decode_tokens=tokens, decode_context=round(batch * context), sampled=batch)


def _prefill(step_time: StepTime, trial: TrialResult, seen: Observed, decode: StepShape) -> float:
    """Seconds that the prompts of the window add to a mean step: each joins a decode step, in chunks of the budget."""
    length, steps = seen.prompt_tokens, trial.server.get(STEP_RATE, 0.0)
    if not steps and seen.step_s:
        steps = 1 / seen.step_s
    if not length or not steps or trial.window is None:
        return 0.0
    fresh = 1 - trial.server.get(HITS, 0.0)
    total = trial.server.get(PROMPTS, trial.metrics.get("total_input_tokens", 0.0))
    prompts = total / length / (steps * trial.window.seconds)
    room = max(1, step_time.r.max_num_batched_tokens - decode.decode_tokens)
    chunk = max(1, min(round(length * fresh), room))
    sampled = min(decode.sampled + 1, step_time.r.max_num_seqs)  # in a full batch a prompt takes the place of an answer
    mixed = StepShape(
        decode_seqs=decode.decode_seqs, decode_tokens=decode.decode_tokens, decode_context=decode.decode_context,
        prefill_seqs=1, prefill_tokens=chunk, prefill_pairs=chunk * chunk / 2, sampled=sampled,
    )  # fmt: skip
    more = max(step_time.seconds(mixed) - step_time.seconds(decode), 0.0)
    return prompts * more * max(1.0, length * fresh / chunk)
