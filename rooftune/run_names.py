"""Finds run folders by path, by ``<workload>/<run_id>``, or by ``latest``."""

from __future__ import annotations

from pathlib import Path

from rooftune.errors import InputError
from rooftune.runfolder import RunFolder


def find_run(name: str, artifacts: Path = Path("artifacts")) -> RunFolder:
    """Open a run folder named by path, by ``<workload>/<run_id>``, ``<workload>/latest``, ``<workload>`` or ``latest``.

    Raises:
        InputError: no run has that name, or it was written by another version.
    """
    given = Path(name)
    if (given / "run.json").is_file():
        return RunFolder.open(given.resolve())
    if (artifacts / given / "run.json").is_file():
        return RunFolder.open((artifacts / given).resolve())
    if name == "latest":
        return _newest(artifacts, "*/*", name)
    folder = given.parent if given.name == "latest" else given
    for path in (folder, artifacts / folder):
        if path.is_dir() and not (path / "trials").is_dir():
            return _newest(path, "*", name)
    if given.is_dir():
        return RunFolder.open(given)
    raise InputError(f"there is no run {name!r}; give a folder artifacts/<workload>/<run_id>, or <workload>/latest.")


def _newest(root: Path, pattern: str, name: str) -> RunFolder:
    """The newest run: run folders are named by the time at which they began."""
    found = sorted(root.glob(f"{pattern}/run.json"), key=lambda p: p.parent.name)
    if not found:
        raise InputError(f"{root} has no run yet, so {name!r} names nothing; make one with `rooftune optimize`.")
    return RunFolder.open(found[-1].parent.resolve())
