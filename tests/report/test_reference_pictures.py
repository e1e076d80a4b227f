"""The central figures look as they did when a person looked at them; ``regenerate.py`` writes the pictures again."""

from __future__ import annotations

from pathlib import Path

import made_figures
import pytest
from PIL import Image
from reference_pictures import (
    CENTRAL,
    DRAWN_WITH,
    FOLDER,
    MOST_CHANGED,
    changed,
    drawing_version,
    made_run,
    picture,
)

from rooftune.report.run_data import RunData


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return made_run(tmp_path_factory.mktemp("run"))


def reference(name: str) -> Image.Image:
    with Image.open(FOLDER / f"{name}.png") as found:
        drawn_with = found.info[DRAWN_WITH]
        if drawn_with != drawing_version():
            pytest.skip(f"the reference was drawn with matplotlib {drawn_with}")
        return found.copy()


@pytest.mark.parametrize("name", CENTRAL)
def test_a_figure_looks_like_its_reference(name: str, run: RunData, tmp_path: Path) -> None:
    share = changed(picture(CENTRAL[name], run, tmp_path), reference(name))
    assert share <= MOST_CHANGED, f"{share:.2%} of the pixels differ from {FOLDER / name}.png; look at both"


def test_more_configurations_are_seen(run: RunData, tmp_path: Path) -> None:
    more = made_figures.many(run, 12)
    assert changed(picture(CENTRAL["front"], more, tmp_path), reference("front")) > MOST_CHANGED


def test_a_missing_curve_and_a_missing_band_are_seen(run: RunData, tmp_path: Path) -> None:
    without = made_figures.changed(run, curves={})
    assert changed(picture(CENTRAL["attainment"], without, tmp_path), reference("attainment")) > MOST_CHANGED
