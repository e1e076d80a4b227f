"""The end of a ladder with prompts: the winner beside the baseline on those that the search never sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rooftune.evidence.comparison.balanced_order import balanced_order
from rooftune.evidence.records.trial import TrialResult
from rooftune.search.confirm import fresh_seed, is_fresh
from rooftune.trial_order import TrialOrder
from rooftune.tuning.plan import Plan
from rooftune.tuning.state import Search

PAIRS = 2


def of_the_search(plan: Plan, results: Sequence[TrialResult]) -> list[TrialResult]:
    """The trials that sent the prompts of the search; its verdicts rest on them alone."""
    return [r for r in results if not is_fresh(r.seed, plan.objective.seed)]


def on_unseen_prompts(plan: Plan, results: Sequence[TrialResult]) -> list[TrialResult]:
    """The other trials: those that sent prompts which the search never sends."""
    return [r for r in results if is_fresh(r.seed, plan.objective.seed)]


def unseen_order(plan: Plan, search: Search) -> TrialOrder | None:
    """The next trial on the unseen prompts after the search has ended.

    None where the prompts have no such part, the baseline was not beaten, the pairs are made, or the budget has no
    room for the rest of a pair. Trials that failed are not repeated: the verdict does not depend on them.
    """
    winner, baseline = search.incumbent, plan.candidates[0].id
    if not plan.splits_prompts or winner == baseline or search.stopped:
        return None
    slots = balanced_order([baseline, winner], PAIRS)
    made = Counter(r.candidate for r in search.aside)
    missing = [place for place, name in enumerate(slots) if slots[: place + 1].count(name) > made[name]]
    if not missing or not search.affords(len(missing) % 2 or 2):
        return None
    pair = missing[0] // 2
    order = search.order(slots[missing[0]], 0, f"prompts that the search did not send, pair {pair + 1}", None)
    return order.model_copy(update={"seed": fresh_seed(plan.objective.seed, pair)})
