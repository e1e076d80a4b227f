"""The audit of a path: a run folder, a trial folder or a results file of another tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooftune.evidence.audit.checks import audit
from rooftune.evidence.audit.comparison import audit_comparison
from rooftune.evidence.importers import read as importers
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check, TrialResult

_WORST = ("fail", "warn", "pass", "no data")


def audit_path(path: Path, duration_s: float | None = None, map: Mapping[str, str] | None = None) -> list[Check]:
    """Audit a run folder, a trial folder, or a results file of another tool.

    Args:
        path: run folder, trial folder, a file of another tool (``importers.read.KINDS``), or a CSV of requests.
        duration_s: how long the client looked, where the file does not say.
        map: our column -> the file's column, for a CSV with other names.

    Raises:
        InputError: the file is missing or of a kind that is not known.
        RooftuneError: it is cut or empty.
    """
    sources = importers.read(path, duration_s, map)
    checks = merged([AuditedRun(s.label, _set_aside(audit(s), s.trial, sources)) for s in sources])
    checks += _of_loads(sources, {c.id for c in checks})
    trials = [s.trial for s in sources if s.trial is not None]
    if len(trials) > 1:
        checks += audit_comparison([t for t in trials if t.believed])
    return checks


def _set_aside(checks: list[Check], trial: TrialResult | None, sources: Sequence[Evidence]) -> list[Check]:
    """Failures of a trial that was rejected become warnings where the run has others: no figure of it uses this one."""
    if trial is None or trial.believed:
        return checks
    used = [s.trial for s in sources if s.trial is not None and s.trial.believed]
    if not used:
        return checks
    again = any(other.candidate == trial.candidate and other.n > trial.n for other in used)
    note = f" The trial was rejected for this{' and measured again' if again else ''}, so no verdict depends on it."
    return [
        c.model_copy(update={"status": "warn", "sentence": c.sentence + note}) if c.status == "fail" else c
        for c in checks
    ]


def _of_loads(sources: Sequence[Evidence], seen: set[str]) -> list[Check]:
    """The checks of trials that measured a capacity, which look at all loads of a trial, as they were recorded."""
    runs: dict[str, list[AuditedRun]] = {}
    for source in sources:
        trial = source.trial
        if trial is None or trial.capacity is None:
            continue
        for check in _set_aside([c for c in trial.checks if c.id not in seen], trial, sources):
            runs.setdefault(check.id, []).append(AuditedRun(source.label, [check]))
    return [check for found in runs.values() for check in merged(found)]


@dataclass(frozen=True)
class AuditedRun:
    """The checks of one run, in the order of ``CHECKS``."""

    label: str
    checks: list[Check]


def merged(runs: Sequence[AuditedRun]) -> list[Check]:
    """One list for several runs: per check the worst finding, with the names of all runs that share its status."""
    if len(runs) == 1:
        return runs[0].checks
    found: list[Check] = []
    for i in range(len(runs[0].checks)):
        worst = min((run.checks[i].status for run in runs), key=_WORST.index)
        those = [run for run in runs if run.checks[i].status == worst]
        first, labels = those[0].checks[i], [run.label for run in those]
        if worst == "pass":
            sentence = f"{len(labels)} of {len(runs)} trials pass. {labels[0]}: {first.sentence}"
        else:
            sentence = f"{labels[0]}: {first.sentence}"
            if len(labels) > 1:
                sentence += f" The same holds for {', '.join(labels[1:6])}{' …' if len(labels) > 6 else ''}."
        found.append(first.model_copy(update={"sentence": sentence}))
    return found
