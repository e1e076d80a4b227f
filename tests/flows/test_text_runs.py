"""Runs on the user's own prompts: which part a trial sends, and that no text leaves the user's file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.inputs.parameters import TargetOptions
from flows.inputs.targets import resolve_target
from flows.inputs.workloads import changed_workload
from rooftune.errors import InputError
from rooftune.evidence.records.trial_files import read_trials
from rooftune.report.run_data import read_run
from rooftune.runfolder import RunFolder
from rooftune.search.confirm import FRESH
from rooftune.trial_order import TrialOrder
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.draw import draw
from rooftune.workloads.texts.lengths import PromptLengths
from rooftune.workloads.texts.prompt_text import part_of
from tasks import run_files
from tasks.trial_loads import drawn_workload
from tests import live_run

MARKER = "zanzibarquux"
WORKLOAD = """\
name: spoken
arrivals: {process: poisson, rate_per_s: 6}
prompts: {file: mine.jsonl, think_s: 0.5}
sampling: {temperature: 0.3}
max_tokens: 12
duration_s: 5
warmup_s: 1
drain_s: 10
"""


def write_prompts(folder: Path) -> Path:
    """Single questions and conversations; every text has the marker."""
    records: list[object] = [
        {"messages": [{"role": "user", "content": f"{MARKER} question {i}"}], "completion": f"{MARKER} answer " * 3}
        for i in range(12)
    ]
    for i in range(12):
        said = [(role, f"{MARKER} {role} {i} {j}") for j in range(3) for role in ("user", "assistant")]
        records.append({"messages": [{"role": role, "content": text} for role, text in said]})
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


@pytest.fixture
async def run(tmp_path: Path) -> RunFolder:
    """A run folder on texts, before its first phase."""
    from rooftune.engines.prompt_lengths import write_prompt_lengths

    write_prompts(tmp_path)
    path = tmp_path / "spoken.yaml"
    path.write_text(WORKLOAD)
    target, spec = await resolve_target(TargetOptions()), changed_workload(str(path))
    about = {"target": target.model_dump(mode="json"), "workload_spec": spec.model_dump(mode="json"), "settings": {}}
    folder = RunFolder.create(tmp_path / "artifacts", spec.name, about)
    write_prompt_lengths(spec, target, folder.prompt_lengths)
    return folder


def order(seed: int) -> TrialOrder:
    return TrialOrder(candidate="baseline", n=1, position=0, config=EngineConfig(model="m"), seed=seed, phase="")


@pytest.mark.parametrize(("seed", "part"), [(0, "search"), (3, "search"), (FRESH, "confirm"), (FRESH + 2, "confirm")])
def test_the_seed_of_a_trial_decides_which_part_it_sends(run: RunFolder, seed: int, part: str) -> None:
    workload = drawn_workload(run, order(seed))
    plan = draw(workload)
    assert plan.prompts is not None
    assert {part_of(p.key) for p in plan.prompts} == {part}
    assert workload.prompts is not None
    assert workload.prompts.lengths == str(run.prompt_lengths)


def test_planning_sees_the_part_of_the_search_alone(run: RunFolder) -> None:
    plan = draw(run_files.workload_of(run))
    assert plan.prompts is not None
    assert {part_of(p.key) for p in plan.prompts} == {"search"}


def test_lengths_are_kept_without_texts(run: RunFolder) -> None:
    found = PromptLengths.read(run.prompt_lengths)
    assert len(found.prompts) == 24
    assert found.words.startswith("the simulated engine's stand-in")
    assert MARKER not in run.prompt_lengths.read_text()


def test_prompts_on_the_command_line_get_a_name_and_a_load(tmp_path: Path) -> None:
    path = write_prompts(tmp_path)
    found = changed_workload("", prompts=str(path))
    assert (found.name, found.endpoint, found.ignore_eos) == ("mine", "chat", False)
    assert found.arrivals == changed_workload("chat-medium").arrivals
    assert found.measures_capacity
    named = changed_workload("chat-low", prompts=str(path))
    assert (named.name, named.arrivals) == ("chat-low", changed_workload("chat-low").arrivals)
    with pytest.raises(InputError, match="there is no file"):
        changed_workload("", prompts=str(tmp_path / "none.jsonl"))


def files_of(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if p.is_file())


@pytest.mark.slow
def test_no_text_leaves_the_file_of_the_user(tmp_path: Path, prefect: str) -> None:
    """Run folder, history, Prefect's files, database, logs and artifacts, and the output of the command."""
    write_prompts(tmp_path)
    (tmp_path / "spoken.yaml").write_text(WORKLOAD)
    words = ("optimize", "spoken.yaml", "--search", "ladder", "--budget", "25s", "--time-scale", "4")
    process = live_run.start(tmp_path, prefect, *words)
    out, err = process.communicate(timeout=1500)
    assert process.returncode == 0 or "could not be measured" in err, err  # a busy machine's trials are not trusted
    (run_json,) = tmp_path.glob("artifacts/spoken/*/run.json")
    folder = RunFolder.open(run_json.parent)
    trials = read_trials(folder)
    assert trials
    assert all(t.census is not None and t.census.completed for t in trials)
    assert MARKER not in out + err
    kept = [p for p in files_of(tmp_path) if p.name != "mine.jsonl"]
    assert {"requests.parquet", "report.md", "server.log"} <= {p.name for p in kept}
    assert [str(p) for p in kept if MARKER.encode() in p.read_bytes()] == []
    import asyncio

    assert MARKER not in asyncio.run(_records_of_prefect(prefect))
    page = (folder.path / "report.md").read_text()
    assert "different prompts for the search" in page
    assert read_run(folder).workload is not None


async def _records_of_prefect(api: str) -> str:
    """Everything that the server shows of its runs."""
    from prefect.client.orchestration import PrefectClient

    async with PrefectClient(api) as client:
        found: list[object] = [*await client.read_flow_runs(), *await client.read_task_runs()]
        found += [*await client.read_logs(), *await client.read_artifacts()]
    return "\n".join(map(str, found))
