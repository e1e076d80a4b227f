"""The audit of one run: the checks that decide whether its figures may be believed."""

from __future__ import annotations

from collections.abc import Callable

from rooftune.evidence.audit import census as checks_census
from rooftune.evidence.audit import figures as checks_figures
from rooftune.evidence.audit import host as checks_host
from rooftune.evidence.audit import load as checks_load
from rooftune.evidence.audit import server as checks_server
from rooftune.evidence.audit import tokens as checks_tokens
from rooftune.evidence.audit import window as checks_window
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check

AuditCheck = Callable[[Evidence], Check]
CHECKS: tuple[AuditCheck, ...] = (
    *checks_load.ALL,
    *checks_window.ALL,
    checks_census.census,
    checks_census.unfinished,
    *checks_tokens.ALL,
    *checks_host.ALL,
    *checks_server.ALL,
)
OF_EACH_REQUEST: tuple[AuditCheck, ...] = (
    checks_window.quantiles,
    checks_census.census,
    checks_census.unfinished,
    *checks_tokens.ALL,
    checks_host.clock,
)
"""Checks that do not need to know when a request was sent."""
OF_OTHER_TOOLS: tuple[AuditCheck, ...] = (checks_figures.consistent,)
"""Our own metrics are computed from the records that the other checks look at."""


def audit(evidence: Evidence) -> list[Check]:
    """Every check on one run, in the order of the report; those that cannot look say "no data"."""
    found = [check(evidence if check in OF_EACH_REQUEST else evidence.without_clock) for check in CHECKS]
    return found if evidence.ours else [*found, *(check(evidence) for check in OF_OTHER_TOOLS)]
