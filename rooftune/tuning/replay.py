"""The state of a search, computed from plan and results: blocks, incumbents, verdicts, the next trial.

The alternatives of a group form a block. A block runs as a palindrome, ``I A B C C B A I``: the incumbent I and each
alternative are measured once on the way out and once on the way back, so a linear drift affects all of them equally.
Two more rounds, where needed, run in the opposite direction (``C B A I I A B C``), which also cancels a drift that
slows down. If the incumbent keeps its place, its last trial also opens the next block, because nothing ran in between.
Both sides of a pair send the same requests: the way out has one seed, the way back another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rooftune.evidence.comparison.compare import MOST_TRIALS
from rooftune.evidence.records.trial import TrialResult
from rooftune.trial_order import TrialOrder
from rooftune.tuning.capacity_figures import capacity_of
from rooftune.tuning.configuration import describe, difference
from rooftune.tuning.forecast import Forecast
from rooftune.tuning.gates import gate_effective
from rooftune.tuning.judge import Ruling
from rooftune.tuning.metrics import lower_is_better
from rooftune.tuning.plan import Candidate, Gate, Plan, VerdictName
from rooftune.tuning.state import Block, Search
from rooftune.tuning.trial_load import by_chance, lost
from rooftune.tuning.verdicts import add_verdict, audit_reason, judged, settle, verdict_on
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.spec import CAPACITY, COST

_RERUNS, _RERUNS_BY_CHANCE = 1, 2
"""How often a failed slot is measured again: in general, and when only the machine was at fault."""


@dataclass(frozen=True)
class Replay:
    """A replayed search, and the trial that it needs next; None when it is over or the budget is spent."""

    search: Search
    next_trial: TrialOrder | None


def replay(
    plan: Plan,
    results: list[TrialResult],
    budget_left_s: float | None,
    trial_cost_s: float,
    *,
    forecast: Forecast | None = None,
    full: bool = False,
    aside: Sequence[TrialResult] = (),
) -> Replay:
    """The state after these results, and the next trial.

    Args:
        aside: trials of the run that no verdict rests on.
        forecast: what configurations are expected to carry, for the rate of the next trial.
        full: verdicts have the ratios of all metrics, not only of the one that decides.
    """
    ordered = sorted(results, key=lambda r: r.position)
    search = Search(plan, ordered, budget_left_s, trial_cost_s, forecast=forecast, full=full, aside=aside)
    baseline = plan.candidates[0]
    search.config = search.configs[baseline.id] = baseline.config
    order = _baseline(search)
    if order is not None:
        return Replay(search, order)
    for group in _groups(plan):
        if search.stopped:
            for candidate in group:
                if not gated(search, candidate, search.incumbent):
                    add_verdict(search, candidate, "not run", search.stopped)
            continue
        order = _block(search, group)
        if order is not None:
            return Replay(search, order)
    return Replay(search, None)


def _baseline(search: Search) -> TrialOrder | None:
    """The first trial of all; it also opens the first block."""
    found = None
    for attempt in range(_RERUNS_BY_CHANCE + 1):
        if not try_again(found, attempt):
            break
        again = search.take("baseline")
        if again is None and (found is None or search.affords(1)):
            return search.order("baseline", 0, "starting point", None)
        if again is None:
            break  # the budget has no room for a second try, and the first one shows what is wrong
        found = again
        if found.believed:
            search.closing = found
            search.verdicts.append(verdict_on(search, "baseline", "applied", "starting point", trials=[found]))
            search.incumbents.append("baseline")
            return None
    assert found is not None
    reason = found.failure or audit_reason(found)
    name: VerdictName = "failed" if found.status == "failed" else "not trusted"
    search.verdicts.append(verdict_on(search, "baseline", name, reason, trials=[found]))
    search.stopped = f"the baseline {'failed' if name == 'failed' else 'is not trusted'}: {reason}"
    return None


def _groups(plan: Plan) -> Iterator[list[Candidate]]:
    """The candidates by phase and group, in the plan's order."""
    groups: dict[tuple[str, str, str], list[Candidate]] = {}
    for candidate in plan.candidates[1:]:
        key = (candidate.phase, candidate.group or candidate.id, candidate.on)
        groups.setdefault(key, []).append(candidate)
    for group in groups.values():
        yield sorted(group, key=_promise, reverse=True)


def _promise(candidate: Candidate) -> float:
    """Predicted gain. The more promising candidates of a group run first, in case the budget ends."""
    found = candidate.expected
    if found is None or found.ratio is None or found.ratio <= 0:
        return 1.0
    return 1 / found.ratio if lower_is_better(found.metric) else found.ratio


def _block(search: Search, group: list[Candidate]) -> TrialOrder | None:
    """Replay one group: gates, rounds, verdicts. Returns the missing trial, if there is one."""
    against = group[0].on if group[0].on == "baseline" else search.incumbent
    open_ones = [c for c in group if not gated(search, c, against)]
    if not open_ones:
        return None
    block = Block()
    rounds = 0
    while rounds < MOST_TRIALS:
        asked = [c.id for c in open_ones] if rounds == 0 else _undecided(search, block, rounds, against)
        if rounds >= 2 and (not asked or not _extends(search, block, asked, rounds, against)):
            break
        order = _round(search, block, asked, rounds, against)
        if order is not None or search.stopped:
            if order is not None:
                return order
            break
        rounds += 1
        if not block.members:
            break
    settle(search, block, open_ones, against)
    return None


def _undecided(search: Search, block: Block, rounds: int, against: str) -> list[str]:
    """Members of the next round: in an odd round all that are left, in an even round those without a clear answer."""
    alive = [c for c in block.members if c not in block.dropped]
    if rounds % 2 == 1:
        longest = max((len(block.members[c]) for c in alive), default=0)
        return [c for c in alive if len(block.members[c]) == longest]
    return [c for c in alive if len(block.members[c]) == rounds and judged(search, block, c, against).undecided]


def _extends(search: Search, block: Block, asked: list[str], rounds: int, against: str) -> bool:
    """Whether two more rounds have begun, or may begin. The budget must still cover the candidates not yet tried.

    Each round after the second has its own seed, which identifies its trials.
    """
    seed = search.plan.objective.seed + rounds
    begun = [found for c in (*asked, against) if (found := search.peek(c)) is not None]
    if rounds % 2 == 1 or any(found.seed == seed for found in begun):
        return True
    if search.pending:
        return False
    return search.affords(2 * (len(asked) + 1) + _owed(search, block))


def _owed(search: Search, block: Block) -> int:
    """Trials that the remaining groups need: two per candidate, and the incumbent at both ends of a group."""
    seen = {v.candidate for v in search.verdicts} | set(block.members)
    groups = ([c for c in group if c.id not in seen and c.runnable] for group in _groups(search.plan))
    return sum(2 * len(untried) + 2 for untried in groups if untried)


def _round(search: Search, block: Block, asked: list[str], number: int, against: str) -> TrialOrder | None:
    """One way out or back. Returns the missing trial, if there is one."""
    offset = (search.offset + number) % 2 if number < 2 else number
    back = bin(number).count("1") % 2 == 1
    sequence = [*reversed(asked), against] if back else [against, *asked]
    for who in sequence:
        if who == against:
            order = _incumbent_slot(search, block, number, offset, against)
        else:
            order = _member_slot(search, block, who, number, offset, against)
        if order is not None or search.stopped:
            return order
    return None


def _incumbent_slot(search: Search, block: Block, number: int, offset: int, against: str) -> TrialOrder | None:
    if number == 0 and search.closing is not None and against == search.incumbent:
        block.incumbent.append(search.closing)
        return None
    if number > 0 and all(c in block.dropped for c in block.members):
        return None
    last = None
    for attempt in range(_RERUNS_BY_CHANCE + 1):
        if not try_again(last, attempt):
            break
        found = search.take(against)
        if found is None:
            if not search.affords(1 if number else 4) and not search.pending:
                search.stopped = "the budget ended"
                return None
            return search.order(against, offset, f"{against} again, next to the {_group_of(search, block)}", against)
        if found.believed:
            block.incumbent.append(found)
            return None
        last = found
    assert last is not None
    reason = last.failure or audit_reason(last)
    search.stopped = f"the incumbent {against} could no longer be measured: {reason}"
    return None


def _group_of(search: Search, block: Block) -> str:
    first = next(iter(block.members), None)
    return search.plan.candidate(first).group + " group" if first else "next group"


def _member_slot(search: Search, block: Block, who: str, number: int, offset: int, against: str) -> TrialOrder | None:
    if who in block.dropped:
        return None
    for attempt in range(_RERUNS_BY_CHANCE + 1):
        found = search.take(who)
        if found is None:
            return _missing(search, block, who, number, offset, against)
        trials = block.members.setdefault(who, [])
        if found.status == "failed":
            block.dropped[who] = Ruling("failed", found.failure or "the server did not start")
            return None
        if found.believed:
            trials.append(found)
            _drop_if_lost(search, block, who, against)
            _drop_if_spoilt(search, block, who)
            return None
        if not try_again(found, attempt + 1):
            block.dropped[who] = Ruling("not trusted", audit_reason(found))
            return None
    return None


def _drop_if_lost(search: Search, block: Block, who: str, against: str) -> None:
    """Settle a member whose first trial shows by far too small a capacity; it then has no way back."""
    trials = block.members[who]
    if not search.plan.objective.by_capacity or len(trials) > 1:
        return
    what = "capacity for its price" if search.plan.objective.metric == COST else CAPACITY
    reason = lost(capacity_of(trials), search.bar(who, against, search.seen.get(against, [])), against, what)
    if reason is not None:
        block.dropped[who] = Ruling("no gain", reason)


def _drop_if_spoilt(search: Search, block: Block, who: str) -> None:
    """Settle a member whose answers a check found to be spoilt."""
    reason = search.spoils_answers(who)
    if reason:
        block.dropped[who] = Ruling("spoilt", reason)


def try_again(last: TrialResult | None, tries: int) -> bool:
    """Whether a slot may be measured again after ``tries`` tries, of which ``last`` was the last."""
    if last is None or tries <= _RERUNS:
        return True
    return tries <= _RERUNS_BY_CHANCE and by_chance(last)


def _missing(search: Search, block: Block, who: str, number: int, offset: int, against: str) -> TrialOrder | None:
    """Order the member's next trial if the budget allows it. For a new member it must also allow the way back."""
    if number == 0 and who not in block.members:
        if search.pending:
            return None
        back = len([c for c in block.members if c not in block.dropped]) + 1
        if not search.affords(1 + 1 + back):
            return None
    elif not search.affords(1):
        search.stopped = "the budget ended"
        return None
    change = describe(difference(search.configs[who], search.configs[against]))
    return search.order(who, offset, f"{who}: {change}", against)


def gated(search: Search, candidate: Candidate, against: str) -> bool:
    """Whether a gate is closed, given the effective configuration that the incumbent's server reported."""
    base = search.configs[against]
    config = base.with_change(candidate.change)
    search.configs[candidate.id] = config
    closed = [g for g in candidate.gates if g.verdict not in ("open", "trap") and g.id != "already-on-predicted"]
    if not closed and config == base:
        closed = [Gate(id="same", verdict="already on", reason=f"{against} already has these flags")]
    if not closed:
        measured = [t for t in search.of(against) if t.status == "measured"]
        effective = measured[-1].effective if measured else None
        if effective is not None:
            closed = gate_effective(candidate, effective, search.plan.target.engine_version)
    spoilt = "" if closed else search.spoils_answers(candidate.id)
    if spoilt and not search.of(candidate.id):
        add_verdict(search, candidate, "spoilt", spoilt)
        return True
    if not closed:
        closed = _contradiction(search, config)
    if not closed:
        return False
    gate = closed[0]
    name: VerdictName = "already on" if gate.verdict == "already on" else "not supported"
    add_verdict(search, candidate, name, gate.reason)
    search.verdicts[-1] = search.verdicts[-1].model_copy(update={"lacks_artifact": gate.verdict == "no artefact"})
    return True


def _contradiction(search: Search, config: EngineConfig) -> list[Gate]:
    """Flags that contradict each other only on this incumbent."""
    from rooftune.errors import InputError
    from rooftune.vllm_rules.validation import validate

    try:
        validate(config, search.plan.target.engine_version)
    except InputError as error:
        return [Gate(id="flags", verdict="not supported", reason=str(error))]
    return []
