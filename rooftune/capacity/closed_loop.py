"""From a workload to the same requests in a closed loop of users."""

from __future__ import annotations

from rooftune.errors import InputError
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import CAPACITY, Closed, Empirical, ObjectiveMetric, Poisson, Ramp, Trace, Workload

MOST_LENGTHS = 5_000
"""Requests of a trace whose lengths users draw from."""


def closed_loop(workload: Workload, users: int | None = None, think_s: float | None = None) -> Workload:
    """The workload's requests, sent by users who wait for their answers.

    Args:
        users: how many; None = those of the workload's own closed loop, else one.
        think_s: mean pause from an answer to the user's next request; None = the workload's own, else none.

    Raises:
        InputError: the workload's arrivals are a ramp, or a trace with its own times.
    """
    if isinstance(workload.arrivals, Trace) and workload.arrivals.rate_per_s is not None:
        workload = _without_trace(workload, workload.arrivals.rate_per_s)
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


def _without_trace(workload: Workload, rate_per_s: float) -> Workload:
    """A workload at the rate of a trace whose lengths are drawn from those of its requests, without their prefixes."""
    update: dict[str, object] = {"arrivals": Poisson(process="poisson", rate_per_s=rate_per_s)}
    if workload.prompts is None:
        plan = draw(workload)
        for name in ("prompt_tokens", "output_tokens"):
            values = getattr(plan, name)[:MOST_LENGTHS].tolist()
            update[name] = Empirical(distribution="empirical", values=values)
    return workload.model_copy(update=update)
