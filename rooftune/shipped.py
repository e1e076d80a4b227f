"""Files that come with rooftune and that users may copy and change: ``workloads/`` and ``prefect.yaml``."""

from __future__ import annotations

from pathlib import Path

WORKLOADS = "workloads"
PREFECT_YAML = "prefect.yaml"


def shipped(name: str) -> Path:
    """Path of a shipped file or folder: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parent
    installed = package / "shipped"
    return (installed if installed.is_dir() else package.parent) / name
