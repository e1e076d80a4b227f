"""The answer of a capacity measurement in words, in Markdown and as figures, for every way in which one can end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rooftune.capacity.answer import Outcome, Subject, result_of
from rooftune.capacity.estimate import CapacityEstimate
from rooftune.capacity.measured_step import StepRecord, StepStart
from rooftune.capacity.reference_server import ReferenceServer
from rooftune.capacity.result import CapacityResult, LoneRequests
from rooftune.capacity.sentences import headline, method_lines, replica_lines
from rooftune.evidence.records.trial import Census
from rooftune.report.capacity_report import write_capacity_report
from rooftune.workloads.spec import Closed, Workload

SERVER = ReferenceServer(
    gpu="T4",
    model="llama-2-7b",
    engine_version="0.15.1",
    flags={"quantization": "awq_marlin", "max_model_len": 2048},
)
WORKLOAD = Workload.model_validate(
    {
        "name": "made",
        "arrivals": {"process": "poisson", "rate_per_s": 40},
        "prompt_tokens": {"distribution": "fixed", "value": 50},
        "output_tokens": {"distribution": "fixed", "value": 40},
        "duration_s": 60,
        "slo": {"ttft_ms": 2000, "tpot_ms": 60},
    }
)
FOUND = CapacityEstimate(16.0, 15.2, 16.9, 1.0, 0.05)
LONE = LoneRequests(
    requests=20, rate_per_s=0.5, attainment=0.0, share=0.99, limit="tpot_ms", ratio=2.4, median_ratio=1.8
)


def record(number: int, rate: float, attainment: float, **changes: Any) -> StepRecord:
    ratio = 1.0 if attainment >= 0.99 else 1.4
    fields: dict[str, Any] = {
        "number": number,
        "reason": "a test",
        "workload": WORKLOAD.model_copy(update={"seed": number}),
        "rate_per_s": rate,
        "started_at": 100.0 * number,
        "real_s": 60.0,
        "load_s": 60.0,
        "start": StepStart(idle=True, present=0.0),
        "sent_per_s": rate,
        "requests": 400,
        "attainment": attainment,
        "quantiles": {"0.99": ratio, "0.5": 0.5},
        "by_limit": {"ttft_ms": 0.2, "tpot_ms": ratio},
        "queue_grew": False,
        "latencies": {"median_ttft_ms": 90.0, "p99_ttft_ms": 300.0, "median_tpot_ms": 30.0, "p99_tpot_ms": 59.0},
        "census": Census(scheduled=420, completed=420),
        "output_tokens": 40.0,
        "planned_output_tokens": 40.0,
        "speed": 1.0,
        **changes,
    }
    return StepRecord.model_validate(fields)


STEPS = [record(1, 11.0, 1.0), record(2, 16.0, 0.99), record(3, 15.2, 0.995), record(4, 16.5, 0.97)]


def answer(records: list[StepRecord], outcome: Outcome, server: ReferenceServer = SERVER) -> CapacityResult:
    subject = Subject(WORKLOAD, "http://x", "m", False, 1.0, server, server.engine(), 16.0)
    return result_of(subject, records, outcome)


@pytest.fixture(scope="module")
def measured() -> CapacityResult:
    return answer(STEPS, Outcome(FOUND, "the interval is narrow", True))


def test_the_answer_has_interval_limit_servers_and_cost(measured: CapacityResult) -> None:
    said = headline(measured)
    assert said.startswith("made: one server carries 16 requests/s within the SLO")
    assert "15.2 to 16.9" in said
    assert "TPOT limits it" in said
    assert measured.replicas is not None
    assert [r.replicas for r in measured.replicas.rows] == [2, 3, 4]
    assert measured.replicas.rows[0].overloaded, "20 requests/s each are more than it serves"
    shares = [r.attainment for r in measured.replicas.rows]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 < shares[1]
    price = measured.usd_per_hour
    assert price
    assert measured.replicas.rows[1].usd_per_hour == pytest.approx(3 * price)
    tokens_per_h = 40 * 40 * 3600
    assert measured.replicas.rows[1].usd_per_million_output_tokens == pytest.approx(3 * price / tokens_per_h * 1e6)
    lines = replica_lines(measured)
    assert lines[0] == "The asked rate of 40 requests/s needs 3 servers."
    assert "the queue grows without end" in lines[1]
    assert measured.believed


def test_the_lower_end_may_need_one_more() -> None:
    near = replace(FOUND, rate_per_s=40.2, low_per_s=38.0, high_per_s=42.0)
    found = answer(STEPS[:1], Outcome(near, "a test", True))
    assert (
        replica_lines(found)[0]
        == "The asked rate of 40 requests/s needs 1 server, or 2 to be safe (lower end of the interval)."
    )


def test_a_stand_in_has_no_price_and_says_that_it_is_one(measured: CapacityResult) -> None:
    other = SERVER.model_copy(update={"stand_in": True, "gpu_known": False})
    found = answer(STEPS, Outcome(FOUND, "a test", True), other)
    assert found.usd_per_hour is None
    assert found.predicted_per_s is None
    assert any("a stand-in" in line for line in method_lines(found))
    assert not any("USD" in line for line in replica_lines(found))


def test_a_server_that_cannot_keep_the_slo(tmp_path: Path) -> None:
    found = answer([], Outcome(None, "even a lone request breaks the SLO", True, lone=LONE))
    assert found.rate_per_s == 0
    assert "cannot keep the SLO" in headline(found)
    assert "1.8 times the limit at the median" in headline(found)
    text = write_capacity_report(tmp_path, found).read_text()
    assert "figures/" not in text
    assert "cannot keep the SLO" in text


def test_errors_give_a_bracket() -> None:
    broken = record(2, 9.0, 0.7, errors=120, census=Census(scheduled=420, completed=300, refused=120))
    found = answer([record(1, 6.0, 1.0), broken], Outcome(FOUND, "a test", False))
    assert (found.rate_per_s, found.low_per_s, found.high_per_s, found.level) == (6.0, 6.0, 9.0, None)
    assert "between 6 and 9 requests/s; beyond it requests fail or are refused" in headline(found)


def test_nothing_known() -> None:
    found = answer([record(1, 6.0, 0.2)], Outcome(None, "it was stopped by the user", False, stopped=True))
    assert found.rate_per_s is None
    assert headline(found) == "The capacity of made is not known: it was stopped by the user."


def test_a_failed_check_is_said_aloud() -> None:
    busy = record(3, 15.2, 0.995, start=StepStart(idle=False, present=4.0))
    found = answer([*STEPS[:2], busy, STEPS[3]], Outcome(FOUND, "a test", True))
    assert not found.believed
    assert any(line.startswith("Do not trust this: Step 3 began") for line in method_lines(found))


@pytest.mark.parametrize("rate", [16.0, None])
def test_figures_are_drawn_with_and_without_an_interval(
    measured: CapacityResult, tmp_path: Path, rate: float | None
) -> None:
    found = measured if rate else measured.model_copy(update={"rate_per_s": None, "predicted_curve": []})
    text = write_capacity_report(tmp_path, found).read_text()
    for name in ("attainment.png", "latencies.png"):
        assert f"figures/{name}" in text
        assert (tmp_path / "figures" / name).read_bytes().startswith(b"\x89PNG")
    svg = (tmp_path / "figures" / "attainment.svg").read_text()
    assert ("diamonds: the queue grew" in svg) == any(p.queue_grew for p in found.curve)
    assert "this server at " in svg, "values on hover"
    assert "| 4 | 16.5 | 400 | 97 % | 90 / 300 | 30 / 59 | steady | 1 |" in text
    assert "| settled-start | pass:" in text


def users_answer(users: int, estimate: tuple[float, float, float], records: list[StepRecord]) -> CapacityResult:
    """The answer for a closed loop of this many users."""
    load = WORKLOAD.model_copy(update={"arrivals": Closed(process="closed", concurrency=users)})
    changed = [r.model_copy(update={"workload": load.model_copy(update={"seed": r.number})}) for r in records]
    subject = Subject(load, "http://x", "m", False, 1.0, SERVER, SERVER.engine(), 33.4)
    return result_of(subject, changed, Outcome(CapacityEstimate(*estimate, 1.0, 0.04), "a test", True))


def test_users_are_whole_and_have_servers_too(tmp_path: Path) -> None:
    steps = [record(i, 15.0, a, users=n) for i, (n, a) in enumerate([(24, 1.0), (34, 0.99), (36, 0.95)], 1)]
    found = users_answer(120, (34.7, 33.2, 36.4), steps)
    assert (found.users, found.low_users, found.high_users, found.predicted_users) == (34, 33, 36, 33)
    assert found.low_per_s is None
    assert found.rate_per_s
    said = headline(found)
    assert said.startswith("made: one server carries 34 users within the SLO")
    assert "33 to 36; TPOT limits it" in said
    lines = replica_lines(found)
    assert lines[0] == "120 users need 4 servers."
    assert lines[1].startswith("3 servers: up to 40 users each: ")
    assert found.replicas is not None
    shares = [r.attainment for r in found.replicas.rows]
    assert shares == sorted(shares)
    assert any("34 users send" in line for line in method_lines(found))
    assert [p.users for p in found.curve] == [24, 34, 36]
    assert all(p.users for p in found.predicted_curve)
    text = write_capacity_report(tmp_path, found).read_text()
    assert "| step | users |" in text
    assert "| 2 | 34 | 400 |" in text
    assert (tmp_path / "figures" / "attainment.png").read_bytes().startswith(b"\x89PNG")
    assert CapacityResult.model_validate_json(found.model_dump_json()) == found


def test_one_user_is_not_a_load_to_find_servers_for() -> None:
    found = users_answer(1, (34.7, 33.2, 36.4), [record(1, 15.0, 0.99, users=34)])
    assert found.replicas is None
    assert found.usd_per_million_output_tokens


def test_errors_give_a_bracket_of_users() -> None:
    steps = [record(1, 6.0, 1.0, users=10), record(2, 9.0, 0.7, users=16, errors=120)]
    found = users_answer(40, (34.7, 33.2, 36.4), steps)
    assert (found.users, found.low_users, found.high_users, found.level) == (10, 10, 16, None)
    assert "between 10 and 16 users; beyond it requests fail or are refused" in headline(found)
