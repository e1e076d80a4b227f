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
from rooftune.tuning.guided.search_plan import PlannedOption, SearchPlan
from rooftune.tuning.plan import Candidate, Goal, Plan
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.load import load_workload
from rooftune.workloads.spec import CAPACITY
from tasks import planning
from tasks.run_files import plan_of, target_of
from tests.tuning.drafted_trial import drafted

PROMPTS = [{"prompt": f"Say {n} again"} for n in range(20)]


@pytest.fixture
async def folder(tmp_path: Path) -> RunFolder:
    """A run whose prompts have no recorded answers."""
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
    return folder


@pytest.fixture
def run(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The run planned by a search over a few configurations."""
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


@pytest.mark.slow
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


HEAD = {"method": "eagle3", "model": "head"}


def searching_for_a_head(run: RunFolder, engine: str) -> dict[int, float]:
    """Write the plan of a run on that engine, whose options draft 1, 3 and 5 tokens; returns their predictions."""
    target = target_of(run).model_copy(update={"engine": engine, "texts": True})
    baseline = Candidate(
        id="baseline", name="baseline", phase="baseline", hypothesis="", relieves="none", change={}, command="",
        config=EngineConfig(model=target.model, max_model_len=4096),
    )  # fmt: skip
    options = [PlannedOption(id="baseline", name="baseline", phase="baseline", change={}, knobs={}, predicted=3.0)]
    options += [
        PlannedOption(
            id=f"head-{n}", name=f"head of {n}", phase="medium-term", predicted=2.0, knobs={"speculation": f"{n}"},
            change={"speculative_config": {**HEAD, "num_speculative_tokens": n}},
        )
        for n in (1, 3, 5)
    ]  # fmt: skip
    search = SearchPlan(method="guided", options=options, space=4, start_s=60.0, load_s=60.0)
    goal = Goal(metric=CAPACITY, seed=1)
    plan = Plan(workload="again", target=target, playbook="", objective=goal, candidates=[baseline], search=search)
    write_json(run.plan_json, plan.model_dump(mode="json"))
    return predicted(run)


def predicted(run: RunFolder) -> dict[int, float]:
    search = plan_of(run).search
    assert search is not None
    return {int(o.id[-1]): o.predicted or 0.0 for o in search.options[1:]}


def tried(run: RunFolder, n: int, *accepted: int) -> None:
    """A trial of drafts of three tokens, of which these are accepted of 1,000."""
    folder = run.trial("head-3", n)
    folder.path.mkdir(parents=True)
    trial = drafted({**HEAD, "num_speculative_tokens": 3}, 1000, *accepted, candidate="head-3", n=n, position=n)
    write_json(folder.trial_json, trial.model_dump(mode="json"))


@pytest.mark.parametrize(("accepted", "sign"), [((150, 20, 0), -1), ((950, 900, 850), 1)])
async def test_one_trial_corrects_the_predictions_of_all_lengths(
    folder: RunFolder, accepted: tuple[int, ...], sign: int
) -> None:
    run = folder
    before = searching_for_a_head(run, "vllm")
    baseline = plan_of(run).search.options[0].predicted  # type: ignore[union-attr]
    assert not planning.learn_from_drafts(run)
    tried(run, 1, *accepted)
    assert planning.learn_from_drafts(run)
    after = predicted(run)
    ratios = [after[n] / before[n] for n in (1, 3, 5)]
    assert all(sign * (ratio - 1) > 0.02 for ratio in ratios)
    assert sign * ratios[2] > sign * ratios[0]  # what was wrongly expected of a token counts five times
    assert plan_of(run).search.options[0].predicted == baseline  # type: ignore[union-attr]
    assert target_of(run).known_drafts.of({"speculative_config": {**HEAD, "num_speculative_tokens": 3}})
    assert plan_of(run).target.measured_drafts == target_of(run).measured_drafts
    assert {o.foreseen for o in plan_of(run).search.options[1:]} == {2.0}  # type: ignore[union-attr]
    known = {"speculative_config": {**HEAD, "num_speculative_tokens": 3}}
    assert target_of(run).foreseen_drafts.of(known) != target_of(run).known_drafts.of(known)
    tried(run, 2, *accepted)
    assert not planning.learn_from_drafts(run)  # the same acceptance again is no news
    assert predicted(run) == after


async def test_an_emulated_engine_teaches_nothing(folder: RunFolder) -> None:
    before = searching_for_a_head(folder, "simulated")
    tried(folder, 1, 150, 20, 0)
    assert not planning.learn_from_drafts(folder)
    assert predicted(folder) == before
