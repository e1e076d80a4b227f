"""A comparison: equal conditions, configurations that do differ, and an order that cancels drift."""

from __future__ import annotations

from typing import Any

import pytest

from rooftune.engines.server import EffectiveConfig
from rooftune.evidence.audit.comparison import audit_comparison
from rooftune.evidence.comparison.balanced_order import balanced_order
from rooftune.evidence.records.trial import TrialResult


def run(order: str, **changes: dict[str, Any]) -> list[TrialResult]:
    """Trials in this order of letters; ``changes`` by letter replaces fields of its trials."""
    count: dict[str, int] = {}
    found = []
    for place, who in enumerate(order):
        n = count[who] = count.get(who, 0) + 1
        value: dict[str, Any] = {
            "candidate": who, "n": n, "status": "measured", "workload": "w", "workload_hash": "abc", "seed": n,
            "position": place, "model": "llama-2-7b", "engine": "vllm", "engine_version": "0.15.1", "gpu": "T4",
            "effective": EffectiveConfig(max_num_seqs=256 if who == "A" else 8),
        }  # fmt: skip
        found.append(TrialResult.model_validate({**value, **changes.get(who, {})}))
    return found


def statuses(trials: list[TrialResult], **more: Any) -> dict[str, str]:
    return {c.id: c.status for c in audit_comparison(trials, **more)}


def test_a_good_comparison_passes() -> None:
    assert set(statuses(run("ABBA")).values()) == {"pass"}


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"workload_hash": "other"}, "same-workload"),
        ({"model": "mistral-7b"}, "same-model"),
        ({"engine_version": "0.32.0"}, "same-engine"),
        ({"gpu": "L4"}, "same-engine"),
    ],
)
def test_what_else_differs_is_named(change: dict[str, Any], check: str) -> None:
    found = statuses(run("ABBA", B=change))
    assert [k for k, s in found.items() if s == "fail"] == [check]


def test_the_engine_version_may_be_the_change() -> None:
    trials = run("ABBA", B={"engine_version": "0.32.0"})
    assert statuses(trials, version_is_the_change=True)["same-engine"] == "pass"


def test_other_requests_on_each_side_are_named() -> None:
    assert statuses(run("ABBA", B={"seed": 99}))["same-workload"] == "warn"


def test_an_a_a_test_is_named_as_such() -> None:
    """``--enable-chunked-prefill`` where it was on already: two names, one configuration."""
    same = EffectiveConfig(max_num_seqs=8, chunked_prefill=True)
    trials = run("ABBA", A={"effective": same}, B={"effective": same, "flags": {"enable_chunked_prefill": True}})
    found = next(c for c in audit_comparison(trials) if c.id == "configurations-differ")
    assert found.status == "warn"
    assert "A/A" in found.sentence
    assert "A and B" in found.sentence


def test_an_engine_that_reports_nothing() -> None:
    silent = {"effective": EffectiveConfig()}
    assert statuses(run("ABBA", A=silent, B=silent))["configurations-differ"] == "no data"


@pytest.mark.parametrize(
    ("order", "status"), [("ABBA", "pass"), ("ABBABAAB", "pass"), ("AABB", "warn"), ("AB", "warn"), ("AAABBB", "warn")]
)
def test_an_order_that_does_not_cancel_drift(order: str, status: str) -> None:
    assert statuses(run(order))["order-balanced"] == status


def test_three_in_a_palindrome_are_balanced() -> None:
    assert statuses(run("".join(balanced_order("ABC", 2))))["order-balanced"] == "pass"


def test_blocks_of_a_ladder_are_balanced() -> None:
    """The incumbent A opens and closes the first block, then the next one; D is compared with A, F with E."""
    assert statuses(run("ABCDDCBAEFGGFEA"))["order-balanced"] == "pass"


def test_one_configuration_is_not_compared() -> None:
    assert set(statuses(run("AA")).values()) == {"no data"}
