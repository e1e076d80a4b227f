"""What a search is given: the configurations with their predictions, the sizes of the errors, and the trials so far."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Literal

from rooftune.errors import InputError, nearest
from rooftune.evidence.comparison.compare import MOST_TRIALS, SMALLEST_EFFECT
from rooftune.knobs.configuration import KnobValue

WITHIN_90 = 1.645
"""Half width that holds 90 % of a normal distribution, in standard deviations."""
PART_OF_BAND = 0.6
LEAST_GOODPUT = 0.01
"""Requests per second below which a goodput is treated as none, so that a few lucky requests do not decide."""
Purpose = Literal["search", "confirm"]
BlackBox = Literal["random", "grid", "staged", "tpe"]
Method = Literal["guided"] | BlackBox


@dataclass(frozen=True)
class Beyond:
    """How a configuration behaves in the first minute at 1.5 times its capacity, predicted."""

    tpot_ms: float
    goodput_per_s: float

    @property
    def score(self) -> float:
        """Goodput per TPOT, as a logarithm: higher is better."""
        return math.log(max(self.goodput_per_s, LEAST_GOODPUT)) - math.log(max(self.tpot_ms, 1e-6))


@dataclass(frozen=True)
class Option:
    """One configuration that the search may measure."""

    id: str
    knobs: Mapping[str, KnobValue]
    predicted_log: float
    """Logarithm of the predicted objective, negated where lower is better: higher is always better here."""
    families: tuple[str, ...] = ()
    """Names of what it shares with others, such as ``weights=fp8``. Options of one family share an error of the model,
    and a reason not to start."""
    start_s: float = 90.0
    """Seconds from the command to the first request."""
    load_s: float = 180.0
    """Seconds of load that a trial takes."""
    changes_outputs: bool = False
    """Its answers differ from the baseline's: other weights or another KV type."""
    start_risk: float = 0.01
    """Chance, before any trial, that it alone fails to start."""
    speed_slope: float = 1.0
    """By how much ln(objective) changes with ln(speed of the server): an error of the model is one of its speed."""
    predictable: bool = True
    """False where the model leaves out a part of what the option changes."""
    beyond: Beyond | None = None
    tpot_ms: float | None = None
    """Predicted TPOT at its capacity."""
    usd_per_hour: float | None = None

    @cached_property
    def parts(self) -> frozenset[str]:
        """What it consists of: families and values of knobs."""
        return frozenset([*self.families, *self._values])

    @cached_property
    def shared(self) -> frozenset[str]:
        """Everything that it can have in common with others: families, values of knobs, and pairs of values."""
        return self.parts | {" with ".join(pair) for pair in combinations(self._values, 2)}

    @cached_property
    def _values(self) -> list[str]:
        return [f"{name}={value}" for name, value in sorted(self.knobs.items())]

    @property
    def seconds(self) -> float:
        """What a trial of it costs."""
        return self.start_s + self.load_s


@dataclass(frozen=True)
class ErrorSizes:
    """Standard deviations of the errors of ln(prediction), by what shares them."""

    common: float = 0.10
    """Shared by all options: the level of the card and of the host."""
    family: float = 0.08
    """Shared by the options of one family."""
    slope: float = 0.01
    """Per doubling of a numeric knob, once for all options and once by family."""
    level: float = 0.015
    """Of one value of a knob, once for all options and, of numeric knobs, once by family."""
    residual: float = 0.008
    """Of one option alone."""
    unmodelled: float = 0.08
    """The same of an option of which the model leaves out a part."""

    @classmethod
    def of_band(cls, within_90: float) -> ErrorSizes:
        """The sizes for a model of which 90 % of the predictions stay within this relative error.

        The level and each family take an equal part. With three families per option the sum is somewhat larger than
        the band, because a search that believes its model too much stops too early.
        """
        part = PART_OF_BAND * math.log1p(within_90) / WITHIN_90
        return replace(cls(), common=part, family=part)


@dataclass(frozen=True)
class Noise:
    """Standard deviations of ln(objective) of a trial beyond the error that the trial itself states."""

    start: float = 0.01
    """From one start of a configuration to the next."""
    drift: float = 0.003
    """From one trial to the next: a random walk of the machine."""


@dataclass(frozen=True)
class Rules:
    """When the search stops, and what it treats as equal."""

    smallest_effect: float = 0.03
    """The smallest relative difference that matters."""
    real_chance: float = 0.10
    """Chance of such a difference below which an option is not worth a trial."""
    least_gain: float = 0.002
    """Expected gain in ln(objective) below which no trial is worth its time."""
    equal: float = 0.005
    """Options within this much of the best are equal; the one that behaves best beyond its capacity is measured."""
    traded: float = 0.02
    """By how much an option may be below the best and win by its behaviour; few trials cannot tell them apart."""
    behaviour: float = 0.02
    """What one unit of the score beyond the capacity is worth, in ln(objective): twice the goodput 1.4 %."""
    negligible: float = SMALLEST_EFFECT / 2
    """Relative gain below which a change is left out: half of what the confirmation treats as no difference."""
    doubt: float = 0.20
    """Chance of losing the smallest effect that matters up to which a simpler option may win."""
    budget_s: float | None = None
    method: Method = "guided"
    """How the next option is chosen: by model and trials together, or by a method that knows nothing of the model."""
    seed: int = 1
    most_trials: int = MOST_TRIALS
    """Trials per side of the confirmation."""


@dataclass(frozen=True)
class Outcome:
    """One trial."""

    option: str
    log_value: float | None
    """Logarithm of the measured objective, negated where lower is better; None = no value, see ``failure``."""
    error: float = 0.03
    """Standard error of ``log_value`` that the trial states."""
    seconds: float = 270.0
    failure: str = ""
    """Why there is no value: it did not start, or one request at a time breaks the SLO."""
    purpose: Purpose = "search"
    seed: int = 0
    load_bound: bool = False
    """The offered load limits the value, so no option can have a better one."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A search, whole: what it may measure and by which rules. It equals only itself, so a cache can have it as key."""

    options: tuple[Option, ...]
    baseline: str
    metric: str = "capacity"
    sizes: ErrorSizes = field(default_factory=ErrorSizes)
    noise: Noise = field(default_factory=Noise)
    rules: Rules = field(default_factory=Rules)
    simulated: bool = False
    """The engine is emulated, so repeated trials vary as its do."""
    risky: frozenset[str] = frozenset()
    """Knobs that can change the answers or take memory. Of equally simple options the one with fewer of them wins."""

    def __post_init__(self) -> None:
        if len(self.place) != len(self.options):
            twice = next(name for name, n in Counter(o.id for o in self.options).items() if n > 1)
            raise InputError(f"two options are called {twice!r}; give each its own id.")
        self.at(self.baseline)
        for option in self.options:
            if not math.isfinite(option.predicted_log):
                raise InputError(f"the prediction of {option.id!r} is not finite; leave out what the model rules out.")
            if option.seconds <= 0:
                raise InputError(f"a trial of {option.id!r} costs no time; give its start and load in seconds.")

    @cached_property
    def place(self) -> dict[str, int]:
        """Index of each option by id."""
        return {option.id: i for i, option in enumerate(self.options)}

    def at(self, name: str) -> int:
        """Index of an option.

        Raises:
            InputError: there is no such option.
        """
        found = self.place.get(name)
        if found is None:
            raise InputError(f"the search has no option {name!r}{nearest(name, list(self.place))}.")
        return found

    def option(self, name: str) -> Option:
        """The option of that id."""
        return self.options[self.at(name)]
