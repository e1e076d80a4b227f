"""A finished or running run for Python: its trials, metrics and requests as DataFrames, and its decision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rooftune.evidence.records.parquet_files import read_request_table
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.records.trial_files import read_trials
from rooftune.evidence.trial_table import Cell, row
from rooftune.files import read_model
from rooftune.loadgen.schema import REQUESTS
from rooftune.runfolder import RunFolder
from rooftune.tuning.plan import Decision

if TYPE_CHECKING:
    import pandas as pd

TRIAL = ["candidate", "n"]
"""Index of every frame: the candidate, and the number of the trial among those of its candidate."""
ARRIVALS = ("chunk_s", "chunk_tokens")
"""Columns of requests.parquet with one value for each chunk; they are many times larger than the others together."""


@dataclass(frozen=True)
class OpenedRun:
    """One run, read from its folder on first use. Open it again to see trials that were measured since."""

    folder: RunFolder

    @property
    def path(self) -> Path:
        """Run folder."""
        return self.folder.path

    @cached_property
    def results(self) -> list[TrialResult]:
        """Every trial as it is in trial.json, with its audit, in the order in which trials ran."""
        return read_trials(self.folder)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row for each trial, measured or failed: configuration, seed, position, audit, overload, window, census.

        ``believed`` is False where the trial failed or its audit did; ``failed_checks`` names the checks. ``flags`` is
        JSON. Compare metrics of believed trials only.
        """
        return self._frame([{k: v for k, v in row(t).items() if k not in _measures(t)} for t in self.results])

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row for each measured trial, one column for each metric by vLLM's name.

        Server metrics are named ``server_<name>``, standard errors of ln(metric) ``within_<name>``. A metric that was
        withheld is NaN; ``results`` has the reason.
        """
        measured = [t for t in self.results if t.status == "measured"]
        return self._frame([{k: v for k, v in row(t).items() if k in (*TRIAL, *_measures(t))} for t in measured])

    @cached_property
    def requests(self) -> pd.DataFrame:
        """One row for each scheduled request of all measured trials, with the columns of requests.parquet.

        Times are workload seconds from the start of the load. The arrival of each single chunk is left out; read it
        from ``requests.parquet`` of the trial.

        Raises:
            RooftuneError: a requests.parquet is cut.
        """
        import pandas as pd

        columns = [name for name in REQUESTS.names if name not in ARRIVALS]
        frames = []
        for trial in self.results:
            path = self.folder.trial(trial.candidate, trial.n).requests
            if path.is_file():
                frame = read_request_table(path, columns).to_pandas()
                frames.append(frame.assign(candidate=trial.candidate, n=trial.n))
        found = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*TRIAL, *columns])
        return found.set_index([*TRIAL, "index"]).sort_index()

    @cached_property
    def decision(self) -> Decision | None:
        """The incumbent, its command line and the verdict on every candidate; None where the run has none yet.

        Raises:
            RooftuneError: decision.json is cut or of another version.
        """
        path = self.folder.decision_json
        return read_model(path, Decision) if path.is_file() else None

    @staticmethod
    def _frame(rows: list[dict[str, Cell]]) -> pd.DataFrame:
        import pandas as pd

        return (pd.DataFrame(rows) if rows else pd.DataFrame(columns=TRIAL)).set_index(TRIAL)


def _measures(trial: TrialResult) -> set[str]:
    """Columns of the flat row that are metrics."""
    server, within = (f"server_{k}" for k in trial.server), (f"within_{k}" for k in trial.within)
    return {*trial.metrics, *server, *within}
