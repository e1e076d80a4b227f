"""A workload by name, with the changes that options ask for."""

from __future__ import annotations

from flows.inputs.parameters import WorkloadOptions
from rooftune.errors import InputError
from rooftune.workloads.load import as_workload, load_workload
from rooftune.workloads.spec import Workload


def changed_workload(name: str, changes: WorkloadOptions | None = None, *, drain_s: float | None = None) -> Workload:
    """The workload of that name, with durations, seed and rate replaced where a value is given.

    Raises:
        InputError: there is no such workload, a value is out of range, or the arrivals have no rate.
    """
    workload, changes = load_workload(name), changes or WorkloadOptions()
    content = workload.model_dump()
    lengths = {"duration_s": changes.duration_s, "warmup_s": changes.warmup_s, "drain_s": drain_s}
    for field, value in lengths.items():
        if value is not None:
            _check_length(field, value)
            content[field] = value
    if changes.seed is not None:
        content["seed"] = changes.seed
    if changes.rate_per_s is not None:
        if changes.rate_per_s <= 0:
            raise InputError(f"the rate must be a positive number of requests per second, not {changes.rate_per_s:g}.")
        if "rate_per_s" not in content["arrivals"]:
            process = content["arrivals"]["process"]
            raise InputError(f"arrivals of {workload.name} ({process}) have no rate; run without --rate.")
        content["arrivals"]["rate_per_s"] = changes.rate_per_s
    return as_workload(content, f"{workload.name} with these options")


def _check_length(field: str, value: float) -> None:
    if value < 0 or (field == "duration_s" and value == 0):
        raise InputError(f"{field.removesuffix('_s')} must be a positive number of seconds, not {value:g}.")
