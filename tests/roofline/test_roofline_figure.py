"""The roofline's figure: any run can be drawn, and labels do not overlap."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_roofline_points import hardware, place, trial

from rooftune.models.catalogue import model_facts
from rooftune.roofline.figure import draw, spread, summarised
from rooftune.roofline.points import roofline
from rooftune.vllm_rules.config import EngineConfig

PNG = b"\x89PNG"


def test_a_run_is_drawn(tmp_path: Path) -> None:
    chart = place(*(trial(f"batch-{b}", batch=b, tpot=30 + b) for b in (8, 16, 32)))
    draw(chart, tmp_path / "figures" / "roofline.png")
    assert (tmp_path / "figures" / "roofline.png").read_bytes().startswith(PNG)
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["roofline.png"]


def test_a_run_without_points_shows_its_ceilings(tmp_path: Path) -> None:
    chart = roofline(hardware(simulated=True), model_facts("llama-2-7b"), EngineConfig(model="m"), [])
    draw(chart, tmp_path / "roofline.png")
    assert (tmp_path / "roofline.png").stat().st_size > 5000


def test_trials_of_one_candidate_are_one_spot() -> None:
    again = trial(tpot=70.0).model_copy(update={"n": 2})
    spots = [s for s in summarised(place(trial(tpot=60.0), again).points) if s.stage == "decode"]
    assert len(spots) == 1
    assert 0 < spots[0].share < 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=25))
def test_labels_keep_apart_and_inside(wanted: list[float]) -> None:
    ys = spread(sorted(wanted, reverse=True), 0.036, 0.01, 0.985)
    assert all(a - b >= 0.036 - 1e-9 for a, b in pairwise(ys))
    assert ys[-1] >= 0.01 - 1e-9
    assert ys[0] <= 0.985 + 1e-9


def test_labels_stay_where_they_fit() -> None:
    assert spread([0.9, 0.5, 0.1], 0.05, 0.0, 1.0) == pytest.approx([0.9, 0.5, 0.1])
