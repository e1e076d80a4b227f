"""The report of a run whose objective is the capacity: the answer once and first, nothing that depends on the load."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
from pathlib import Path
from typing import Any

import made_capacity_run
import pytest
from reading import columns, folded, repeated, rows, section, sentences, visible

from rooftune.capacity import curve
from rooftune.capacity.curve import predicted_response
from rooftune.capacity.reference_server import ReferenceServer
from rooftune.capacity.result import ReplicaRow
from rooftune.evidence.records.trial import TrialResult
from rooftune.files import read_model, write_json
from rooftune.formatting import number
from rooftune.report.compare import compare_runs
from rooftune.report.comparison_page import comparison_page
from rooftune.report.curves import CURVES, reference_curve
from rooftune.report.figures.capacity_run import run_attainment, run_latencies
from rooftune.report.page.model import Page
from rooftune.report.page.to_markdown import markdown
from rooftune.report.page.to_terminal import summary
from rooftune.report.run.page import page_of
from rooftune.report.run.pictures import Pictures
from rooftune.report.run_data import RunData, read_run
from rooftune.report.writing import summary_page, write_report
from rooftune.runfolder import RunFolder
from rooftune.tuning.other_workloads import OtherWorkload, OtherWorkloads, PredictedRow
from rooftune.tuning.upgrade import UpgradePath, UpgradeRow
from rooftune.workloads.spec import COST

NONE_KEEPS_IT = ("baseline", "batch_8", "batch_16", "batch_32", "cuda_graphs", "cuda_graphs_decode", "awq_marlin",
                 "awq_marlin_graphs", "attention_triton", "fp8_kv")  # fmt: skip


@pytest.fixture(scope="module")
def run(capacity_run: RunFolder) -> RunFolder:
    return capacity_run


@pytest.fixture(scope="module")
def data(run: RunFolder) -> RunData:
    return read_run(run)


@pytest.fixture(scope="module")
def report(run: RunFolder) -> str:
    return run.report.read_text(encoding="utf-8")


def page(data: RunData, **changed: Any) -> str:
    """The Markdown of a run with other records."""
    made: Page = page_of(dataclasses.replace(data, **changed), Pictures(), [])
    return markdown(made, data.folder.path)


def test_the_report_is_the_golden_one(report: str) -> None:
    """Regenerate after an intended change: python tests/report/regenerate.py"""
    assert report == made_capacity_run.GOLDEN.read_text(encoding="utf-8")


def test_the_terminal_shows_the_golden_summary(run: RunFolder) -> None:
    assert summary(summary_page(run), 110) == made_capacity_run.GOLDEN_SUMMARY.read_text(encoding="utf-8")


def test_the_answer_is_first_and_once(report: str) -> None:
    opening = report.split("## What to deploy")[0]
    answer = (
        r"\*\*One T4 carries 7\.\d+ requests/s within the SLO \(95 % interval 7\.\d+ to 8\.\d+\), "
        r"5\.\d times the baseline\. 20 requests/s need 3 servers, at \$1\.58 per hour\.\*\*"
    )
    assert len(re.findall(rf"^{answer}$", opening, flags=re.M)) == 1
    assert report.count("> **Simulated.**") == 1
    assert "**Load limit**: Keep each server at or below 7." in opening
    assert "TPOT is the first limit to break" in opening
    assert len(visible(report.split("## Servers for")[0])) < 40


def test_nothing_appears_twice_and_little_is_visible(report: str) -> None:
    assert len(sentences(report)) > 50
    assert repeated(report) == []
    assert len(visible(report)) < 150


def test_a_row_shows_all_that_its_configuration_changes(report: str) -> None:
    found = {
        row["Configuration"].strip("*"): row for row in columns(folded(report, "configurations that were measured"))
    }
    assert set(found) > {"baseline", "batch-8", "fp8-kv"}
    row = found["fp8-kv"]
    assert (
        row["Changes from the baseline"]
        == "`--quantization awq_marlin`, without `--enforce-eager`, `--kv-cache-dtype fp8`"
    )
    assert re.fullmatch(r"7\.\d+ \(7\.\d+ to 8\.\d+\)", row["Capacity (req/s)"])
    assert row["Compared with the baseline"] == "+464 %"
    assert "In all of them, TPOT is the first limit to break." in report
    assert found["cuda-graphs"]["Capacity (req/s)"] == "0"
    assert "one request at a time breaks its TPOT limit" in found["cuda-graphs"]["Finding"]


def test_each_step_has_what_it_gave(report: str) -> None:
    gains = {row["Flag"]: row for row in columns(section(report, "## What to deploy"))}
    assert gains["`--kv-cache-dtype`"]["How known"] == "measured: `fp8-kv` compared with `awq-marlin-graphs`"
    assert gains["`--quantization`"]["How known"] == "measured: `awq-marlin-graphs` compared with `baseline`"
    assert gains["`--kv-cache-dtype`"]["Gain in capacity"].startswith("+3")


def test_nothing_that_depends_on_the_load_is_compared(report: str) -> None:
    for words in ("throughput (tok/s)", "Goodput", "median E2EL", "output throughput"):
        assert words not in report


def test_servers_one_fewer_and_one_more(report: str, data: RunData) -> None:
    fewer, enough, more = rows(section(report, "## Servers for 20 requests/s"))
    assert [fewer[0], enough[0], more[0]] == ["2", "**3**", "4"]
    assert "**SLO broken**: 40 %; TPOT breaks first" in fewer[3]
    assert enough[3] == "kept: 99.7 %"
    found = data.decision.capacity
    assert found is not None
    assert enough[2].startswith(f"+{100 * (3 * found.estimate / 20 - 1):.0f} %")
    assert float(more[4].strip("$")) == pytest.approx(4 * (data.decision.usd_per_hour or 0), abs=0.01)


def test_one_server_too_few_at_the_lower_end_is_said(tmp_path: Path) -> None:
    folder = made_capacity_run.write_capacity_report(tmp_path, fp8_kv=6.75)
    opening = folder.report.read_text(encoding="utf-8").split("## What to deploy")[0]
    assert "20 requests/s need 3 servers, or 4 to be safe, at $1.58 or $2.10 per hour." in opening


def test_servers_without_a_simulation_have_no_shares(data: RunData) -> None:
    found = data.decision.replicas
    assert found is not None
    bare = data.decision.model_copy(update={"replicas": found.model_copy(update={"rows": []})})
    text = section(page(data, decision=bare), "## Servers for 20 requests/s")
    assert [row["Requests within the SLO"] for row in columns(text)] == ["not simulated"] * 3
    assert "simulated at the measured speed" not in text


def test_an_overloaded_number_of_servers_says_so(data: RunData) -> None:
    found = data.decision.replicas
    assert found is not None
    row = ReplicaRow(replicas=2, rate_per_s=10.0, attainment=0.0, overloaded=True)
    over = data.decision.model_copy(update={"replicas": found.model_copy(update={"rows": [row]})})
    text = section(page(data, decision=over), "## Servers for 20 requests/s")
    assert "**SLO broken**: the queue grows without end" in rows(text)[0][3]


def test_what_changes_the_text_is_named_with_the_best_that_does_not(report: str) -> None:
    assert "`--kv-cache-dtype fp8` may change the generated text, so check its quality before use." in report
    same = "`awq-marlin-graphs` (the recommended configuration without `--kv-cache-dtype`)"
    assert f"The best with unchanged answers is {same}: 5.90 (5.67 to 6.14) requests/s." in report
    scenarios = {row["Scenario"]: row for row in columns(section(report, "## When to use which configuration"))}
    row = scenarios["The same with unchanged answers"]
    assert row["Configuration"] == same
    assert "−25 % compared with the recommended" in row["Evidence"]


def test_other_workloads_are_predicted_where_the_simulator_can(data: RunData, report: str) -> None:
    unknown = {r["Scenario"]: r for r in columns(section(report, "## When to use which configuration"))}
    (row,) = [found for scenario, found in unknown.items() if "(`burst`)" in scenario]
    assert row["How known"] == "not measured"
    found = OtherWorkloads(workloads=[
        OtherWorkload(workload="rag-medium", rows=[
            PredictedRow(option="baseline", capacity_per_s=0.31),
            PredictedRow(option="awq-marlin-graphs", capacity_per_s=0.82),
        ]),
        OtherWorkload(workload="code-medium", refused="a request of 3,000 tokens does not fit"),
        OtherWorkload(workload="burst", rows=[PredictedRow(option="baseline", capacity_per_s=0.0)]),
    ])  # fmt: skip
    text = section(page(data, other_workloads=found), "## When to use which configuration")
    known = {row["Scenario"]: row for row in columns(text)}
    rag = known["Long prompts (retrieval) (`rag-medium`)"]
    assert (rag["Configuration"], rag["How known"]) == ("`awq-marlin-graphs`", "predicted")
    assert rag["Evidence"] == "0.82 requests/s within its SLO (baseline 0.31)"
    assert known["Bursts (`burst`)"]["Evidence"] == "No configuration of this report keeps its SLO."
    assert known["Long prompts and answers (code) (`code-medium`)"]["How known"] == "not measured"
    assert "rooftune optimize WORKLOAD" in text


def test_every_load_of_a_configuration_is_listed(report: str, data: RunData) -> None:
    loads = rows(folded(report, "Every load of every trial"))
    assert sum("one at a time" in cells for cells in loads) == 1
    assert len(loads) == 1 + sum(len(data.rate_steps(p.id)) for p in data.measured)


def test_every_figure_named_is_there(run: RunFolder, report: str) -> None:
    names = re.findall(r"^!\[.*\]\((.*)\)", report, flags=re.M)
    found = [Path(n).name for n in names]
    assert found[0] == "front.png"
    assert set(found) >= {"progression.png", "attainment.png", "latencies.png", "distribution.png", "roofline.png"}
    assert len(found) == len(set(found)), "no figure appears twice"
    for name in names:
        assert (run.path / name).read_bytes().startswith(b"\x89PNG")
        assert (run.path / name).with_suffix(".svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_attainment_figure_shows_steps_curves_share_and_intervals(data: RunData) -> None:
    chart = run_attainment(data)
    assert chart is not None
    words = [text for texts in chart.marks.values() for text in texts]
    for role, name in (("baseline", "baseline"), ("recommended", "fp8-kv")):
        for step in data.rate_steps(name):
            assert any(text.startswith(f"{role} at {number(step.rate_per_s)} requests/s: ") for text in words)
    axis = chart.figure.axes[0]
    curves = [list(line.get_xdata()) for line in axis.get_lines()]
    assert [p.load for p in data.curves["fp8-kv"]] in curves
    assert any(set(line.get_ydata()) == {0.99} and len(line.get_xdata()) == 2 for line in axis.get_lines())
    bands = {round(p.get_x(), 6): p.get_width() for p in axis.patches}
    found = data.capacity("fp8-kv")
    assert found is not None
    assert bands[round(found.low, 6)] == pytest.approx(found.high - found.low)


def test_latencies_beyond_the_axis_are_at_its_edge_with_their_value(data: RunData) -> None:
    slow = data.trials[0].model_copy(deep=True)
    assert slow.capacity is not None
    step = slow.capacity.steps[0]
    worse = step.model_copy(update={"latencies": {**step.latencies, "p99_ttft_ms": 50_000.0}})
    trials = [
        slow.model_copy(update={"capacity": slow.capacity.model_copy(update={"steps": [worse]})}),
        *data.trials[1:],
    ]
    chart = run_latencies(RunData(**{**vars(data), "trials": trials}))
    assert chart is not None
    axis = chart.figure.axes[0]
    assert axis.get_ylim()[1] < 50_000
    marked = [c for c in axis.collections if any("50,000 ms" in w for w in chart.marks.get(c.get_gid() or "", []))]
    assert len(marked) == 1
    assert float(marked[0].get_offsets()[0][1]) < axis.get_ylim()[1]


def test_a_run_without_curves_has_its_report(folder: RunFolder) -> None:
    (folder.path / CURVES).unlink()
    assert "figures/attainment.png" in write_report(folder).read_text(encoding="utf-8")


def test_where_nothing_keeps_the_slo_nothing_is_recommended(tmp_path: Path) -> None:
    folder = made_capacity_run.write_capacity_report(tmp_path, **dict.fromkeys(NONE_KEEPS_IT, 0.0))
    text = folder.report.read_text(encoding="utf-8")
    assert "**One T4 cannot keep the SLO with any configuration that was measured: " in text
    assert "No configuration that was measured keeps the SLO" in section(text, "## What to deploy")
    assert "## Servers for" not in text
    assert "figures/attainment.png" not in text


def test_an_incomplete_run_says_what_it_misses(tmp_path: Path) -> None:
    plan = made_capacity_run.capacity_world.plan()
    foreseen = {"baseline": {"capacity": 1.4}, "awq-marlin": {"capacity": 5.6}, "fp8-kv": {"capacity": 1.5}}
    plan = plan.model_copy(update={"predicted": foreseen})
    folder = made_capacity_run.write_capacity_report(tmp_path, plan=plan, budget=40.0)
    text = folder.report.read_text(encoding="utf-8")
    assert "Repeat the run with a larger --budget before you deploy: the simulator expects 4 times the capacity" in text
    assert "from `awq-marlin`" in text.split("## What to deploy")[0]


@pytest.mark.parametrize("verdict", ["not run", "more trials needed"])
def test_a_complete_run_that_kept_the_baseline_names_what_carried_more(data: RunData, verdict: str) -> None:
    verdicts = [
        v.model_copy(update={"verdict": verdict, "ratios": {}}) if v.candidate == "fp8-kv" else v
        for v in data.decision.verdicts
    ]
    changed = {"verdicts": verdicts, "incumbent": "baseline", "complete": True}
    opening = page(data, decision=data.decision.model_copy(update=changed)).split("## What to deploy")[0]
    assert re.search(
        r"\*\*Not settled\*\*: .*before you deploy: `fp8-kv` \(`--.*?\) carried 7\.\d+ requests/s", opening
    )


def test_a_better_configuration_without_a_verdict_is_named_before_the_command(data: RunData) -> None:
    """A recommendation of 1.4 requests/s must not stand unquestioned beside 5.9 that lack a second trial."""
    verdicts = [
        v.model_copy(update={"verdict": "not run", "ratios": {}}) if v.candidate == "awq-marlin-graphs" else v
        for v in data.decision.verdicts
    ]
    changed = {"verdicts": verdicts, "incumbent": "baseline", "complete": False}
    text = page(data, decision=data.decision.model_copy(update=changed))
    opening = text.split("## What to deploy")[0]
    named = "`awq-marlin-graphs` (`--quantization awq_marlin`, without `--enforce-eager`)"
    assert f"1 candidate ran without a verdict: {named}." in opening
    assert f"before you deploy: {named} carried 5.90 requests/s (95 % interval 5.67 to 6.14) in " in opening
    found = {row["Configuration"]: row for row in columns(folded(text, "configurations that were measured"))}
    assert found["awq-marlin-graphs"]["Verdict"] == "no verdict"


def test_the_upgrade_path_compares_capacities_and_finds_the_cheapest(data: RunData) -> None:
    def row(gpu: str, price: float, capacity: float, servers: int | None, **more: bool) -> UpgradeRow:
        return UpgradeRow(
            gpu=gpu, memory_bytes=2**34, bandwidth_bytes_per_s=3e11, fp8=True, configuration="FP8 weights",
            capacity_per_s=capacity, change=capacity / 5, limited_by="tpot_ms", accelerators_needed=servers,
            usd_per_hour=price, error_band=0.1, **more,
        )  # fmt: skip

    path = UpgradePath(
        workload="chat-medium", model="llama-2-7b", engine_version="0.15.1", asked_rate_per_s=20.0, error_band=0.1,
        rows=[row("T4", 0.5, 5.0, 4, current=True), row("L4", 0.8, 10.5, 2), row("H100", 6.9, 120.0, 1),
              row("A10G", 0.1, 0.0, None)],
    )  # fmt: skip
    text = section(page(data, upgrade=path), "## Hardware upgrade path")
    cells = {r[0]: r for r in rows(text)}
    assert cells["L4"][5:11] == ["10.5", "2.1 times", "TPOT", "± 10 %", "2", "$1.60"]
    assert cells["A10G"][9:11] == ["–", "–"]
    assert "least expensive way to serve 20 requests/s within the SLO is 2 L4 servers at $1.60 per hour" in text


def test_two_runs_are_compared_by_their_capacity_alone(run: RunFolder, tmp_path: Path) -> None:
    other = made_capacity_run.run_without_report(tmp_path, fp8_kv=9.0)
    found = compare_runs(run, other)
    assert set(found.pairs[0].metrics) == {"capacity"}
    assert "throughput" not in summary(comparison_page(found))


def priced(run: RunFolder, usd_per_hour: float) -> RunFolder:
    """The run with the cost that each trial has at this price of its server."""
    for folder in run.trials():
        trial = read_model(folder.trial_json, TrialResult)
        carried = trial.metrics.get("capacity")
        cost = {COST: usd_per_hour * 1e6 / 3600 / (150 * carried)} if carried else {}
        write_json(folder.trial_json, trial.model_copy(update={"metrics": {**trial.metrics, **cost}}).model_dump())
    return run


def test_two_runs_are_compared_by_their_cost_where_it_is_known(folder: RunFolder, tmp_path: Path) -> None:
    """The second carries 1.6 times as much on a server that costs twice as much."""
    dear = priced(made_capacity_run.run_without_report(tmp_path / "dear", fp8_kv=1.6 * 7.9), 1.0)
    found = compare_runs(priced(folder, 0.5), dear)
    pair = found.pairs[0]
    assert list(pair.metrics) == ["capacity", COST]
    assert pair.verdict == "better", "the capacity is the objective"
    ratio = pair.metrics[COST].ratio
    assert ratio is not None
    assert ratio.low < 2 / 1.6 < ratio.high
    assert re.search(r"Cost per million output tokens +0\.1\d+ +0\.1\d+ +\+25 %", summary(comparison_page(found)))


def test_the_start_script_says_what_it_carries(run: RunFolder) -> None:
    script = (run.path / "start_vllm.sh").read_text(encoding="utf-8")
    assert re.search(
        r"# One server carries 7\.\d+ requests/s \(95 % interval .* within the SLO \(simulated\)\.", script
    )
    assert "output token" not in script


def test_writing_again_gives_the_same(run: RunFolder, report: str, tmp_path: Path) -> None:
    copied = RunFolder(shutil.copytree(run.path, tmp_path / run.path.name))
    assert write_report(copied).read_text(encoding="utf-8") == report


@pytest.mark.parametrize("speed", [1.0, 1.3])
def test_the_reference_curve_is_that_of_the_measured_speed(
    data: RunData, speed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "LONG_RUN", 2_000)
    monkeypatch.setattr(curve, "PLACES", (0.7, 1.0, 1.4))
    server = ReferenceServer(
        gpu="T4",
        model="llama-2-7b",
        engine_version="0.15.1",
        flags={"quantization": "awq_marlin", "max_model_len": 2048},
    )
    trial = data.of("awq-marlin")[0]
    assert trial.capacity is not None
    step = trial.capacity.steps[0].model_copy(update={"log_speed": math.log(speed)})
    at = trial.model_copy(update={"capacity": trial.capacity.model_copy(update={"steps": [step]})})
    assert data.workload is not None
    found = reference_curve(server, data.workload, [at])
    carried = trial.capacity.rate_per_s
    assert carried is not None
    assert [p.load for p in found] == pytest.approx([0.7 * carried, carried, 1.4 * carried])
    alone = predicted_response(server.engine(), data.workload, speed).at(carried)
    assert found[1] == alone
    assert found[0].latencies["p99_tpot_ms"] < found[2].latencies["p99_tpot_ms"]


def test_a_configuration_that_carries_nothing_has_no_curve(data: RunData) -> None:
    server = ReferenceServer(gpu="T4", model="llama-2-7b", engine_version="0.15.1")
    assert data.workload is not None
    assert reference_curve(server, data.workload, data.of("cuda-graphs")) == []
