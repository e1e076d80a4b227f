"""From the options of a capacity measurement to what is measured and how, before anything is started."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from flows.inputs.durations import seconds
from flows.inputs.parameters import CapacityOptions, RateOptions, TargetOptions, WorkloadOptions
from flows.inputs.targets import for_workload, resolve_target
from flows.inputs.workloads import changed_workload, prompts_file
from rooftune.errors import InputError
from rooftune.workloads.spec import Workload

if TYPE_CHECKING:
    from rooftune.capacity.measure_target import Settings
    from rooftune.engines.target import Target

NARROWEST, WIDEST = 0.005, 0.5


@dataclass(frozen=True)
class CapacityOrder:
    """What is measured, how, and where the steps are kept."""

    workload: Workload
    target: Target
    settings: Settings
    folder: Path


def share(text: str) -> float:
    """A share such as ``5%`` or ``0.05``.

    Raises:
        InputError: it is not one, or cannot be a precision.
    """
    compact = text.strip()
    try:
        value = float(compact.removesuffix("%")) / (100 if compact.endswith("%") else 1)
    except ValueError:
        raise InputError(f"--precision takes a share such as 5%, not {text!r}.") from None
    if not NARROWEST <= value <= WIDEST:
        raise InputError(f"--precision must be between {100 * NARROWEST} % and {100 * WIDEST:.0f} %, not {text}.")
    return value


async def capacity_order(
    name: str,
    target: TargetOptions,
    changes: RateOptions,
    asked: CapacityOptions,
    folder: Path | None,
    artifacts: str = "artifacts",
) -> CapacityOrder:
    """Check the options, and fill what they leave open.

    Raises:
        InputError: an unknown name, a workload without SLO or rate, or a wrong value.
        EngineError: an endpoint does not answer.
    """
    from rooftune.capacity.emulation import time_scale_for
    from rooftune.capacity.measure_target import Settings, check_measurable
    from rooftune.capacity.step_load import ClientSettings

    file = prompts_file(asked.prompts)
    named = WorkloadOptions(None, None, changes.rate_per_s, changes.seed, changes.slo)
    workload = changed_workload(name, named, prompts=file)
    workload = counted(workload, changes, asked)
    half, budget_s = share(asked.precision), seconds(asked.budget) if asked.budget else None
    check_measurable(workload)
    if target.url is not None and target.engine == "simulated":
        target = replace(target, engine="endpoint")
    resolved = for_workload(await resolve_target(target, asked.time_scale), workload)
    if resolved.simulated and asked.time_scale is None:
        resolved = resolved.model_copy(update={"time_scale": time_scale_for(resolved, workload)})
    seed = changes.seed if resolved.engine == "endpoint" else workload.seed
    drawn = asked.prompts if file is None else None
    client = ClientSettings(asked.client_processes, drawn, asked.vocab_size, asked.request_timeout_s)
    settings = Settings(half, budget_s, seed, client, asked.ready_timeout_s)
    return CapacityOrder(workload, resolved, settings, folder or _new_folder(artifacts, workload.name))


def counted(workload: Workload, changes: RateOptions, asked: CapacityOptions) -> Workload:
    """The workload whose capacity is measured: as it is, or its requests in a closed loop of users.

    Raises:
        InputError: options that exclude each other, or arrivals without a rate and users.
    """
    from rooftune.capacity.closed_loop import closed_loop
    from rooftune.capacity.units import UNITS, per_of

    if asked.per is not None and asked.per not in UNITS:
        raise InputError(f"--per takes rate or users, not {asked.per!r}.")
    of_users = asked.users is not None or asked.think_time_s is not None
    if asked.per == "rate" and (of_users or per_of(workload) == "users"):
        which = "--users and --think-time need" if of_users else f"the closed loop of {workload.name} needs"
        raise InputError(f"{which} --per users.")
    if not (asked.per == "users" or of_users or per_of(workload) == "users"):
        return workload
    if changes.rate_per_s is not None:
        raise InputError("users set their own rate; leave out --rate, or ask with --per rate.")
    return closed_loop(workload, asked.users, asked.think_time_s)


def _new_folder(artifacts: str, workload: str) -> Path:
    return Path(artifacts) / "capacity" / f"{workload}-{dt.datetime.now():%Y%m%d-%H%M%S}"
