"""The audit of one run: the checks that decide whether its figures may be believed."""

from __future__ import annotations

from collections.abc import Callable

from rooftune.evidence.audit import census as checks_census
from rooftune.evidence.audit import host as checks_host
from rooftune.evidence.audit import load as checks_load
from rooftune.evidence.audit import server as checks_server
from rooftune.evidence.audit import tokens as checks_tokens
from rooftune.evidence.audit import window as checks_window
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check

CHECKS: tuple[Callable[[Evidence], Check], ...] = (
    *checks_load.ALL,
    *checks_window.ALL,
    checks_census.census,
    checks_census.unfinished,
    *checks_tokens.ALL,
    *checks_host.ALL,
    *checks_server.ALL,
)


def audit(evidence: Evidence) -> list[Check]:
    """Every check on one run, in the order of the report; those that cannot look say "no data"."""
    return [check(evidence) for check in CHECKS]
