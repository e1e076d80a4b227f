"""What the configuration space depends on: hardware, engine, model, workload and what the user narrowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from packaging.version import Version

from rooftune.errors import InputError
from rooftune.hardware.accelerator import Accelerator, Capability
from rooftune.knobs.checkpoints import Checkpoint
from rooftune.knobs.entry import knobs
from rooftune.knobs.setting import Change, Setting, applied
from rooftune.models.catalogue import QUANTIZATIONS, model_facts
from rooftune.models.facts import ModelFacts
from rooftune.speculation.candidates import DraftModel
from rooftune.speculation.known import NOTHING_KNOWN, KnownDrafts
from rooftune.vllm_rules.capabilities import capabilities
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.vllm_rules.defaults import BatchLimits, batch_limits
from rooftune.vllm_rules.effects import unmodelled
from rooftune.vllm_rules.start.startup import Startup, startup
from rooftune.vllm_rules.versions import version
from rooftune.workloads.draw import draw
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.spec import Workload

Values = tuple[FlagValue | None, ...]
SIZED_AS = {"int8_per_channel_weight_only": "int8"}
"""Methods of quantisation while loading whose weights have the size of another kind."""


STORED_ONLY = ("awq", "gptq", "mxfp4")
"""Kinds of weights that vLLM reads from a checkpoint and does not make while loading."""


@dataclass(frozen=True)
class Demand:
    """What a workload asks of a server, in tokens."""

    mean_prompt: float
    longest_prompt: int
    mean_output: float
    longest_request: int
    """Prompt and answer together."""
    shares_prefixes: bool
    """Prompts can begin with text that another prompt had."""
    concurrency: int | None
    """Closed loop: requests in flight; None = open loop."""

    @classmethod
    def of(cls, plan: RequestPlan) -> Demand:
        """The demand of a drawn workload."""
        if not len(plan):
            return cls(1.0, 1, 1.0, 1, False, plan.concurrency)
        shares = (
            plan.blocks is not None
            or bool((plan.prefix_id >= 0).any() or (plan.turn > 0).any())
            or len(set(plan.prompt_seed.tolist())) < len(plan)
        )
        return cls(
            mean_prompt=float(plan.prompt_tokens.mean()),
            longest_prompt=int(plan.prompt_tokens.max()),
            mean_output=float(plan.output_tokens.mean()),
            longest_request=plan.longest_request,
            shares_prefixes=shares,
            concurrency=plan.concurrency,
        )


@dataclass(frozen=True)
class Named:
    """A change that a user named, as a candidate of a playbook or on the command line."""

    id: str
    change: Mapping[str, FlagValue | None]

    @property
    def knob(self) -> str:
        """The knob that it is in a configuration: itself, which no knob of the engine has as its name."""
        return f"own {self.id}" if self.id in {k.name for k in knobs()} else self.id

    @property
    def words(self) -> str:
        """Its name with all that it sets: 'small (max_num_seqs 4, enforce_eager true)'."""
        settings = (Setting(value, {flag: value}).words(flag) for flag, value in self.change.items())
        return f"{self.id} ({', '.join(settings)})"


@dataclass(frozen=True)
class SpaceContext:
    """Everything that decides which configurations there are."""

    gpu: Accelerator
    engine_version: str
    workload: Workload
    baseline: EngineConfig
    count: int = 1
    """Accelerators of this kind that one server may use."""
    engine: str = "simulated"
    """simulated, vllm or endpoint."""
    checkpoints: tuple[Checkpoint, ...] = ()
    """Other checkpoints of the same model that the user has."""
    has_texts: bool = False
    """The workload sends real texts, so that drafts of speculative decoding can be judged."""
    drafts: KnownDrafts = NOTHING_KNOWN
    """How the drafts of proposers fare that search the text, by a replay of recorded answers."""
    draft_models: tuple[DraftModel, ...] = ()
    """Models that can draft for the baseline's."""
    values: Mapping[str, Values] = field(default_factory=dict, hash=False)
    """Knob -> the only values to try; one value pins the knob. The key may also be any flag of the registry."""
    named: tuple[Named, ...] = ()
    """Changes to add as they are."""
    engine_flags: frozenset[str] | None = None
    """Flags that the installed engine lists; None = not asked, the registry decides."""
    _facts: dict[str, ModelFacts | None] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def version(self) -> Version:
        """The engine version as a comparable value."""
        return version(self.engine_version)

    @cached_property
    def demand(self) -> Demand:
        """What the workload asks for.

        Raises:
            InputError: a trace file is missing or cannot be read.
        """
        return Demand.of(draw(self.workload))

    @cached_property
    def facts(self) -> ModelFacts | None:
        """Facts of the baseline's model; None where rooftune does not know it."""
        return self.facts_of(self.baseline)

    @cached_property
    def start(self) -> Startup | None:
        """What a start of the baseline comes to; None without facts."""
        return None if self.facts is None else self.start_of(self.baseline)

    @cached_property
    def limits(self) -> BatchLimits:
        """Tokens and sequences of one step of the baseline."""
        resolved = self.start.resolved if self.start else None
        if resolved is not None:
            return BatchLimits(resolved.max_num_batched_tokens, resolved.max_num_seqs)
        length = self.baseline.max_model_len or (self.facts.max_position if self.facts else None)
        return batch_limits(self.gpu, self.baseline, length, self.version)

    @cached_property
    def capabilities(self) -> Mapping[str, Capability]:
        """The capability table of the hardware under this engine version, by id."""
        return {c.id: c for c in capabilities(self.gpu, self.engine_version, self.count)}

    def unmodelled_by(self, change: Change) -> list[str]:
        """What a change adds to the flags that the simulated server leaves out."""
        before = {str(u) for u in unmodelled(self.baseline, self.engine_version, server=True)}
        after = unmodelled(applied(self.baseline, change), self.engine_version, server=True)
        return [str(u) for u in after if str(u) not in before]

    def lacks_checkpoint(self, change: Change) -> str:
        """Why a method of quantisation has no weights to work on; empty where it has, or the weights are not known."""
        method = change.get("quantization")
        kind = QUANTIZATIONS.get(method) if isinstance(method, str) else None
        if kind not in STORED_ONLY:
            return ""
        config = applied(self.baseline, {**change, "quantization": None})
        facts = self.facts_of(config)
        if facts is None or facts.quantization == kind:
            return ""
        stored = facts.quantization or "16-bit"
        return f"quantization={method} needs {kind} weights, and {config.model} has {stored} weights; name a checkpoint"

    def facts_of(self, config: EngineConfig) -> ModelFacts | None:
        """Facts of the weights that a configuration serves; None where rooftune cannot size them."""
        key = f"{config.model} {config.quantization}"
        if key not in self._facts:
            asked = SIZED_AS.get(config.quantization or "", config.quantization)
            try:
                self._facts[key] = model_facts(config.model, quantization=asked)
            except InputError:
                self._facts[key] = None
        return self._facts[key]

    def start_of(self, config: EngineConfig) -> Startup | None:
        """What a start of a configuration comes to; None where its weights are not known."""
        facts = self.facts_of(config)
        if facts is None:
            return None
        if config.quantization in SIZED_AS:  # the rules know how these weights are stored and not their kernel
            config = applied(config, {"quantization": None})
        return startup(self.gpu, facts, config, self.engine_version, self.demand.longest_request)
