"""Whether Python code is compiled to machine code."""

from __future__ import annotations

import importlib.util
import os

OFF = "ROOFTUNE_NO_NUMBA"
"""Environment variable: set to 1, everything runs as plain Python."""


def wanted() -> bool:
    """Whether numba is installed and not switched off."""
    return os.environ.get(OFF) != "1" and importlib.util.find_spec("numba") is not None
