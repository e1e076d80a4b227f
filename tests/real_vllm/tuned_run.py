"""One ``rooftune optimize --prompts`` on a real vLLM for several files of tests: it is killed in its second load and
resumed. Of the candidates one cannot start, one is four times as fast and spoils the answers, and one drafts n-grams.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import yaml

from benchmarks.talking_model.corpus import entries
from benchmarks.talking_model.store import TalkingModels
from rooftune.engines.interpreter import Installed
from rooftune.engines.server import ServerInfo
from rooftune.evidence.records.quality import Quality
from rooftune.evidence.records.trial_files import read_trial
from rooftune.runfolder import RunFolder
from rooftune.tuning.playbook import default_playbook
from tests.real_vllm.flow_process import LEFT_S, alive, begin, family, second_load
from tests.real_vllm.talking_server import COMMON, NGRAM, Serving, TalkingServers, ask

START_S, RUN_S = 900, 1800
LOAD_S, AT_ONCE, MOST_PER_S = 17, 2, 5.0
"""How long the load lasts, how many requests it keeps running on a server that is no faster with many, and the most
requests per second. With fewer tokens, the few on their way when the window ends are 5 % of all, which the audit
rejects."""
REPEAT, ASKED = "Repeat this: ", 240


@dataclass(frozen=True)
class TunedRun:
    """A run that was killed, resumed and ended."""

    folder: RunFolder
    said: str
    """What it printed, before and after."""
    left_after_kill: list[str]
    """Processes of the engine that outlived the flow."""
    before: dict[str, float]
    """Maps trial.json of each trial that was finished when the flow was killed to its modification time."""

    @property
    def verdicts(self) -> dict[str, dict[str, Any]]:
        """Verdicts by candidate."""
        return {v["candidate"]: v for v in json.loads(self.folder.decision_json.read_text())["verdicts"]}

    @property
    def report(self) -> str:
        """The report in Markdown."""
        return self.folder.report.read_text(encoding="utf-8")

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
    """Prompts, a load of about two requests at a time, and the candidates.

    The one that spoils the answers is another model with fewer layers.
    """
    lines = [json.dumps({"messages": [{"role": "user", "content": REPEAT + text}]}) for text in known.texts]
    (place / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    workload = {
        "name": "talk",
        "endpoint": "chat",
        "arrivals": {"process": "poisson", "rate_per_s": round(min(AT_ONCE / known.seconds, MOST_PER_S), 3)},
        "max_tokens": 120,
        "duration_s": LOAD_S,
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
            {**common, "id": "bad", "name": "Five GPUs", "change": {"tensor_parallel_size": 5}},
            {**common, "id": "spoilt", "name": "Spoilt weights", "change": {"model": str(talking.spoilt)}},
            {**common, "id": "ngram", "name": "n-gram drafts", "change": NGRAM},
        ],
    }
    (place / "talk.yaml").write_text(yaml.safe_dump(workload), encoding="utf-8")
    (place / "playbook.yaml").write_text(yaml.safe_dump(playbook), encoding="utf-8")


def words_of(vllm: Installed, model: Path) -> list[str]:
    """The command that a user types, after ``rooftune optimize``."""
    words = ["talk.yaml", "--prompts", "mine.jsonl", "--engine", "vllm", "--model", str(model)]
    words += ["--vllm-python", vllm.python, "--playbook", "playbook.yaml", "--search", "ladder"]
    return words + [word for name, value in COMMON.items() for word in ("--set", f"{name}={str(value).lower()}")]


def tuned_run(vllm: Installed, talking: TalkingModels, servers: TalkingServers, place: Path) -> TunedRun:
    """Start the run, kill it with SIGKILL in the second load, resume it, wait for its end."""
    texts = [entry.text for entry in entries(ASKED)]
    write_inputs(place, talking, repeated(servers.get(Serving(talking.deep, {})), texts))
    servers.close()
    flow = begin(place, words_of(vllm, talking.deep))
    try:
        folder = second_load(place, flow, START_S)
        served = family(talking.deep, talking.spoilt)
        assert len(served) >= 2
        before = {str(f.trial_json): f.trial_json.stat().st_mtime for f in folder.trials() if f.trial_json.exists()}
        flow.send_signal(signal.SIGKILL)
        flow.wait()
        left = left_of(served)
        flow = begin(place, ["talk", "--resume", str(folder.path)])
        return TunedRun(folder, ended(place, flow), left, before)
    finally:
        if flow.poll() is None:
            flow.terminate()
            flow.wait(30)


def skip_untrusted(run: TunedRun) -> None:
    """Skip if the audit rejected what a busy machine delivered."""
    for verdict in run.verdicts.values():
        if verdict["verdict"] == "not trusted" or "could no longer be measured" in verdict["reason"]:
            pytest.skip(f"this machine is too busy to measure: {verdict['reason']}")


def left_of(served: list[psutil.Process]) -> list[str]:
    """Processes that still run when they should have ended."""
    deadline = time.monotonic() + LEFT_S
    while alive(served) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive(served)


def ended(place: Path, flow: subprocess.Popen[bytes]) -> str:
    """What the run printed; skips where the machine was too busy, and fails with any other failure."""
    code = flow.wait(RUN_S)
    said = (place / "said.txt").read_text(encoding="utf-8")
    if code and "after they were due" in said:
        pytest.skip(f"this machine is too busy to measure: {said}")
    assert code == 0, said
    return said
