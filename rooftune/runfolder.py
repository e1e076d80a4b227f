"""The run folder: where each file of a run lies, and which version of the layout it has."""

from __future__ import annotations

import datetime as dt
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rooftune import __version__
from rooftune.errors import InputError
from rooftune.files import read_json, write_json

FORMAT = 1
"""Version of the layout; a run folder of another version is refused with a sentence."""


@dataclass(frozen=True)
class TrialFolder:
    """Files of one trial: ``trials/<candidate>/<n>/``."""

    path: Path

    @property
    def server_json(self) -> Path:
        return self.path / "server.json"

    @property
    def server_log(self) -> Path:
        return self.path / "server.log"

    @property
    def requests(self) -> Path:
        return self.path / "requests.parquet"

    @property
    def ticks(self) -> Path:
        return self.path / "ticks.parquet"

    @property
    def load_json(self) -> Path:
        """What the client reports of itself: window, clock, lag, processes (``LoadSummary``)."""
        return self.path / "load.json"

    @property
    def trial_json(self) -> Path:
        return self.path / "trial.json"

    @property
    def result_json(self) -> Path:
        return self.path / "result.json"


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
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def report(self) -> Path:
        return self.path / "report.md"

    def trial(self, candidate: str, n: int) -> TrialFolder:
        """Folder of the n-th trial (from 1) of a candidate."""
        return TrialFolder(self.path / "trials" / candidate / str(n))

    def trials(self) -> list[tuple[str, int, TrialFolder]]:
        """All trial folders that exist, ordered by candidate and number."""
        found = [
            (d.parent.name, int(d.name), TrialFolder(d))
            for d in self.path.glob("trials/*/*")
            if d.is_dir() and d.name.isdigit()
        ]
        return sorted(found, key=lambda t: (t[0], t[1]))

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
            InputError: it is no run folder, or one of another version.
        """
        folder = cls(path)
        if not folder.run_json.is_file():
            raise InputError(f"{path} is no run folder (it has no run.json); give artifacts/<workload>/<run_id>.")
        about = read_json(folder.run_json)
        found = about.get("format") if isinstance(about, dict) else None
        if found != FORMAT:
            raise InputError(
                f"{path} was written in run folder format {found}, this rooftune reads format {FORMAT}; "
                "use the rooftune version named in its run.json, or run the workload again."
            )
        return folder

    def about(self) -> dict[str, Any]:
        """Content of ``run.json``."""
        value = read_json(self.run_json)
        return dict(value)
