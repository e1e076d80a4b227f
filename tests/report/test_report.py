"""The report of a synthetic run: every section, every statement from its files, never a published conclusion."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import reading
import synthetic_run as made

from rooftune.engines.server import Limits, Switched
from rooftune.engines.target import CalibrationFile
from rooftune.errors import RooftuneError
from rooftune.evidence.records.trial_files import read_trial
from rooftune.files import write_json
from rooftune.report.compare import RunComparison, compare_runs
from rooftune.report.comparison_page import comparison_page, write_comparison
from rooftune.report.history import history_text
from rooftune.report.page.to_terminal import summary
from rooftune.report.writing import write_report
from rooftune.runfolder import RunFolder
from rooftune.tuning import judge
from rooftune.vllm_rules.start.context import FittedContext

GOLDEN = Path(__file__).parent / "golden.md"


def make_run(root: Path, seed: int = 0) -> RunFolder:
    load = made.workload()
    world = made.World(made.plan_of(load), seed=seed)
    world.failing["attention-triton"] = "CUDA ran out of memory; lower gpu_memory_utilization."
    return made.write_run(root, world, world.search(), load)


def golden_run(root: Path) -> RunFolder:
    """A written report that does not depend on the wording or the statistics of other packages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "compare", made.plain_compare)
        folder = make_run(root)
        write_report(folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return golden_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def report(run: RunFolder) -> str:
    return run.report.read_text(encoding="utf-8")


def test_the_report_is_the_golden_one(report: str, request: pytest.FixtureRequest) -> None:
    """Regenerate after an intended change: python tests/report/regenerate.py"""
    assert report == GOLDEN.read_text(encoding="utf-8")


def test_trials_on_a_switched_server_are_named(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    limits = Limits(max_num_seqs=8, max_num_batched_tokens=2048, long_prefill_token_threshold=0)
    how = Switched(server_of="baseline/1", started=limits, limits=limits, log_from=0)
    files = folder.trial("batch-8", 1)
    write_json(files.trial_json, read_trial(files).model_copy(update={"switched": how}).model_dump(mode="json"))
    write_report(folder)
    method = reading.section(folder.report.read_text(encoding="utf-8"), "## How it was measured")
    assert "Each trial starts its own server, except those listed as switched." in method
    assert "**Switched**: `batch-8/1` (server of `baseline/1`) ran on a server" in method


def test_sections_are_in_order(report: str) -> None:
    heads = re.findall(r"^## (.+)$", report, flags=re.M)
    assert heads == [
        "What to deploy",
        "Progression",
        "Trade-offs",
        "When to use which configuration",
        "Prompts",
        "Hardware upgrade path",
        "What limits the server",
        "Audit and predictions",
        "How it was measured",
        "Files",
    ]


def test_the_first_screen_has_question_answer_certainty_and_command(report: str) -> None:
    opening, deploy = report.split("## Progression")[0].split("## What to deploy")
    assert "Which configuration of vLLM 0.15.1 has the highest output throughput of chat-medium" in opening
    assert (
        "**One T4 serves about 5.1 of the 20 requests/s (25 %) with `awq-marlin-graphs` "
        "(`--quantization awq_marlin`, without `--enforce-eager`): output throughput 760" in opening
    )
    assert "It takes about 4 such servers.**" in opening
    assert "Keep each server at or below 5.1 requests/s. Above it the queue grows" in opening
    assert "The gain is confirmed: output throughput +105 % (+100 to +111 %) compared with the baseline" in opening
    flags = {row["Flag"]: row for row in reading.columns(deploy)}
    assert flags["`--quantization`"]["Baseline"] == "`awq`"
    assert flags["`--quantization`"]["Recommended"] == "`awq_marlin`"
    assert flags["`--quantization`"]["Gain in output throughput"] == "+105 % (+100 to +111 %)"
    assert flags["`--enforce-eager`"]["Recommended"] == "not set"
    assert flags["`--enforce-eager`"]["How known"] == "with the row above", "both are one step"
    assert deploy.index("figures/") < deploy.index("```bash")
    assert len(reading.visible(opening + deploy)) < 40


def test_what_is_visible_fits_on_a_few_screens(report: str) -> None:
    assert len(reading.visible(report)) < 150


def test_nothing_appears_twice(report: str) -> None:
    assert len(reading.sentences(report)) > 60
    assert reading.repeated(report) == []


def test_published_conclusions_are_not_repeated(report: str) -> None:
    measured = {
        row["Configuration"].strip("*"): row
        for row in reading.columns(reading.folded(report, "configurations that were measured"))
    }
    untried = {row["Candidate"]: row for row in reading.columns(reading.folded(report, "candidates without a result"))}
    assert measured["batch-8"]["Verdict"] == "no gain"
    assert measured["batch-8"]["Compared with the baseline"].startswith("−45 %")
    assert untried["chunked-prefill"]["Status"] == "already on"
    assert untried["prefix-caching"]["Status"] == "already on"
    assert untried["spec-draft"]["Status"] == "no artefact"
    assert "+22" not in report


def test_a_row_shows_all_that_its_configuration_changes(report: str) -> None:
    rows = {
        r["Configuration"].strip("*"): r
        for r in reading.columns(reading.folded(report, "configurations that were measured"))
    }
    assert rows["fp8-kv"]["Changes from the baseline"] == (
        "`--quantization awq_marlin`, without `--enforce-eager`, `--kv-cache-dtype fp8`"
    )
    assert "+0.2 % (−1.1 to +1.6 %) compared with `awq-marlin-graphs` over 2 trials each." in rows["fp8-kv"]["Finding"]


def test_each_phase_has_its_best_with_interval_and_verdict(report: str) -> None:
    base, easy, medium = reading.columns(reading.section(report, "## Progression"))
    assert [row["Phase"] for row in (base, easy, medium)] == ["baseline", "easy-wins", "medium-term"]
    assert easy["Best configuration"] == "**awq-marlin-graphs**"
    assert easy["Compared with the baseline"] == "+105 % (+100 to +111 %)"
    assert easy["Verdict"] == "recommended, confirmed"
    assert medium["Changes from the baseline"] == "as before"
    assert medium["Verdict"] == "1 candidate measured, none better"


def test_simulated_is_marked_once_and_clearly(report: str) -> None:
    assert "# chat-medium on a T4 (simulated)" in report
    assert report.count("> **Simulated.**") == 1
    captions = re.findall(r"^!\[(.*)\]", report, flags=re.M)
    assert captions
    assert not any("simulated" in caption for caption in captions)


def test_withheld_metrics_have_no_column_and_one_reason(report: str) -> None:
    assert "withheld" not in report
    reason = "the queue grew for the whole window, so the value depends on how long the load lasted"
    assert report.count(f"No values of goodput, median TTFT and median E2EL: {reason}.") == 1
    for name in ("Goodput", "TTFT"):
        assert f"| {name}" not in report


def test_every_figure_and_file_named_is_there(run: RunFolder, report: str) -> None:
    for name in re.findall(r"^!\[.*\]\((.*)\)", report, flags=re.M):
        assert (run.path / name).read_bytes().startswith(b"\x89PNG")
    for name in re.findall(r"^\| `([a-z_]+\.(?:sh|json|html))`", report, flags=re.M):
        assert (run.path / name).is_file(), name


def test_start_scripts_are_clean_bash_and_carry_the_flags(run: RunFolder) -> None:
    scripts = sorted(run.path.glob("start_vllm*.sh"))
    assert [s.name for s in scripts] == [
        "start_vllm.sh", "start_vllm_baseline.sh", "start_vllm_easy_wins.sh", "start_vllm_medium_term.sh"
    ]  # fmt: skip
    for script in scripts:
        assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
        assert script.stat().st_mode & 0o111
    assert "--quantization awq_marlin" in scripts[0].read_text()
    assert "--quantization awq \\" in scripts[1].read_text()


def test_the_recommended_script_runs_the_recommended_flags(run: RunFolder, tmp_path: Path) -> None:
    echo = tmp_path / "python"
    echo.write_text('#!/bin/sh\necho "$@"\n')
    echo.chmod(0o755)
    done = subprocess.run(
        ["bash", str(run.path / "start_vllm.sh"), "--seed", "1"],
        env={"VLLM_PYTHON": str(echo), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--model TheBloke/Llama-2-7B-AWQ" in done.stdout
    assert done.stdout.strip().endswith("--port 8000 --seed 1")


def test_html_is_of_one_file_and_has_what_markdown_has(run: RunFolder, report: str) -> None:
    page = reading.parsed((run.path / "report.html").read_text(encoding="utf-8"))
    reading.check_accessible(page)
    heads = [e.text for e in page.of("h2", "h3", "h4")]
    assert heads == re.findall(r"^(?:#{2,4} |<summary>)([^<\n]+)", report, flags=re.M)
    assert len(page.of("table")) == len(re.findall(r"^\| ---", report, flags=re.M))
    assert len([e for e in page.of("svg") if "svg" not in e.inside] + page.of("img")) == report.count("](figures/")


def test_writing_again_gives_the_same(
    run: RunFolder, report: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "compare", made.plain_compare)
    copied = RunFolder(shutil.copytree(run.path, tmp_path / run.path.name))
    assert write_report(copied).read_text(encoding="utf-8") == report


def test_the_calibration_of_the_predictions_is_named_with_its_hash(tmp_path: Path) -> None:
    load = made.workload()
    plan = made.plan_of(load)
    used = CalibrationFile(path="/calibrations/t4.yaml", sha256="ab" * 32)
    calibrated = plan.model_copy(update={"target": plan.target.model_copy(update={"calibration": used})})
    world = made.World(calibrated)
    text = write_report(made.write_run(tmp_path, world, world.search(), load)).read_text()
    assert "**Calibration**: The predicted step times come from `/calibrations/t4.yaml` (sha256 abababababab)." in text


def test_a_run_without_decision_says_what_is_missing(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    folder.decision_json.unlink()
    with pytest.raises(RooftuneError, match=r"decision\.json is missing"):
        write_report(folder)


def test_a_run_in_which_the_baseline_failed_has_a_report(tmp_path: Path) -> None:
    load = made.workload()
    world = made.World(made.plan_of(load))
    world.failing["baseline"] = "Port 8000 is taken; give another with --port."
    folder = made.write_run(tmp_path, world, world.search(), load)
    words = write_report(folder).read_text(encoding="utf-8")
    assert "Port 8000 is taken" in words.split("## What to deploy")[0]
    assert "Nothing was measured, so nothing is recommended." in words
    assert "```bash" not in words


def words_of(found: RunComparison) -> str:
    return summary(comparison_page(found))


def run_with(root: Path, factor: float, noise: float, *, budget: float | None = None, seed: int = 7) -> RunFolder:
    """A run on a server on which every configuration has this many times the usual rate."""
    load = made.workload()
    rates = {name: factor * rate for name, rate in made.RATES.items()}
    world = made.World(made.plan_of(load), rates=rates, noise=noise, seed=seed)
    return made.write_run(root, world, world.search(budget), load)


@pytest.mark.parametrize(
    ("factor", "noise", "verdict", "headline"),
    [
        (1.2, 0.005, "better", "B is better: output throughput +20 %"),
        (0.85, 0.005, "worse", "B is worse: output throughput −15 %"),
        (1.0, 0.001, "no measurable difference", "There is no measurable difference: output throughput"),
        (1.015, 0.02, "more trials needed", "The trials do not decide it yet: output throughput"),
    ],
)
def test_compare_finds_the_true_relation_of_two_runs(
    tmp_path: Path, factor: float, noise: float, verdict: str, headline: str
) -> None:
    first, second = run_with(tmp_path / "a", 1.0, noise), run_with(tmp_path / "b", factor, noise, seed=8)
    found = compare_runs(first, second)
    pair = found.pairs[0]
    assert (pair.a, pair.b) == ("awq-marlin-graphs", "awq-marlin-graphs")
    assert pair.verdict == verdict
    ratio = pair.metrics["output_throughput"].ratio
    assert ratio is not None
    assert ratio.low < factor < ratio.high
    assert headline in words_of(found)
    assert json.loads(found.model_dump_json())["pairs"][0]["verdict"] == verdict


def test_compare_with_one_trial_per_side_gives_no_verdict(tmp_path: Path) -> None:
    first, second = run_with(tmp_path / "a", 1.0, 0.01), run_with(tmp_path / "b", 1.0, 0.01, budget=10.0)
    pair = compare_runs(first, second).pairs[0]
    assert pair.verdict == "not run"
    assert pair.reason == "each side needs two trusted trials"
    assert "The runs cannot be compared" in words_of(compare_runs(first, second))


def test_a_comparison_is_written_as_markdown_and_html(run: RunFolder, tmp_path: Path) -> None:
    found = compare_runs(run, run_with(tmp_path / "b", 1.2, 0.005))
    path = write_comparison(found, tmp_path)
    written = path.read_text(encoding="utf-8")
    page = reading.parsed(path.with_suffix(".html").read_text(encoding="utf-8"))
    reading.check_accessible(page)
    assert "](figures/two_runs.png)" in written
    assert page.of("svg")
    assert written.count("> **Simulated.** Both runs are of rooftune's emulated engine") == 1
    assert "Recommended: `--quantization awq_marlin`, without `--enforce-eager`." in written
    assert re.search(r"^\*\*B is better: output throughput \+\d+ % \(.* compared with A", written, flags=re.M)
    rows = {
        row["Metric"]: row for row in reading.columns(reading.section(written, "## The recommended configurations"))
    }
    assert rows["Output throughput"]["Change from A to B"].startswith("+")
    shared = reading.columns(reading.folded(written, "measured in both runs"))
    assert "`fp8-kv`" in {row["Configuration"] for row in shared}


def test_compare_names_every_other_difference(run: RunFolder, tmp_path: Path) -> None:
    load = made.workload(rate=25.0)
    world = made.World(made.plan_of(load))
    other = made.write_run(
        tmp_path, world, [t.model_copy(update={"workload_hash": "1" * 16}) for t in world.search()], load
    )
    found = compare_runs(run, other)
    assert found.caveats[0] == "the workload differs (chat-medium 00000000 and chat-medium 11111111)"
    assert "drift" in found.caveats[-1]
    assert len(found.caveats) == 2


def test_history_shows_change_against_the_one_before() -> None:
    rows = [
        {"started_at": 1.7e9 + i, "candidate": "baseline", "gpu": "T4", "engine_version": "0.15.1", "simulated": True,
         "believed": True, "metrics": {"output_throughput": rate}}
        for i, rate in enumerate((100.0, 110.0))
    ]  # fmt: skip
    words = history_text("chat-medium", rows)
    assert "+10 %" in words
    assert "(simulated)" in words
    assert "rooftune optimize" in history_text("chat-medium", [])


def test_the_history_says_what_each_configuration_sets() -> None:
    fp8 = ("fp8-kv", '{"kv_cache_dtype": "fp8"}')
    trials = [("baseline", '{"enforce_eager": true}'), fp8, ("old", "{}"), fp8]
    rows = [
        {"started_at": 1.7e9 + n, "candidate": name, "flags": flags, "believed": True, "output_throughput": 100.0}
        for n, (name, flags) in enumerate(trials)
    ]
    legend = history_text("chat-medium", rows).split("The flags of each configuration:")[1].splitlines()
    assert legend[4:] == ["| baseline | `--enforce-eager` |", "| fp8-kv | `--kv-cache-dtype fp8` |"]


def test_history_compares_capacities_with_capacities() -> None:
    """The throughput of a trial near its capacity says nothing beside that of a trial under overload."""
    found = [{"output_throughput": 100.0}, {"output_throughput": 900.0, "capacity": 5.0},
             {"output_throughput": 50.0, "capacity": 5.5}]  # fmt: skip
    rows = [
        {"started_at": 1.7e9 + i, "candidate": "baseline", "gpu": "T4", "engine_version": "0.15.1", "believed": True,
         "simulated": True, "metrics": metrics}
        for i, metrics in enumerate(found)
    ]  # fmt: skip
    table = [line.split("|") for line in history_text("chat-medium", rows).splitlines() if line.startswith("| 20")]
    assert [cells[4].strip() for cells in table] == ["–", "5", "5.5"]
    assert [cells[5].strip() for cells in table] == ["100", "–", "–"]
    assert [cells[-3].strip() for cells in table] == ["–", "–", "+10 %"]
    assert "Output tok/s" not in history_text("chat-medium", rows[1:])
    assert "Capacity change" in history_text("chat-medium", rows[1:])


def test_a_context_that_rooftune_set_is_in_report_and_script(tmp_path: Path) -> None:
    load = made.workload()
    context = FittedContext(
        tokens=2048, longest_request_tokens=560, model_tokens=131072, model_bytes=2**34, available_bytes=3 * 2**30
    )
    world = made.World(made.plan_of(load).model_copy(update={"context": context}))
    folder = made.write_run(tmp_path, world, world.search(), load)
    write_report(folder)
    said = (
        "max_model_len 2048 set by rooftune: the model's 131,072 tokens need 16 GiB of KV cache, 3 GiB are there; the "
        "longest request of the workload has 560 tokens. Raise it where longer requests have to be served."
    )
    assert said[0].lower() + said[1:] in (folder.path / "report.md").read_text()
    assert said in (folder.path / "start_vllm.sh").read_text()
