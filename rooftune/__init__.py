"""rooftune: finds the vLLM configuration that serves a workload best, and proves it.

Results in Python: ``rooftune.open_run("chat-medium/latest")`` returns a run with ``.trials``, ``.metrics`` and
``.requests`` as pandas DataFrames and ``.decision``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rooftune.version import __version__

if TYPE_CHECKING:
    from rooftune.opened_run import OpenedRun

__all__ = ["__version__", "open_run"]


def open_run(path: str | Path, artifacts: str | Path = "artifacts") -> OpenedRun:
    """Open the results of a run.

    Nothing is read before it is asked for, and ``import rooftune`` does not import pandas.

    Args:
        path: run folder, or a name as on the command line: ``chat-medium/latest``, ``chat-medium``, ``latest``.
        artifacts: folder in which names are looked up.

    Raises:
        InputError: no run has that name, or it was written by another version.

    >>> run = rooftune.open_run("chat-medium/latest")        # doctest: +SKIP
    >>> run.metrics.groupby("candidate")["output_throughput"].median()       # doctest: +SKIP
    """
    from rooftune.opened_run import OpenedRun
    from rooftune.run_names import find_run

    return OpenedRun(find_run(str(path), Path(artifacts)))
