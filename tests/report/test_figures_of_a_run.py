"""The figures of a run: each shows its data, its words can be read, and without data there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import made_capacity_run
import made_figures
import numpy as np
import pytest
from figure_checks import boxes, check, labels, titles

from rooftune.evidence.records.columns import ChunkArrivals, requests_from
from rooftune.evidence.trial_table import row
from rooftune.formatting import number
from rooftune.metrics.window import Window
from rooftune.report.compare import compare_runs
from rooftune.report.figures import distribution
from rooftune.report.figures.capacity_run import run_attainment, run_latencies
from rooftune.report.figures.catalogue import DETAILS, OVERVIEW, draw_all
from rooftune.report.figures.chart import Chart
from rooftune.report.figures.distribution import Measured
from rooftune.report.figures.front import Spot, front, on_front
from rooftune.report.figures.labels import MOST_LABELS
from rooftune.report.figures.predictions import pairs_of, predictions
from rooftune.report.figures.progression import progression, stages
from rooftune.report.figures.roofline import run_roofline
from rooftune.report.figures.saving import Kind, svg_of
from rooftune.report.figures.step_time import step_time
from rooftune.report.figures.timeline import read_course, timeline
from rooftune.report.figures.trend import series_of, trend
from rooftune.report.figures.two_runs import two_runs
from rooftune.report.figures.words import Amount
from rooftune.report.run.naming import names_of
from rooftune.report.run_data import RunData
from rooftune.report.step_parts import STEPS
from rooftune.runfolder import RunFolder

KINDS = (*OVERVIEW, *DETAILS)


@pytest.fixture(scope="module")
def capacity(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    folder = made_capacity_run.run_without_report(tmp_path_factory.mktemp("capacity"))
    return made_figures.searched(made_figures.with_predictions(made_figures.complete(folder), "capacity"), "fp8-kv")


@pytest.fixture(scope="module")
def throughput(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    folder = made_figures.throughput_run(tmp_path_factory.mktemp("throughput"))
    return made_figures.with_predictions(made_figures.complete(folder), "output_throughput")


def words(chart: Chart | None) -> list[str]:
    """What the marks of a chart show on hover."""
    assert chart is not None
    return [text for texts in chart.marks.values() for text in texts]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_every_figure_of_a_capacity_can_be_read(kind: Kind, capacity: RunData) -> None:
    chart = kind.draw(capacity)
    assert chart is not None
    check(chart)
    assert len(titles(svg_of(chart, kind.name))) == len(words(chart)), "every mark has its title in the SVG"


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_every_figure_of_a_throughput_can_be_read(kind: Kind, throughput: RunData) -> None:
    chart = kind.draw(throughput)
    if kind.name in ("attainment", "latencies"):
        assert chart is None, "a run without a capacity has no response to the load"
        return
    assert chart is not None
    check(chart)


@pytest.mark.parametrize("draw", [front, run_roofline, predictions, run_attainment, run_latencies])
def test_thirty_configurations_have_at_most_a_dozen_labels(
    draw: Callable[[RunData], Chart | None], capacity: RunData
) -> None:
    chart = draw(made_figures.with_predictions(made_figures.many(capacity, 30), "capacity"))
    assert chart is not None
    check(chart)
    assert max(len(labels(axis)) for axis in chart.figure.axes) <= MOST_LABELS + 3


def test_without_data_there_is_no_figure_and_an_old_one_goes(tmp_path: Path) -> None:
    folder = made_figures.throughput_run(tmp_path)
    data = made_figures.complete(folder)
    assert {"timeline", "step_time", "distribution"} <= {d.name for d in draw_all(data)}
    (folder.path / STEPS).unlink()
    for trial in folder.trials():
        trial.ticks.unlink(missing_ok=True)
        trial.requests.unlink(missing_ok=True)
    drawn = draw_all(data)
    assert {d.name for d in drawn} == {"front", "progression", "roofline"}
    assert sorted(p.name for p in folder.figures.iterdir()) == sorted(
        f"{d.name}.{ending}" for d in drawn for ending in ("png", "svg")
    )


def test_a_simulated_run_says_so_in_every_title(capacity: RunData) -> None:
    for kind in KINDS:
        chart = kind.draw(capacity)
        assert chart is not None
        assert "(simulated)" in chart.title


def test_the_front_has_every_configuration_and_labels_baseline_and_recommendation(capacity: RunData) -> None:
    chart = front(capacity)
    shown = words(chart)
    measured = [p.id for p in capacity.measured if (c := capacity.capacity(p.id)) is not None and c.estimate > 0]
    assert all(any(text.startswith(f"{name}: ") for text in shown) for name in measured)
    assert chart is not None
    found = labels(chart.figure.axes[0])
    assert any(text.startswith("baseline\n") for text in found)
    assert any(text.startswith("recommended\n") for text in found)


def test_configurations_have_the_names_of_the_report_and_their_ids_on_hover(capacity: RunData) -> None:
    many = made_figures.many(capacity, 3)
    chart = front(many)
    assert chart is not None
    name = "awq_marlin+fp8-kv+seqs1+tokens513"
    short = names_of(many).plain(name)
    assert short != name
    assert any(text.startswith(f"{short} ({name}): ") for text in words(chart))
    assert name not in chart.description, "the description has short names alone"


def test_nothing_beats_what_is_on_the_front_in_both() -> None:
    random = np.random.default_rng(3)
    spots = [Spot(str(i), float(x), Amount(y, y, y), True) for i, (x, y) in enumerate(random.uniform(1, 9, (60, 2)))]
    best = on_front(spots)
    assert best
    for spot in spots:
        beaten = any(
            b.tpot_ms <= spot.tpot_ms and b.carried.value >= spot.carried.value and b is not spot for b in best
        )
        assert beaten or spot in best


def test_the_progression_has_a_bar_for_each_phase_with_its_interval(capacity: RunData, throughput: RunData) -> None:
    assert [s.phase for s in stages(capacity, "capacity")] == ["baseline", "easy-wins", "medium-term"]
    assert [s.verdict for s in stages(capacity, "capacity")] == [
        "starting point",
        "predicted, not measured",
        "recommended",
    ]
    climbed = stages(throughput, "output_throughput")
    assert climbed[0].name == "baseline"
    assert climbed[-1].name == throughput.decision.incumbent
    assert all(s.amount.low <= s.amount.value <= s.amount.high for s in climbed)
    assert any(text.startswith("baseline: baseline, ") for text in words(progression(throughput)))


def test_predictions_have_their_errors(capacity: RunData) -> None:
    pairs = pairs_of(capacity, "capacity")
    assert all(p.error == pytest.approx(1.1) for p in pairs)
    assert all("error +10 %" in text for text in words(predictions(capacity)))
    assert predictions(made_figures.changed(capacity, plan=capacity.plan.model_copy(update={"predicted": {}}))) is None


def test_the_time_line_shades_the_window_and_names_its_lines(capacity: RunData) -> None:
    chart = timeline(capacity)
    assert chart is not None
    course = read_course(capacity, "baseline")
    assert course is not None
    for axis in chart.figure.axes:
        band = axis.patches[0]
        assert (band.get_x(), band.get_x() + band.get_width()) == (course.window.start_s, course.window.end_s)
    found = {text for axis in chart.figure.axes for text in labels(axis)}
    assert {"running", "waiting", "in use", "median", "slowest"} <= found


def test_the_parts_of_a_step_add_up(capacity: RunData) -> None:
    chart = step_time(capacity)
    assert chart is not None
    bars = [p for p in chart.figure.axes[0].patches if p.get_y() < 0.5]
    part = made_figures.PARTS["baseline"]
    assert sum(p.get_width() for p in bars) == pytest.approx(part.total)
    assert any(text == "baseline: measured mean TPOT 45 ms" for text in words(chart))


def measured(overloaded: bool, completed: int, data: RunData) -> Measured:
    """Ten requests with 20 tokens each, 50 ms apart, of which the first ones are completed."""
    n, each = 10, 20
    at = np.arange(n, dtype=float)
    first = at + 0.2
    chunks = ChunkArrivals(
        at_s=np.concatenate([f + 0.05 * np.arange(each) for f in first]),
        tokens=np.ones(n * each), owner=np.repeat(np.arange(n), each),
    )  # fmt: skip
    status = np.array(["completed"] * completed + ["cut"] * (n - completed), dtype=object)
    columns = {
        "scheduled_s": at, "first_token_s": first, "last_token_s": first + 0.05 * (each - 1), "status": status,
        "output_tokens": np.where(status == "completed", each, np.nan), "streamed_tokens": np.full(n, float(each)),
    }  # fmt: skip
    trial = data.of("baseline")[-1].model_copy(update={"overloaded": overloaded})
    return Measured("baseline", requests_from(columns, chunks), trial, Window(start_s=0, end_s=100))


def test_requests_without_an_answer_stay_in_the_total(throughput: RunData) -> None:
    m = measured(overloaded=False, completed=6, data=throughput)
    found = distribution.per_token(m)
    assert found is not None
    assert (len(found.values), found.total) == (6, 10)
    assert found.values == pytest.approx(np.full(6, 50.0))
    first = distribution.first_token(m)
    assert first is not None
    assert first.values == pytest.approx(np.full(10, 200.0))


def test_an_overloaded_server_shows_the_requests_that_it_served_and_no_ttft(throughput: RunData) -> None:
    for m in (measured(True, 6, throughput), measured(False, 0, throughput)):
        assert distribution.first_token(m) is None
        found = distribution.per_token(m)
        assert found is not None
        assert (len(found.values), found.total) == (10, 10)
        assert found.values == pytest.approx(np.full(10, 50.0))


def test_only_tokens_in_the_window_are_used_under_overload(throughput: RunData) -> None:
    m = replace(measured(True, 0, throughput), window=Window(start_s=2.5, end_s=4.0))
    found = distribution.per_token(m)
    assert found is not None
    assert found.values == pytest.approx(np.full(len(found.values), 50.0))
    assert found.total == 2, "one request from its start, one from before"


def test_an_overloaded_run_has_a_latency_figure(throughput: RunData) -> None:
    chart = distribution.distribution(throughput)
    assert chart is not None
    assert "overloaded" in " ".join(t.get_text() for t in boxes(chart))
    assert [axis.get_title(loc="left") for axis in chart.figure.axes] == [
        "Time per output token (TPOT), ms", "Gap between tokens (ITL), ms"
    ]  # fmt: skip


def test_the_roofline_names_the_two_that_matter_and_places_all(capacity: RunData) -> None:
    many = made_figures.many(capacity, 30)
    chart = run_roofline(many)
    assert chart is not None
    found = labels(chart.figure.axes[0])
    assert any(text.startswith("baseline, decode: ") for text in found)
    assert any(text.startswith("recommended, decode: ") for text in found)
    assert many.roofline is not None
    assert len(words(chart)) == len({(p.candidate, p.stage) for p in many.roofline.points})
    assert not chart.figure.axes[0].patches, "no arrows and no leader lines"


def test_the_trend_has_a_line_for_each_configuration_with_two_runs(throughput: RunData) -> None:
    rows = []
    for day, factor in enumerate((1.0, 1.01, 0.8)):
        for t in throughput.trials:
            if t.status == "measured":
                metrics = {k: v * factor for k, v in t.metrics.items()}
                later = {"started_at": 1.7e9 + 86_400 * day + 60 * t.position, "metrics": metrics}
                rows.append(row(t.model_copy(update=later), run=f"run-{day}"))
    series = series_of(rows, "output_throughput")
    assert all(len(s.runs) == 3 for s in series)
    chart = trend("chat-medium", rows)
    assert chart is not None
    check(chart)
    assert any("baseline, " in text and "from the run before" in text for text in words(chart))
    assert trend("chat-medium", [r for r in rows if r["run"] == "run-0"]) is None


def test_two_runs_have_a_row_for_each_pair(tmp_path: Path) -> None:
    a, b = (RunFolder(made_figures.throughput_run(tmp_path / name).path) for name in ("a", "b"))
    found = compare_runs(a, b)
    chart = two_runs(found)
    assert chart is not None
    check(chart)
    compared = [p for p in found.pairs if any(m.ratio is not None for m in p.metrics.values())]
    assert len(words(chart)) == min(12, len(compared))
    assert number(found.pairs[0].metrics["output_throughput"].a) in words(chart)[0]
