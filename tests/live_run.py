"""Real runs of the command line as processes, small enough for a test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

TINY = """\
name: tiny
arrivals: {process: poisson, rate_per_s: 5}
prompt_tokens: {distribution: fixed, value: 16}
output_tokens: {distribution: fixed, value: 8}
duration_s: 6
warmup_s: 1
drain_s: 5
"""
LEFT_S = 60.0
"""How long to wait for the end of an engine after its flow. An idle machine needs less than 5 s."""


def write_tiny(folder: Path) -> Path:
    """A workload whose answers take one second, so that a trial does too."""
    path = folder / "tiny.yaml"
    path.write_text(TINY)
    return path


def environment(folder: Path, api: str, **more: str) -> dict[str, str]:
    """Environment of a command whose files all lie in ``folder``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "ROOFTUNE_"))}
    home = {"ROOFTUNE_HOME": str(folder / "home"), "ROOFTUNE_LOCKS": str(folder / "locks")}
    return {**kept, **home, "PREFECT_API_URL": api, "DO_NOT_TRACK": "1", **more}


def start(folder: Path, api: str, *words: str, **more: str) -> subprocess.Popen[str]:
    """Start ``rooftune WORDS`` in ``folder``."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli.app", *map(str, words)],
        cwd=folder,
        env=environment(folder, api, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left(folder: Path) -> list[psutil.Process]:
    """Every living process that came from a command started in ``folder``: engines, clients, supervisors."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            mine = process.environ().get("ROOFTUNE_HOME") == str(folder / "home")
            if mine and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


def until(true: Callable[[], object], seconds: float = 300.0) -> bool:
    """Wait until something holds; whether it did in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return bool(true())


def in_load_phase(folder: Path, number: int, process: subprocess.Popen[str]) -> Callable[[], bool]:
    """Whether this many trials have been measured and the next one is under load."""

    def look() -> bool:
        assert process.poll() is None, process.communicate()
        trials = list(folder.glob("artifacts/*/*/trials/*/*"))
        done = [t for t in trials if (t / "trial.json").is_file()]
        loading = [t for t in trials if (t / "server.json").is_file() and not (t / "load.json").is_file()]
        return len(done) == number and len(loading) == 1

    return look
