"""The files of a run that phases read, as typed values: run.json, hardware.json, plan.json."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from rooftune.engines.target import Target
from rooftune.errors import InputError, RooftuneError
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import read_trials
from rooftune.files import as_model, read_json, write_json
from rooftune.hardware.accelerator import Hardware
from rooftune.models.facts import ModelFacts
from rooftune.runfolder import RunFolder
from rooftune.trial_order import TrialOrder
from rooftune.tuning.guided.search_plan import SearchMethod
from rooftune.tuning.plan import Decision, Plan, QualityRules
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.identity import workload_hash
from rooftune.workloads.spec import Workload

Model = TypeVar("Model", bound=BaseModel)


class RunSettings(BaseModel):
    """Settings of a run besides workload and target. Part of run.json."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    budget_s: float | None = Field(default=None, description="real seconds for all trials together; None = no limit")
    playbook: str | None = None
    candidates: list[str] = Field(default_factory=list)
    checkpoints: list[str] = Field(
        default_factory=list, description="other checkpoints of the model, or folders of them"
    )
    draft_models: list[str] = Field(
        default_factory=list, description="models that can draft for speculative decoding, or folders of them"
    )
    search: SearchMethod | None = Field(default=None, description="None = guided where the simulator can lead it")
    client_processes: int | None = None
    ready_timeout_s: float | None = None
    port: int | None = None
    quality: QualityRules = QualityRules()


def workload_of(run: RunFolder) -> Workload:
    """The workload as it was when the run was made. Of its texts, it has the part of the search, with their lengths."""
    workload: Workload = _typed(run, run.about().get("workload_spec"), Workload, "workload_spec")
    if workload.prompts is None:
        return workload
    lengths = str(run.prompt_lengths) if run.prompt_lengths.is_file() else None
    return workload.with_part("search", lengths)


def target_of(run: RunFolder) -> Target:
    """The target of a run. For a real engine without a named GPU, it is the one that the probe found."""
    target: Target = _typed(run, run.about().get("target"), Target, "target")
    if run.drafts_json.is_file():
        from rooftune.tuning.drafts import RunDrafts

        target = RunDrafts.read(run.drafts_json).in_target(target, workload_of(run))
    if target.engine == "vllm" and target.gpu is None and run.hardware_json.is_file():
        return target.model_copy(update={"gpu": hardware_of(run).accelerator.name})
    return target


def target_of_order(run: RunFolder, order: TrialOrder) -> Target:
    """The target of one trial: that of the run, with the checkpoint that the trial's configuration serves."""
    target = target_of(run)
    if target.engine == "endpoint":
        return target
    return target.serving(order.config.model, plan_of(run).candidate("baseline").config.model)


def settings_of(run: RunFolder) -> RunSettings:
    """The other settings of a run."""
    return _typed(run, run.about().get("settings") or {}, RunSettings, "settings")


def accept_quality_loss(run: RunFolder) -> None:
    """From now on, a configuration of this run that spoils the answers may win. run.json and plan.json record it."""
    rules = settings_of(run).quality.model_copy(update={"accept_loss": True})
    about = run.about()
    settings = {**(about.get("settings") or {}), "quality": rules.model_dump(mode="json")}
    write_json(run.run_json, {**about, "settings": settings})
    if run.plan_json.is_file():
        plan = plan_of(run).model_copy(update={"quality": rules})
        write_json(run.plan_json, plan.model_dump(mode="json"))


def hardware_of(run: RunFolder) -> Hardware:
    """The hardware, as the probe found it."""
    return _typed(run, read_json(run.hardware_json), Hardware, "hardware.json")


def plan_of(run: RunFolder) -> Plan:
    """The plan of a run."""
    return _typed(run, read_json(run.plan_json), Plan, "plan.json")


def decision_of(run: RunFolder) -> Decision:
    """The decision of a run."""
    return _typed(run, read_json(run.decision_json), Decision, "decision.json")


def facts_of(target: Target) -> ModelFacts | None:
    """Facts of the target's model, quantized as its flags say; None if the model is unknown."""
    from rooftune.models.catalogue import model_facts

    quantization = target.flags.get("quantization")
    try:
        return model_facts(target.model, quantization=str(quantization) if quantization else None)
    except RooftuneError:
        return None


def same_trial(found: TrialResult, order: TrialOrder, workload: Workload, target: Target) -> bool:
    """Whether a result is that of this order: same flags, workload, seed, engine and number."""
    return (
        found.candidate == order.candidate
        and found.n == order.n
        and found.seed == order.seed
        and found.flags == order.config.flags()
        and found.engine == target.engine
        and found.model == target.model
        and found.workload_hash == workload_hash(workload.model_copy(update={"seed": 0}))
    )


def order_of(run: RunFolder, candidate: str, n: int) -> TrialOrder:
    """The order for a trial that a user requests: the candidate as planned, with the seed of the workload.

    Raises:
        InputError: the plan has no such candidate.
    """
    from rooftune.errors import nearest

    plan = plan_of(run)
    known = [*(c.id for c in plan.candidates), *(o.id for o in (plan.search.options if plan.search else []))]
    if candidate not in known:
        raise InputError(f"the plan of {run.path} has no candidate {candidate!r}{nearest(candidate, known)}.")
    chosen = plan.candidate(candidate)
    config: EngineConfig = chosen.config
    place = max((t.position for t in read_trials(run)), default=-1) + 1
    seed = workload_of(run).seed
    return TrialOrder(candidate=candidate, n=n, position=place, config=config, seed=seed, phase=chosen.phase)


def _typed(run: RunFolder, value: object, kind: type[Model], name: str) -> Model:
    if value is None:
        raise InputError(f"{run.run_json} has no {name}; it was not written by `rooftune optimize`.")
    return as_model(value, kind, f"{name} in {run.path}")


def short_path(path: Path) -> str:
    """A path relative to the current folder if it is inside, else absolute."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
