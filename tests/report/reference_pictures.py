"""Figures beside pictures of them that a person has looked at: small, grey, and compared with a tolerance.

matplotlib brings its own fonts, so the same data give the same picture on every machine. Another version of it sets its
texts differently (3.10 and 3.11 differ in 2 to 5 % of the pixels), so a picture says with which version it was drawn.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import made_capacity_run
import made_figures
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rooftune.report.figures.catalogue import DETAILS, OVERVIEW
from rooftune.report.figures.chart import Chart
from rooftune.report.figures.saving import Kind, save_png
from rooftune.report.run_data import RunData

Picture = npt.NDArray[np.float64]
FOLDER = Path(__file__).parent / "reference"
CENTRAL = {k.name: k for k in (*OVERVIEW, *DETAILS) if k.name in ("front", "attainment", "progression", "roofline")}
WIDTH = 400
"""Pixels of a small picture."""
VISIBLE = 0.15
"""Difference of a pixel, of black and white, that a person sees."""
MOST_CHANGED = 0.001
"""Share of the pixels that may differ visibly. A missing curve changes 4 %, a dozen more configurations 0.14 %."""
DRAWN_WITH = "matplotlib"
"""Name of the text in a picture that says which version drew it."""


def drawing_version() -> str:
    """Version of matplotlib, without its last part."""
    return ".".join(version("matplotlib").split(".")[:2])


def made_run(folder: Path) -> RunData:
    """The run that the pictures show."""
    written = made_capacity_run.run_without_report(folder)
    return made_figures.searched(made_figures.with_predictions(made_figures.complete(written), "capacity"), "fp8-kv")


def picture(kind: Kind, run: RunData, folder: Path) -> Image.Image:
    """A figure of the run as a small grey picture."""
    chart = kind.draw(run)
    assert chart is not None
    return small(chart, folder / f"{kind.name}.png")


def small(chart: Chart, path: Path) -> Image.Image:
    """A chart, written to a file, as a small grey picture."""
    save_png(chart, path)
    with Image.open(path) as whole:
        grey = whole.convert("L")
    return grey.resize((WIDTH, round(WIDTH * grey.height / grey.width)), Image.Resampling.BOX)


def changed(seen: Image.Image, reference: Image.Image) -> float:
    """Share of the pixels that differ visibly; 1 where the size differs."""
    if seen.size != reference.size:
        return 1.0
    return float(np.mean(np.abs(_values(seen) - _values(reference)) > VISIBLE))


def _values(image: Image.Image) -> Picture:
    return np.asarray(image, dtype=np.float64) / 255


def write_references(folder: Path) -> None:
    """Write the pictures again; ``folder`` is for the run."""
    run = made_run(folder)
    FOLDER.mkdir(exist_ok=True)
    drawn_with = PngInfo()
    drawn_with.add_text(DRAWN_WITH, drawing_version())
    for kind in CENTRAL.values():
        picture(kind, run, folder).save(FOLDER / f"{kind.name}.png", optimize=True, pnginfo=drawn_with)
