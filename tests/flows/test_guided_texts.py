"""A guided search on texts that repeat: the fastest configuration spoils the answers, and drafts win without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.inputs.parameters import (
    CandidateOptions,
    GoalOptions,
    OptimizeRequest,
    TargetOptions,
    TextOptions,
    TrialOptions,
    WorkloadOptions,
)
from rooftune.evidence.records.trial import TrialResult
from rooftune.report.run_data import RunData, read_run
from rooftune.runfolder import RunFolder
from rooftune.simulator.front.toy_answers import VARIABLE

pytestmark = [pytest.mark.usefixtures("prefect", "patient_audit"), pytest.mark.slow]
FAST = "awq_marlin"
WITHOUT_SUFFIX = "0.14.0"
"""A release in which n-gram is the only proposer that needs no model."""
BASELINE = [
    "quantization=awq", "dtype=half", "enforce_eager=true", "max_model_len=2048", "max_num_seqs=64",
    "attention_backend=FLASHINFER",
]  # fmt: skip
FEW = """\
knobs:
  max_num_seqs: [64]
  max_num_batched_tokens: [2048]
  kv_cache_dtype: [auto]
  graphs: [eager]
  gpu_memory_utilization: [0.9]
  stream_interval: [1]
  prefix_caching: [true]
  async_scheduling: [null]
  attention_backend: [FLASHINFER]
"""
"""Leaves the weights and the drafts to the search."""


def write_copies(path: Path) -> Path:
    """Prompts whose recorded answers repeat them, so that n-gram drafts are nearly always right."""
    texts = [" ".join(f"word{(7 * n + 3 * i * i) % 101}" for i in range(40)) for n in range(40)]
    path.write_text("".join(json.dumps({"prompt": f"Repeat: {t}", "completion": t}) + "\n" for t in texts))
    return path


@pytest.fixture
async def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunData:
    """A whole run whose faster kernel plays spoilt answers."""
    from flows.optimize import optimize

    monkeypatch.setenv(VARIABLE, f"toy;quantization={FAST}:3")
    (tmp_path / "few.yaml").write_text(FEW)
    asked = OptimizeRequest(
        "",
        TargetOptions("T4", "llama-2-7b", WITHOUT_SUFFIX, BASELINE),
        WorkloadOptions(rate_per_s=0.5, duration_s=40, warmup_s=10),
        CandidateOptions(playbook=str(tmp_path / "few.yaml"), search="guided"),
        TrialOptions(time_scale=40),
        GoalOptions(objective="median_tpot_ms"),
        TextOptions(prompts=str(write_copies(tmp_path / "copies.jsonl"))),
        artifacts=str(tmp_path / "artifacts"),
    )
    found = await optimize(**asked.parameters())
    return read_run(RunFolder(Path(found.run)))


def tpot(trial: TrialResult) -> float:
    return trial.metrics["median_tpot_ms"]


async def test_the_fastest_is_refused_for_its_answers_and_drafts_win(run: RunData) -> None:
    own = run.decision.incumbent
    winner, spoilt = run.of(own), [t for t in run.trials if t.flags["quantization"] == FAST]
    drafts = run.config(own).flags().get("speculative_config")
    assert isinstance(drafts, dict)
    assert drafts["method"] == "ngram"
    assert all(t.flags["quantization"] != FAST for t in winner)
    assert len(winner) >= 3, "it is confirmed"
    assert max(map(tpot, winner)) < 0.5 * min(map(tpot, run.of("baseline"))), "the answers repeat the prompts"
    assert [t.candidate for t in spoilt if t.quality is not None and t.quality.verdict == "spoilt"]
    assert min(map(tpot, spoilt)) < min(map(tpot, winner))
    assert len({t.candidate for t in spoilt}) == 1, "the other drafts with the same weights are not measured"
    refused = {v.candidate: v.reason for v in run.decision.verdicts if v.verdict == "spoilt"}
    assert "its answers are spoilt (" in refused[spoilt[0].candidate]
    assert "awq-marlin" in refused, "the weights spoil the answers, with any drafts and without"
    found = run.quality(own)
    assert found is not None
    assert (found.verdict, found.simulated) == ("equal", True)

    page = run.folder.report.read_text(encoding="utf-8")
    first = page[: page.index("## ")]
    assert "not chosen because it spoils the answers (simulated): " in first
    assert "**Answers**: Equal (simulated): " in first
    levers = page[page.index("## What each lever gave") :]
    assert "| Weights |" in levers
    assert "spoilt (simulated)" in levers.split("| Weights |")[1].splitlines()[0]
    assert "# Answers equal (simulated): " in (run.folder.path / "start_vllm.sh").read_text()
