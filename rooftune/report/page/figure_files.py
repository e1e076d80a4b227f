"""The files of a figure: the vector form where it was drawn, else the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def picture_file(folder: Path, stem: str, endings: Sequence[str] = (".svg", ".png")) -> Path | None:
    """The first of these files that exists; None where the figure was not drawn."""
    return next((path for ending in endings if (path := folder / f"{stem}{ending}").is_file()), None)
