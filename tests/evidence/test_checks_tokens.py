"""Tokens and prompts: counted by the server, as long as asked, not cut, not repeated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rooftune.evidence.audit import tokens as checks
from rooftune.evidence.records.evidence import Evidence
from tests.evidence import made_load

USUAL = made_load.evidence()


def changed(**columns: object) -> Evidence:
    assert USUAL.requests is not None
    return replace(USUAL, requests=replace(USUAL.requests, **columns))  # type: ignore[arg-type]


def column(name: str) -> np.ndarray:
    return np.array(getattr(USUAL.requests, name))


def test_a_usual_load_passes() -> None:
    assert [c(USUAL).status for c in checks.ALL] == ["pass"] * 5
    assert "the server counted" in checks.count(USUAL).sentence


@pytest.mark.parametrize(("factor", "status"), [(1.0, "pass"), (1.03, "warn"), (1.3, "fail")])
def test_usage_and_the_clients_count_must_agree(factor: float, status: str) -> None:
    assert checks.count(changed(streamed_tokens=column("streamed_tokens") * factor)).status == status


@pytest.mark.parametrize(("factor", "status"), [(1.0, "pass"), (1.04, "warn"), (1.5, "fail")])
def test_the_servers_counter_must_agree(factor: float, status: str) -> None:
    """Another client uses the same server."""
    total = USUAL.ticks["generation_tokens_total"] * factor
    assert checks.count(replace(USUAL, ticks={**USUAL.ticks, "generation_tokens_total": total})).status == status


@pytest.mark.parametrize(("seconds", "status"), [(0.0, "pass"), (1.0, "warn"), (5.0, "fail")])
def test_tokens_that_come_late_are_missing_in_the_window_alone(seconds: float, status: str) -> None:
    """The client stands still before the window ends, and reads afterwards what the server made meanwhile."""
    assert USUAL.window is not None
    at, end = column("token_s"), USUAL.window.end_s
    late = (at > end - seconds) & (at < end)
    found = changed(token_s=np.where(late, end + 0.001, at))
    assert checks.count(found).status == "pass", "over the whole load no token is missing"
    assert checks.late(found).status == status
    assert ("came late" in checks.late(found).sentence) == (status != "pass")


@pytest.mark.parametrize("lost", [0.0, 0.03, 0.3])
@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_a_window_that_differs_by_more_than_the_bound_fails_one_of_both(lost: float, seconds: float) -> None:
    """Whatever mixture of lost and late tokens it is."""
    assert USUAL.window is not None
    at, end = column("token_s"), USUAL.window.end_s
    found = changed(token_s=np.where((at > end - seconds) & (at < end), end + 0.001, at))
    total = USUAL.ticks["generation_tokens_total"] / (1 - lost)
    found = replace(found, ticks={**USUAL.ticks, "generation_tokens_total": total})
    both = {checks.count(found).status, checks.late(found).status}
    assert ("fail" in both) == (seconds > 0 or lost > checks.COUNT_FAIL)


@pytest.mark.parametrize(("chunks_late", "status"), [(0.9, "pass"), (3.5, "fail")])
def test_the_chunk_in_transit_as_a_short_window_ends_is_allowed(chunks_late: float, status: str) -> None:
    """Two answers of about ten chunks stream as the window ends. The server counts a chunk before it arrives."""
    tpot_s, load = 2.0, made_load.workload(1.0)
    rows = made_load.serve(1.0, load.total_s, slots=64, tpot_s=tpot_s)
    on_time = made_load.evidence(1.0, tpot_s=tpot_s, rows=[r for r in rows if r["scheduled_s"] > 55][:2])
    assert on_time.requests is not None
    late = replace(on_time.requests, token_s=on_time.requests.token_s + chunks_late * tpot_s)
    found = replace(on_time, requests=late)
    assert checks.late(found).status == status


def test_what_came_before_a_late_first_sample_is_late_and_not_missing() -> None:
    """A busy machine: the first sample is taken late, and the server had counted fewer tokens than the client had."""
    sampled = USUAL.ticks["t_s"] >= 25
    ticks = {name: values[sampled] for name, values in USUAL.ticks.items()}
    behind = np.where(ticks["t_s"] == 25, 0, ticks["generation_tokens_total"])
    found = replace(USUAL, ticks={**ticks, "generation_tokens_total": behind})
    assert (checks.count(found).status, checks.late(found).status) == ("pass", "fail")
    others = replace(USUAL, ticks={**ticks, "generation_tokens_total": 1.2 * behind})
    assert checks.count(others).status == "fail", "another client uses the server"


def test_tokens_that_never_come_are_no_matter_of_time() -> None:
    total = USUAL.ticks["generation_tokens_total"] * 1.5
    found = replace(USUAL, ticks={**USUAL.ticks, "generation_tokens_total": total})
    assert (checks.count(found).status, checks.late(found).status) == ("fail", "pass")


def test_characters_are_not_tokens() -> None:
    found = checks.count(replace(USUAL, characters=True))
    assert found.status == "fail"
    assert "Characters / 4" in found.sentence


def test_without_usage_the_count_is_the_clients_own() -> None:
    assert checks.count(changed(output_tokens=np.full(len(column("status")), np.nan))).status == "warn"


def test_an_empty_answer_is_not_a_success() -> None:
    tokens = column("output_tokens")
    tokens[::20] = 0
    found = checks.answers(changed(output_tokens=tokens))
    assert found.status == "fail"
    assert "empty" in found.sentence


@pytest.mark.parametrize(("every", "status"), [(1000, "warn"), (10, "fail")])
def test_answers_that_stopped_early(every: int, status: str) -> None:
    tokens = column("output_tokens")
    tokens[::every] = 3
    assert checks.answers(changed(output_tokens=tokens)).status == status


def test_early_stops_are_allowed_without_planned_lengths() -> None:
    tokens = column("output_tokens")
    tokens[::3] = 3
    free = made_load.workload(10.0, ignore_eos=False)
    assert checks.answers(replace(changed(output_tokens=tokens), workload=free)).status == "pass"


def test_prompts_that_the_server_cut() -> None:
    prompts = column("prompt_tokens")
    prompts[::5] = 30
    assert checks.prompts(changed(prompt_tokens=prompts)).status == "fail"


def test_a_template_that_adds_tokens() -> None:
    assert checks.prompts(changed(prompt_tokens=column("prompt_tokens") + 40)).status == "warn"
    assert checks.prompts(changed(prompt_tokens=column("prompt_tokens") + 1)).status == "pass"


@pytest.mark.parametrize(("distinct", "status"), [(13, "fail"), (600, "warn"), (10_000, "pass")])
def test_the_same_few_prompts(distinct: int, status: str) -> None:
    keys = np.array([str(i % distinct) for i in range(len(column("status")))], dtype=object)
    assert checks.repeated(changed(prompt_key=keys)).status == status
