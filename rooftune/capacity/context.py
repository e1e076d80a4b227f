"""The context of an emulated server: the workload's where the model's own does not fit into memory."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.engines.target import Target
from rooftune.simulator.virtual.predict import start_of
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Workload


@dataclass(frozen=True)
class FittedTarget:
    """A target that starts, and what was set for it; an empty sentence where nothing was."""

    target: Target
    sentence: str = ""


def fitted(target: Target, workload: Workload) -> FittedTarget:
    """The target with the ``max_model_len`` that the workload needs, if the model's own context does not fit.

    Only an emulated server's memory is known beforehand, so other targets stay as they are.

    Raises:
        InputError: an unknown GPU or model.
    """
    if not target.simulated or target.gpu is None:
        return FittedTarget(target)
    longest = draw(workload).longest_request
    context = start_of(target.gpu, target.model, target.engine_version, target.flags, longest).context
    if context is None:
        return FittedTarget(target)
    flags = {**target.flags, "max_model_len": context.tokens}
    return FittedTarget(target.model_copy(update={"flags": flags}), context.sentence)
