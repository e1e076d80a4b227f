"""What a run shows while it goes on: lines in a pipe, a line above the bars on a terminal."""

from __future__ import annotations

import time
from pathlib import Path

import guided_world as made
import pytest

from flows.cli import terminal
from flows.cli.optimize import continue_line
from flows.cli.progress import RunBars, RunPipe
from rooftune.loadgen.progress import Progress
from rooftune.trial_order import TrialOrder
from rooftune.tuning.guided.budget import Room, time_words
from rooftune.tuning.guided.progress import Progress as SearchProgress
from rooftune.tuning.guided.standing import Standing, standing_of, standing_of_ladder
from rooftune.tuning.search import next_trial
from rooftune.vllm_rules.config import EngineConfig
from tasks.run_lines import RunLines

PLAN = made.plan()


def where(trials: int, left_s: float | None = 200.0) -> Standing:
    results = made.GuidedWorld(PLAN, seed=3).search(budget=340, cost=14)[:trials]
    return standing_of(SearchProgress.of(PLAN, results, left_s, 14.0))


def test_a_search_says_its_best_the_chance_of_a_better_one_and_the_time_left() -> None:
    words = where(2).words
    assert words.startswith("best so far awq_marlin")
    assert " requests/s; chance of something clearly better " in words
    assert words.endswith("; 3 min left, about 14 trials")
    assert where(0).words == "3 min left, about 14 trials"
    assert "left" not in where(2, None).words


def test_a_ladder_says_its_incumbent_and_the_time_left() -> None:
    import capacity_world
    import synthetic_run

    plan = synthetic_run.plan_of(synthetic_run.workload(objective={"metric": "capacity"}))
    results = capacity_world.CapacityWorld(plan, {}).search(budget=200)
    words = standing_of_ladder(plan, results, 90.0, 10.0).words
    assert words.startswith("best so far ")
    assert words.endswith(" requests/s; 90 s left, about 9 trials")
    assert standing_of_ladder(plan, [], 90.0, 10.0).words == "90 s left, about 9 trials"


def test_a_search_that_confirms_says_so() -> None:
    whole = made.GuidedWorld(PLAN, seed=3).search(budget=340, cost=14)
    found = standing_of(SearchProgress.of(PLAN, whole[:-1], 200.0, 14.0))
    assert found.confirming
    assert "; confirming it; " in found.words


def test_in_a_pipe_each_trial_has_a_line_with_where_the_search_is(capsys: pytest.CaptureFixture[str]) -> None:
    lines, world = RunPipe(terminal.note), made.GuidedWorld(PLAN, seed=3)
    results = world.search(budget=340, cost=14)
    order = next_trial(PLAN, results[:2], 200.0, 14.0, world.forecast)
    assert order is not None
    lines.phase("plan")
    lines.standing(where(2))
    lines.trial(order, 14.0)
    lines.result(results[2], False)
    lines.result(results[0], True)
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "plan: predicting the configurations of the space ..."
    assert shown[1].startswith(f"trial 3: {order.phase}, {order.candidate} (expected ")
    assert "about 14 s. Best so far awq_marlin" in shown[1]
    assert shown[1].endswith("3 min left, about 14 trials")
    assert shown[2].startswith(f"trial 3: {order.phase}, {results[2].candidate} 1: capacity ")
    assert shown[2].endswith("; 3 min left")
    assert shown[3].startswith("trial 1: baseline 1: capacity ")
    assert shown[3].endswith("(measured before)")


def test_a_configuration_is_introduced_with_what_it_changes(capsys: pytest.CaptureFixture[str]) -> None:
    """A reader never meets a name without its flags; once is enough."""
    order = TrialOrder(candidate="fp8-kv", n=1, position=4, config=EngineConfig(model="m"), seed=1, phase="easy-wins")
    again = order.model_copy(update={"n": 2, "position": 5})
    bars, said = RunBars(), list[str]()
    lines = RunLines(said.append)
    for display in (lines, bars):
        display.trial(order, 10.0, "--kv-cache-dtype fp8")
        display.trial(again, 10.0, "--kv-cache-dtype fp8")
    assert said == [
        "trial 5: easy-wins, fp8-kv (trial 1), about 10 s",
        "trial 5 changes from the baseline: --kv-cache-dtype fp8",
        "trial 6: easy-wins, fp8-kv (trial 2), about 10 s",
    ]
    shown = " ".join(capsys.readouterr().err.split())
    assert shown == "5 fp8-kv changes from the baseline: --kv-cache-dtype fp8"


def test_a_long_start_and_a_long_load_say_now_and_then_how_far_they_are() -> None:
    said: list[str] = []
    order = TrialOrder(candidate="fp8-kv", n=2, position=4, config=EngineConfig(model="m"), seed=1, phase="easy-wins")
    patient, eager = RunLines(said.append, every_s=3600), RunLines(said.append, every_s=0)
    for lines in (patient, eager):
        lines.trial(order, 100.0)
        lines.engine("INFO loading weights")
        lines.load(Progress(elapsed_s=30, total_s=90, sent=20, completed=12, in_flight=8, output_tokens_per_s=512))
        lines.load(Progress(elapsed_s=95, total_s=90, sent=60, completed=59, in_flight=1))
    begin = "trial 5: easy-wins, fp8-kv (trial 2), about 100 s"
    assert said == [
        begin,
        begin,
        "trial 5: fp8-kv 2 starts: INFO loading weights",
        "trial 5: fp8-kv 2: 30 of 90 s of load, 12 of 20 done, 8 in flight, 512 tokens/s",
        "trial 5: fp8-kv 2: all sent, waiting for the last answers, 59 of 60 done, 1 in flight, 0 tokens/s",
    ]


def test_long_work_without_other_lines_says_that_it_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal.busy("Predicting"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(terminal, "BUSY_AFTER_S", 0.01)
    monkeypatch.setattr(terminal, "BUSY_EVERY_S", 0.01)
    seen: list[str] = []
    with terminal.busy("Predicting"):
        deadline = time.monotonic() + 300
        while len(seen) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
            seen += capsys.readouterr().err.splitlines()
    assert seen[0].startswith("Predicting, 0 s so far ...")
    assert len(seen) >= 2


def test_on_a_terminal_the_time_left_goes_on_above_the_bars() -> None:
    from rich.console import Console

    bars = RunBars()
    bars.standing(where(2))
    bars.since -= 30
    console = Console(width=200, file=None, record=True)
    with console.capture() as shown:
        for part in bars.bars.get_renderables():
            console.print(part)
    assert "Best so far awq_marlin" in shown.get()
    assert "3 min left, about 12 trials" in shown.get()


@pytest.mark.parametrize(
    ("budget_s", "words"),
    [
        (20, "the baseline alone, but no confirmation, so the baseline stays recommended"),
        (60, "the baseline and 3 other configurations, but no confirmation"),
        (60, "A confirmed answer takes about 2 min: --budget 2m."),
        (120, "enough to confirm one of the first configurations"),
        (120, "--budget 4m."),
        (340, "room for about 22 trials of 15 s, at least 4 of them to confirm the winner."),
    ],
)
def test_a_budget_says_what_it_suffices_for(budget_s: float, words: str) -> None:
    assert words in Room(budget_s, 15.0).words


def test_a_run_that_goes_on_says_what_is_left() -> None:
    words = Room(1020.0, 60.0, 357.0).words
    assert words == "Of the budget of 17 min, 11 min are left, room for about 11 more trials of 60 s."
    assert "0 more trials" in Room(300.0, 60.0, 357.0).words


def test_the_budget_that_is_named_for_a_confirmed_answer_gives_one() -> None:
    world = made.GuidedWorld(PLAN, seed=3)
    for cost in (7.0, 14.0, 33.0):
        assert not Room(4 * cost, cost).confirms
        minutes = int(Room(4 * cost, cost).words.rsplit("--budget ", 1)[1].rstrip("m."))
        results = world.search(budget=60 * minutes, cost=cost)
        assert sum(r.seed >= PLAN.objective.seed + 1000 for r in results) >= 4


def test_a_run_whose_budget_ended_says_how_to_go_on() -> None:
    line = continue_line(Path("artifacts/rag-medium/1"), "rag-medium", 357.0, 5)
    assert line == "To go on where it ended: rooftune optimize rag-medium --resume artifacts/rag-medium/1 --budget 15m"


def test_times_are_for_readers() -> None:
    assert [time_words(s) for s in (-3, 45, 130, 3600, 9000)] == ["0 s", "45 s", "2 min", "60 min", "2 h 30 min"]
