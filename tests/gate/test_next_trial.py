"""Which trial comes next: seeds, palindromes, repetitions of trials without a value."""

from __future__ import annotations

from test_reference import trial

from rooftune.evidence.records.trial import Check, TrialResult
from rooftune.gate.next_trial import REFERENCE, RETRIES, GatePlan, gate_plan, is_a_look, next_order
from rooftune.gate.reference import Reference
from rooftune.trial_order import TrialLoad, TrialOrder
from rooftune.vllm_rules.config import EngineConfig

CONFIG = EngineConfig(model="llama-2-7b", max_num_seqs=64)
BEFORE = Reference(([trial(1, seed=7), trial(2, seed=5)],), "chat-medium/old", "baseline")


def result(order: TrialOrder, *, trusted: bool = True) -> TrialResult:
    check = Check(id="send-lag", status="pass" if trusted else "fail", sentence="Sent on time.")
    return trial(order.n, candidate=order.candidate, position=order.position, seed=order.seed, checks=[check])


def played(plan: GatePlan, count: int) -> list[TrialOrder]:
    results: list[TrialResult] = []
    orders = []
    while len(orders) < count and (order := next_order(plan, results, None, None)) is not None:
        orders.append(order)
        results.append(result(order))
    return orders


def test_the_reference_s_seeds_come_first_then_fresh_ones() -> None:
    orders = played(gate_plan(CONFIG, BEFORE, "apart", 5, 1), 99)
    assert [o.seed for o in orders] == [7, 5, 8, 9, 10, 11], "an even number of trials"
    assert [o.n for o in orders] == [1, 2, 3, 4, 5, 6]
    assert {o.candidate for o in orders} == {"baseline"}


def test_both_sides_run_in_a_palindrome_with_the_same_seeds() -> None:
    orders = played(gate_plan(CONFIG, BEFORE, "beside", 4, 1), 99)
    short = "".join("R" if o.candidate == REFERENCE else "N" for o in orders)
    assert short == "RNNRNRRN"
    seeds = {name: [o.seed for o in orders if o.candidate == name] for name in (REFERENCE, "baseline")}
    assert seeds[REFERENCE] == seeds["baseline"] == [1, 2, 3, 4]
    assert {o.config.max_num_seqs for o in orders if o.candidate == REFERENCE} == {8}
    assert {o.config.max_num_seqs for o in orders if o.candidate == "baseline"} == {64}
    assert [o.position for o in orders] == list(range(8))


def test_the_comparison_looks_at_even_numbers() -> None:
    plan = gate_plan(CONFIG, BEFORE, "beside", 4, 1)
    orders = played(plan, 8)
    looks = [n for n in range(9) if is_a_look(plan, [result(o) for o in orders[:n]])]
    assert looks == [4, 8]


def test_a_trial_that_is_not_trusted_is_measured_again_with_its_seed_a_few_times() -> None:
    plan = gate_plan(CONFIG, BEFORE, "apart", 4, 1)
    results: list[TrialResult] = []
    while (order := next_order(plan, results, None, None)) is not None:
        results.append(result(order, trusted=False))
    assert len(results) == RETRIES + 1
    assert {t.seed for t in results} == {7}
    assert [t.n for t in results] == [1, 2, 3]


class EvenLoad:
    """A forecast whose loads run the clock 20 times as fast."""

    def capacity(self, config: EngineConfig) -> float | None:
        return 2.0

    def load(self, config: EngineConfig, rate_per_s: float) -> TrialLoad:
        return TrialLoad(rate_per_s=rate_per_s, settle_s=1, requests=9, drain_s=1, time_scale=20.0)


def test_after_a_trial_on_a_busy_machine_the_clock_is_slower() -> None:
    plan = gate_plan(CONFIG, BEFORE, "apart", 4, 1)
    first = next_order(plan, [], EvenLoad(), 3.0)
    assert first is not None
    again = next_order(plan, [result(first, trusted=False)], EvenLoad(), 3.0)
    assert first.load is not None
    assert again is not None
    assert again.load is not None
    assert (first.load.rate_per_s, first.load.time_scale, again.load.time_scale) == (3.0, 20.0, 10.0)


def test_without_a_reference_the_workload_s_seeds_are_drawn() -> None:
    assert [o.seed for o in played(gate_plan(CONFIG, None, "apart", 4, 3), 99)] == [3, 4, 5, 6]


def test_a_first_run_makes_as_many_trials_as_asked_for() -> None:
    orders = played(gate_plan(CONFIG, None, "apart", 3, 1), 99)
    assert [o.why for o in orders] == [f"trial {n} of at most 3" for n in (1, 2, 3)]
