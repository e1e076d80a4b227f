"""What the simulator says about a space for one objective, and how the best of it behave beyond their capacity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from rooftune.engines.target import Target
from rooftune.errors import RooftuneError
from rooftune.knobs.configuration import Configuration
from rooftune.knobs.space import SpaceContext, neighbours, undone
from rooftune.machine_code import wanted
from rooftune.search.beyond import behaviour_at, beyond_capacity
from rooftune.search.options import Beyond
from rooftune.search.sensitivity import speed_slope
from rooftune.simulator.calibration.files import opened
from rooftune.simulator.virtual.capacity import SHORT, Sample, sample
from rooftune.simulator.virtual.judging import Judged, Round, Server, judge_all
from rooftune.simulator.virtual.predict import EmulatedEngine, engine_of
from rooftune.tuning.guided.foresight import COMPILED, PLAIN, Foresight, Judge
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import CAPACITY, Workload

IN_PARALLEL = 90
"""Configurations from which a second process is worth its start."""
BEHAVIOUR_REQUESTS = 2_000
TIED, MOST_TIED = 0.98, 24
"""Share of the best objective from which the behaviour at and beyond the capacity is worth a look, and the most."""
SLOPED, MOST_SLOPED = 0.6, 160
"""Share of the best capacity from which the slope with the server's speed is worked out, and the most of them."""


@dataclass(frozen=True)
class Behaviour:
    """One configuration at its capacity and beyond."""

    tpot_ms: float
    beyond: Beyond


@dataclass(frozen=True)
class PredictedSpace:
    """The configurations that were judged, the baseline first."""

    configurations: tuple[Configuration, ...]
    objective: tuple[float, ...]
    """Of each, in the objective's unit; 0 = it has none."""
    behaviour: dict[int, Behaviour]
    speed_slopes: dict[int, float] = field(default_factory=dict)
    """Of the best: by how much the capacity changes with the speed of the server; 1 for the others."""

    @property
    def worth_it(self) -> bool:
        """Whether any configuration has a value."""
        return max(self.objective, default=0.0) > 0


def predicted_space(
    context: SpaceContext, found: Sequence[Configuration], target: Target, always: Iterable[int], metric: str
) -> PredictedSpace | None:
    """Predict the part of a space that matters; None where the simulator does not know the target or the objective.

    Args:
        always: places of configurations to predict whatever they promise.
    """
    value = objective_of(metric, context.workload)
    if target.gpu is None or target.engine == "endpoint" or context.facts is None or value is None:
        return None
    server = server_of(target)
    judge = judge_of(context, target)
    foresight = Foresight(list(found), judge, value, effort=COMPILED if wanted() else PLAIN)
    try:
        foresight.refine(always, lambda leader: neighbours(context, leader), lambda leader: _plainer(context, leader))
    except RooftuneError:
        return None
    values = foresight.values()
    places = sorted(values)
    chosen = tuple(foresight.configurations[i] for i in places)
    predicted = tuple(values[i] for i in places)
    rates = [foresight.judged[i].rate_per_s for i in places]
    if metric != CAPACITY:
        return PredictedSpace(chosen, predicted, {})
    behaviours = _behaviours(context, server, chosen, rates, _best(predicted, TIED, MOST_TIED))
    return PredictedSpace(chosen, predicted, behaviours, _slopes(context, server, chosen, rates))


def _plainer(context: SpaceContext, leader: Configuration) -> list[Configuration]:
    """The configuration with one knob left as in the baseline, for each knob that the user did not narrow."""
    found = [u.configuration for u in undone(context, leader) if u.knob not in context.values]
    return [c for c in found if c is not None]


def server_of(target: Target) -> Server:
    """What all predictions for a target share."""
    assert target.gpu is not None
    return Server(target.gpu, target.model, target.engine_version, opened(target.calibration), target.known_drafts)


def judge_of(context: SpaceContext, target: Target) -> Judge:
    """Judges configurations of a context in virtual time, each with the weights that it serves."""
    server = server_of(target)

    def judge(configurations: Sequence[Configuration], rounds: Sequence[Round]) -> list[Judged]:
        configs = [c.config(context.baseline) for c in configurations]
        found: dict[int, Judged] = {}
        for model in dict.fromkeys(config.model for config in configs):
            of_model = [i for i, config in enumerate(configs) if config.model == model]
            flags = [configs[i].flags() for i in of_model]
            processes = None if len(flags) >= IN_PARALLEL else 1
            served = replace(server, model=target.serving(model, context.baseline.model).model)
            judged = judge_all(served, context.workload, flags, rounds=rounds, processes=processes)
            found.update(zip(of_model, judged, strict=True))
        return [found[i] for i in range(len(configs))]

    return judge


def objective_of(metric: str, workload: Workload) -> Callable[[Judged], float] | None:
    """How the objective follows from what the simulator judges; None where it does not."""
    if metric == CAPACITY:
        return lambda judged: judged.rate_per_s
    asked = getattr(workload.arrivals, "rate_per_s", None)
    if asked is None:
        return None
    plan = draw(workload)
    arrivals = max(1, int((plan.turn == 0).sum()))
    each = {
        "output_throughput": float(plan.output_tokens.sum()) / arrivals,
        "request_throughput": len(plan) / arrivals,
        "total_token_throughput": float((plan.output_tokens + plan.prompt_tokens).sum()) / arrivals,
    }.get(metric)
    if each is None:
        return None
    return lambda judged: each * min(judged.capacity.saturated_rate_per_s, asked) if judged.capacity else 0.0


def predicted_values(
    context: SpaceContext, target: Target, metric: str, configurations: Sequence[Configuration]
) -> list[float] | None:
    """The objective of some configurations, on a long sample; None where the simulator does not know it.

    Raises:
        RooftuneError: a configuration cannot be simulated.
    """
    value = objective_of(metric, context.workload)
    if target.gpu is None or context.facts is None or value is None:
        return None
    effort = COMPILED if wanted() else PLAIN
    return [value(judged) for judged in judge_of(context, target)(configurations, (Round(effort.precise, 1.0),))]


def tpots_at(context: SpaceContext, target: Target, rates: Sequence[tuple[Configuration, float]]) -> list[float | None]:
    """Predicted median TPOT in ms of configurations at a rate each; None where one cannot be simulated."""
    drawn, server = sample(context.workload, BEHAVIOUR_REQUESTS), server_of(target)
    found: list[float | None] = []
    for configuration, rate_per_s in rates:
        try:
            engine = _engine(context, server, configuration, drawn)
            found.append(behaviour_at(engine, drawn, rate_per_s).tpot_ms)
        except RooftuneError:
            found.append(None)
    return found


def _best(values: Sequence[float], share: float, most: int) -> list[int]:
    """Places of the values above this share of the largest, the largest first."""
    least = share * max(values, default=0.0)
    near = [i for i, value in enumerate(values) if value >= least > 0]
    return sorted(near, key=lambda i: -values[i])[:most]


def _slopes(
    context: SpaceContext, server: Server, chosen: Sequence[Configuration], rates: Sequence[float]
) -> dict[int, float]:
    if not wanted():
        return {}  # minutes as plain Python; the usual slope stands in
    drawn = sample(context.workload, SHORT)
    return {
        i: speed_slope(_engine(context, server, chosen[i], drawn), drawn, rates[i])
        for i in _best(rates, SLOPED, MOST_SLOPED)
    }


def _behaviours(
    context: SpaceContext, server: Server, chosen: Sequence[Configuration], rates: Sequence[float], places: list[int]
) -> dict[int, Behaviour]:
    if not places:
        return {}
    drawn = sample(context.workload, BEHAVIOUR_REQUESTS)
    found = {}
    for i in [*({0} if rates[0] > 0 else ()), *places]:
        found[i] = _behaviour(context, server, chosen[i], drawn, rates[i])
    return found


def _behaviour(
    context: SpaceContext, server: Server, configuration: Configuration, drawn: Sample, rate: float
) -> Behaviour:
    engine = _engine(context, server, configuration, drawn)
    return Behaviour(behaviour_at(engine, drawn, rate).tpot_ms, beyond_capacity(engine, drawn, rate))


def _engine(context: SpaceContext, server: Server, configuration: Configuration, drawn: Sample) -> EmulatedEngine:
    config = configuration.config(context.baseline)
    return engine_of(
        server.gpu,
        server.model if config.model == context.baseline.model else config.model,
        server.engine_version,
        config.flags(),
        server.drafts.acceptance(config.flags()),
        server.calibration,
        drawn.plan.longest_request,
    )
