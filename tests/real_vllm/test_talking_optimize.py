"""``rooftune optimize`` with a user's prompts on a real vLLM, end to end: n-gram drafts win, and a model that is four
times as fast and spoils the answers does not. One run serves all tests of this file.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from benchmarks.talking_model.corpus import entries
from benchmarks.talking_model.store import TalkingModels
from rooftune.answers.answer import FILE, Answers
from rooftune.engines.interpreter import Installed
from rooftune.engines.server import ServerInfo
from rooftune.evidence.records.quality import Floor, Quality
from rooftune.evidence.records.trial_files import read_trial
from rooftune.runfolder import RunFolder
from rooftune.tuning.playbook import default_playbook
from tests.real_vllm.talking_server import COMMON, NGRAM, Serving, TalkingServers, ask
from tests.real_vllm.user_environment import user_environment

START_S, RUN_S = 600, 1800
pytestmark = [pytest.mark.timeout(START_S + RUN_S), pytest.mark.measurement]
WINDOW_S = 10
REPEAT, ASKED = "Repeat this: ", 240


@dataclass(frozen=True)
class TunedRun:
    """A run that ended: its folder, and what it printed to standard error."""

    folder: RunFolder
    progress: str

    @property
    def verdicts(self) -> dict[str, dict[str, Any]]:
        """Verdicts by candidate."""
        return {v["candidate"]: v for v in json.loads(self.folder.decision_json.read_text())["verdicts"]}

    @property
    def script(self) -> str:
        """The start script."""
        return (self.folder.path / "start_vllm.sh").read_text(encoding="utf-8")

    def tpot_ms(self, candidate: str) -> float:
        """Median TPOT of the first trial."""
        return float(read_trial(self.folder.trial(candidate, 1)).metrics["median_tpot_ms"])

    def quality(self, candidate: str) -> Quality:
        """What the check of a candidate found; there is one for each way of answering."""
        (file,) = (self.folder.path / "trials" / candidate).glob("*/quality.json")
        return Quality.model_validate_json(file.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Repeated:
    """Texts that the model repeats word by word when it is asked to, and how long one of them takes alone."""

    texts: list[str]
    seconds: float


def repeated(server: ServerInfo, known: list[str]) -> Repeated:
    """Ask for each text, because the model repeats only some; drafts from the prompt are right for those."""

    async def measure() -> Repeated:
        async with aiohttp.ClientSession() as session:

            async def repeats(text: str) -> bool:
                reply = await ask(session, server, server.model, [{"role": "user", "content": REPEAT + text}])
                return reply.text.strip() == text

            together = [await asyncio.gather(*map(repeats, known[i : i + 8])) for i in range(0, len(known), 8)]
            kept = [text for text, right in zip(known, chain.from_iterable(together), strict=True) if right]
            began = time.monotonic()
            for text in kept[:8]:
                await repeats(text)
            return Repeated(kept, (time.monotonic() - began) / len(kept[:8]))

    return asyncio.run(measure())


def write_inputs(place: Path, talking: TalkingModels, known: Repeated) -> None:
    """Prompts, a load of about one request at a time, and two candidates: other weights in fewer layers, and drafts."""
    lines = [json.dumps({"messages": [{"role": "user", "content": REPEAT + text}]}) for text in known.texts]
    (place / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    workload = {
        "name": "talk",
        "endpoint": "chat",
        "arrivals": {"process": "poisson", "rate_per_s": round(min(1.0 / known.seconds, 5.0), 3)},
        "max_tokens": 120,
        "duration_s": WINDOW_S,
        "warmup_s": 2,
        "drain_s": 60,
        "seed": 1,
        "objective": {"metric": "median_tpot_ms"},
    }
    common = {"phase": "own", "on": "baseline", "hypothesis": "Each token takes less time."}
    playbook = {
        "name": "own",
        "phases": ["own"],
        "drop": [c.id for c in default_playbook().candidates],
        "candidates": [
            {**common, "id": "spoilt", "name": "Spoilt weights", "change": {"model": str(talking.spoilt)}},
            {**common, "id": "ngram", "name": "n-gram drafts", "change": NGRAM},
        ],
    }
    (place / "talk.yaml").write_text(yaml.safe_dump(workload), encoding="utf-8")
    (place / "playbook.yaml").write_text(yaml.safe_dump(playbook), encoding="utf-8")


@pytest.fixture(scope="module")
def run(
    vllm: Installed, talking: TalkingModels, servers: TalkingServers, tmp_path_factory: pytest.TempPathFactory
) -> TunedRun:
    """The run, from the command that a user types."""
    place = tmp_path_factory.mktemp("talk")
    texts = [entry.text for entry in entries(ASKED)]
    write_inputs(place, talking, repeated(servers.get(Serving(talking.deep, {})), texts))
    servers.close()
    words = ["optimize", "talk.yaml", "--prompts", "mine.jsonl", "--engine", "vllm", "--model", str(talking.deep)]
    words += ["--vllm-python", vllm.python, "--playbook", "playbook.yaml", "--search", "ladder"]
    words += [word for name, value in COMMON.items() for word in ("--set", f"{name}={str(value).lower()}")]
    command = [str(Path(sys.executable).with_name("rooftune")), *words, "--artifacts", "artifacts"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=place, env=user_environment(place), timeout=RUN_S, check=False
    )
    if done.returncode and "after they were due" in done.stderr:
        pytest.skip(f"this machine is too busy to measure: {done.stderr}")
    assert done.returncode == 0, done.stderr
    (folder,) = (place / "artifacts" / "talk").glob("2*")
    found = TunedRun(RunFolder(folder), done.stderr)
    for verdict in found.verdicts.values():
        if verdict["verdict"] == "not trusted" or "could no longer be measured" in verdict["reason"]:
            pytest.skip(f"this machine is too busy to measure: {verdict['reason']}")
    return found


def test_the_baseline_keeps_its_answers_as_token_ids(run: TunedRun) -> None:
    folder = run.folder.trial("baseline", 1)
    floor = Floor.model_validate_json(folder.floor_json.read_text(encoding="utf-8"))
    answers = Answers.read(folder.path / FILE)
    assert not floor.reason
    assert floor.prompts == len(answers) > 40, "the part of the prompts that the search sees"
    assert all(a.text is None for a in answers)


def test_weights_that_spoil_answers_do_not_win(run: TunedRun) -> None:
    found = run.quality("spoilt")
    assert found.verdict == "spoilt", found.words
    verdict = run.verdicts["spoilt"]
    assert verdict["verdict"] != "applied"
    assert "spoilt" in verdict["reason"]
    assert "spoilt" not in run.script
    assert run.tpot_ms("spoilt") < run.tpot_ms("ngram"), "by speed alone it would have won"


def test_ngram_drafts_win_with_their_answers_checked(run: TunedRun) -> None:
    found = run.quality("ngram")
    assert found.verdict in ("equal", "changed within the threshold"), found.words
    assert run.verdicts["ngram"]["verdict"] == "applied", run.verdicts["ngram"]["reason"]
    assert "ngram" in run.script


def test_the_report_says_what_each_did_to_the_answers(run: TunedRun) -> None:
    report = run.folder.report.read_text(encoding="utf-8")
    assert run.quality("spoilt").reason in report
    assert run.quality("ngram").reason in report
    assert "accepted" in report
    assert "on prompts that the search never sent" in report


def test_no_text_leaves_the_file_of_the_user(run: TunedRun) -> None:
    written = "".join(p.read_text(encoding="utf-8") for p in run.folder.path.glob("**/*.json"))
    assert REPEAT not in written + run.folder.report.read_text(encoding="utf-8") + run.progress
