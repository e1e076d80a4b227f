"""Searches that know nothing of the model, on the same options and trials: random, grid, staged, TPE.

They serve as comparison and as choice of a user (``--search``). Each proposes one option from the trials so far and the
seed, and keeps no state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rooftune.errors import InputError
from rooftune.knobs.configuration import KnobValue
from rooftune.search.options import BlackBox, Option, Outcome, Problem

TPE_ASKS = 60
"""Proposals of TPE that are outside the space or were measured, after which a random option is taken."""
WORSE_THAN_ALL = 0.7
"""How far below the worst value TPE sees an option that failed or does not exist, in ln(objective)."""


def proposal(problem: Problem, outcomes: Sequence[Outcome], method: BlackBox) -> Option | None:
    """The option that a method measures next; None when it has no more.

    Raises:
        InputError: TPE was asked for and Optuna is not installed.
    """
    tried = {outcome.option for outcome in outcomes}
    left = [option for option in problem.options if option.id not in tried]
    if not left:
        return None
    if method == "grid":
        return left[0]
    if method == "random":
        return _random(problem, left)
    if method == "staged":
        return _staged(problem, outcomes)
    return _tpe(problem, outcomes, left)


def best_measured(problem: Problem, outcomes: Sequence[Outcome]) -> str:
    """The option with the highest mean of its trials: what a method without a model recommends."""
    means = _means(outcomes)
    return max(means, key=lambda name: means[name]) if means else problem.baseline


def _means(outcomes: Sequence[Outcome]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for outcome in outcomes:
        if outcome.log_value is not None:
            values.setdefault(outcome.option, []).append(outcome.log_value)
    return {name: float(np.mean(found)) for name, found in values.items()}


def _random(problem: Problem, left: Sequence[Option]) -> Option:
    order = np.random.default_rng(problem.rules.seed).permutation(len(problem.options))
    return min(left, key=lambda option: order[problem.at(option.id)])


def _staged(problem: Problem, outcomes: Sequence[Outcome]) -> Option | None:
    """One knob after another: all its values with the others held, then the best one stays. Passes are repeated until
    one changes nothing."""
    means, tried = _means(outcomes), {outcome.option for outcome in outcomes}
    current = problem.option(problem.baseline)
    names = sorted({name for option in problem.options for name in option.knobs})
    while True:
        before = current
        for name in names:
            others = _without(current, name)
            line = [option for option in problem.options if _without(option, name) == others]
            untried = next((option for option in line if option.id not in tried), None)
            if untried is not None:
                return untried
            current = max(line, key=lambda option: means.get(option.id, -np.inf))
        if current is before:
            return None


def _without(option: Option, knob: str) -> Mapping[str, KnobValue]:
    return {name: value for name, value in option.knobs.items() if name != knob}


def _tpe(problem: Problem, outcomes: Sequence[Outcome], left: Sequence[Option]) -> Option:
    """Optuna's tree-structured Parzen estimator over the knobs' values as categories."""
    try:
        import optuna
    except ImportError as error:
        raise InputError("--search tpe needs Optuna; install it with pip install 'rooftune[search]'.") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = sorted({name for option in problem.options for name in option.knobs})
    choices = {name: _choices(problem.options, name) for name in names}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.CategoricalDistribution(tuple(range(len(choices[name])))) for name in names
    }
    places = {_places(option, choices): option for option in problem.options}
    sampler = optuna.samplers.TPESampler(seed=problem.rules.seed + len(outcomes))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    means, open_ones = _means(outcomes), {option.id for option in left}
    worst = min(means.values(), default=0.0) - WORSE_THAN_ALL
    for outcome in outcomes:
        params = dict(zip(names, _places(problem.option(outcome.option), choices), strict=True))
        value = worst if outcome.log_value is None else outcome.log_value
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
    for _ in range(TPE_ASKS):
        trial = study.ask(distributions)
        found = places.get(tuple(trial.params[name] for name in names))
        if found is not None and found.id in open_ones:
            return found
        study.tell(trial, means.get(found.id, worst) if found is not None else worst)
    return _random(problem, left)


def _choices(options: Sequence[Option], knob: str) -> list[KnobValue | None]:
    """The values of a knob, in order; None where an option does not set it."""
    return sorted({option.knobs.get(knob) for option in options}, key=lambda value: (str(type(value)), str(value)))


def _places(option: Option, choices: Mapping[str, Sequence[KnobValue | None]]) -> tuple[int, ...]:
    """Place of the option's value among the choices of each knob."""
    return tuple(values.index(option.knobs.get(name)) for name, values in choices.items())
