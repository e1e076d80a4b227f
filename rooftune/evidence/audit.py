"""The audit: which checks decide whether a trial may be believed, and their order."""

from __future__ import annotations

from collections.abc import Callable

from rooftune.evidence import checks_census
from rooftune.evidence.source import Evidence
from rooftune.evidence.trial import Check

CHECKS: tuple[Callable[[Evidence], Check], ...] = (
    checks_census.census,
    checks_census.unfinished,
)


def audit(evidence: Evidence) -> list[Check]:
    """Every check on one run, in the order of the report; those that cannot look say "no data"."""
    return [check(evidence) for check in CHECKS]
