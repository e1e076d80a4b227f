"""The guard on real vLLM servers, one after another: the model again, n-gram speculation, and copies of the model."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rooftune.answers.answer import FILE as ANSWERS
from rooftune.engines.interpreter import installed, vllm_python
from rooftune.engines.launch import start, stop
from rooftune.engines.server import ServerInfo
from rooftune.engines.target import Target
from rooftune.evidence.records.quality import Measure, MeasureName
from rooftune.formatting import number, percent
from rooftune.quality.baseline import SCORES, Asked, BaselineAnswers, chosen, first_answers, scored_twice
from rooftune.quality.check import Differences, differences
from rooftune.quality.judge import judge, measured
from rooftune.report.markup import table
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.workloads.texts.read import read_prompts
from rooftune.workloads.texts.sampling import Sampling

LONGEST_ANSWER = 64
NGRAM: dict[str, FlagValue] = {
    "speculative_config": {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3}
}
DRAWS, DRAWN = 400, 30
"""Sets of prompts drawn from those of a check, and prompts in each: how often the verdict would be another one."""
SHOWN: tuple[MeasureName, ...] = (
    "top-1 disagreement",
    "KL divergence",
    "ln perplexity ratio",
    "greedy difference",
    "not greedy",
)


@dataclass(frozen=True)
class Served:
    """One server to judge."""

    name: str
    model: str
    flags: dict[str, FlagValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Real:
    """What is measured on real servers."""

    model: str
    prompts: Path
    cases: Sequence[str]
    """``again``, ``ngram``, or a copy as ``NAME=FOLDER``."""
    keep: Path | None = None
    """Folder that keeps the baseline's answers, so that cases can be measured one by one."""
    dtype: str = "bfloat16"

    def served(self, case: str) -> Served:
        """The server of a case."""
        if case == "again":
            return Served("the model again (A/A)", self.model)
        if case == "ngram":
            return Served("n-gram speculation", self.model, NGRAM)
        name, _, folder = case.partition("=")
        return Served(name, folder)


def run_real(asked: Real) -> bool:
    """Print the table; True if the model itself is never spoilt and each copy whose name has 'spoilt' always is."""
    return asyncio.run(_run(asked))


async def _run(real: Real) -> bool:
    asked = Asked(chosen(read_prompts(real.prompts)), Sampling(), LONGEST_ANSWER)
    with tempfile.TemporaryDirectory(prefix="rooftune-quality-") as made:
        folder = real.keep or Path(made)
        baseline = await _baseline(real, asked, folder / "baseline")
        rows, good = [], True
        for case in real.cases:
            served = real.served(case)
            found = await _differences(real, served, asked, baseline, folder / case.partition("=")[0])
            row = _row(served.name, found)
            rows.append(row.cells)
            good &= row.spoilt >= 0.95 if "spoilt" in case else row.spoilt <= 0.05
    head = ["Server", *SHOWN, "Verdict", f"Spoilt, with {DRAWN} prompts drawn"]
    print("\n".join(table(head, rows, right=1)))
    print(f"\n{len(baseline.answers)} prompts, {baseline.scores.tokens} tokens.")
    return good


async def _baseline(real: Real, asked: Asked, folder: Path) -> BaselineAnswers:
    if (folder / SCORES).is_file():
        return BaselineAnswers.read(folder)
    server = await _started(real, real.served("again"), folder)
    try:
        answers = await first_answers(server.url, server.model, asked)
        found = await scored_twice(server.url, server.model, asked, answers)
    finally:
        await stop(server)
    answers.write(folder / ANSWERS)
    found.write(folder)
    return found


async def _started(real: Real, case: Served, folder: Path) -> ServerInfo:
    python = vllm_python(None)
    flags: dict[str, FlagValue] = {
        "max_model_len": 512, "max_num_seqs": 8, "enforce_eager": True, "block_size": 32, "dtype": real.dtype,
    }  # fmt: skip
    version = installed(python).version
    target = Target(engine="vllm", gpu="cpu", model=case.model, engine_version=version, vllm_python=str(python))
    config = EngineConfig(model=case.model).with_change({**flags, **case.flags})
    return await start(target, config, TrialFolder(folder))


async def _differences(real: Real, case: Served, asked: Asked, baseline: BaselineAnswers, folder: Path) -> Differences:
    server = await _started(real, case, folder)
    try:
        speculates = "speculative_config" in case.flags
        return await differences(server.url, server.model, asked, baseline, speculates=speculates)
    finally:
        await stop(server)


@dataclass(frozen=True)
class _Row:
    cells: list[str]
    spoilt: float
    """Share of the drawn sets of prompts."""


def _row(name: str, found: Differences) -> _Row:
    made = {m.name: m for m in measured(found)}
    prompts = min(map(len, found.values()))
    random = np.random.default_rng(1)
    spoilt = 0
    for _ in range(DRAWS):
        at = random.choice(prompts, min(DRAWN, prompts), replace=False)
        spoilt += judge(measured({k: m.at(at) for k, m in found.items()}), len(at)).verdict == "spoilt"
    verdict = judge(list(made.values()), prompts)
    cells = [name, *(_cell(made.get(shown)) for shown in SHOWN), f"{verdict.verdict}: {verdict.reason}"]
    return _Row([*cells, percent(spoilt / DRAWS)], spoilt / DRAWS)


def _cell(m: Measure | None) -> str:
    return "–" if m is None else f"{number(round(m.value, 5))} (floor {number(round(m.floor, 5))})"
