"""Every request has one outcome, and metrics do not cover only those that completed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooftune.evidence.aggregate import census
from rooftune.evidence.audit import census as checks
from rooftune.evidence.records.columns import requests_from
from rooftune.evidence.records.evidence import Evidence
from rooftune.loadgen.schema import STATUSES
from rooftune.loadgen.summary import LoadSummary
from tests.evidence import made_load

USUAL = made_load.evidence()


def of(statuses: list[str], **more: object) -> Evidence:
    columns = {"status": statuses, "scheduled_s": [0.1 * i for i in range(len(statuses))]}
    return Evidence("csv", "x", requests_from(columns), **more)  # type: ignore[arg-type]


@given(statuses=st.lists(st.sampled_from(STATUSES), min_size=1, max_size=50), lost=st.integers(0, 20))
def test_the_sum_is_exact_also_when_records_are_missing(statuses: list[str], lost: int) -> None:
    """A scheduled request without a record was never begun."""
    r = of(statuses).requests
    assert r is not None
    load = LoadSummary.model_validate(
        made_load.described(made_load.workload(1.0), []) | {"scheduled": len(statuses) + lost}
    )
    found = census(r, load)
    assert found.scheduled == len(statuses) + lost
    assert sum(getattr(found, s) for s in STATUSES) == found.scheduled
    assert found.never_begun == statuses.count("never_begun") + lost


def test_a_usual_census_passes() -> None:
    assert checks.census(USUAL).status == "pass"
    assert checks.unfinished(USUAL).status == "pass"


def test_outcomes_that_do_not_add_up_fail() -> None:
    assert USUAL.trial is not None
    assert USUAL.trial.census is not None
    more = USUAL.trial.census.model_copy(update={"completed": USUAL.trial.census.completed - 1})
    found = checks.census(replace(USUAL, trial=USUAL.trial.model_copy(update={"census": more})))
    assert found.status == "fail"
    assert "add up" in found.sentence


def test_more_claimed_than_recorded_fails() -> None:
    e = of(["completed"] * 60 + ["cut"] * 40, quoted={"completed": 100})
    assert checks.census(e).status == "fail"
    assert checks.census(replace(e, quoted={"completed": 60})).status == "pass"


@pytest.mark.parametrize(("broken", "status"), [(0, "pass"), (10, "warn"), (100, "fail")])
def test_failures_are_counted(broken: int, status: str) -> None:
    assert checks.census(of(["failed"] * broken + ["completed"] * (1000 - broken))).status == status


@pytest.mark.parametrize(("open_ones", "status"), [(0, "pass"), (3, "warn"), (20, "fail")])
def test_figures_over_survivors_are_refused(open_ones: int, status: str) -> None:
    found = checks.unfinished(of(["completed"] * (100 - open_ones) + ["cut"] * open_ones))
    assert found.status == status
    assert status == "pass" or "biased" in found.sentence


def test_ours_counts_the_unfinished_instead() -> None:
    full = made_load.evidence(rate=20.0, slots=4)
    found = checks.unfinished(full)
    assert found.status == "pass"
    assert "withheld" in found.sentence
    assert found.figures["unfinished"] > 100


def test_without_records_there_is_no_data() -> None:
    empty = Evidence("aiperf", "x")
    assert checks.census(empty).status == checks.unfinished(empty).status == "no data"
