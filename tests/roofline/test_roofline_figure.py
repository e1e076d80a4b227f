"""The roofline's figure: any run can be drawn, and trials of one candidate are one mark."""

from __future__ import annotations

from pathlib import Path

from test_roofline_points import hardware, place, trial

from rooftune.models.catalogue import model_facts
from rooftune.report.figures.roofline import draw, summarised
from rooftune.roofline.points import roofline
from rooftune.vllm_rules.config import EngineConfig

PNG = b"\x89PNG"


def test_a_run_is_drawn(tmp_path: Path) -> None:
    chart = place(*(trial(f"batch-{b}", batch=b, tpot=30 + b) for b in (8, 16, 32)))
    draw(chart, tmp_path / "figures" / "roofline.png")
    assert (tmp_path / "figures" / "roofline.png").read_bytes().startswith(PNG)
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == ["roofline.png", "roofline.svg"]


def test_a_run_without_points_shows_its_ceilings(tmp_path: Path) -> None:
    chart = roofline(hardware(simulated=True), model_facts("llama-2-7b"), EngineConfig(model="m"), [])
    draw(chart, tmp_path / "roofline.png")
    assert "320 GB/s" in (tmp_path / "roofline.svg").read_text(encoding="utf-8")


def test_trials_of_one_candidate_are_one_spot() -> None:
    again = trial(tpot=70.0).model_copy(update={"n": 2})
    spots = [s for s in summarised(place(trial(tpot=60.0), again).points) if s.stage == "decode"]
    assert len(spots) == 1
    assert 0 < spots[0].share < 1
