"""The run folder: where each file of a run is, and which version of the layout it has."""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rooftune.errors import InputError, RooftuneError
from rooftune.files import read_json, write_json
from rooftune.version import __version__

FORMAT = 1
"""Version of the layout; a run folder of another version is refused with an error."""


@dataclass(frozen=True)
class TrialFolder:
    """Files of one trial: ``trials/<candidate>/<n>/``."""

    path: Path

    @property
    def candidate(self) -> str:
        """Candidate that the folder belongs to, by its path."""
        return self.path.parent.name

    @property
    def n(self) -> int:
        """Number of the trial among those of its candidate, by its path."""
        return int(self.path.name)

    @property
    def server_json(self) -> Path:
        return self.path / "server.json"

    @property
    def server_log(self) -> Path:
        return self.path / "server.log"

    @property
    def control_json(self) -> Path:
        """Limits that the running server is to take over (``rooftune/engines/switching.py``)."""
        return self.path / "control.json"

    @property
    def requests(self) -> Path:
        return self.path / "requests.parquet"

    @property
    def ticks(self) -> Path:
        return self.path / "ticks.parquet"

    @property
    def load_json(self) -> Path:
        """What the client reports about itself: window, clock, lag, processes (``LoadSummary``)."""
        return self.path / "load.json"

    @property
    def sent_json(self) -> Path:
        """The workload as it was sent, where it differs from the run's: a load that measures a capacity."""
        return self.path / "sent.json"

    @property
    def trial_json(self) -> Path:
        return self.path / "trial.json"

    @property
    def result_json(self) -> Path:
        return self.path / "result.json"

    @property
    def quality_json(self) -> Path:
        """The verdict on the candidate's answers (``Quality``)."""
        return self.path / "quality.json"

    @property
    def floor_json(self) -> Path:
        """Of the baseline: how much its answers differ from themselves (``Floor``)."""
        return self.path / "floor.json"


@dataclass(frozen=True)
class RunFolder:
    """Files of one run: ``artifacts/<workload>/<run_id>/``."""

    path: Path

    @property
    def run_json(self) -> Path:
        return self.path / "run.json"

    @property
    def hardware_json(self) -> Path:
        return self.path / "hardware.json"

    @property
    def plan_json(self) -> Path:
        return self.path / "plan.json"

    @property
    def decision_json(self) -> Path:
        return self.path / "decision.json"

    @property
    def roofline_json(self) -> Path:
        return self.path / "roofline.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.parquet"

    @property
    def summary_json(self) -> Path:
        """The results of all believed trials, as ``vllm bench sweep`` writes them."""
        return self.path / "summary.json"

    @property
    def drafts_json(self) -> Path:
        """How drafts of speculative decoding fare on the run's texts (``RunDrafts``)."""
        return self.path / "drafts.json"

    @property
    def prompt_lengths(self) -> Path:
        """Tokens of each prompt of a workload with texts; it holds no texts."""
        return self.path / "prompt_lengths.json"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def report(self) -> Path:
        return self.path / "report.md"

    def trial(self, candidate: str, n: int) -> TrialFolder:
        """Folder of the n-th trial (from 1) of a candidate."""
        return TrialFolder(self.path / "trials" / candidate / str(n))

    def trials(self) -> list[TrialFolder]:
        """All trial folders that exist, ordered by candidate and number."""
        found = [TrialFolder(d) for d in self.path.glob("trials/*/*") if d.is_dir() and _is_number(d.name)]
        return sorted(found, key=lambda t: (t.candidate, t.n))

    @classmethod
    def create(cls, root: Path, workload: str, about: dict[str, Any]) -> RunFolder:
        """Make a new run folder under ``root/<workload>/`` and write its ``run.json``."""
        now = dt.datetime.now(dt.timezone.utc)
        run_id = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        folder = cls(root / workload / run_id)
        write_json(
            folder.run_json,
            {
                "format": FORMAT,
                "rooftune": __version__,
                "run_id": run_id,
                "workload": workload,
                "created": now.isoformat(timespec="seconds"),
                **about,
            },
        )
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            InputError: the folder has no run.json, or one of another version.
        """
        folder = cls(path)
        if not folder.run_json.is_file():
            raise InputError(f"{path} is not a run folder (it has no run.json); give artifacts/<workload>/<run_id>.")
        about = read_json(folder.run_json)
        found = about.get("format") if isinstance(about, dict) else None
        if found != FORMAT:
            raise InputError(
                f"{path} was written in run folder format {found}, but this version of rooftune reads format {FORMAT}; "
                "use the rooftune version named in its run.json, or run the workload again."
            )
        return folder

    def about(self) -> dict[str, Any]:
        """Content of ``run.json``.

        Raises:
            RooftuneError: the file is missing, cut, or not a JSON object.
        """
        value = read_json(self.run_json)
        if not isinstance(value, dict):
            raise RooftuneError(f"{self.run_json} is not a JSON object; run the workload again.")
        return value


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()
