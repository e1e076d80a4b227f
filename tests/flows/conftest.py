"""An audit that does not ask how busy the machine of the test is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rooftune.evidence.records.trial import Check
from rooftune.tuning.trial_load import BY_CHANCE

SHIFTED = BY_CHANCE | {"in-flight-plateau", "littles-law", "steady-state"}
"""Checks that fail where other work takes the cores away from the emulated engine or the client."""


def patient(check: Check) -> Check:
    """A check that fails when other work takes the cores away only warns; any other stays as it is."""
    failed = check.id in SHIFTED and check.status == "fail"
    return check.model_copy(update={"status": "warn"}) if failed else check


@pytest.fixture
def patient_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials of this test are trusted however late this machine ran the emulated engine and the client."""
    from rooftune.capacity import trial
    from rooftune.evidence import aggregate, audit_path

    def slowed(audit: Callable[..., list[Check]]) -> Callable[..., list[Check]]:
        return lambda *asked: [patient(check) for check in audit(*asked)]

    monkeypatch.setattr(aggregate, "audit", slowed(aggregate.audit))
    monkeypatch.setattr(trial, "audit_ladder", slowed(trial.audit_ladder))
    monkeypatch.setattr(audit_path, "audit", slowed(audit_path.audit))
