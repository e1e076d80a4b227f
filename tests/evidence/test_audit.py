"""The audit of whole runs of ours, from their files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rooftune.engines.target import Target
from rooftune.evidence.aggregate import aggregate
from rooftune.evidence.audit.checks import CHECKS, OF_OTHER_TOOLS, audit
from rooftune.evidence.audit.comparison import audit_comparison
from rooftune.evidence.audit.findings import failed, no_data, passed, warned
from rooftune.evidence.audit_path import AuditedRun, audit_path, merged
from rooftune.evidence.comparison.balanced_order import balanced_order
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check, TrialResult
from rooftune.runfolder import RunFolder
from tests.evidence import made_load
from tests.evidence.test_checks_comparison import run as made_trials

TARGET = Target(model="llama-2-7b", engine_version="0.15.1", gpu="T4")
SLOTS = {"baseline": 16, "batch-8": 8}
DOCS = Path(__file__).parents[2] / "docs" / "measurement.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two configurations in the order A B B A; the smaller is overloaded."""
    load = made_load.workload(15.0)
    run = RunFolder.create(
        tmp_path_factory.mktemp("artifacts"), load.name, {"workload_spec": load.model_dump(mode="json")}
    )
    count = dict.fromkeys(SLOTS, 0)
    for place, who in enumerate(balanced_order(list(SLOTS), 2)):
        n = count[who] = count[who] + 1
        trial, seeded = run.trial(who, n), load.model_copy(update={"seed": n})
        rows = made_load.serve(15.0, load.total_s, slots=SLOTS[who], tpot_s=0.02, seed=n)
        made_load.write(trial, seeded, rows, SLOTS[who], seed=n)
        order = made_load.order(who, n, place, max_num_seqs=SLOTS[who])
        aggregate(trial, order, seeded, TARGET)
    return run


def test_a_correct_run_passes_also_when_a_configuration_is_overloaded(folder: RunFolder) -> None:
    found = {c.id: c for c in audit_path(folder.path)}
    assert not [c for c in found.values() if c.status == "fail"]
    assert found["same-workload"].status == "pass", "other seeds are the same workload"
    assert found["order-balanced"].status == "pass"
    assert "4 of 4 trials pass" in found["census"].sentence


def test_one_trial_is_audited_by_its_folder_or_a_file_of_it(folder: RunFolder) -> None:
    trial = folder.trial("batch-8", 1)
    for path in (trial.path, trial.trial_json, trial.requests):
        found = {c.id: c for c in audit_path(path)}
        assert found["overload"].sentence.startswith("Finding")
        assert "same-workload" not in found


def test_a_fault_of_one_trial_shows_in_the_audit_of_the_run(folder: RunFolder) -> None:
    trial = folder.trial("baseline", 2)
    whole = trial.load_json.read_text()
    try:
        trial.load_json.write_text(re.sub(r'"descriptors_peak": *\d+', '"descriptors_peak": 4096', whole))
        found = {c.id: c for c in audit_path(folder.path)}
        assert found["connections"].status == "fail"
        assert found["connections"].sentence.startswith("baseline/2:")
    finally:
        trial.load_json.write_text(whole)


def test_a_run_of_rejected_trials_alone_fails(folder: RunFolder) -> None:
    texts = {t.trial_json: t.trial_json.read_text() for t in folder.trials()}
    loads = {t.load_json: t.load_json.read_text() for t in folder.trials()}
    try:
        for path, text in texts.items():
            value = TrialResult.model_validate_json(text)
            bad = [failed("connections", "Bad.", "Do.") if c.id == "connections" else c for c in value.checks]
            path.write_text(value.model_copy(update={"checks": bad}).model_dump_json())
        for path, text in loads.items():
            path.write_text(re.sub(r'"descriptors_peak": *\d+', '"descriptors_peak": 4096', text))
        found = {c.id: c for c in audit_path(folder.path)}
        assert found["connections"].status == "fail"
    finally:
        for path, text in {**texts, **loads}.items():
            path.write_text(text)


@pytest.mark.parametrize(
    ("n", "words"), [(1, "rejected for this and measured again, so no"), (2, "for this, so no verdict")]
)
def test_a_trial_that_was_refused_is_a_warning_where_another_is_used(folder: RunFolder, n: int, words: str) -> None:
    """Refused when it was measured; its configuration has another trial, and no verdict depends on this one."""
    trial = folder.trial("baseline", n)
    whole, trial_text = trial.load_json.read_text(), trial.trial_json.read_text()
    value = TrialResult.model_validate_json(trial_text)
    bad = [failed("connections", "Bad.", "Do.") if c.id == "connections" else c for c in value.checks]
    try:
        trial.load_json.write_text(re.sub(r'"descriptors_peak": *\d+', '"descriptors_peak": 4096', whole))
        trial.trial_json.write_text(value.model_copy(update={"checks": bad}).model_dump_json())
        found = {c.id: c for c in audit_path(folder.path)}
        assert found["connections"].status == "warn"
        assert words in found["connections"].sentence
    finally:
        trial.load_json.write_text(whole)
        trial.trial_json.write_text(trial_text)


def test_the_worst_finding_of_each_check_is_shown() -> None:
    bad = failed("x", "Bad.", "Do.")
    checks = {"a": passed("x", "Good."), "b": warned("x", "Hm.", "Do."), "c": bad, "d": bad}
    (found,) = merged([AuditedRun(label, [check]) for label, check in checks.items()])
    assert found.status == "fail"
    assert found.sentence == "c: Bad. The same holds for d."
    (calm,) = merged([AuditedRun("a", [passed("x", "Good.")]), AuditedRun("b", [no_data("x", "Nothing.")])])
    assert calm.status == "pass"
    assert "1 of 2" in calm.sentence


def ids() -> set[str]:
    every: list[Check] = [*audit(Evidence("csv", "x")), *audit_comparison(made_trials("ABBA"))]
    return {c.id for c in every}


def test_the_page_for_users_names_every_check_and_no_other() -> None:
    table = DOCS.read_text(encoding="utf-8").split("## The audit")[1].split("## The comparison")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`([a-z-]+)`", " ".join(first_cells))) == ids()
    assert len(ids()) == len(CHECKS) + len(OF_OTHER_TOOLS) + 5
