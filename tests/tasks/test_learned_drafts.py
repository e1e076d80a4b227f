"""The baseline's own answers decide which proposers the search may try."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.inputs.parameters import TargetOptions
from flows.inputs.targets import resolve_target
from rooftune.answers.answer import FILE, Answer, Answers
from rooftune.evidence.records.quality import Floor
from rooftune.files import write_json
from rooftune.hardware.probe import probe
from rooftune.runfolder import RunFolder
from rooftune.tuning.drafts import RunDrafts
from rooftune.workloads.load import load_workload
from tasks import planning
from tasks.run_files import plan_of, target_of

PROMPTS = [{"prompt": f"Say {n} again"} for n in range(20)]


@pytest.fixture
async def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run whose prompts have no recorded answers, planned by a search over a few configurations."""
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, PROMPTS)))
    (tmp_path / "w.yaml").write_text(
        "name: again\narrivals: {process: poisson, rate_per_s: 2}\nprompts: {file: mine.jsonl}\nduration_s: 30\n"
        "slo: {tpot_ms: 100, share: 0.9}\n"
    )
    target = await resolve_target(TargetOptions(gpu="L4", model="qwen2.5-0.5b", flags=["max_model_len=4096"]))
    spec = load_workload(str(tmp_path / "w.yaml"))
    hardware = probe(
        engine="simulated", gpu="L4", engine_version=target.engine_version, vllm_python=None, measure=False
    )
    about = {
        "target": target.model_dump(mode="json"),
        "workload_spec": spec.model_dump(mode="json"),
        "settings": {"playbook": None, "search": "guided"},
    }
    folder = RunFolder.create(tmp_path / "artifacts", spec.name, about)
    write_json(folder.hardware_json, hardware.model_dump(mode="json"))
    from rooftune.tuning.guided import foresight

    monkeypatch.setattr(foresight, "MOST_JUDGED", 40)
    monkeypatch.setattr(foresight, "REFINEMENTS", 1)
    write_json(folder.plan_json, planning.make_plan(folder).model_dump(mode="json"))
    return folder


def answered(run: RunFolder) -> None:
    """The baseline's trial has kept its answers."""
    trial = run.trial("baseline", 1)
    trial.path.mkdir(parents=True)
    ids = tuple(range(3, 60))
    Answers(tuple(Answer(str(n), ids, ids, "stop") for n in range(20))).write(trial.path / FILE)
    write_json(trial.floor_json, Floor(prompts=20, tokens=1140).model_dump(mode="json"))


async def test_its_answers_add_proposers_to_the_search_once(run: RunFolder) -> None:
    assert target_of(run).texts
    assert not target_of(run).drafts
    assert not planning.learn_from_baseline(run)
    answered(run)
    assert planning.learn_from_baseline(run)
    assert not planning.learn_from_baseline(run)
    assert RunDrafts.read(run.drafts_json).learned
    assert {k.speculation["method"] for k in target_of(run).drafts} == {"ngram", "ngram_gpu", "suffix"}
    before = plan_of(run)
    again = planning.make_plan(run)
    assert before.search is not None
    assert again.search is not None
    assert not any("speculative_config" in o.change for o in before.search.options)
    assert any("speculative_config" in o.change for o in again.search.options)
    assert before.search.options[0].id == again.search.options[0].id
