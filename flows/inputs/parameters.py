"""Options that belong together, as values: what a command or a flow is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from flows.inputs import options


@dataclass(frozen=True)
class ServerOptions:
    """The server to predict or to simulate."""

    gpu: options.Gpu = None
    model: options.Model = None
    engine_version: options.EngineVersion = None
    flags: options.Flags = None
    calibration: options.Calibration = None


@dataclass(frozen=True)
class TargetOptions(ServerOptions):
    """The server to tune, and how it is run."""

    engine: options.Engine = "simulated"
    url: options.Url = None
    vllm_python: options.VllmPython = None
    usd_per_gpu_hour: options.GpuPrice = None


@dataclass(frozen=True)
class WorkloadOptions:
    """Changes to a workload."""

    duration_s: options.Duration = None
    warmup_s: options.Warmup = None
    rate_per_s: options.Rate = None
    seed: options.Seed = None
    slo: options.Slo = None


@dataclass(frozen=True)
class TextOptions:
    """Real texts in place of drawn prompts."""

    prompts: options.PromptsFile = None


@dataclass(frozen=True)
class GoalOptions:
    """What decides between configurations."""

    objective: options.Objective = None
    constraints: options.Constraints = None


@dataclass(frozen=True)
class QualityOptions:
    """How the answers of candidates are checked."""

    accept_quality_loss: options.AcceptQualityLoss = False
    quality_command: options.QualityCommand = None
    quality_value: options.QualityValue = None


@dataclass(frozen=True)
class RateOptions:
    """Changes to a workload whose duration the measurement decides."""

    rate_per_s: options.Rate = None
    seed: options.Seed = None
    slo: options.Slo = None


@dataclass(frozen=True)
class CapacityOptions:
    """How a capacity is measured, and how long that may take."""

    precision: options.Precision = "5%"
    budget: options.CapacityBudget = None
    per: options.Per = None
    users: options.Users = None
    think_time_s: options.ThinkTime = None
    time_scale: options.TimeScale = None
    client_processes: options.ClientProcesses = None
    ready_timeout_s: options.ReadyTimeout = None
    prompts: options.Prompts = None
    vocab_size: options.VocabSize = None
    request_timeout_s: options.RequestTimeout = 600.0


@dataclass(frozen=True)
class CandidateOptions:
    """What is tried, and by which search."""

    playbook: options.Playbook = None
    candidates: options.Candidates = None
    checkpoints: options.Checkpoints = None
    draft_models: options.DraftModels = None
    search: options.Search = None


@dataclass(frozen=True)
class TrialOptions:
    """How trials are run, and how long all of them may take."""

    budget: options.Budget = None
    time_scale: options.TimeScale = None
    client_processes: options.ClientProcesses = None
    ready_timeout_s: options.ReadyTimeout = None


@dataclass(frozen=True)
class OptimizeRequest:
    """Everything that one optimisation is asked for."""

    workload: str
    target: TargetOptions = field(default_factory=TargetOptions)
    changes: WorkloadOptions = field(default_factory=WorkloadOptions)
    added: CandidateOptions = field(default_factory=CandidateOptions)
    trials: TrialOptions = field(default_factory=TrialOptions)
    goal: GoalOptions = field(default_factory=GoalOptions)
    texts: TextOptions = field(default_factory=TextOptions)
    quality: QualityOptions = field(default_factory=QualityOptions)
    artifacts: str = options.ARTIFACTS
    resume: str | None = None

    def parameters(self) -> dict[str, Any]:
        """The parameters of the flow ``optimize``: all options, flat."""
        found = asdict(self)
        groups = [found.pop(name) for name in ("target", "changes", "added", "trials", "goal", "texts", "quality")]
        return {**found, **{name: value for group in groups for name, value in group.items()}}
