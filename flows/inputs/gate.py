"""What a gate is asked, checked before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from flows.inputs import options
from flows.inputs.durations import seconds
from flows.inputs.parameters import GoalOptions, TargetOptions, TrialOptions, WorkloadOptions
from flows.inputs.targets import for_workload, resolve_target
from flows.inputs.workloads import changed_workload
from rooftune.engines.target import Target
from rooftune.errors import InputError
from rooftune.gate.loss import Design, parse_loss
from rooftune.gate.reference import Case, Flags, Reference, check_comparable, from_run
from rooftune.run_names import find_run
from rooftune.runfolder import RunFolder
from rooftune.tuning.goal import goal_of
from rooftune.workloads.identity import workload_hash
from rooftune.workloads.spec import Workload

AGAINST_HELP = "Run to compare with: a run folder, or <workload>/latest."
HISTORY_HELP = "Compare with the median of the recent runs in the history (artifacts/history)."
BESIDE_HELP = "Measure the reference's configuration again, in turn with the new one: for changes of flags."
CONFIGURATION_HELP = (
    "Configuration of the reference run. Default: the one with the same flags, else the one that it recommends."
)


@dataclass(frozen=True)
class GateOptions:
    """What the new configuration is compared with, and how strictly."""

    against: Annotated[str | None, Option("--against", metavar="RUN", help=AGAINST_HELP)] = None
    history: Annotated[bool, Option("--history", help=HISTORY_HELP)] = False
    max_loss: Annotated[str, Option("--max-loss", help="The loss of the objective that is still accepted.")] = "3%"
    beside: Annotated[bool, Option("--beside", help=BESIDE_HELP)] = False
    configuration: Annotated[str | None, Option("--configuration", metavar="NAME", help=CONFIGURATION_HELP)] = None
    most_trials: Annotated[
        int, Option("--trials", min=2, max=12, help="Most trials of each configuration that is measured.")
    ] = 12


@dataclass(frozen=True)
class GateRequest:
    """Everything that one gate is asked for."""

    workload: str
    target: TargetOptions
    changes: WorkloadOptions
    goal: GoalOptions
    trials: TrialOptions
    gate: GateOptions
    artifacts: str = options.ARTIFACTS


@dataclass(frozen=True)
class GateOrder:
    """A checked request."""

    workload: Workload
    target: Target
    max_loss: float
    design: Design
    reference_run: RunFolder | None
    """None = the history."""
    configuration: str | None
    most_trials: int
    budget_s: float | None

    def case(self, gpu: str | None) -> Case:
        """What both sides must share."""
        target, spec = self.target, self.workload
        return Case(spec.name, workload_hash(spec), target.engine, target.model, gpu)

    def reference(self, flags: Flags | None) -> Reference | None:
        """The trials of the reference run; None where the history is the reference."""
        if self.reference_run is None:
            return None
        return from_run(self.reference_run, flags, self.configuration)


def check_sources(gate: GateOptions, run: str | None = None) -> None:
    """Refuse options that contradict each other.

    Raises:
        InputError: neither or both of --against and --history, or options that do not fit them.
    """
    if bool(gate.against) == gate.history:
        raise InputError("name what to compare with: either --against RUN or --history.")
    if gate.history and (gate.beside or gate.configuration):
        name = "--beside" if gate.beside else "--configuration"
        raise InputError(f"{name} needs a run to take the configuration from; use --against RUN instead of --history.")
    if run is not None and gate.beside:
        raise InputError("--beside measures both configurations, and --run measures nothing; leave one of them out.")


async def gate_order(request: GateRequest) -> GateOrder:
    """The request with names resolved, refused if the reference run cannot be compared.

    Raises:
        InputError: see above, and ``flows.inputs``.
    """
    gate = request.gate
    check_sources(gate)
    spec = changed_workload(request.workload, request.changes, goal=request.goal)
    goal_of(spec)
    reference_run = find_run(gate.against, Path(request.artifacts)) if gate.against else None
    order = GateOrder(
        workload=spec,
        target=for_workload(await resolve_target(request.target, request.trials.time_scale), spec),
        max_loss=parse_loss(gate.max_loss),
        design="beside" if gate.beside else "apart",
        reference_run=reference_run,
        configuration=gate.configuration,
        most_trials=gate.most_trials,
        budget_s=seconds(request.trials.budget) if request.trials.budget else None,
    )
    if order.target.engine == "endpoint" and gate.beside:
        raise InputError("--beside starts servers, and an endpoint is a server that is running; leave it out.")
    reference = order.reference(None)
    if reference is not None:
        check_comparable(order.case(order.target.gpu), reference.newest, reference.run)
    return order
