"""A trial whose process is killed while its answers are checked is measured again: real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import live_run
import pytest

from rooftune.evidence.records.trial_files import read_floor, read_trial, read_trials
from rooftune.runfolder import RunFolder
from rooftune.trial_order import TrialOrder
from rooftune.tuning.plan import QualityRules
from tests.flows.test_answer_checks import OTHER, order, prepared

pytestmark = [pytest.mark.usefixtures("prefect"), pytest.mark.slow]
FRESH = 1000
"""Seed of a confirmation, whose trials are always checked, however busy the machine is."""
TRIAL = """
import asyncio, sys
from flows.trial import trial
from rooftune.trial_order import TrialOrder
asyncio.run(trial(sys.argv[1], TrialOrder.model_validate_json(sys.argv[2])))
"""
EVALUATION = """
echo call >>{folder}/calls
if [ "$(wc -l <{folder}/calls)" = {number} ]; then
  touch {folder}/checking
  while [ ! -e {folder}/killed ]; do sleep 0.1; done
  exit 1
fi
echo '{{"acc": [0.5, 0.6, 0.7]}}'
"""
"""Does not end at the call of this number before the run is killed."""


def started(folder: Path, api: str, run: RunFolder, made: TrialOrder) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TRIAL, str(run.path), made.model_dump_json()],
        cwd=folder,
        env=live_run.environment(folder, api),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> None:
    said, _ = process.communicate(timeout=1500)
    assert process.returncode == 0, said


@pytest.mark.parametrize(("number", "killed"), [(1, "baseline"), (2, OTHER)])
async def test_a_trial_without_its_verdict_is_measured_again(
    tmp_path: Path, prefect_api: str, number: int, killed: str
) -> None:
    command = EVALUATION.format(folder=tmp_path, number=number)
    run = await prepared(tmp_path, QualityRules(command=command, value="acc"), time_scale=8)
    orders = [order(run, name, place, FRESH) for place, name in enumerate(("baseline", OTHER))]
    for made in orders[: number - 1]:
        ended(started(tmp_path, prefect_api, run, made))
    before = [t.candidate for t in read_trials(run)]
    process = started(tmp_path, prefect_api, run, orders[number - 1])
    assert live_run.until(lambda: (tmp_path / "checking").exists() or process.poll() is not None, 200)
    assert process.poll() is None, process.communicate()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (tmp_path / "killed").touch()
    assert (run.trial(killed, 1).load_json).is_file(), "its load had ended"
    assert [t.candidate for t in read_trials(run)] == before, "without a verdict the trial is not complete"
    assert live_run.until(lambda: not live_run.left(tmp_path), live_run.LEFT_S)
    for made in orders[number - 1 :]:
        ended(started(tmp_path, prefect_api, run, made))
    floor, quality = read_floor(run), read_trial(run.trial(OTHER, 1)).quality
    assert floor is not None
    assert floor.evaluation is not None
    assert quality is not None
    assert quality.verdict == "equal"
    assert len((tmp_path / "calls").read_text().split()) == 3, "one call for each server, and the one that was killed"
