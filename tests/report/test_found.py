"""The report of a guided search: what each knob is worth, unchanged answers, the front, and a row for every rung."""

from __future__ import annotations

from pathlib import Path

import guided_world
import pytest
import synthetic_run as made

from rooftune.files import read_model, write_json
from rooftune.hardware.named import accelerator
from rooftune.report.markdown import write_report
from rooftune.runfolder import RunFolder
from rooftune.tuning.guided.explaining import Explained, explained
from rooftune.tuning.plan import Decision, FrontRow

PLAN = guided_world.plan()
LOAD = made.workload(objective={"metric": "capacity"})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    world = guided_world.GuidedWorld(PLAN, seed=4)
    results = world.search(budget=340, cost=14)
    folder = made.write_run(tmp_path_factory.mktemp("guided"), world, results, LOAD)
    decision = read_model(folder.decision_json, Decision)
    found = explained(decision, Explained(PLAN, LOAD, made.hardware(), results))
    assert found.search is not None
    write_json(folder.decision_json, found.model_dump(mode="json"))
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def decision(run: RunFolder) -> Decision:
    return read_model(run.decision_json, Decision)


@pytest.fixture(scope="module")
def text(run: RunFolder) -> str:
    return run.report.read_text(encoding="utf-8")


def test_every_knob_of_the_winner_has_its_worth_or_the_rule_that_needs_it(decision: Decision, text: str) -> None:
    assert decision.search is not None
    assert {k.knob for k in decision.search.knobs} >= {"weights", "kv_cache_dtype"}
    section = text.split("### What each knob is worth")[1].split("###")[0]
    for knob in decision.search.knobs:
        assert "no option without it" not in knob.sentence
        assert f"| `{knob.knob}` | `{knob.value}` |" in section
        assert knob.ratio is not None or "cannot be set back" in knob.sentence


def test_the_best_with_unchanged_answers_is_beside_the_recommendation(decision: Decision, text: str) -> None:
    assert decision.search is not None
    same = decision.search.same_answers
    opening = text.split("### What to deploy")[1].split("###")[0]
    assert f"**With unchanged answers** the best is `{same}`, which changes `--quantization awq_marlin" in opening
    assert "capacity " in opening.split(same)[1]


def test_the_front_trades_capacity_for_tpot_and_has_the_recommendation(decision: Decision, text: str) -> None:
    assert decision.search is not None
    front: list[FrontRow] = decision.search.front
    assert len(front) > 2
    assert [r.tpot_ms for r in front] == sorted(r.tpot_ms for r in front)
    assert [r.capacity for r in front] == sorted(r.capacity for r in front)
    assert "### Capacity against TPOT and cost" in text
    assert "run on a server of the same price" in text


def test_every_rung_has_a_row_with_its_prediction(text: str) -> None:
    row = next(line for line in text.splitlines() if "(`batch-8`)" in line)
    assert "Capacity predicted −" in row
    assert "not measured" in row


def test_every_measured_row_shows_all_that_it_changes(decision: Decision, text: str) -> None:
    carried = text.split("### What each configuration carries")[1].split("###")[0]
    for verdict in decision.verdicts:
        if verdict.trials and verdict.candidate != "baseline":
            row = next(line for line in carried.splitlines() if f"{verdict.candidate} |" in line.replace("**", ""))
            for name, value in verdict.flags.items():
                if PLAN.candidates[0].config.flags().get(name) != value:
                    assert f"--{name.replace('_', '-')}" in row


def test_a_knob_that_the_rest_needs_has_the_rule_that_excludes_the_rest_without_it() -> None:
    from rooftune.knobs.configuration import Configuration
    from rooftune.knobs.context import SpaceContext
    from rooftune.knobs.space import undone
    from rooftune.vllm_rules.config import EngineConfig
    from rooftune.workloads.load import load_workload

    context = SpaceContext(
        gpu=accelerator("L4"),
        engine_version="0.32.0",
        workload=load_workload("rag-medium"),
        baseline=EngineConfig(model="meta-llama/Llama-3.1-8B-Instruct").with_change(
            {"max_model_len": 4096, "attention_backend": "FLASH_ATTN"}
        ),
    )
    change = {"kv_cache_dtype": "fp8", "attention_backend": "TRITON_ATTN", "max_num_seqs": 64}
    around = Configuration(
        change=change, labels={k: f"{k} {v}" for k, v in change.items()}, values=dict(change), families=()
    )
    found = {u.knob: u for u in undone(context, around)}
    assert found["attention_backend"].configuration is None
    assert found["attention_backend"].reason.startswith("rule attention-backend: Selected backend FLASH_ATTN")
    kept = found["max_num_seqs"].configuration
    assert kept is not None
    assert set(kept.change) == {"kv_cache_dtype", "attention_backend"}


def test_a_run_that_ended_early_says_so_and_names_what_carried_more(tmp_path: Path) -> None:
    world = guided_world.GuidedWorld(PLAN, seed=4)
    results = world.search(budget=60, cost=14)
    folder = made.write_run(tmp_path, world, results, LOAD)
    decision = read_model(folder.decision_json, Decision)
    found = explained(decision, Explained(PLAN, LOAD, made.hardware(), results))
    write_json(folder.decision_json, found.model_dump(mode="json"))
    text = write_report(folder).read_text(encoding="utf-8")
    assert "The run is incomplete: the budget ended, so nothing is confirmed. **Continue it with --resume" in text
    assert "did not run" not in text
    assert "It ended with the budget." in text
    phases = text.split("### The best after each phase")[1].split("###")[0]
    assert "| medium-term | `awq_marlin+fp8-kv" in phases


def test_a_run_that_ended_between_the_best_two_says_that_the_gain_is_confirmed(tmp_path: Path) -> None:
    world = guided_world.GuidedWorld(PLAN, level=0.1, family=0.03, seed=1)
    results = world.search(budget=340, cost=14)
    folder = made.write_run(tmp_path, world, results, LOAD)
    decision = read_model(folder.decision_json, Decision)
    assert next(v for v in decision.verdicts if v.candidate == decision.incumbent).verdict == "applied"
    assert decision.search is not None
    early = decision.search.model_copy(update={"reason": "the budget ended"})
    ended = decision.model_copy(update={"complete": False, "search": early})
    write_json(folder.decision_json, ended.model_dump(mode="json"))
    text = write_report(folder).read_text(encoding="utf-8")
    assert "nothing is confirmed" not in text
    assert "The run is incomplete: the budget ended before the comparison with " in text
    assert "The gain over the baseline is confirmed." in text
