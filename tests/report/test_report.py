"""The report of a synthetic run: every section, every statement from its files, never a published conclusion."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import synthetic_run as made

from rooftune.engines.server import Limits, Switched
from rooftune.engines.target import CalibrationFile
from rooftune.errors import RooftuneError
from rooftune.evidence.records.trial_files import read_trial
from rooftune.files import write_json
from rooftune.report.compare import compare_runs, comparison_text
from rooftune.report.history import history_text
from rooftune.report.markdown import write_report
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
    method = folder.report.read_text(encoding="utf-8").split("## How it was measured")[1]
    assert "Each trial starts its own server, except those listed as switched." in method
    assert "Switched: `batch-8/1` (server of `baseline/1`) ran on a server" in method


def test_sections_are_in_order(report: str) -> None:
    heads = re.findall(r"^## (.+)$", report, flags=re.M)
    assert heads == [
        "Executive summary",
        "Phase 0: baseline",
        "Phase 1: easy-wins",
        "Phase 2: medium-term",
        "Comparison",
        "Recommendation",
        "When to use which configuration",
        "Hardware upgrade path",
        "Learnings",
        "How it was measured",
        "Files",
    ]


def test_the_answer_comes_first_and_names_overload(report: str) -> None:
    summary = report.split("## Executive summary")[1]
    assert summary.strip().startswith("**chat-medium asks for 20 requests/s, and")


def test_published_conclusions_are_not_repeated(report: str) -> None:
    rows = {m[1]: m[0] for m in re.findall(r"^(\|.*\(`([a-z0-9-]+)`\).*)$", report, flags=re.M)}
    assert "| no gain |" in rows["batch-8"]
    assert "output throughput −45 %" in rows["batch-8"]
    assert "| already on |" in rows["chunked-prefill"]
    assert "| already on |" in rows["prefix-caching"]
    assert "| no artefact |" in rows["spec-draft"]
    assert "+22" not in report


def test_simulated_is_marked_once_and_clearly(report: str) -> None:
    assert "# chat-medium on a T4 (simulated)" in report
    assert report.count("> **Simulated.**") == 1
    captions = re.findall(r"^!\[(.*)\]", report, flags=re.M)
    assert captions
    assert not any("simulated" in caption for caption in captions)


def test_withheld_figures_have_a_reason(report: str) -> None:
    assert "withheld a)" in report
    assert "a) The queue grew for the whole window" in report


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


def test_html_is_self_contained(run: RunFolder) -> None:
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert 'src="figures' not in page
    assert "<script" not in page
    assert "<table>" in page


def test_writing_again_gives_the_same(run: RunFolder, report: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "compare", made.plain_compare)
    write_report(run)
    assert run.report.read_text(encoding="utf-8") == report


def test_the_calibration_of_the_predictions_is_named_with_its_hash(tmp_path: Path) -> None:
    load = made.workload()
    plan = made.plan_of(load)
    used = CalibrationFile(path="/calibrations/t4.yaml", sha256="ab" * 32)
    calibrated = plan.model_copy(update={"target": plan.target.model_copy(update={"calibration": used})})
    world = made.World(calibrated)
    text = write_report(made.write_run(tmp_path, world, world.search(), load)).read_text()
    assert "- Calibration: the predicted step times come from `/calibrations/t4.yaml` (sha256 abababababab)." in text


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
    assert "Port 8000 is taken" in words.split("## Phase 0")[0]


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
    assert headline in comparison_text(found)
    assert json.loads(found.model_dump_json())["pairs"][0]["verdict"] == verdict


def test_compare_with_one_trial_per_side_gives_no_verdict(tmp_path: Path) -> None:
    first, second = run_with(tmp_path / "a", 1.0, 0.01), run_with(tmp_path / "b", 1.0, 0.01, budget=10.0)
    pair = compare_runs(first, second).pairs[0]
    assert pair.verdict == "not run"
    assert pair.reason == "each side needs two believed trials"
    assert "The runs cannot be compared" in comparison_text(compare_runs(first, second))


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
    assert f"- {said}" in (folder.path / "report.md").read_text()
    assert said in (folder.path / "start_vllm.sh").read_text()
