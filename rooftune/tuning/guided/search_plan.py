"""The problem of a search as plan.json keeps it: every configuration that may be measured, with its prediction.

It is made once. Trials that drafted correct the predictions of options with that proposer (``redrafted.py``). The state
of the search follows from it and from the trials.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from rooftune.knobs.configuration import KnobValue
from rooftune.knobs.entry import risky_knobs
from rooftune.search.from_space import FLOOR, logs_of
from rooftune.search.options import Beyond, ErrorSizes, Option, Problem, Rules
from rooftune.vllm_rules.config import FlagValue

SearchMethod = Literal["guided", "ladder", "tpe", "random", "grid"]
SWITCH_S = 2.0
"""Real seconds until a running server has other limits: one answered request, and its prefix cache is emptied."""
WITHOUT_MODEL = ErrorSizes(common=1.0, family=0.5, slope=0.1, level=0.2, residual=0.1, unmodelled=0.2)
"""Where nothing is predicted: configurations differ by what they usually differ by."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlannedOption(_Strict):
    """One configuration that the search may measure."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._+-]*$")
    name: str = Field(description="everything that it changes, in words")
    phase: str
    change: dict[str, FlagValue | None] = Field(description="compared with the baseline; None removes a flag")
    knobs: dict[str, KnobValue]
    families: list[str] = Field(default_factory=list, description="what shares a part of the model's error")
    predicted: float | None = Field(default=None, description="the objective; 0 = it keeps the SLO at no rate")
    before_trials: float | None = Field(
        default=None, description="the same before trials showed how its drafts fare; None = they have not"
    )
    tpot_ms: float | None = Field(default=None, description="predicted median TPOT at its capacity")
    beyond_tpot_ms: float | None = Field(default=None, description="the same in a minute at 1.5 times its capacity")
    beyond_goodput_per_s: float | None = None
    speed_slope: float = Field(default=1.0, description="change of ln(objective) with ln(speed of the server)")
    load_factor: float = Field(default=1.0, description="time of its load, relative to that of the best prediction")
    changes_outputs: bool = False
    predictable: bool = True

    @property
    def foreseen(self) -> float | None:
        """The objective as it was predicted before any trial."""
        return self.predicted if self.before_trials is None else self.before_trials

    def option(self, log: float, start_s: float, load_s: float) -> Option:
        """The option as the search takes it."""
        beyond = None
        if self.beyond_tpot_ms is not None and self.beyond_goodput_per_s is not None:
            beyond = Beyond(self.beyond_tpot_ms, self.beyond_goodput_per_s)
        return Option(
            id=self.id,
            knobs=self.knobs,
            predicted_log=log,
            families=tuple(self.families),
            start_s=start_s,
            load_s=load_s * self.load_factor,
            changes_outputs=self.changes_outputs,
            speed_slope=self.speed_slope,
            predictable=self.predictable,
            beyond=beyond,
            tpot_ms=self.tpot_ms,
        )


class LeftOut(_Strict):
    """Values or combinations that are not in the space, and why."""

    what: str
    reason: str
    count: int = 1


class SearchPlan(_Strict):
    """What a search may measure, and how it chooses."""

    method: SearchMethod
    options: list[PlannedOption] = Field(description="the first is the baseline")
    space: int = Field(description="configurations that can start and differ from each other")
    left_out: list[LeftOut] = Field(default_factory=list)
    own: list[str] = Field(
        default_factory=list, description="candidates that the user named; each is measured or has a reason"
    )
    start_s: float = Field(description="real seconds from the command to the first request")
    load_s: float = Field(description="real seconds of load that a trial is expected to take")
    error_within_90: float | None = Field(default=None, description="90 % of the predictions stay within this")

    @property
    def predicts(self) -> bool:
        """Whether the simulator gave the options their values."""
        return any(option.predicted for option in self.options)

    @property
    def usable(self) -> list[PlannedOption]:
        """The baseline, and every option that is not predicted to have no value."""
        return [option for i, option in enumerate(self.options) if i == 0 or option.predicted != 0]

    def option(self, id: str) -> PlannedOption | None:
        """The option with this id."""
        return next((option for option in self.options if option.id == id), None)

    def with_flags(self, change: Mapping[str, FlagValue | None]) -> list[PlannedOption]:
        """The usable options that make this change, alone or with others."""
        return [o for o in self.usable if all(k in o.change and o.change[k] == v for k, v in change.items())]

    def problem(
        self,
        metric: str,
        seed: int,
        *,
        lower_is_better: bool = False,
        simulated: bool = False,
        budget_s: float | None = None,
        trial_s: float | None = None,
        measured: Sequence[float] = (),
        on_running: Collection[str] = (),
    ) -> Problem:
        """The search's problem.

        Args:
            trial_s: real seconds of a trial, once some were measured.
            on_running: options that the running server can be switched to.
            measured: logarithms of the objective in the search's trials; without predictions their mean is what every
                option starts from.
        """
        start = self.start_s if trial_s is None else min(self.start_s, trial_s / 2)
        load = self.load_s if trial_s is None else trial_s - start
        level = sum(measured) / len(measured) if measured else 0.0
        logs = logs_of([option.predicted for option in self.usable], lower_is_better=lower_is_better)
        known = [log for log in logs if log is not None]
        without = max(known) - FLOOR if known else level
        options = [
            o.option(without if log is None else log, SWITCH_S if o.id in on_running else start, load)
            for o, log in zip(self.usable, logs, strict=True)
        ]
        return Problem(
            tuple(options),
            baseline=self.options[0].id,
            metric=metric,
            sizes=self._sizes(),
            rules=Rules(budget_s=budget_s, method="guided" if self.method == "ladder" else self.method, seed=seed),
            simulated=simulated,
            risky=risky_knobs(),
        )

    def _sizes(self) -> ErrorSizes:
        if not self.predicts:
            return WITHOUT_MODEL
        return ErrorSizes() if self.error_within_90 is None else ErrorSizes.of_band(self.error_within_90)
