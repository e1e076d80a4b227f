"""``rooftune optimize`` with a user's prompts on a real vLLM: what is faster and spoils the answers does not win."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from benchmarks.talking_model.store import TalkingModels
from rooftune.answers.answer import FILE, Answers
from rooftune.engines.interpreter import Installed
from rooftune.engines.server import ServerInfo
from rooftune.evidence.records.quality import Floor, Quality
from rooftune.runfolder import RunFolder
from rooftune.tuning.playbook import default_playbook
from tests.real_vllm.talking_server import COMMON, NGRAM, Serving, TalkingServers, ask

START_S, RUN_S = 600, 1200
pytestmark = [
    pytest.mark.skipif(not os.environ.get("ROOFTUNE_LONG_RUNS"), reason="needs an idle machine for ten minutes"),
    pytest.mark.timeout(START_S + RUN_S),
    pytest.mark.measurement,
]
WINDOW_S = 10


def request_s(server: ServerInfo, talking: TalkingModels) -> float:
    """Seconds that one request takes on an idle server, the mean of eight."""
    lines = [json.loads(line) for line in talking.prompts.read_text(encoding="utf-8").splitlines()[:9]]

    async def measure() -> float:
        async with aiohttp.ClientSession() as session:
            await ask(session, server, server.model, lines[0]["messages"])
            began = time.monotonic()
            for line in lines[1:]:
                await ask(session, server, server.model, line["messages"])
            return (time.monotonic() - began) / len(lines[1:])

    return asyncio.run(measure())


def write_inputs(place: Path, talking: TalkingModels, one_s: float) -> None:
    """A load that is too much for one request at a time, and two configurations that serve eight."""
    workload = {
        "name": "talk",
        "arrivals": {"process": "poisson", "rate_per_s": round(min(3.0 / one_s, 60.0), 3)},
        "prompts": {"file": str(talking.prompts)},
        "max_tokens": 120,
        "duration_s": WINDOW_S,
        "warmup_s": 2,
        "drain_s": 300,
        "seed": 1,
        "objective": {"metric": "output_throughput"},
    }
    wide = {"max_num_seqs": COMMON["max_num_seqs"]}
    common = {"phase": "own", "on": "baseline", "hypothesis": "More requests at a time."}
    playbook = {
        "name": "own",
        "phases": ["own"],
        "drop": [c.id for c in default_playbook().candidates],
        "candidates": [
            {**common, "id": "spoilt", "name": "Spoilt weights", "change": {**wide, "model": str(talking.spoilt)}},
            {**common, "id": "ngram", "name": "n-gram drafts", "change": {**wide, **NGRAM}},
        ],
    }
    (place / "talk.yaml").write_text(yaml.safe_dump(workload), encoding="utf-8")
    (place / "playbook.yaml").write_text(yaml.safe_dump(playbook), encoding="utf-8")


@pytest.fixture(scope="module")
def run(
    vllm: Installed, talking: TalkingModels, servers: TalkingServers, tmp_path_factory: pytest.TempPathFactory
) -> RunFolder:
    """A baseline that serves one request at a time, and two candidates that serve eight."""
    place = tmp_path_factory.mktemp("talk")
    write_inputs(place, talking, request_s(servers.get(Serving.baseline(talking)), talking))
    servers.close()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"ROOFTUNE_HOME": str(place / "home"), "ROOFTUNE_LOCKS": str(place / "locks"), "DO_NOT_TRACK": "1"}
    words = ["optimize", str(place / "talk.yaml"), "--engine", "vllm", "--model", str(talking.model)]
    words += ["--vllm-python", vllm.python, "--playbook", str(place / "playbook.yaml"), "--search", "ladder"]
    for name, value in {**COMMON, "max_num_seqs": 1}.items():
        words += ["--set", f"{name}={str(value).lower()}"]
    command = [str(Path(sys.executable).with_name("rooftune")), *words, "--artifacts", str(place / "artifacts")]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=place, env=environment, timeout=RUN_S, check=False
    )
    if "could not be measured: " in done.stderr and "after they were due" in done.stderr:
        pytest.skip(f"this machine is too busy to measure: {done.stderr}")
    assert done.returncode == 0, done.stderr
    (found,) = (place / "artifacts" / "talk").glob("2*")
    return RunFolder(found)


@pytest.fixture(scope="module")
def verdicts(run: RunFolder) -> dict[str, dict[str, Any]]:
    """Verdicts by candidate. Skip if the audit rejected what a busy machine delivered."""
    found = {v["candidate"]: v for v in json.loads(run.decision_json.read_text(encoding="utf-8"))["verdicts"]}
    for verdict in found.values():
        if verdict["verdict"] == "not trusted" or "could no longer be measured" in verdict["reason"]:
            pytest.skip(f"this machine is too busy to measure: {verdict['reason']}")
    return found


def quality(run: RunFolder, candidate: str) -> Quality:
    """What the check of a candidate found."""
    files = list((run.path / "trials" / candidate).glob("*/quality.json"))
    assert len(files) == 1, "one check for each way of answering"
    return Quality.model_validate_json(files[0].read_text(encoding="utf-8"))


def test_the_baseline_keeps_its_answers_as_token_ids(run: RunFolder) -> None:
    folder = run.trial("baseline", 1)
    floor = Floor.model_validate_json(folder.floor_json.read_text(encoding="utf-8"))
    answers = Answers.read(folder.path / FILE)
    assert not floor.reason
    assert floor.prompts == len(answers) > 40, "the part of the prompts that the search sees"
    assert all(a.text is None for a in answers)


def test_spoilt_answers_do_not_win(run: RunFolder, verdicts: dict[str, dict[str, Any]]) -> None:
    found = quality(run, "spoilt")
    assert found.verdict == "spoilt", found.words
    assert verdicts["spoilt"]["verdict"] != "applied"
    assert "spoilt" in verdicts["spoilt"]["reason"]
    assert "spoilt" not in (run.path / "start_vllm.sh").read_text(encoding="utf-8")


def test_speculation_wins_with_its_answers_checked(run: RunFolder, verdicts: dict[str, dict[str, Any]]) -> None:
    found = quality(run, "ngram")
    assert found.verdict in ("equal", "changed within the threshold"), found.words
    assert verdicts["ngram"]["verdict"] == "applied", verdicts["ngram"]["reason"]
    assert "ngram" in (run.path / "start_vllm.sh").read_text(encoding="utf-8")


def test_the_report_shows_answers_and_acceptance(run: RunFolder, verdicts: dict[str, dict[str, Any]]) -> None:
    report = run.report.read_text(encoding="utf-8")
    assert quality(run, "spoilt").reason in report
    assert "accepted" in report
