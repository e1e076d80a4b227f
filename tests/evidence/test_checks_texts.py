"""The audit of loads with real texts: repeated prompts, prefix hits, ends of answers, estimated lengths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rooftune.evidence.audit import server, tokens
from rooftune.evidence.audit.ladder import NATURAL_REMEDY, SET_REMEDY, LadderContext, lengths
from rooftune.evidence.records.evidence import Evidence
from rooftune.loadgen.texts_sent import TextsSent
from rooftune.workloads.spec import Workload
from tests.evidence import made_load

PLAIN = made_load.evidence()
SENT = TextsSent(available=400, sent=400, distinct=400, passes=1, salted=True, shared_share=0.2)


def workload(**more: Any) -> Workload:
    value = made_load.workload(10.0).model_dump(exclude={"prompt_tokens", "output_tokens", "ignore_eos"})
    return Workload.model_validate({**value, "prompts": {"file": "mine.jsonl"}, **more})


def texts(
    *, source: str = "tokenizer", simulated: bool = False, sent: TextsSent = SENT, hits: float = 0.0, **columns: Any
) -> Evidence:
    """A load with texts, with other columns and another share of prefix hits."""
    assert PLAIN.load is not None
    assert PLAIN.requests is not None
    assert PLAIN.trial is not None
    figures = {**PLAIN.trial.server, "prefix_hit_share": hits}
    return replace(
        PLAIN,
        workload=workload(),
        load=PLAIN.load.model_copy(update={"texts": sent, "planned_lengths": source}),
        trial=PLAIN.trial.model_copy(update={"server": figures, "simulated": simulated}),
        requests=replace(PLAIN.requests, **columns),
    )


def column(name: str) -> np.ndarray:
    return np.array(getattr(PLAIN.requests, name))


def finish(*, cut: float) -> dict[str, np.ndarray]:
    reasons = column("finish_reason")
    reasons[:] = "stop"
    reasons[: round(cut * len(reasons))] = "length"
    return {"finish_reason": reasons}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, "pass"),
        ({"distinct": 20, "passes": 20}, "pass"),
        ({"distinct": 20, "passes": 20, "salted": False}, "fail"),
        ({"distinct": 300, "passes": 2, "salted": False}, "warn"),
        ({"distinct": 300, "passes": 1, "salted": False}, "pass"),
    ],
)
def test_repeated_prompts_matter_where_the_cache_answers_for_them(change: dict[str, Any], status: str) -> None:
    """A file that has a prompt twice is as users are; a load that begins again with it is not."""
    found = tokens.repeated(texts(sent=SENT.model_copy(update=change)))
    assert found.status == status
    assert f"{change.get('distinct', 400)} of them different" in found.sentence


@pytest.mark.parametrize(
    ("hits", "status"), [(0.0, "pass"), (0.2, "pass"), (0.29, "pass"), (0.4, "warn"), (0.6, "fail")]
)
def test_hits_are_compared_with_what_the_texts_share(hits: float, status: str) -> None:
    assert server.prefix_hits(texts(hits=hits)).status == status


@pytest.mark.parametrize(("block", "hits", "said"), [(128, 0.0, True), (128, 0.25, False), (16, 0.0, False)])
def test_missing_hits_are_explained_by_long_blocks(block: int, hits: float, said: bool) -> None:
    """A CPU has blocks of 128 tokens, so short conversations never hit."""
    found = texts(hits=hits)
    assert found.trial is not None
    effective = found.trial.effective.model_copy(update={"block_size": block})
    found = replace(found, trial=found.trial.model_copy(update={"effective": effective}))
    assert (f"whole blocks of {block} tokens" in server.prefix_hits(found).sentence) is said


@pytest.mark.parametrize(("cut", "status"), [(0.0, "pass"), (0.1, "pass"), (0.5, "warn")])
def test_answers_that_the_limit_cut_are_counted(cut: float, status: str) -> None:
    found = tokens.answers(texts(**finish(cut=cut)))
    assert found.status == status
    assert "ended by themselves" in found.sentence
    assert found.figures["cut_share"] == pytest.approx(cut, abs=0.01)


def test_short_answers_of_a_model_are_no_fault() -> None:
    got = column("output_tokens")
    got[::3] = 3
    assert tokens.answers(texts(output_tokens=got, **finish(cut=0))).status == "pass"


def test_an_empty_answer_is_still_no_success() -> None:
    got = column("output_tokens")
    got[::20] = 0
    assert tokens.answers(texts(output_tokens=got, **finish(cut=0))).status == "fail"


def test_recorded_lengths_are_checked_as_drawn_ones_are() -> None:
    got = column("output_tokens")
    got[::10] = 3
    found = replace(texts(output_tokens=got), workload=workload(ignore_eos=True))
    assert tokens.answers(found).status == "fail"


@pytest.mark.parametrize(
    ("source", "simulated", "status"),
    [("estimate", False, "pass"), ("estimate", True, "fail"), ("tokenizer", False, "fail"), ("server", False, "fail")],
)
def test_an_estimate_is_not_a_plan_that_a_server_could_cut(source: str, simulated: bool, status: str) -> None:
    """For the simulated engine the estimate is exact."""
    prompts = column("prompt_tokens") * 0.5
    found = tokens.prompts(texts(source=source, simulated=simulated, prompt_tokens=prompts))
    assert found.status == status


def test_later_turns_carry_real_answers_that_nobody_planned() -> None:
    turn, prompts = column("turn"), column("prompt_tokens")
    turn[1::2] = 1
    prompts[1::2] = 10
    assert tokens.prompts(texts(turn=turn, prompt_tokens=prompts)).status == "pass"
    assert tokens.prompts(texts(turn=column("turn"), prompt_tokens=prompts)).status == "fail"


def test_the_remedy_for_other_lengths_fits_how_answers_end() -> None:
    from tests.evidence.test_checks_ladder import GOOD

    steps = [replace(s, answer_tokens=90.0, planned_tokens=200.0) for s in GOOD]
    context = LadderContext(0.99, {}, None, None, 0.1, 10.0)
    assert lengths(steps, context).remedy == SET_REMEDY
    assert lengths(steps, replace(context, natural=True)).remedy == NATURAL_REMEDY
