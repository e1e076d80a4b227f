"""How the configurations of a run would serve other workloads, predicted by the simulator: other_workloads.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from rooftune.engines.target import Target
from rooftune.errors import RooftuneError
from rooftune.runfolder import RunFolder
from rooftune.tuning.plan import Decision, Plan
from rooftune.vllm_rules.config import EngineConfig

if TYPE_CHECKING:
    from rooftune.simulator.calibration.files import Calibration
    from rooftune.simulator.virtual.capacity import Sample

FILE = "other_workloads.json"
DESCRIPTIONS = {
    "rag-medium": "Long prompts (retrieval)",
    "code-medium": "Long prompts and answers (code)",
    "chat-low": "Few requests at a time",
    "burst": "Bursts",
}
"""Workloads that come with rooftune and differ from a chat at medium load."""
MOST_OPTIONS = 5
"""Configurations that are compared on each workload."""
REQUESTS = 2_000
"""Requests of a predicted run. Enough to rank configurations, which all get the same ones."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PredictedRow(_Frozen):
    """One configuration on one workload."""

    option: str
    capacity_per_s: float = Field(description="requests/s within the workload's SLO; 0 = it is kept at no rate")
    limited_by: str = ""


class OtherWorkload(_Frozen):
    """One workload; ``rows`` is empty where nothing could be predicted."""

    workload: str
    rows: list[PredictedRow] = Field(default_factory=list)
    refused: str = Field(default="", description="why there is no prediction")


class OtherWorkloads(_Frozen):
    """Content of other_workloads.json."""

    format: int = 1
    workloads: list[OtherWorkload]


def predict_others(
    options: Mapping[str, EngineConfig], own: str, target: Target, calibration: Calibration | None = None
) -> OtherWorkloads:
    """Predict every configuration on each of the workloads, except on the run's ``own`` one.

    Args:
        options: configurations by name.
        target: where they run.

    Raises:
        RooftuneError: the simulator does not know the accelerator.
    """
    from rooftune.simulator.virtual.capacity import sample
    from rooftune.workloads.load import load_workload

    if target.gpu is None or target.gpu.lower() == "cpu":
        raise RooftuneError("the simulator predicts GPUs only.")
    found = []
    for name in DESCRIPTIONS:
        if name != own:
            drawn = sample(load_workload(name), REQUESTS)
            found.append(_on(name, drawn, options, target, calibration))
    return OtherWorkloads(workloads=found)


def _on(
    name: str, drawn: Sample, options: Mapping[str, EngineConfig], target: Target, calibration: Calibration | None
) -> OtherWorkload:
    from rooftune.simulator.virtual.capacity import capacity
    from rooftune.simulator.virtual.predict import engine_of

    rows, refused = [], ""
    for option, config in options.items():
        try:
            engine = engine_of(
                target.gpu or "", target.serving(config.model, options["baseline"].model).model,
                target.engine_version, config.flags(), calibration=calibration,
                longest_request=drawn.plan.longest_request,
            )  # fmt: skip
            carried = capacity(engine, drawn)
        except RooftuneError as error:
            refused = refused or str(error)
            continue
        longest, context = drawn.plan.longest_request, engine.limits.max_model_len
        if carried.rate_per_s <= 0 and longest > context:
            refused = refused or f"requests of up to {longest:,} tokens do not fit into --max-model-len {context}"
            continue
        rows.append(PredictedRow(option=option, capacity_per_s=carried.rate_per_s, limited_by=carried.limited_by))
    return OtherWorkload(workload=name, rows=rows, refused="" if rows else refused)


def options_of(plan: Plan, decision: Decision) -> dict[str, EngineConfig]:
    """The configurations that a reader of the report would choose from, the baseline and the recommended one first."""
    search = decision.search
    names = ["baseline", decision.incumbent]
    if search is not None:
        names += [search.same_answers, *(p.option for p in reversed(search.phases))]
        names += [search.front[0].option] if search.front else []
    else:
        names += [v.candidate for v in decision.verdicts if v.verdict in ("applied", "outdone")]
    found: dict[str, EngineConfig] = {}
    for name in dict.fromkeys(n for n in names if n):
        flags = next((v.flags for v in decision.verdicts if v.candidate == name), {})
        planned = plan.candidate(name).config
        found[name] = EngineConfig(model=planned.model).with_change(flags) if flags else planned
    return dict(list(found.items())[:MOST_OPTIONS])


def write_other_workloads(run: RunFolder, plan: Plan, decision: Decision) -> Path | None:
    """Write other_workloads.json into a run folder; None where the simulator does not know the GPU or the model."""
    from rooftune.files import write_json
    from rooftune.simulator.calibration.files import opened

    calibration = opened(plan.target.calibration)
    try:
        found = predict_others(options_of(plan, decision), plan.workload, plan.target, calibration)
    except RooftuneError:
        return None
    path = run.path / FILE
    write_json(path, found.model_dump(mode="json"))
    return path
