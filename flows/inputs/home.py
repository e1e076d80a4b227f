"""The folder that rooftune keeps its state in."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Where rooftune keeps its state: ``$ROOFTUNE_HOME``, else ``.rooftune`` in the current folder."""
    return Path(os.environ.get("ROOFTUNE_HOME") or ".rooftune").absolute()
