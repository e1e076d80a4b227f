"""The result for people and machines: Markdown, JUnit XML, exit code, notes."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from test_reference import CASE, RATE, trial

from rooftune.evidence.records.trial import TrialResult
from rooftune.gate.advice import Effort
from rooftune.gate.judge import CLEAR_TRIALS, judge_loss
from rooftune.gate.loss import Design
from rooftune.gate.outcome import IN_PAIRS, Measured, NewConfiguration, result_of
from rooftune.gate.reference import Reference
from rooftune.gate.result import GateResult
from rooftune.gate.texts import junit, junit_error, markdown
from rooftune.tuning.plan import Goal

GOAL = Goal(metric="p99_tpot_ms", direction="lower")


def trials(level: float, count: int = 8, **more: object) -> list[TrialResult]:
    noise = np.random.default_rng(0).normal(0, 0.003, count)
    return [trial(n + 1, metrics={"p99_tpot_ms": level * float(np.exp(x))}, **more) for n, x in enumerate(noise)]


def configured(new: list[TrialResult]) -> NewConfiguration:
    first = new[0] if new else trial()
    return NewConfiguration("baseline", first.engine_version, first.flags, simulated=True)


def result(new: list[TrialResult], reference: Reference | None, design: Design = "apart") -> GateResult:
    found = judge_loss(new, reference, GOAL, 0.03, design) if reference is not None else None
    return result_of(
        Measured(
            CASE,
            design,
            reference,
            found,
            "p99_tpot_ms",
            configured(new),
            new,
            "chat-medium/new",
            "artifacts/chat-medium/new",
            Effort(61.5, len(new)),
        )
    )


BEFORE = Reference((trials(50),), "chat-medium/old", "baseline")
SAME = result(trials(50, engine_version="0.16.0"), BEFORE)
WORSE = result(trials(60, flags={"max_num_seqs": 64, "enforce_eager": True}), BEFORE, "beside")
FEW = result(trials(50, 1), BEFORE)
FIRST = result(trials(50), None)


@pytest.mark.parametrize(
    ("found", "code", "counts"),
    [(SAME, 0, ("0", "0")), (WORSE, 1, ("1", "0")), (FEW, 3, ("0", "1")), (FIRST, 3, ("0", "1"))],
    ids=["same", "worse", "few", "first"],
)
def test_the_exit_code_and_junit_agree(found: GateResult, code: int, counts: tuple[str, str]) -> None:
    root = Xml.fromstring(junit(found))
    suite = root.find("testsuite")
    assert suite is not None
    assert found.exit_code == code
    assert (suite.get("failures"), suite.get("skipped")) == counts
    assert (root.get("failures"), root.get("skipped")) == counts
    case = suite.find("testcase")
    assert case is not None
    assert (case.find("failure") is not None, case.find("skipped") is not None) == (code == 1, code == 3)
    assert float(case.get("time", "0")) == 61.5


def test_junit_of_a_loss_has_the_sentence_and_the_runs() -> None:
    case = Xml.fromstring(junit(WORSE)).find("testsuite/testcase")
    assert case is not None
    failure = case.find("failure")
    assert failure is not None
    assert failure.get("message") == WORSE.sentence
    properties = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert properties["reference"] == "chat-medium/old"
    assert properties["change"] == "+20 %"


def test_junit_of_an_error() -> None:
    error = Xml.fromstring(junit_error("chat-medium", 'no <server> & "nothing"')).find("testsuite/testcase/error")
    assert error is not None
    assert error.get("message") == 'no <server> & "nothing"'


def test_markdown_of_a_loss() -> None:
    text = markdown(WORSE)
    assert text.startswith("### ❌ rooftune gate: chat-medium on T4")
    assert "A loss beyond 3 %: p99 TPOT +20 %" in text
    assert "Changed flags: `enforce_eager: default → True`, `max_num_seqs: 8 → 64`." in text
    assert "All figures are simulated." in text


def test_the_notes_say_what_limits_the_verdict() -> None:
    assert any("engine version differs (0.15.1 and 0.16.0)" in note for note in SAME.notes)
    assert any("measured earlier" in note for note in SAME.notes)
    assert not WORSE.notes
    assert any("for the next gate" in note for note in FIRST.notes)
    assert "| new | 50" in markdown(FIRST)
    several = Reference(tuple(trials(50 + i / 10) for i in range(6)), "chat-medium/old", "baseline")
    assert any(
        "includes the variation between the 6 earlier runs" in note for note in result(trials(50), several).notes
    )


def test_without_a_trusted_trial_the_new_side_is_still_described() -> None:
    nothing = result([], BEFORE, "beside")
    assert nothing.exit_code == 3
    assert "the new configuration has no trusted trial" in nothing.sentence
    text = markdown(nothing)
    assert "| new | – | 0 | 0.15.1 | `baseline` |" in text
    assert "Changed flags: none." in text
    assert "All figures are simulated." in text


def test_what_would_decide_it() -> None:
    few = Reference((trials(50, 2),), "chat-medium/old", "baseline")
    found = judge_loss(trials(50.9, 12), few, GOAL, 0.03, "apart")
    assert found.verdict == "not enough evidence"
    notes = result_of(
        Measured(CASE, "apart", few, found, "p99_tpot_ms", configured([]), trials(50.9, 12), "a/b", "c")
    ).notes
    assert any("has only 2 trials" in note and "--beside" in note for note in notes)


def overloaded(count: int, share: int) -> list[TrialResult]:
    return [trial(n, metrics={RATE: 100.0, "median_e2el_ms": 5.0}, overloaded=n <= share) for n in range(1, count + 1)]


def test_a_load_that_only_the_reference_serves_is_a_loss() -> None:
    goal = Goal(metric=RATE)
    served = Reference((overloaded(4, 0),), "a/b", "baseline")
    assert judge_loss(overloaded(CLEAR_TRIALS, CLEAR_TRIALS), served, goal, 0.03, "apart").verdict == "loss"
    assert judge_loss(overloaded(CLEAR_TRIALS, CLEAR_TRIALS - 1), served, goal, 0.03, "apart").verdict != "loss"
    both = Reference((overloaded(4, 1),), "a/b", "baseline")
    assert judge_loss(overloaded(CLEAR_TRIALS, CLEAR_TRIALS), both, goal, 0.03, "apart").verdict != "loss"


def test_a_trial_without_the_metric_keeps_the_gate_from_passing() -> None:
    goal = Goal(metric="capacity", at_capacity=True)
    good = [trial(n, metrics={"capacity": 5.0}) for n in range(1, 9)]
    broken = [*good[:7], trial(8, metrics={"capacity": 0.0})]
    reference = Reference((good,), "a/b", "baseline")
    assert judge_loss(good, reference, goal, 0.03, "apart").verdict == "no loss"
    found = judge_loss(broken, reference, goal, 0.03, "apart")
    assert found.verdict == "not enough evidence"
    assert "1 of the 8 new trials" in found.reason
    nothing = [trial(n, metrics={"capacity": 0.0}) for n in range(1, 5)]
    assert judge_loss(nothing, reference, goal, 0.03, "apart").verdict == "loss"


def test_a_change_that_is_not_that_of_the_values_is_explained() -> None:
    """Four trials of the reference, two new ones with the seeds of the slow half: the same values in pairs."""
    before = [
        trial(n, seed=n, metrics={"p99_tpot_ms": level}) for n, level in enumerate((40.0, 40.2, 60.0, 60.2), start=1)
    ]
    new = [trial(n, seed=n, metrics={"p99_tpot_ms": level}) for n, level in ((3, 60.1), (4, 60.0))]
    found = result(new, Reference((before,), "chat-medium/old", "baseline"))
    assert found.finding is not None
    assert found.finding.ratio is not None
    assert abs(found.finding.ratio.estimate - 1) < 0.02
    assert IN_PAIRS in found.notes
    assert IN_PAIRS not in SAME.notes
