"""Finds the best configuration with each lever and simulates it with and without the lever at several loads."""

from __future__ import annotations

from rooftune.engines.target import Target
from rooftune.errors import RooftuneError
from rooftune.files import write_json
from rooftune.knobs.entry import knob
from rooftune.report.levers import LEVERS, NAMES, STREAMS, GainAtStreams, Lever, LeverName, Levers
from rooftune.report.run.merit import merit
from rooftune.report.run.speculation import acceptance_of
from rooftune.report.run_data import RunData, read_run
from rooftune.runfolder import RunFolder
from rooftune.simulator.calibration.files import opened
from rooftune.simulator.virtual.draft_gain import figures_at
from rooftune.simulator.virtual.predict import EmulatedEngine, engine_of
from rooftune.tuning.configuration import difference
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.workloads.draw import draw
from rooftune.workloads.request_plan import RequestPlan
from rooftune.workloads.spec import Workload

CHECKPOINT = ("model", "tokenizer")
"""Flags of another checkpoint, which belong to the lever ``weights``."""
NEAR = 2.0
"""A load that is within this factor of the recommended configuration's own is left out in favour of that one."""


def write_levers(folder: RunFolder, workload: Workload) -> None:
    """Write levers.json of a run that has a decision.

    Args:
        workload: as the search sends it.

    Raises:
        RooftuneError: a file of the run cannot be read.
    """
    run = read_run(folder)
    found = [lever for name in NAMES if (lever := used(run, name)) is not None]
    simulated = Levers(levers=[_with_gains(run, lever, workload) for lever in found])
    write_json(folder.path / LEVERS, simulated.model_dump(mode="json"))


def flags_of(name: LeverName) -> tuple[str, ...]:
    """The flags of a lever."""
    flags = tuple(knob(name).flags)
    return (*CHECKPOINT, *flags) if name == "weights" else flags


def used(run: RunData, name: LeverName) -> Lever | None:
    """The lever in the best configuration that has it; None where no configuration of the run does."""
    flags = flags_of(name)
    for id in _best_first(run):
        change = {k: v for k, v in difference(run.config_of(id), run.config("baseline")).items() if k in flags}
        if change:
            return Lever(name=name, candidate=id, change=change)
    return None


def _best_first(run: RunData) -> list[str]:
    """The recommended configuration, those that were measured, and those that were only predicted, the best first."""
    measured = sorted((p.id for p in run.measured if p.id != "baseline"), key=lambda id: -merit(run, id))
    predicted = [o for o in (run.plan.search.options if run.plan.search is not None else []) if o.predicted]
    higher = run.plan.objective.direction == "higher"
    options = [o.id for o in sorted(predicted, key=lambda o: o.predicted or 0.0, reverse=higher)]
    return list(dict.fromkeys([run.decision.incumbent, *measured, *options]))


def streams_of(run: RunData) -> list[int]:
    """Requests in flight to simulate: few, many, and as many as the recommended configuration ran when measured."""
    running = round(run.gauge(run.decision.incumbent, "running") or 0)
    if running < 1:
        return list(STREAMS)
    return sorted({running, *(n for n in STREAMS if max(n, running) >= NEAR * min(n, running))})


def _with_gains(run: RunData, lever: Lever, workload: Workload) -> Lever:
    """The lever with its gain at each load, or with the reason why there is none."""
    ours, base = run.config_of(lever.candidate), run.config("baseline")
    before: dict[str, FlagValue | None] = {"model": base.model, **base.flags()}
    without = ours.with_change({flag: before.get(flag) for flag in lever.change})
    try:
        plan = draw(workload)
        changed, unchanged = _engine(run, lever.candidate, ours, plan), _engine(run, lever.candidate, without, plan)
        gains = [
            GainAtStreams(
                streams=n,
                gain=figures_at(changed, plan, n).tokens_per_s / figures_at(unchanged, plan, n).tokens_per_s,
            )
            for n in streams_of(run)
        ]
    except RooftuneError as error:
        return lever.model_copy(update={"refused": str(error)})
    return lever.model_copy(update={"gains": gains})


def _engine(run: RunData, id: str, config: EngineConfig, plan: RequestPlan) -> EmulatedEngine:
    """The simulated server of a configuration.

    Raises:
        RooftuneError: the simulator does not know the accelerator or the model, or the server would not start.
    """
    target: Target = run.plan.target
    gpu = target.gpu or run.hardware.accelerator.name
    if gpu.lower() == "cpu":
        raise RooftuneError("the simulator predicts GPUs only.")
    own = target.serving(config.model, run.config("baseline").model)
    measured = acceptance_of(run.of(id))
    acceptance = measured.per_step if measured is not None else target.known_drafts.acceptance(config.flags())
    return engine_of(
        gpu, own.model, target.engine_version, config.flags(), acceptance, opened(target.calibration),
        plan.longest_request,
    )  # fmt: skip
