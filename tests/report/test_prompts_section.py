"""What the report says of the prompts: both parts of the user's texts, or what drawn prompts cannot show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import reading
import synthetic_run as made

from rooftune.evidence.records.trial_files import read_trial
from rooftune.files import write_json
from rooftune.report.run.prompts import HEADING
from rooftune.report.writing import write_report
from rooftune.runfolder import RunFolder
from rooftune.search.confirm import FRESH
from rooftune.workloads.texts.lengths import estimated
from rooftune.workloads.texts.prompt_text import PromptText, key_of, part_of

TEXTS = [PromptText(key_of(f"question {i}", None), f"question {i}") for i in range(30)]


def with_texts(folder: RunFolder, texts: list[PromptText], **more: object) -> None:
    """Make it the run of a workload with these prompts."""
    about = json.loads(folder.run_json.read_text())
    prompts = {"file": "/somewhere/mine.jsonl", "sha256": "0123456789abcdef"}
    own = {"prompt_tokens": None, "output_tokens": None, "ignore_eos": False}
    about["workload_spec"] = {**about["workload_spec"], **own, "prompts": prompts, **more}
    write_json(folder.run_json, about)
    estimated(texts, chat=False, sha256="0123456789abcdef").write(folder.prompt_lengths)


def confirm(folder: RunFolder, candidate: str, throughput: float) -> None:
    """The second trial of a candidate becomes one of the confirmation."""
    files = folder.trial(candidate, 2)
    trial = read_trial(files)
    metrics = {**trial.metrics, "output_throughput": throughput}
    changed = trial.model_copy(update={"seed": trial.seed + FRESH, "metrics": metrics})
    write_json(files.trial_json, changed.model_dump(mode="json"))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    load = made.workload()
    world = made.World(made.plan_of(load))
    return made.write_run(tmp_path, world, world.search(), load)


def section(folder: RunFolder) -> str:
    write_report(folder)
    return reading.section(folder.report.read_text(encoding="utf-8"), f"## {HEADING}")


def incumbent(folder: RunFolder) -> str:
    found: str = json.loads(folder.decision_json.read_text())["incumbent"]
    return found


def test_both_parts_have_their_figures(folder: RunFolder) -> None:
    with_texts(folder, TEXTS, sampling={"temperature": 0.7}, max_tokens=64)
    best = incumbent(folder)
    confirm(folder, "baseline", 100.0)
    confirm(folder, best, 150.0)
    text = section(folder)
    asked = sum(part_of(p.key) == "confirm" for p in TEXTS)
    assert f"{30 - asked} different prompts for the search, {asked} that only a confirmation sends." in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [(r.split("|")[1].strip(), r.split("|")[2].strip()) for r in rows] == [
        ("`baseline`", "search"),
        ("`baseline`", "confirmation"),
        (f"`{best}`", "search"),
        (f"`{best}`", "confirmation"),
    ]
    assert "+50 % on prompts that the search never sent" in text
    assert "temperature 0.7" in text
    assert "max_tokens 64" in text
    assert "mine.jsonl" in text
    assert "/somewhere" not in text


def test_without_a_confirmation_nothing_is_claimed_of_it(folder: RunFolder) -> None:
    with_texts(folder, TEXTS)
    assert "no confirmed figures on prompts that the search did not send" in section(folder)


def test_a_file_that_is_not_split_is_named(folder: RunFolder) -> None:
    with_texts(folder, TEXTS[:1])
    assert "1 different prompt, too few to split" in section(folder)


def test_drawn_prompts_cannot_judge_speculation(folder: RunFolder) -> None:
    text = section(folder)
    assert "cannot judge speculative decoding" in text
    assert "`spec-ngram`" in text
    assert "--prompts FILE" in text
