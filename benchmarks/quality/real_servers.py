"""The guard on real vLLM servers, one after another: the model again, n-gram speculation, and copies of the model."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rooftune.engines.interpreter import installed, vllm_python
from rooftune.engines.launch import start, stop
from rooftune.engines.server import ServerInfo
from rooftune.engines.target import Target
from rooftune.evidence.records.quality import Measure, MeasureName
from rooftune.formatting import number, percent
from rooftune.quality.baseline import Asked, BaselineAnswers, chosen, first_answers, scored_twice
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


def run_real(model: str, prompts: Path, copies: Sequence[str]) -> bool:
    """Print the table; True if the model itself is never spoilt and each copy whose name has 'spoilt' always is."""
    return asyncio.run(_run(model, prompts, copies))


async def _run(model: str, prompts: Path, copies: Sequence[str]) -> bool:
    asked = Asked(chosen(read_prompts(prompts)), Sampling(), LONGEST_ANSWER)
    cases = [Served("the model again (A/A)", model), Served("the model again, once more", model)]
    cases.append(Served("n-gram speculation", model, NGRAM))
    cases += [Served(name, folder) for name, _, folder in (copy.partition("=") for copy in copies)]
    with tempfile.TemporaryDirectory(prefix="rooftune-quality-") as folder:
        server = await _started(Served("baseline", model), Path(folder) / "baseline")
        try:
            answers = await first_answers(server.url, server.model, asked)
            baseline = await scored_twice(server.url, server.model, asked, answers)
        finally:
            await stop(server)
        rows, good = [], True
        for place, case in enumerate(cases):
            found = await _differences(case, asked, baseline, Path(folder) / str(place))
            row = _row(case.name, found)
            rows.append(row.cells)
            good &= row.spoilt >= 0.95 if "spoilt" in case.name else row.spoilt <= 0.05 or "again" not in case.name
    head = ["Server", *SHOWN, "Verdict", f"Spoilt, with {DRAWN} prompts drawn"]
    print("\n".join(table(head, rows, right=1)))
    print(f"\n{len(baseline.answers)} prompts, {baseline.scores.tokens} tokens.")
    return good


async def _started(case: Served, folder: Path) -> ServerInfo:
    python = vllm_python(None)
    flags: dict[str, FlagValue] = {"max_model_len": 512, "max_num_seqs": 16, "enforce_eager": True, **case.flags}
    target = Target(
        engine="vllm", gpu="cpu", model=case.model, engine_version=installed(python).version, vllm_python=str(python)
    )
    return await start(target, EngineConfig(model=case.model).with_change(flags), TrialFolder(folder))


async def _differences(case: Served, asked: Asked, baseline: BaselineAnswers, folder: Path) -> Differences:
    server = await _started(case, folder)
    try:
        return await differences(
            server.url, server.model, asked, baseline, speculates="speculative_config" in case.flags
        )
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
