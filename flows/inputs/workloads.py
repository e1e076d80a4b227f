"""A workload by name, with the changes that options ask for."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from flows.inputs.parameters import GoalOptions, WorkloadOptions
from rooftune.errors import InputError, nearest
from rooftune.workloads.identity import name_from
from rooftune.workloads.load import as_workload, load_workload
from rooftune.workloads.slo import Slo
from rooftune.workloads.spec import COST, ENERGY, MetricName, Workload

METRICS: tuple[str, ...] = get_args(MetricName)
LOAD_OF_TEXTS = "chat-medium"
"""Workload whose arrivals and SLO texts get that come without a workload."""


def changed_workload(
    name: str,
    changes: WorkloadOptions | None = None,
    *,
    drain_s: float | None = None,
    goal: GoalOptions | None = None,
    prompts: str | None = None,
) -> Workload:
    """The workload of that name, with durations, seed, rate, SLO and objective replaced where a value is given.

    Args:
        prompts: a file of texts that are sent instead of the workload's own prompts. Without a name, they get the load
            and the SLO of ``LOAD_OF_TEXTS``.

    Raises:
        InputError: there is no such workload, a value is out of range, the arrivals have no rate, or the file has no
            prompts.
    """
    if not name and prompts is None:
        raise InputError("name a workload (see `rooftune workloads`), or your own prompts with --prompts FILE.")
    changes = changes or WorkloadOptions()
    workload = load_workload(name) if prompts is None else text_workload(name, Path(prompts))
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
    if goal is not None:
        content["objective"].update(_goal(goal, content["objective"]["constraints"]))
    changed = as_workload(content, f"{workload.name} with these options")
    timed = changes.duration_s is not None or changes.warmup_s is not None
    if goal is not None and timed and changed.measures_capacity:
        raise InputError(
            "--duration and --warmup have no effect where the capacity decides, because each load is as long as its "
            "rate needs; leave them out, or name another --objective."
        )
    return changed


def text_workload(name: str, file: Path) -> Workload:
    """The load of a workload with the texts of a file.

    Raises:
        InputError: there is no such workload or file, or the file has no prompts.
    """
    if not file.is_file():
        raise InputError(
            f"there is no file {file}; --prompts takes your prompts, such as JSON lines with a prompt each."
        )
    found = load_workload(name or LOAD_OF_TEXTS, file)
    return found if name else found.model_copy(update={"name": name_from(file.stem, "prompts")})


def prompts_file(asked: str | None) -> str | None:
    """The file that ``--prompts`` names where it may also name how drawn prompts are sent; None where it does not.

    Raises:
        InputError: it is neither, because there is no such file.
    """
    if asked in (None, "tokens", "text"):
        return None
    if not Path(str(asked)).is_file():
        raise InputError(f"--prompts takes a file of prompts, tokens or text, and there is no file {asked!r}.")
    return asked


def _goal(goal: GoalOptions, named: list[object]) -> dict[str, object]:
    """The objective that options ask for; constraints add to those of the workload."""
    found: dict[str, object] = {}
    if goal.objective is not None:
        found["metric"] = _metric("--objective", goal.objective)
    if goal.constraints:
        found["constraints"] = [*named, *map(constraint, goal.constraints)]
    return found


def constraint(text: str) -> dict[str, object]:
    """A constraint as users write it: ``p99_ttft_ms<=800``.

    Raises:
        InputError: an unknown metric, no bound, or a bound that is not a number.
    """
    for sign, bound in (("<=", "at_most"), (">=", "at_least")):
        name, found, value = (part.strip() for part in text.partition(sign))
        if not found:
            continue
        metric = _metric("--constraint", name)
        try:
            return {"metric": metric, bound: float(value)}
        except ValueError:
            raise InputError(f"--constraint {metric} needs a number, not {value!r}.") from None
    raise InputError(f"--constraint takes METRIC<=VALUE or METRIC>=VALUE, not {text!r}.")


def _metric(option: str, name: str) -> str:
    """A metric that rooftune measures.

    Raises:
        InputError: there is no such metric; the message names those that there are.
    """
    name = name.strip()
    if name not in METRICS:
        known = ", ".join(METRICS)
        raise InputError(f"{option}: unknown metric {name!r}{_meant(name)}; known: {known}.")
    return name


def _meant(name: str) -> str:
    """The metric that an unknown name seems to mean, in parentheses."""
    plain = name.lower()
    if any(word in plain for word in ("cost", "price", "usd", "dollar")):
        return f" (did you mean {COST!r}?)"
    if any(word in plain for word in ("energy", "power", "watt", "joule")):
        return f" (did you mean {ENERGY!r}?)"
    return nearest(name, list(METRICS))


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
