"""Predicts the part of a space that matters: families coarsely, then around the best ones until nothing new is better.

A whole space takes longer to judge than a user should wait before the first trial. What is left out differs from every
good configuration in several knobs at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import numpy.typing as npt

from rooftune.knobs.configuration import Configuration, KnobValue
from rooftune.simulator.virtual.judging import Judged, Round

KINDS = ("tensor_parallel_size", "dtype", "weights", "kv_cache_dtype", "graphs", "attention_backend")
"""Knobs whose combinations are all judged first; of the others only ``max_num_seqs`` leaves the baseline's value."""
COARSE_LIMITS = 3
"""Values of ``max_num_seqs`` in that first look."""
LEADERS, OF_ONE_KIND = 6, 2
"""Configurations around which the space is refined, and how many of them may have the same kind."""
REFINEMENTS = 4
MOST_JUDGED = 320
NEAR = 0.9
"""Share of the best from which a configuration is judged precisely."""

Judge = Callable[[Sequence[Configuration], Sequence[Round]], "list[Judged]"]
Around = Callable[[Configuration], "list[Configuration]"]
"""Other configurations that follow from one."""


@dataclass(frozen=True)
class Effort:
    """Sizes of the samples. A short one overestimates; the precise one settles the order of what is near the best."""

    quick: int
    precise: int
    most_near: int
    """Configurations that are judged precisely, at most."""


COMPILED, PLAIN = Effort(1_000, 8_000, 24), Effort(400, 2_000, 12)
"""With numba, and without it, where a request takes about thirty times as long."""


@dataclass
class Foresight:
    """Configurations of a space with what the simulator says about them; ``judged`` grows while it is refined."""

    configurations: list[Configuration]
    judge: Judge
    value: Callable[[Judged], float]
    """The objective of a judged configuration, higher is better; 0 = none."""
    judged: dict[int, Judged] = field(default_factory=dict)
    effort: Effort = COMPILED

    def values(self) -> dict[int, float]:
        """The objective of everything judged so far."""
        return {i: self.value(found) for i, found in self.judged.items()}

    def refine(self, always: Iterable[int], finer: Around, plainer: Around) -> None:
        """Judge the first look, then the surroundings of the best, then finer steps of its numbers.

        Args:
            always: configurations to judge whatever they promise.
            finer: what lies around a configuration beyond the space.
            plainer: a configuration with one knob left as in the baseline, for each knob.
        """
        self._judge(sorted({0, *always, *_first_look(self.configurations)}))
        for _ in range(REFINEMENTS):
            around = self._around(self._leaders())
            if not around:
                break
            self._judge(around)
        best = self._best()
        if best is not None:
            self._judge(self._added(finer(self.configurations[best])))
            leaders = [self.configurations[i] for i in self._leaders()]
            self._judge(self._added([plain for leader in leaders for plain in plainer(leader)]))
            self._settle()

    def _best(self) -> int | None:
        values = self.values()
        best = max(values, key=lambda i: (values[i], -i), default=None)
        return best if best is not None and values[best] > 0 else None

    def _leaders(self) -> list[int]:
        values, found, kinds = self.values(), [], list[tuple[object, ...]]()
        for i in sorted(values, key=lambda i: (-values[i], i)):
            kind = tuple(self.configurations[i].values.get(name) for name in KINDS)
            if values[i] > 0 and kinds.count(kind) < OF_ONE_KIND:
                found.append(i)
                kinds.append(kind)
        return found[:LEADERS]

    def _around(self, leaders: Sequence[int]) -> list[int]:
        """What differs from a leader in one knob and is not judged yet; those around the best come first."""
        codes = _codes(self.configurations)
        found: dict[int, None] = {}
        for leader in leaders:
            near = np.flatnonzero((codes != codes[leader]).sum(axis=1) == 1)
            found.update(dict.fromkeys(int(i) for i in near if int(i) not in self.judged))
        return list(found)[: max(MOST_JUDGED - len(self.judged), 0)]

    def _added(self, more: Sequence[Configuration]) -> list[int]:
        """Places of these configurations that are not judged yet; new ones join the space."""
        places = {_identity(c): i for i, c in enumerate(self.configurations)}
        for configuration in more:
            place = places.setdefault(_identity(configuration), len(self.configurations))
            if place == len(self.configurations):
                self.configurations.append(configuration)
        return sorted({places[_identity(c)] for c in more} - self.judged.keys())

    def _judge(self, which: Sequence[int]) -> None:
        if which:
            found = self.judge([self.configurations[i] for i in which], (Round(self.effort.quick, 1.0),))
            self.judged.update(zip(which, found, strict=True))

    def _settle(self) -> None:
        """Judge what is near the best on a longer sample, and correct the rest by what that changes."""
        before = self.values()
        least = NEAR * max(before.values())
        near = sorted((i for i in before if before[i] >= least), key=lambda i: -before[i])[: self.effort.most_near]
        chosen = sorted({0, *near})
        judged = self.judge([self.configurations[i] for i in chosen], (Round(self.effort.precise, 1.0),))
        precise = dict(zip(chosen, judged, strict=True))
        ratios = [self.value(precise[i]) / before[i] for i in near if before[i] > 0]
        factor = median(ratios) if ratios else 1.0
        self.judged = {i: precise.get(i) or found.scaled(factor) for i, found in self.judged.items()}


def _first_look(configurations: Sequence[Configuration]) -> list[int]:
    """Every kind at a few batch limits, everything else as the baseline has it."""
    base = _usual(configurations)
    limits = sorted({value for c in configurations if isinstance(value := c.values.get("max_num_seqs"), int)})
    steps = [round((k + 1) * len(limits) / COARSE_LIMITS) - 1 for k in range(COARSE_LIMITS)] if limits else []
    chosen = {base.get("max_num_seqs"), *(limits[max(s, 0)] for s in steps)}
    free = (*KINDS, "max_num_seqs")

    def coarse(c: Configuration) -> bool:
        others = all(value == base.get(name) for name, value in c.values.items() if name not in free)
        return others and c.values.get("max_num_seqs") in chosen

    return [i for i, c in enumerate(configurations) if coarse(c)]


def _usual(configurations: Sequence[Configuration]) -> dict[str, KnobValue]:
    """The values of the baseline, and of a knob that the user pinned to another value that value."""
    found = dict(configurations[0].values)
    for name, value in found.items():
        others = {repr(c.values.get(name)): c.values.get(name) for c in configurations[1:]}
        if others and repr(value) not in others:
            first = next(iter(others.values()))
            found[name] = value if first is None else first
    return found


def _codes(configurations: Sequence[Configuration]) -> npt.NDArray[np.int64]:
    """One row per configuration, one column per knob: which of the knob's values it has."""
    names = sorted({name for c in configurations for name in c.values})
    columns = []
    for name in names:
        texts = [repr(c.values.get(name, configurations[0].values.get(name))) for c in configurations]
        columns.append(np.unique(texts, return_inverse=True)[1].reshape(-1))
    return np.stack(columns, axis=1) if columns else np.zeros((len(configurations), 1), dtype=np.int64)


def _identity(configuration: Configuration) -> str:
    return repr(sorted(configuration.change.items()))
