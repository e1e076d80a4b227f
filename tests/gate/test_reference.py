"""What a gate compares with: a configuration of a run, or the recent runs of the history."""

from __future__ import annotations

from pathlib import Path

import pytest
import synthetic_run as made

from rooftune.errors import InputError
from rooftune.evidence.history import append
from rooftune.evidence.records.trial import TrialResult
from rooftune.evidence.trial_table import row
from rooftune.gate.reference import RECENT_RUNS, Case, check_comparable, from_history, from_run, trial_of
from rooftune.runfolder import RunFolder

CASE = Case("chat-medium", "0" * 16, "simulated", "llama-2-7b", "T4")
RATE = "output_throughput"


def trial(n: int = 1, rate: float = 100.0, **more: object) -> TrialResult:
    """A trusted trial of the baseline."""
    known = {
        "candidate": "baseline", "n": n, "status": "measured", "workload": "chat-medium", "workload_hash": "0" * 16,
        "seed": n, "position": n, "engine": "simulated", "engine_version": "0.15.1", "gpu": "T4", "simulated": True,
        "model": "llama-2-7b", "flags": {"max_num_seqs": 8}, "metrics": {RATE: rate}, "started_at": 1e9 + n,
    }  # fmt: skip
    return TrialResult.model_validate({**known, **more})


def keep(root: Path, run: str, at: float, rates: list[float], **more: object) -> None:
    for n, rate in enumerate(rates, 1):
        append(root, trial(n, rate, started_at=at + n, **more), run)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    load = made.workload()
    world = made.World(made.plan_of(load))
    return made.write_run(tmp_path_factory.mktemp("artifacts"), world, world.search(300.0), load)


def test_the_recommended_configuration_is_the_reference(run: RunFolder) -> None:
    found = from_run(run, {"max_num_seqs": 3})
    assert found.configuration != "baseline"
    assert len(found.trials) >= 2
    assert {t.candidate for t in found.trials} == {found.configuration}


def test_the_configuration_with_the_same_flags_comes_first(run: RunFolder) -> None:
    baseline = from_run(run, None, "baseline").newest
    assert from_run(run, baseline.flags).configuration == "baseline"


def test_a_configuration_that_was_not_measured(run: RunFolder) -> None:
    with pytest.raises(InputError, match=r"no trusted trial of 'basline' \(did you mean 'baseline'\?\)"):
        from_run(run, None, "basline")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"workload_hash": "1" * 16}, "the workload differs"),
        ({"engine": "vllm"}, "the engine differs (vllm and simulated)"),
        ({"model": "qwen2.5-7b"}, "the model differs"),
        ({"gpu": "L4"}, "the GPU differs (L4 and T4)"),
    ],
)
def test_another_case_is_refused_in_one_sentence(change: dict[str, str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        check_comparable(CASE, trial(**change), "chat-medium/x")
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_another_engine_version_is_what_a_gate_is_for() -> None:
    check_comparable(CASE, trial(engine_version="0.32.0"), "chat-medium/x")


def test_a_row_of_the_history_keeps_what_a_gate_needs() -> None:
    one = trial(metrics={RATE: 100.0, "capacity": 2.5}, server={"running": 3.0}, overloaded=True)
    back = trial_of(row(one, "r"))
    assert back.metrics == one.metrics
    assert (back.flags, back.seed, back.gpu, back.overloaded) == (one.flags, one.seed, one.gpu, True)
    assert back.believed


def test_the_history_gives_the_recent_runs_of_the_same_case(tmp_path: Path) -> None:
    for i in range(RECENT_RUNS + 2):
        keep(tmp_path, f"run-{i:02}", 1e9 + 1000 * i, [100.0 + i, 101.0 + i])
    keep(tmp_path, "other-gpu", 2e9, [500.0], gpu="L4")
    keep(tmp_path, "other-workload", 2e9, [500.0], workload_hash="1" * 16)
    keep(tmp_path, "failed", 2e9, [500.0], status="failed")
    keep(tmp_path, "this-run", 2e9, [500.0])
    found = from_history(tmp_path, CASE, {"max_num_seqs": 8}, RATE, without="this-run")
    assert found is not None
    assert found.runs == RECENT_RUNS
    assert found.run == f"chat-medium/run-{RECENT_RUNS + 1:02}"
    assert len(found.trials) == 2 * RECENT_RUNS
    assert max(t.metrics[RATE] for t in found.trials) < 500


def test_the_same_flags_are_compared_or_else_the_newest_baseline(tmp_path: Path) -> None:
    keep(tmp_path, "a", 1e9, [100.0])
    keep(tmp_path, "b", 1.1e9, [200.0], flags={"max_num_seqs": 16})
    keep(tmp_path, "c", 1.2e9, [300.0], flags={"max_num_seqs": 32}, candidate="batch-32")
    same = from_history(tmp_path, CASE, {"max_num_seqs": 8}, RATE)
    other = from_history(tmp_path, CASE, {"max_num_seqs": 99}, RATE)
    assert same is not None
    assert other is not None
    assert (same.run, other.run) == ("chat-medium/a", "chat-medium/b")


def test_an_empty_history(tmp_path: Path) -> None:
    assert from_history(tmp_path, CASE, {}, RATE) is None
