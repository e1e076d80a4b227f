"""What every exported file is written from: one configuration of a run, with what was measured of it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from statistics import median

from packaging.version import InvalidVersion, Version

from rooftune.engines.deployed_environment import Environment
from rooftune.engines.launch_spec import served_name
from rooftune.engines.price import accelerators_of
from rooftune.errors import InputError, nearest
from rooftune.evidence.records.trial import TrialResult
from rooftune.export.paths import local_paths
from rooftune.report.run.naming import names_of
from rooftune.report.run_data import RunData
from rooftune.report.scripts import NOT_MEASURED, evidence, measured_environment, measured_servers
from rooftune.tuning.capacity_figures import servers
from rooftune.tuning.plan import CapacityFigures
from rooftune.vllm_rules.config import EngineConfig

PORT = 8000
RECOMMENDED = "recommended"
SAME_ANSWERS = "same-answers"
GIB = 1024**3
IMAGE = "vllm/vllm-openai"
CPU_IMAGE = "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo"
"""vLLM's images for NVIDIA GPUs and for x86 CPUs (https://docs.vllm.ai/en/stable/deployment/docker/ and
https://docs.vllm.ai/en/stable/getting_started/installation/cpu/)."""
LEAST_START_S, START_FACTOR = 600.0, 5.0
UNKNOWN_START_S = 1200.0
"""A start on other disks and networks may take several times as long as the measured one; as long as rooftune itself
waits for vLLM where no start was measured."""
LEAST_DRAIN_S, MOST_DRAIN_S, UNKNOWN_DRAIN_S = 15, 600, 60
"""Limits of the time in which a server that is to stop finishes its requests."""


@dataclass(frozen=True)
class AtCapacity:
    """The state of one server when the load is at the lower end of its capacity, from its trials."""

    running: float
    """Requests in the batch."""
    waiting: float
    preemptions_per_s: float
    slowest_s: float | None
    """E2EL that 1 % of the requests exceeded."""


@dataclass(frozen=True)
class Deployment:
    """One configuration of a run, and what is known about it."""

    name: str
    """Valid as a DNS label, a Compose service, a Helm release and a systemd unit."""
    candidate: str
    what: str
    config: EngineConfig
    engine_version: str
    environment: Environment
    comments: list[str]
    """The head of each file: run, hardware, what was measured or simulated."""
    workload: str
    cpu: bool
    simulated: bool
    limits_ms: dict[str, float]
    slo_share: float
    replicas: int
    capacity: CapacityFigures | None
    at_capacity: AtCapacity | None
    asked_rate_per_s: float | None
    ready_after_s: float | None
    """Measured time from the start of a real server until it served; None where it was simulated."""
    prefix_caching: bool
    weights_gib: float | None
    python: str

    @property
    def accelerators(self) -> int:
        """GPUs of one server."""
        return 0 if self.cpu else accelerators_of(self.config.flags())

    @property
    def served_name(self) -> str:
        """The model name of requests, and the label ``model_name`` of vLLM's metrics."""
        return served_name(self.config)

    @property
    def image_name(self) -> str:
        return CPU_IMAGE if self.cpu else IMAGE

    @property
    def image_tag(self) -> str:
        """The tag of the measured release; the nearest release where a development version was measured."""
        try:
            return f"v{Version(self.engine_version).base_version}"
        except InvalidVersion:
            return f"v{self.engine_version}"

    @property
    def image(self) -> str:
        return f"{self.image_name}:{self.image_tag}"

    @property
    def local_paths(self) -> list[str]:
        """Paths of the measuring machine that the flags name, such as a model folder."""
        return local_paths(self.config)

    @property
    def drain_s(self) -> int:
        """How long a server that gets no more requests is left to finish those that it has."""
        slowest = self.at_capacity.slowest_s if self.at_capacity is not None else None
        if slowest is None:
            return UNKNOWN_DRAIN_S
        return min(max(math.ceil(slowest) + 5, LEAST_DRAIN_S), MOST_DRAIN_S)

    @property
    def start_limit_s(self) -> int:
        """How long a start may take before the server is restarted."""
        if self.ready_after_s is None:
            return int(UNKNOWN_START_S)
        return int(max(LEAST_START_S, START_FACTOR * self.ready_after_s))


def deployment_of(run: RunData, wanted: str = RECOMMENDED) -> Deployment:
    """The deployment of a configuration.

    Args:
        wanted: name of a measured configuration, in the report or in full, ``recommended``, ``same-answers``, or a
            phase, for the best configuration after it.

    Raises:
        InputError: the run measured an endpoint, or there is no such configuration.
    """
    plan = run.plan
    if plan.target.engine == "endpoint":
        raise InputError(
            f"{run.folder.path} measured an endpoint, whose flags rooftune does not know; export a run of --engine "
            "vllm or --engine simulated."
        )
    candidate, what = _chosen(run, wanted)
    trials = run.of(candidate)
    capacity = run.capacity_if_measured(candidate)
    asked = run.decision.asked_rate_per_s
    needed = servers(capacity, asked) if capacity is not None else None
    version = next((t.engine_version for t in reversed(trials) if t.engine_version), plan.target.engine_version)
    real = measured_servers(run, candidate)
    caching = next((t.effective.prefix_caching for t in trials if t.effective.prefix_caching is not None), None)
    config = _config(run, candidate)
    return Deployment(
        name=dns_label(f"vllm-{plan.workload}" + ("" if candidate == run.decision.incumbent else f"-{candidate}")),
        candidate=candidate,
        what=what,
        config=config,
        engine_version=version,
        environment=measured_environment(run, candidate),
        comments=[*evidence(run, candidate), *_about_version(version, bool(real)), *_not_measured(trials)],
        workload=plan.workload,
        cpu=_on_cpu(run, trials),
        simulated=run.simulated,
        limits_ms=dict(plan.objective.slo),
        slo_share=plan.objective.slo_share,
        replicas=needed.at_low if needed is not None else 1,
        capacity=capacity,
        at_capacity=_at_capacity(trials, capacity),
        asked_rate_per_s=asked,
        ready_after_s=max((s.ready_after_s for s in real), default=None),
        prefix_caching=config.enable_prefix_caching is not False if caching is None else caching,
        weights_gib=plan.memory.weights_bytes / GIB if plan.memory is not None else None,
        python=plan.target.vllm_python or "/opt/vllm/bin/python",
    )


def dns_label(text: str) -> str:
    """A text as a DNS label: lower case, digits and dashes, at most 50 characters, so that suffixes fit."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:50].strip("-")


def choices(run: RunData) -> list[str]:
    """Everything that ``deployment_of`` accepts."""
    search = run.decision.search
    same = [SAME_ANSWERS] if search is not None and search.same_answers else []
    return [RECOMMENDED, *same, *run.phases, *_by_name(run)]


def _by_name(run: RunData) -> dict[str, str]:
    """The measured configurations by their names in the report."""
    names = names_of(run)
    return {names.plain(c.id): c.id for c in run.measured}


def _chosen(run: RunData, wanted: str) -> tuple[str, str]:
    """The name of the configuration, and what it is."""
    search = run.decision.search
    if any(c.id == wanted for c in run.measured):
        return wanted, "a configuration"
    if wanted == RECOMMENDED:
        return run.decision.incumbent, "the recommended configuration"
    if wanted == SAME_ANSWERS and search is not None and search.same_answers:
        return search.same_answers, "the best configuration that leaves the answers as they are"
    if wanted in run.phases:
        return run.incumbent_after(wanted), f"the best configuration after the phase {wanted}"
    by_name = _by_name(run)
    if wanted in by_name:
        return by_name[wanted], "a configuration"
    known = choices(run)
    raise InputError(
        f"{run.folder.path} has no measured configuration {wanted!r}{nearest(wanted, known)}; choose from "
        f"{', '.join(dict.fromkeys(known))}."
    )


def _config(run: RunData, candidate: str) -> EngineConfig:
    """What the configuration ran with, or what was planned where it has no verdict because it was only predicted."""
    if any(v.candidate == candidate for v in run.decision.verdicts):
        return run.config(candidate)
    return run.plan.candidate(candidate).config


def _on_cpu(run: RunData, trials: list[TrialResult]) -> bool:
    gpu = run.plan.target.gpu or next((t.gpu for t in trials if t.gpu), "")
    return (gpu or "").lower() == "cpu"


def _about_version(version: str, measured: bool) -> list[str]:
    if measured:
        return [f"Measured with vLLM {version}."]
    return [f"vLLM {version} was simulated: no server of this version was started."]


def _not_measured(trials: list[TrialResult]) -> list[str]:
    return [] if trials else [NOT_MEASURED]


def _at_capacity(trials: list[TrialResult], capacity: CapacityFigures | None) -> AtCapacity | None:
    """The state of the server, scaled from the load of each trial to the lower end of the capacity."""
    found = [s for t in trials if (s := _state(t, capacity)) is not None]
    if not found:
        return None
    return AtCapacity(
        running=median(s.running for s in found),
        waiting=median(s.waiting for s in found),
        preemptions_per_s=median(s.preemptions_per_s for s in found),
        slowest_s=max((s.slowest_s for s in found if s.slowest_s is not None), default=None),
    )


def _state(trial: TrialResult, capacity: CapacityFigures | None) -> AtCapacity | None:
    """The state in one trial; None where it was not recorded, the queue grew, or the capacity is not known."""
    running, window = trial.server.get("running"), trial.window
    steps = trial.capacity.steps if trial.capacity is not None else []
    if running is None or window is None or capacity is None or capacity.low <= 0 or not steps:
        return None
    if steps[-1].queue_grew:
        return None
    lasted = max(window.end_s - window.start_s, 1.0)
    slowest = steps[-1].latencies.get("p99_e2el_ms")
    return AtCapacity(
        running=running * capacity.low / steps[-1].rate_per_s,
        waiting=trial.server.get("waiting", 0.0),
        preemptions_per_s=trial.server.get("preemptions", 0.0) / lasted,
        slowest_s=slowest / 1000 if slowest is not None else None,
    )
