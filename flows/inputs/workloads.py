"""A workload by name, with the changes that options ask for."""

from __future__ import annotations

from flows.inputs.parameters import WorkloadOptions
from rooftune.errors import InputError, nearest
from rooftune.workloads.load import as_workload, load_workload
from rooftune.workloads.spec import Slo, Workload


def changed_workload(name: str, changes: WorkloadOptions | None = None, *, drain_s: float | None = None) -> Workload:
    """The workload of that name, with durations, seed, rate and limits of the SLO replaced where a value is given.

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
    if changes.slo:
        content["slo"].update(slo_limits(changes.slo))
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


def slo_limits(words: list[str]) -> dict[str, float | None]:
    """Limits of an SLO as users write them: ``ttft_ms=500``; ``none`` removes a limit. Commas separate several.

    Raises:
        InputError: an unknown limit, or a value that is not a number.
    """
    found: dict[str, float | None] = {}
    for word in ",".join(words).split(","):
        name, equals, value = (part.strip() for part in word.partition("="))
        if name not in Slo.model_fields or not equals:
            known = list(Slo.model_fields)
            raise InputError(f"--slo takes LIMIT=VALUE, not {word!r}{nearest(name, known)}; known: {', '.join(known)}.")
        if value.lower() == "none" and name != "share":
            found[name] = None
            continue
        try:
            found[name] = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
        except ValueError:
            raise InputError(f"--slo {name} needs a number, not {value!r}.") from None
    return found


def _check_length(field: str, value: float) -> None:
    if value < 0 or (field == "duration_s" and value == 0):
        raise InputError(f"{field.removesuffix('_s')} must be a positive number of seconds, not {value:g}.")
