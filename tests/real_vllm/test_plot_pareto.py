"""``vllm bench sweep plot_pareto`` of the installed vLLM reads a run folder and draws its figure."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rooftune.engines.interpreter import Installed
from rooftune.engines.target import Target
from rooftune.evidence.aggregate import aggregate
from rooftune.evidence.vllm_result import write_summary
from rooftune.runfolder import RunFolder
from tests.evidence import made_load

NEEDED = ("pandas", "matplotlib", "seaborn")
"""Packages that vLLM imports for its figures and does not install; they come with `vllm[bench]`."""
SLOTS = {"baseline": 64, "batch-8": 8}
RATE = 5.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with one trusted trial of two configurations."""
    found = RunFolder(tmp_path_factory.mktemp("run"))
    target = Target(model="llama-2-7b", engine_version="0.32.0", gpu="T4")
    load = made_load.workload(RATE)
    for place, (name, slots) in enumerate(SLOTS.items()):
        rows = made_load.serve(RATE, load.total_s, slots=slots, tpot_s=0.02)
        trial = found.trial(name, 1)
        made_load.write(trial, load, rows, slots)
        order = made_load.order(name, 1, place, max_num_seqs=slots, tensor_parallel_size=2)
        assert aggregate(trial, order, load, target).believed
    write_summary(found)
    return found


def plot_pareto(vllm: Installed, run: RunFolder, *more: str) -> str:
    """Run the command of the documentation; return what it prints."""
    words = ["--user-count-var", "mean_concurrent_requests", "--label-by", "label", *more]
    ended = subprocess.run(
        [vllm.python, "-m", "vllm.benchmarks.sweep.plot_pareto", str(run.path), *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_it_reads_the_results_of_a_run(vllm: Installed, run: RunFolder) -> None:
    said = plot_pareto(vllm, run, "--dry-run")
    assert f"Output file: {run.path / 'pareto' / 'PARETO.png'}" in said
    assert "Skipped" not in said


def test_it_draws_the_figure(vllm: Installed, run: RunFolder) -> None:
    missing = [name for name in NEEDED if _lacks(vllm, name)]
    if missing:
        pytest.skip(f"vLLM draws with {', '.join(missing)}; install: {vllm.python} -m pip install {' '.join(missing)}")
    shutil.rmtree(run.path / "pareto", ignore_errors=True)
    said = plot_pareto(vllm, run)
    assert re.search(r"Plotted 2 points; Pareto frontier size: [12]\.", said), said
    assert (run.path / "pareto" / "PARETO.png").read_bytes().startswith(b"\x89PNG")


def _lacks(vllm: Installed, package: str) -> bool:
    found = subprocess.run([vllm.python, "-c", f"import {package}"], capture_output=True, check=False)
    return found.returncode != 0


def test_the_summary_has_what_it_reads(run: RunFolder) -> None:
    """Two GPUs of each server and the mean requests in flight, which it divides by."""
    from rooftune.files import read_json

    for result in read_json(Path(run.summary_json)):
        assert result["tensor_parallel_size"] == 2
        assert result["max_concurrency"] is None
        assert 0 < result["mean_concurrent_requests"] < 64
        assert result["output_throughput"] == pytest.approx(RATE * 40, rel=0.15)
