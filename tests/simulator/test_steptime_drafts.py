"""How many rows a step verifies: the length that a schedule gives at that batch, and what the proposer finds of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.simulator.engine.shape import StepShape
from rooftune.simulator.fastpath.clock import verified_rows
from rooftune.simulator.steptime.bounds import decode_step
from rooftune.simulator.steptime.model import StepTime
from rooftune.vllm_rules.config import EngineConfig

MODEL = "llama-3.1-8b"
SCHEDULE = "num_speculative_tokens_per_batch_size"


def step(tokens: int, drafted: float | None, method: str = "eagle3", **more: Any) -> StepTime:
    asked: dict[str, Any] = {"method": method, "num_speculative_tokens": tokens, **more}
    if method == "eagle3":
        asked["model"] = "head"
    flags = {"max_model_len": 4096, "max_num_seqs": 64, "enforce_eager": True}
    config = EngineConfig(model=MODEL, speculative_config=asked, **flags)
    return StepTime(accelerator("L4"), model_facts(MODEL), config, "0.32.0", drafted=drafted)


def seconds(s: StepTime, batch: int, length: int) -> float:
    shape = StepShape(decode_seqs=batch, decode_tokens=batch * (1 + length), decode_context=batch * 500, sampled=batch)
    return s.seconds(shape)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["eagle3", "ngram_gpu"]),
    st.sampled_from([(5, 3, 1), (4, 2, 0), (7, 7, 2)]),
    st.integers(1, 64),
    st.floats(0.05, 1.0),
)
def test_a_scheduled_length_takes_as_long_as_that_length_at_every_batch(
    method: str, lengths: tuple[int, int, int], batch: int, share: float
) -> None:
    long, middle, short = lengths
    schedule = [[1, 8, long], [9, 32, middle], [33, 64, short]]
    now = long if batch <= 8 else middle if batch <= 32 else short
    scheduled = step(long, share * long, method, **{SCHEDULE: schedule})
    fixed = step(max(now, 1), share * max(now, 1), method)
    if now:
        assert seconds(scheduled, batch, now) == pytest.approx(seconds(fixed, batch, now), rel=1e-9)
    else:  # nothing is drafted, so nothing is verified
        assert seconds(scheduled, batch, 0) <= seconds(fixed, batch, 1)
        assert scheduled.parts(_plain(batch))["linear"] == pytest.approx(float(scheduled.linear_decode[batch]))


def test_by_hand() -> None:
    """16 sequences draft one token each, and half of the drafts have it: 16 + 8 rows."""
    s = step(3, 1.5, **{SCHEDULE: [[1, 8, 3], [9, 64, 1]]})
    assert verified_rows(16, 32, 0.5) == 24
    shape = StepShape(decode_seqs=16, decode_tokens=32, decode_context=8000, sampled=16)
    assert s.parts(shape)["linear"] == float(s.linear_decode[24])
    beside = StepShape(
        decode_seqs=16, decode_tokens=32, decode_context=8000, prefill_seqs=1, prefill_tokens=100, prefill_pairs=5e3,
        sampled=17,
    )  # fmt: skip
    assert s.parts(beside)["linear"] == float(s.linear_mixed[124])


def test_a_step_never_verifies_less_than_a_row_per_sequence() -> None:
    assert [verified_rows(64, 64, found) for found in (0.0, 0.1, 1.0)] == [64, 64, 64]
    assert verified_rows(4, 20, 0.0) == 4
    assert verified_rows(4, 20, 1.0) == 20


def test_what_bounds_a_step_is_judged_with_the_length_at_that_batch() -> None:
    scheduled, fixed = step(5, 5.0, **{SCHEDULE: [[1, 8, 5], [9, 64, 1]]}), step(1, 1.0)
    here, there = decode_step(scheduled, 32, 500), decode_step(fixed, 32, 500)
    assert here.intensity_flop_per_byte == pytest.approx(there.intensity_flop_per_byte)
    assert here.step_ms == pytest.approx(there.step_ms)


def _plain(batch: int) -> StepShape:
    return StepShape(decode_seqs=batch, decode_tokens=batch, decode_context=batch * 500, sampled=batch)
