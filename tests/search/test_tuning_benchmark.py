"""The benchmark of the search: tables that fit their cases, a truth that differs from the model, fair costs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.tuning.bench import LOAD, START_S, bench_of, name_of
from benchmarks.tuning.beyond_t4 import limits
from benchmarks.tuning.cases import CASES, HELD_BACK, Case
from benchmarks.tuning.methods import Point, Run, auto_tune, black_box, grid, guided
from benchmarks.tuning.real_tables import groups, trials_to
from benchmarks.tuning.results import Result, summary
from benchmarks.tuning.tables import table
from benchmarks.tuning.truth import perturbed
from rooftune.hardware.named import accelerator
from rooftune.simulator.steptime.constants import constants_for

TRAP = next(case for case in CASES if case.trap and case.trap.fails)
PLAIN = next(case for case in CASES if case.name.startswith("L4 llama"))


@pytest.mark.parametrize("case", [*CASES, *HELD_BACK], ids=lambda case: case.name)
def test_each_case_has_a_table_of_more_than_500_configurations_whose_truth_is_not_the_model(case: Case) -> None:
    found = table(case)
    assert len(found.configurations) >= 500
    assert len({name_of(k) for k in found.configurations}) == len(found.configurations)
    both = np.isfinite(found.predicted) & np.isfinite(found.truth)
    assert both.sum() >= 100
    assert np.std(found.truth[both] - found.predicted[both]) > 0.02
    assert (found.truth > found.best - 0.03).mean() < 0.2, "so flat that any choice is within 3 %"


def test_there_are_16_cases_and_two_with_traps() -> None:
    assert len(CASES) >= 16
    assert sum(case.trap is not None for case in CASES) >= 2


def test_truths_held_back_differ_from_those_of_the_cases() -> None:
    first = {case.name: case for case in CASES}
    for held in HELD_BACK:
        case = first[held.name.removesuffix(", another truth")]
        assert np.array_equal(table(held).predicted, table(case).predicted)
        constants = constants_for(accelerator(case.gpu))
        assert perturbed(constants, held) != perturbed(constants, case)


def test_equal_configurations_of_the_t4_differ_beyond_their_capacity() -> None:
    found = limits()
    assert found[128].capacity_per_s == pytest.approx(found[256].capacity_per_s, rel=0.01)
    assert found[128].beyond.score > found[256].beyond.score


def test_what_falls_short_is_named() -> None:
    bench = bench_of(PLAIN, table(PLAIN), 0)
    base = bench.problem.baseline
    lost = Run("x", (Point(400.0, base, bench.regret(base)),), base)
    whole = Run("grid", (Point(2000.0, base, 0.0),), base)
    words, short = summary([Result(PLAIN, bench, {"guided": lost, "grid": whole, "tpe": lost})])
    assert words.startswith("0.0% of the runs end within 3% of the optimum")
    assert [text.split(",")[0] for text in short] == [
        "0.0% of the runs end within 3% of the optimum",
        "a search takes 20% of the grid's minutes",
        "ours takes 100% of TPE's minutes to the same regret",
    ]


def test_the_truth_moves_every_kernel_by_itself_and_the_trap_further() -> None:
    case = next(case for case in CASES if case.trap and case.trap.slow)
    constants = constants_for(accelerator(case.gpu))
    found = perturbed(constants, case)
    ratios = {path: value / constants.value(path) for path, value in found.items()}
    assert ratios["linear.marlin.memory"] < 0.65
    assert 0.7 < ratios["linear.gemm_16bit.memory"] < 1.4
    assert len({round(ratio, 6) for ratio in ratios.values()}) > 10


def test_a_trial_costs_a_start_and_its_load_and_varies_around_the_truth() -> None:
    bench = bench_of(PLAIN, table(PLAIN), 0)
    base = bench.problem.baseline
    trials = [bench.with_seed(seed).trial(base, []) for seed in range(200)]
    off = np.array([t.log_value or 0.0 for t in trials]) - bench.truth[base]
    whole = START_S + LOAD.around_s + LOAD.requests / math.exp(bench.truth[base])
    assert all(t.seconds == pytest.approx(whole) for t in trials)
    assert 0.02 < off.std() < 0.035
    assert abs(off.mean()) < 0.01


def test_what_the_trap_keeps_from_starting_costs_a_start_alone() -> None:
    bench = bench_of(TRAP, table(TRAP), 0)
    failing = next(o.id for o in bench.problem.options if o.knobs["kv_cache_dtype"] == "fp8")
    found = bench.trial(failing, [])
    assert found.log_value is None
    assert found.seconds == START_S
    assert bench.regret(failing) == 1.0


def test_the_search_leaves_the_trap_after_a_few_starts() -> None:
    bench = bench_of(TRAP, table(TRAP), 1)
    run = guided(bench, bench.problem, "ours", 60)
    assert bench.regret(run.recommended) <= 0.05
    assert run.minutes < 0.15 * grid(bench).minutes


def test_minutes_to_a_regret_are_those_from_which_on_it_lasts() -> None:
    run = Run("x", tuple(Point(float(m), "o", r) for m, r in ((1, 0.5), (2, 0.01), (3, 0.2), (4, 0.02), (5, 0.0))), "o")
    assert run.minutes_to(0.03) == 4
    assert run.minutes_to(0.0) == 5
    assert math.isinf(Run("x", run.points[:3], "o").minutes_to(0.03))
    assert trials_to(run, 5) == 4
    assert trials_to(Run("x", run.points[:3], "o"), 5) == 6


def test_auto_tune_looks_at_limits_alone() -> None:
    bench = bench_of(PLAIN, table(PLAIN), 0)
    run = auto_tune(bench)
    chosen, base = bench.problem.option(run.recommended), bench.problem.option(bench.problem.baseline)
    assert chosen.knobs["quantization"] == base.knobs["quantization"]
    assert run.trials == 8


def test_groups_of_real_trials_have_a_choice_and_their_best_is_what_was_measured() -> None:
    found = groups()
    assert len(found) >= 20
    for bench in found:
        assert len(bench.problem.options) >= 4
        assert set(bench.truth) == {o.id for o in bench.problem.options}
    whole = black_box(found[0], "random", 99)
    assert whole.trials == len(found[0].problem.options)
