"""The loads of one trial as pure functions: which one follows the first, and what both show together."""

from __future__ import annotations

import math
from pathlib import Path

import made_capacity as made
import pytest

from rooftune.capacity.answer import Interval, limited_by
from rooftune.capacity.estimate import estimate
from rooftune.capacity.measured_step import MeasuredStep, StepRecord
from rooftune.capacity.reference import Reference
from rooftune.capacity.result import LoneRequests
from rooftune.capacity.steps import Step
from rooftune.capacity.trial import SECOND_SEED, TrialLoads, first_load, keep_records, learned, next_load
from rooftune.evidence.records.trial import Census
from rooftune.runfolder import TrialFolder
from rooftune.trial_order import TrialLoad
from rooftune.workloads.spec import Closed, Workload

WORKLOAD = made.workload(seed=7)
SHARE = str(WORKLOAD.slo.share)
UNKNOWN = Interval(None)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(made.twin(made.target()).engine(), WORKLOAD, requests=4_000, exact=True)


def shown(reference: Reference, sent: Workload, speed: float, errors: int = 0) -> TrialLoads:
    """The loads of a trial after the first one, on a server of that speed in virtual time."""
    response = reference.respond(sent, speed)
    rate = float(getattr(sent.arrivals, "rate_per_s", 0.0))
    record = StepRecord(
        number=1,
        reason="",
        workload=sent,
        rate_per_s=rate,
        started_at=0.0,
        real_s=1.0,
        load_s=60.0,
        sent_per_s=rate,
        requests=response.requests,
        attainment=response.attainment,
        quantiles={str(k): v if math.isfinite(v) else None for k, v in response.quantiles.items()},
        by_limit={},
        queue_grew=False,
        census=Census(scheduled=response.requests),
        errors=errors,
    )
    step = MeasuredStep(step=Step(sent, response, 60.0), record=record)
    return TrialLoads([step], None, None if errors else estimate(reference, [step.step]))


def load_at(rate: float) -> TrialLoad:
    return TrialLoad(rate_per_s=rate, settle_s=5.0, requests=400, drain_s=20.0)


def after(reference: Reference, rate: float, speed: float = 1.0, below: float = 0.0, errors: int = 0) -> float | None:
    """Rate of the load that follows one at ``rate``; None where none does."""
    sent = first_load(WORKLOAD, reference, load_at(rate), 7).workload
    found = next_load(WORKLOAD, reference, shown(reference, sent, speed, errors), below)
    if found is None:
        return None
    assert found.workload.seed == 7 + SECOND_SEED
    return float(getattr(found.workload.arrivals, "rate_per_s", 0.0))


@pytest.mark.parametrize("speed", [0.7, 1.0, 1.3])
def test_a_load_at_the_capacity_is_enough(reference: Reference, speed: float) -> None:
    assert after(reference, reference.capacity(speed), speed) is None


@pytest.mark.parametrize("factor", [0.5, 1.8, 4.0])
@pytest.mark.parametrize("speed", [0.7, 1.3])
def test_a_load_far_off_is_corrected_to_the_servers_capacity(reference: Reference, factor: float, speed: float) -> None:
    true = reference.capacity(speed)
    assert after(reference, factor * true, speed) == pytest.approx(true, rel=0.12)


def test_a_server_that_has_lost_gets_no_second_load(reference: Reference) -> None:
    true = reference.capacity(0.5)
    rate = reference.capacity(1.0)
    assert after(reference, rate, 0.5) == pytest.approx(true, rel=0.12)
    assert after(reference, rate, 0.5, below=1.5 * true) is None
    assert after(reference, rate, 0.5, below=0.9 * true) is not None, "it may still be better than that"


def test_where_errors_alone_break_the_slo_the_next_rate_is_lower(reference: Reference) -> None:
    rate = reference.capacity(1.0)
    found = after(reference, rate, errors=400)
    assert found is not None
    assert found < 0.5 * rate


def lone(attainment: float) -> TrialLoads:
    requests = LoneRequests(
        requests=20, rate_per_s=0.5, attainment=attainment, share=0.99, limit="tpot_ms", ratio=1.7, median_ratio=1.6
    )
    return TrialLoads([], requests, None)


def test_a_rate_of_0_sends_requests_one_at_a_time(reference: Reference) -> None:
    sent = first_load(WORKLOAD, reference, load_at(0.0), 7).workload
    assert sent.arrivals == Closed(process="closed", concurrency=1)
    assert next_load(WORKLOAD, reference, lone(0.0), 0.0) is None, "that is the answer"
    more = next_load(WORKLOAD, reference, lone(1.0), 0.0)
    assert more is not None
    assert getattr(more.workload.arrivals, "rate_per_s", 0.0) > 0.5, "the forecast was wrong"


def test_a_server_slower_than_any_rate_is_asked_one_request_at_a_time(reference: Reference) -> None:
    assert reference.capacity(0.1) == 0
    sent = first_load(WORKLOAD, reference, load_at(1.0), 7).workload
    found = next_load(WORKLOAD, reference, shown(reference, sent, 0.1), 0.0)
    assert found is not None
    assert isinstance(found.workload.arrivals, Closed)


def test_without_an_order_the_reference_chooses_the_rate(reference: Reference) -> None:
    arrivals = first_load(WORKLOAD, reference, None, 7).workload.arrivals
    assert 0.7 * reference.capacity(1.0) < getattr(arrivals, "rate_per_s", 0.0) < reference.capacity(1.0)


def test_a_load_that_left_late_does_not_show_what_breaks_first(reference: Reference) -> None:
    sent = first_load(WORKLOAD, reference, load_at(reference.capacity(1.0)), 7).workload
    record = shown(reference, sent, 1.0).steps[0].record
    calm = record.model_copy(update={"by_limit": {"ttft_ms": 0.2, "tpot_ms": 0.7}, "quantiles": {SHARE: 0.7}})
    limit_ms = WORKLOAD.slo.limits_ms()["ttft_ms"]
    disturbed = {"by_limit": {"ttft_ms": 1.1, "tpot_ms": 0.8}, "quantiles": {SHARE: 1.1}}
    late = record.model_copy(update={**disturbed, "send_lag_p99_ms": 1.1 * limit_ms})
    on_time = record.model_copy(update={**disturbed, "send_lag_p99_ms": 0.01 * limit_ms})
    assert limited_by([late, calm], UNKNOWN, None) == "tpot_ms"
    assert limited_by([on_time, calm], UNKNOWN, None) == "ttft_ms", "the step nearest to the edge"
    assert limited_by([late], UNKNOWN, None) == "ttft_ms", "no other is left"


def test_the_records_of_the_first_load_stay(tmp_path: Path) -> None:
    files = TrialFolder(tmp_path)
    for path in (files.sent_json, files.requests, files.load_json):
        path.write_text(path.name)
    keep_records(files)
    files.load_json.write_text("of the second load")
    keep_records(files)
    assert (tmp_path / "steps" / "2" / "load.json").read_text() == "of the second load"
    kept = tmp_path / "steps" / "1"
    assert sorted(p.name for p in kept.iterdir()) == ["load.json", "requests.parquet", "sent.json"]
    assert not files.load_json.exists()


def test_a_stand_in_learns_the_batch_limit_that_a_load_shows(reference: Reference) -> None:
    loads = shown(reference, first_load(WORKLOAD, reference, load_at(5.0), 7).workload, 1.0)
    step = loads.steps[0]
    held = TrialLoads(
        [step.model_copy(update={"record": step.record.model_copy(update={"batch_limit": 4})})], None, None
    )
    known = made.twin(made.target())
    assumed = known.model_copy(update={"flags_known": False, "stand_in": True})
    assert learned(known, held) is None, "the flags of a twin are those of the server"
    assert learned(assumed, loads) is None
    found = learned(assumed, held)
    assert found is not None
    assert found.flags["max_num_seqs"] == 4
    assert learned(found, held) is None
