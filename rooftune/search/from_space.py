"""From the configuration space and its predictions to the options of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rooftune.errors import InputError
from rooftune.knobs.configuration import Configuration
from rooftune.search.options import Beyond, Option

FLOOR = 4.0
"""How far below the best prediction a baseline is placed that the model gives no value, in ln(objective)."""


@dataclass(frozen=True)
class Foreseen:
    """What the simulator says about one configuration."""

    objective: float
    """In the objective's own unit; 0 = it does not start, or keeps the SLO at no rate."""
    speed_slope: float = 1.0
    tpot_ms: float | None = None
    beyond: Beyond | None = None


@dataclass(frozen=True)
class TrialCost:
    """Real seconds that a trial is expected to take, part by part."""

    start_s: float
    """From the command until the first request of the load."""
    load_s: float
    """The load until its last answer."""
    figures_s: float = 0.0
    """From the last answer to the audited figures."""

    @property
    def seconds(self) -> float:
        """The whole trial."""
        return self.start_s + self.load_s + self.figures_s


def logs_of(objectives: Sequence[float | None], *, lower_is_better: bool) -> list[float | None]:
    """Logarithms of predictions, negated where lower is better; None where there is no value."""
    sign = -1.0 if lower_is_better else 1.0
    return [sign * math.log(value) if value and value > 0 and math.isfinite(value) else None for value in objectives]


def options_of(
    configurations: Sequence[Configuration],
    foreseen: Sequence[Foreseen],
    cost: TrialCost,
    *,
    lower_is_better: bool = False,
    usd_per_gpu_hour: float | None = None,
) -> tuple[Option, ...]:
    """The options of a search; the first is the baseline, which stays even where the model gives it no value.

    Raises:
        InputError: the model gives no configuration a value.
    """
    logs = logs_of([f.objective for f in foreseen], lower_is_better=lower_is_better)
    known = [value for value in logs if value is not None]
    if not known:
        raise InputError("the model gives no configuration a value for this objective; loosen the SLO.")
    found = []
    names: dict[str, int] = {}
    for i, (configuration, seen, value) in enumerate(zip(configurations, foreseen, logs, strict=True)):
        if value is None and i:
            continue
        names[configuration.name] = names.get(configuration.name, 0) + 1
        again = names[configuration.name]
        found.append(
            Option(
                id=configuration.name if again == 1 else f"{configuration.name} ({again})",
                knobs=configuration.values,
                predicted_log=max(known) - FLOOR if value is None else value,
                families=configuration.families,
                start_s=cost.start_s,
                load_s=cost.load_s,
                changes_outputs=configuration.changes_outputs,
                speed_slope=seen.speed_slope,
                predictable=configuration.predictable,
                beyond=seen.beyond,
                tpot_ms=seen.tpot_ms,
                usd_per_hour=None if usd_per_gpu_hour is None else usd_per_gpu_hour * configuration.gpus,
            )
        )
    return tuple(found)
