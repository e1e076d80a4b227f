"""``rooftune optimize`` as a process on a real vLLM, and the engine's processes that it leaves or ends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rooftune.engines import metrics
from rooftune.evidence.records.trial import TrialResult
from rooftune.runfolder import RunFolder
from tests.real_vllm.user_environment import user_environment

LEFT_S = 30.0
"""How long to wait for the end of the engine, which the documentation promises within 5 s on a machine that is not
busy."""


def begin(place: Path, words: list[str]) -> subprocess.Popen[bytes]:
    """Start ``rooftune optimize WORDS`` in a folder; what it prints goes to ``said.txt`` there."""
    command = [str(Path(sys.executable).with_name("rooftune")), "optimize", *words]
    with (place / "said.txt").open("ab") as said:
        return subprocess.Popen(
            [*command, "--artifacts", str(place / "artifacts")],
            stdout=said,
            stderr=said,
            cwd=place,
            env=user_environment(place),
        )


def family(*models: Path) -> list[psutil.Process]:
    """The processes that serve one of the models, and their children."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if "vllm.entrypoints.openai.api_server" in words and any(str(model) in words for model in models):
                found |= {p.pid: p for p in [process, *process.children(recursive=True)]}
        except psutil.Error:
            continue
    return list(found.values())


def alive(processes: list[psutil.Process]) -> list[str]:
    """Those that still run."""
    left = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                left.append(f"{process.pid} {process.name()}")
        except psutil.NoSuchProcess:
            continue
    return left


def measured(run: RunFolder) -> list[TrialResult]:
    """The trials that were measured."""
    found = [TrialResult.model_validate_json(f.trial_json.read_text()) for f in run.trials() if f.trial_json.exists()]
    return [t for t in found if t.status == "measured"]


def second_load(place: Path, flow: subprocess.Popen[bytes], within_s: float) -> RunFolder:
    """Wait until one trial is measured and another server has answered requests of the load."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if flow.poll() is not None:
            said = (place / "said.txt").read_text()
            assert "not trusted" in said or "after they were due" in said, said
            pytest.skip(f"this machine is too busy to measure: {said}")
        for server in place.glob("artifacts/*/*/trials/*/*/server.json"):
            run = RunFolder(server.parents[3])
            if not measured(run) or (server.parent / "trial.json").exists():
                continue
            page = metrics.scrape_once(json.loads(server.read_text())["url"])
            if metrics.parse(page or "").get("request_success_total", 0) > 5:
                return run
        time.sleep(0.1)
    raise AssertionError(f"no second load within {within_s} s: {(place / 'said.txt').read_text()}")
