"""The environment in which tests run a command as a user does, with separate folders."""

from __future__ import annotations

import os
from pathlib import Path


def user_environment(place: Path) -> dict[str, str]:
    """The variables of this process without Prefect's, and with rooftune's files below a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    own = {"ROOFTUNE_HOME": str(place / "home"), "ROOFTUNE_LOCKS": str(place / "locks"), "DO_NOT_TRACK": "1"}
    return kept | own
