"""Speculative decoding: what the servers accepted of their drafts, by position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rooftune.evidence.records.trial import TrialResult
from rooftune.formatting import NONE, number, percent
from rooftune.report.page.model import Section, section, table, text
from rooftune.report.run.naming import Names
from rooftune.report.run_data import RunData
from rooftune.speculation.acceptance import Acceptance, StepDrafts, from_counters
from rooftune.vllm_rules.speculation import speculation as asked_for

HEADING = "Speculative decoding"
SHOWN = 4
"""Positions that the table shows."""


def speculation(run: RunData, names: Names) -> Section | None:
    """Acceptance of every measured configuration that drafts; None where none does."""
    rows = []
    for candidate in run.measured:
        spec, found = asked_for(run.config(candidate.id)), acceptance_of(run.of(candidate.id))
        if spec is None or found is None:
            continue
        shares = [percent(share) for share in found.by_position[:SHOWN]]
        cells = [names.plain(candidate.id), spec.method, number(spec.tokens), *shares, *[NONE] * (SHOWN - len(shares))]
        foreseen = run.plan.target.foreseen_drafts.of(run.config(candidate.id).flags())
        tokens = number(foreseen.tokens) if isinstance(foreseen, StepDrafts) else NONE
        rows.append([*cells, percent(found.draft_share), number(found.tokens_per_step), tokens])
    positions = [f"Up to {n}" for n in range(1, SHOWN + 1)]
    head = ["Configuration", "Method", "Length", *positions, "Steps with a draft", "Tokens per step", "Foreseen"]
    return section(
        HEADING,
        text(
            "Share of the drafts whose tokens up to a position were all accepted, from the servers' counters over the "
            "measured windows. A decode step also gives the token that the model itself adds. Foreseen: tokens per "
            "step by a replay of recorded answers, or from the prior of a method that asks a model."
            if rows
            else ""
        ),
        table("Acceptance of drafts", head, rows),
    )


def acceptance_of(trials: Sequence[TrialResult]) -> Acceptance | None:
    """Acceptance over all windows of some trials; None where their servers drafted nothing."""
    total: Counter[str] = Counter()
    for trial in trials:
        total.update(trial.server)  # the keys that are read are all counts
    return from_counters(total)
