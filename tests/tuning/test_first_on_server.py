"""Which option a new server starts for: one whose limits can be lowered afterwards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rooftune.search.gain import Outlook, outlook
from rooftune.search.next_step import Measure
from rooftune.search.options import Option, Outcome, Problem
from rooftune.tuning.guided.first_on_server import with_highest_limits
from rooftune.vllm_rules.config import EngineConfig, FlagValue


def config(**flags: FlagValue | None) -> EngineConfig:
    return EngineConfig(model="m").with_change({"max_num_seqs": 16, "max_num_batched_tokens": 1024, **flags})


CONFIGS = {
    "baseline": config(dtype="float32"),
    "small": config(max_num_batched_tokens=256),
    "large": config(),
    "larger": config(max_num_batched_tokens=2048),
    "fewer": config(max_num_seqs=8, max_num_batched_tokens=2048),
    "other": config(max_num_batched_tokens=4096, enable_prefix_caching=False),
    "open-ended": config(max_num_batched_tokens=None),
}
GAINS = {"baseline": 0.0, "small": 0.1, "large": 0.08, "larger": 0.02, "fewer": 0.09, "other": 0.09, "open-ended": 0.09}


def look(**gains: float) -> Outlook:
    problem = Problem(tuple(Option(name, {}, 0.0) for name in CONFIGS), baseline="baseline")
    found = outlook(problem, [Outcome("baseline", 0.0)])
    return replace(found, gain=np.array([{**GAINS, **gains}[name] for name in CONFIGS]))


def chosen(name: str, view: Outlook) -> str:
    return with_highest_limits(Measure(name, "search", 1, "best"), view, CONFIGS.__getitem__, 4096).option


@pytest.mark.parametrize(
    ("view", "starts_for"),
    [
        (look(), "large"),
        (look(larger=0.06), "larger"),
        (look(large=0.04), "small"),
        (look(large=0.0, larger=0.0), "small"),
    ],
)
def test_the_highest_limits_that_are_worth_a_trial_come_first(view: Outlook, starts_for: str) -> None:
    assert chosen("small", view) == starts_for


def test_a_server_that_cannot_become_the_chosen_one_is_not_started() -> None:
    assert chosen("other", look()) == "other"
    assert chosen("fewer", look()) == "fewer", "the one with more sequences has fewer tokens"
    assert chosen("open-ended", look(large=0.0, fewer=0.0)) == "open-ended"


def test_the_reason_names_the_option_that_it_saves_a_start_for() -> None:
    first = with_highest_limits(Measure("small", "search", 1, "expected +9 %"), look(), CONFIGS.__getitem__, 4096)
    assert "small" in first.why
    assert "expected +9 %" in first.why
    assert first.gain == GAINS["large"]
