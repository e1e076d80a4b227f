"""The look of every figure: colours for light and dark pages, sizes, and the style sheet."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

STYLE_SHEET = Path(__file__).with_name("rooftune.mplstyle")
WIDTH = 9.0
"""Inches, at 110 dots per inch: about 1,000 pixels, readable in a README."""
DASHED = (0, (4, 3))

INK, GREY, OTHER = "#1f2328", "#595959", "#949494"
"""Text; the baseline; what is not highlighted."""
BLUE, VERMILION, GREEN, PURPLE, AMBER = "#0072b2", "#c04a00", "#007a5a", "#99508a", "#8a6100"
"""Okabe and Ito's colours for colour-blind readers, darkened until text in them has a contrast of 4.5 on white."""
SERIES = (BLUE, GREY, VERMILION, GREEN, PURPLE, AMBER)
"""At most this many series are highlighted in one figure. The first is the recommendation, the second the baseline."""
GRID, EDGE, SURFACE = "#e6e6e6", "#8c8c8c", "#ffffff"


@dataclass(frozen=True)
class Tone:
    """One colour of the palette, with its counterpart on a dark page."""

    name: str
    light: str
    dark: str


DARK_SURFACE = "#12161b"
TONES = (
    Tone("ink", INK, "#e6e6e6"),
    Tone("baseline", GREY, "#b8b8b8"),
    Tone("other", OTHER, "#7d7d7d"),
    Tone("blue", BLUE, "#56b4e9"),
    Tone("vermilion", VERMILION, "#ff9a5c"),
    Tone("green", GREEN, "#3fcf9f"),
    Tone("purple", PURPLE, "#dba3cf"),
    Tone("amber", AMBER, "#e3b341"),
    Tone("grid", GRID, "#33373d"),
    Tone("surface", SURFACE, DARK_SURFACE),
)
"""Every colour that differs on a dark page. ``EDGE`` is the same on both."""

Given = ParamSpec("Given")
Result = TypeVar("Result")


def styled(draw: Callable[Given, Result]) -> Callable[Given, Result]:
    """A function that draws, with the style sheet in force while it does."""

    @functools.wraps(draw)
    def wrapped(*given: Given.args, **named: Given.kwargs) -> Result:
        import matplotlib.style

        with matplotlib.style.context(str(STYLE_SHEET)):
            return draw(*given, **named)

    return wrapped
