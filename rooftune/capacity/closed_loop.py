"""From a workload to the same requests in a closed loop of users."""

from __future__ import annotations

from rooftune.errors import InputError
from rooftune.workloads.spec import CAPACITY, Closed, ObjectiveMetric, Ramp, Trace, Workload


def closed_loop(workload: Workload, users: int | None = None, think_s: float | None = None) -> Workload:
    """The workload's requests, sent by users who wait for their answers.

    Args:
        users: how many; None = those of the workload's own closed loop, else one.
        think_s: mean pause from an answer to the user's next request; None = the workload's own, else none.

    Raises:
        InputError: the workload's arrivals are a ramp or a trace.
    """
    arrivals, talks = workload.arrivals, workload.conversations
    if isinstance(arrivals, (Ramp, Trace)):
        raise InputError(
            f"the {arrivals.process} of {workload.name} says when requests arrive, so no users can send them; use "
            "closed, poisson, constant, gamma or burst arrivals."
        )
    own = arrivals if isinstance(arrivals, Closed) else None
    if think_s is None:
        think_s = own.think_s if own else talks.think_s if talks else 0.0
    elif talks is not None:
        talks = talks.model_copy(update={"think_s": think_s})
    count = users if users is not None else own.concurrency if own else 1
    objective = workload.objective
    if objective.metric == CAPACITY:  # it is a rate, which a closed loop does not have
        objective = ObjectiveMetric(constraints=objective.constraints)
    return workload.model_copy(
        update={
            "arrivals": Closed(process="closed", concurrency=count, think_s=think_s),
            "conversations": talks,
            "objective": objective,
        }
    )
