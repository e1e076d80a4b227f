"""The verdicts of a block whose rounds are over, and the incumbent after it."""

from __future__ import annotations

from typing import NamedTuple

from rooftune.evidence.records.trial import TrialResult
from rooftune.tuning.capacity_figures import capacity_of, share_of_price
from rooftune.tuning.configuration import command_text, difference
from rooftune.tuning.judge import Judgement, judge
from rooftune.tuning.metrics import lower_is_better
from rooftune.tuning.plan import Candidate, Verdict, VerdictName
from rooftune.tuning.state import Block, Search


def judged(search: Search, block: Block, who: str, against: str) -> Judgement:
    """Judge a member of a block by its trials so far and the incumbent's trials beside them."""
    runnable = sum(1 for c in search.plan.candidates[1:] if c.runnable)
    trials = block.members[who]
    others = search.others(who, against)
    paired = block.incumbent[: len(trials)]
    return judge(trials, paired, search.plan.objective, against, runnable, others=others, full=search.full)


def settle(search: Search, block: Block, group: list[Candidate], against: str) -> None:
    """Add the verdicts of a block whose rounds are over, and choose the incumbent after it."""
    judgements: dict[str, Judgement] = {}
    for candidate in group:
        trials = block.members.get(candidate.id, [])
        if candidate.id in block.dropped:
            ruling = block.dropped[candidate.id]
            add_verdict(search, candidate, ruling.verdict, ruling.reason, trials, against)
        elif len(trials) >= 2 and len(block.incumbent) >= 2:
            judgements[candidate.id] = judged(search, block, candidate.id, against)
        elif search.stopped and search.stopped != "the budget ended":
            add_verdict(search, candidate, "not run", search.stopped, trials, against)
        else:
            done = "it was measured once, but a verdict needs two trials" if trials else "no trial of it fitted"
            add_verdict(search, candidate, "not run", f"the budget ended; {done}", trials, against)
    winner = _winner(search, block, judgements, against)
    for who, found in judgements.items():
        search.verdicts.append(_of_member(search, block, who, found, against, winner))
    if winner is not None:
        search.incumbent, search.config = winner, search.configs[winner]
        search.closing, search.offset = None, 0
    elif block.incumbent and against == search.incumbent:
        extended = len(block.incumbent) > 2
        search.closing = None if extended or len(block.incumbent) < 2 else block.incumbent[-1]
        search.offset = 0 if search.closing is None else (search.offset + 1) % 2
    search.incumbents.append(search.incumbent)


class _Gain(NamedTuple):
    """Order of the better candidates: those that serve the whole load first, then by gain."""

    serves: bool
    ratio: float


def _winner(search: Search, block: Block, judgements: dict[str, Judgement], against: str) -> str | None:
    """The best of the better candidates; if two show no difference, the one that changes fewer flags."""
    better = [c for c, j in judgements.items() if j.verdict == "applied"]
    if not better or against != search.incumbent:
        return None

    def gain(who: str) -> _Gain:
        found = judgements[who]
        if search.plan.objective.by_capacity:
            figures = capacity_of(block.members[who])
            share = share_of_price(search.plan.objective, search.configs[who])
            return _Gain(True, figures.estimate / share if figures else 0.0)
        estimate = found.ratios[found.metric].estimate
        serves = not any(t.overloaded for t in block.members[who])
        return _Gain(serves, 1 / estimate if lower_is_better(found.metric) else estimate)

    best = max(better, key=gain)
    base = search.configs[against]
    simpler = sorted(better, key=gain, reverse=True)
    simpler.sort(key=lambda c: len(difference(search.configs[c], base)))
    for who in simpler:
        if who == best:
            break
        if len(difference(search.configs[who], base)) == len(difference(search.configs[best], base)):
            continue
        between = judge(
            block.members[best], block.members[who], search.plan.objective, who, len(judgements), full=False
        )
        if between.verdict == "no measurable difference" and not between.undecided:
            return who
    return best


def _of_member(search: Search, block: Block, who: str, found: Judgement, against: str, winner: str | None) -> Verdict:
    name, reason = found.verdict, found.reason
    if name == "applied" and winner is not None and who != winner:
        name, reason = "outdone", f"{reason}; the search applied {winner} from the same group instead"
    elif name == "applied" and winner is None:
        reason += "; it was measured on the baseline, so it cannot become the incumbent"
        name = "outdone"
    verdict = verdict_on(
        search, who, name, reason, block.members[who], block.incumbent[: len(block.members[who])], against
    )
    return verdict.model_copy(
        update={"ratios": found.ratios, "stopped_because": found.stopped_because, "metric": found.metric}
    )


def add_verdict(
    search: Search,
    candidate: Candidate,
    name: VerdictName,
    reason: str,
    trials: list[TrialResult] | None = None,
    against: str | None = None,
) -> None:
    """Add a verdict without a comparison."""
    search.verdicts.append(verdict_on(search, candidate.id, name, reason, trials or [], None, against))


def verdict_on(
    search: Search,
    who: str,
    name: VerdictName,
    reason: str,
    trials: list[TrialResult],
    others: list[TrialResult] | None = None,
    against: str | None = None,
) -> Verdict:
    """A verdict with the flags and the command of the configuration."""
    config = search.configs.get(who)
    return Verdict(
        candidate=who,
        phase=search.plan.candidate(who).phase,
        verdict=name,
        reason=reason,
        against=against,
        trials=[t.n for t in trials],
        against_trials=[t.n for t in others or []],
        flags=config.flags() if config else {},
        command=command_text(config) if config else "",
    )


def audit_reason(trial: TrialResult) -> str:
    """The first check that failed, as a sentence."""
    failed = [c.sentence for c in trial.checks if c.status == "fail"]
    return failed[0] if failed else "the audit failed"
