"""The report of a guided search: what each knob is worth, unchanged answers, the front, and a row for every rung."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import guided_world
import pytest
import synthetic_run as made
from reading import columns, folded, repeated, section, sentences, visible

from rooftune.export.deployment import deployment_of
from rooftune.files import read_model, write_json
from rooftune.hardware.named import accelerator
from rooftune.report.page.to_terminal import summary
from rooftune.report.run_data import read_run
from rooftune.report.writing import summary_page, write_report
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


def test_every_flag_of_the_winner_has_the_gain_of_its_knob(decision: Decision, text: str) -> None:
    assert decision.search is not None
    worths = {k.knob: k for k in decision.search.knobs}
    assert set(worths) >= {"weights", "kv_cache_dtype"}
    shown = {row["Flag"].strip("`"): row for row in columns(section(text, "## What to deploy"))}
    weights, cache = worths["weights"].ratio, worths["kv_cache_dtype"].ratio
    assert weights is not None
    assert cache is not None
    assert shown["--quantization"]["Gain in capacity"] == weights.as_change
    assert shown["--quantization"]["Baseline"] == "`awq`"
    assert shown["--kv-cache-dtype"]["Gain in capacity"] == cache.as_change
    assert shown["--kv-cache-dtype"]["Recommended"] == "`fp8`"
    assert shown["--kv-cache-dtype"]["How known"] in ("measured", "predicted")
    base = PLAN.candidates[0].config.flags()
    changed = {k for k in {**base, **decision.incumbent_flags} if base.get(k) != decision.incumbent_flags.get(k)}
    assert set(shown) == {f"--{name.replace('_', '-')}" for name in changed} | {"**All together**"}


def test_the_gain_of_the_whole_change_is_below_those_of_its_flags_and_says_how_it_was_confirmed(
    decision: Decision, text: str
) -> None:
    """A reader who sees "predicted" beside each flag sees as well that the whole gain was measured."""
    verdict = next(v for v in decision.verdicts if v.candidate == decision.incumbent)
    *flags, whole = columns(section(text, "## What to deploy"))
    assert whole["Flag"] == "**All together**"
    assert whole["Gain in capacity"] == verdict.ratios["capacity"].as_change
    trials = f"{len(verdict.trials)} trials and {len(verdict.against_trials)} of the baseline"
    assert whole["How known"] == f"confirmed over {trials}"
    assert f"compared with the baseline, over {trials}." in text
    assert "predicted" in {row["How known"] for row in flags}
    assert "Where no trial ran with everything but that flag, the gain is predicted" in text


def test_the_script_of_a_phase_starts_the_configuration_that_the_progression_shows(
    run: RunFolder, decision: Decision
) -> None:
    assert decision.search is not None
    for best in decision.search.phases:
        script = (run.path / f"start_vllm_{best.phase.replace('-', '_')}.sh").read_text(encoding="utf-8")
        assert f"the best configuration after this phase for chat-medium ({best.option})." in script
        flags = PLAN.candidate(best.option).config.flags()
        assert f"--quantization {flags['quantization']} " in script
        assert f"--kv-cache-dtype {flags.get('kv_cache_dtype')} " in script or "kv_cache_dtype" not in flags


def test_a_configuration_is_exported_by_the_name_that_the_report_gives_it(run: RunFolder, text: str) -> None:
    data = read_run(run)
    shown = [row["Configuration"].strip("*") for row in columns(folded(text, "configurations that were measured"))]
    found = {name: deployment_of(data, name).candidate for name in shown}
    assert found["recommended"] == data.decision.incumbent
    assert sorted(found.values()) == sorted(c.id for c in data.measured)


def test_what_was_left_out_is_said_below_the_flags(run: RunFolder, decision: Decision, tmp_path: Path) -> None:
    assert decision.search is not None
    words = "the winner leaves graphs as in the baseline, because its expected gain of +0.4 % is below 1 %"
    changed = decision.model_copy(update={"search": decision.search.model_copy(update={"left_out": words})})
    folder = RunFolder(shutil.copytree(run.path, tmp_path / "run"))
    write_json(folder.decision_json, changed.model_dump(mode="json"))
    shown = " ".join(summary(summary_page(folder)).split())
    assert f"T{words[1:]}." in shown
    assert "The winner leaves" not in summary(summary_page(run))


def test_the_best_with_unchanged_answers_is_beside_the_recommendation(text: str) -> None:
    deploy = section(text, "## What to deploy")
    assert "`--kv-cache-dtype fp8` may change the generated text" in deploy
    assert re.search(r"The best with unchanged answers is `[a-z]+-[a-z]+-\d+` \(.*`--.*\): \d\.\d+ \(", deploy)


def test_configurations_have_the_name_of_their_place(decision: Decision, text: str) -> None:
    """Ids that list changes are nowhere; each name belongs to one configuration."""
    outside = re.sub(r"```.*?```", "", text, flags=re.S)
    assert decision.incumbent not in outside
    assert not re.findall(r"awq_marlin\+\S+", outside)
    found = [row["Configuration"].strip("*") for row in columns(folded(text, "configurations that were measured"))]
    assert len(found) == len(set(found))
    assert {"baseline", "recommended"} < set(found)
    assert all(re.fullmatch(r"baseline|recommended|[a-z]+(-[a-z]+)*(-\d+)?", name) for name in found)


def test_the_front_trades_capacity_for_tpot_and_has_the_recommendation(decision: Decision, text: str) -> None:
    assert decision.search is not None
    front: list[FrontRow] = decision.search.front
    assert len(front) > 2
    assert [r.tpot_ms for r in front] == sorted(r.tpot_ms for r in front)
    assert [r.capacity for r in front] == sorted(r.capacity for r in front)
    shown = columns(folded(text, "Capacity against TPOT"))
    assert len(shown) == len(front)
    assert all("`--" in row["Changes from the baseline"] or row["Configuration"] == "baseline" for row in shown)
    assert "run on servers of the same price" in text
    assert re.search(r"A lower time per token costs capacity: `front-1` \(.*?`--.*?\) has a TPOT of", text)


def test_every_rung_has_a_row_with_its_prediction(text: str) -> None:
    rungs = {row["Candidate"]: row for row in columns(folded(text, "candidates without a result"))}
    assert rungs["batch-8"]["Status"] == "predicted only"
    assert rungs["batch-8"]["Expected gain"].startswith("−")
    assert rungs["fp8-kv"]["Reason"].startswith("Measured as a part of `recommended`")


def test_every_measured_row_shows_all_that_it_changes(decision: Decision, text: str) -> None:
    base = PLAN.candidates[0].config.flags()
    shown = [row["Changes from the baseline"] for row in columns(folded(text, "configurations that were measured"))]
    for verdict in decision.verdicts:
        if verdict.trials and verdict.candidate != "baseline":
            flags = {f"--{k.replace('_', '-')}" for k, v in verdict.flags.items() if base.get(k) != v}
            assert any(all(flag in row or flag.replace("--", "--no-") in row for flag in flags) for row in shown)


def test_nothing_appears_twice_and_little_is_visible(text: str) -> None:
    assert len(sentences(text)) > 50
    assert repeated(text) == []
    assert len(visible(text)) < 150


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
    assert "The budget ended before a gain was confirmed. **Continue the run with --resume" in text
    assert "did not run" not in text
    assert "It ended when the budget ran out." in text
    medium = columns(section(text, "## Progression"))[-1]
    assert "--kv-cache-dtype fp8" in medium["Changes from the baseline"]


def test_a_run_that_measured_the_baseline_alone_names_what_is_predicted_to_carry_more(tmp_path: Path) -> None:
    world = guided_world.GuidedWorld(PLAN, seed=4)
    folder = made.write_run(tmp_path, world, world.search(most=1), LOAD)
    opening = write_report(folder).read_text(encoding="utf-8").split("## What to deploy")[0]
    assert re.search(
        r"before you deploy: `[a-z0-9-]+` \(`--.*?\) is predicted to carry \d\.\d times as much, and was not", opening
    )


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
    assert "The gain is confirmed: capacity +" in text
    assert "incomplete" not in text
    assert "The budget ended before the trials showed whether " in text
