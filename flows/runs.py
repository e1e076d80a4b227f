"""Run folders by the names that people give them: a path, ``chat-medium/latest``, ``latest``."""

from __future__ import annotations

from pathlib import Path

from rooftune.errors import InputError
from rooftune.runfolder import RunFolder


def find_run(name: str, artifacts: Path = Path("artifacts")) -> RunFolder:
    """Open a run folder named by path, by ``<workload>/<run_id>``, ``<workload>/latest``, ``<workload>`` or ``latest``.

    Raises:
        InputError: there is none of that name, or it is of another version.
    """
    given = Path(name)
    if (given / "run.json").is_file():
        return RunFolder.open(given.resolve())
    if (artifacts / given / "run.json").is_file():
        return RunFolder.open((artifacts / given).resolve())
    plain = name.strip("/")
    if plain == "latest" or plain.endswith("/latest") or (artifacts / plain).is_dir():
        workload = plain.removesuffix("latest").strip("/") or "*"
        found = sorted(artifacts.glob(f"{workload}/*/run.json"), key=lambda p: p.parent.name)
        if found:
            return RunFolder.open(found[-1].parent.resolve())
        raise InputError(f"{artifacts}/{workload} holds no run yet; make one with `rooftune optimize`.")
    if given.is_dir():
        return RunFolder.open(given)
    raise InputError(f"there is no run {name!r}; give a folder artifacts/<workload>/<run_id>, or <workload>/latest.")
