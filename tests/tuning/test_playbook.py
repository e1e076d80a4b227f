"""The playbook file: strict, extendable, and true for the case."""

from __future__ import annotations

from pathlib import Path

import pytest
import synthetic_run as made

from rooftune.errors import InputError
from rooftune.hardware.accelerator import Accelerator
from rooftune.models.catalogue import model_facts
from rooftune.tuning.case import PUBLISHED_FLAGS, TargetRequest, target_for
from rooftune.tuning.playbook import build_plan, default_playbook, load_playbook, with_candidates

OWN = """
phases: [bold]
artifacts: {draft_model: /models/tiny}
drop: [batch-8]
candidates:
  - id: huge
    name: Huge batches
    phase: bold
    change: {max_num_seqs: 512}
    hypothesis: More is more.
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_default_case_is_the_published_one() -> None:
    target = target_for(TargetRequest())
    assert (target.engine, target.gpu, target.model, target.engine_version) == (
        "simulated",
        "T4",
        "llama-2-7b",
        "0.15.1",
    )
    assert target.flags == PUBLISHED_FLAGS
    assert target.time_scale == 25


def test_another_gpu_starts_from_the_engines_defaults() -> None:
    assert target_for(TargetRequest(gpu="L4", model="llama-3-8b")).flags == {}
    assert target_for(TargetRequest(gpu="tesla-t4".removeprefix("tesla-"), model="LLAMA-2-7B")).flags == PUBLISHED_FLAGS


def test_sets_come_on_top_of_the_case() -> None:
    flags = target_for(TargetRequest(flags={"max_num_seqs": 8, "enforce_eager": False})).flags
    assert flags["max_num_seqs"] == 8
    assert flags["enforce_eager"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "endpoint"}, "--url"),
        ({"engine": "vllm"}, "--model"),
        ({"engine": "simulated", "url": "http://127.0.0.1:1"}, "endpoint"),
    ],
)
def test_options_that_contradict_say_the_way_out(options: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        target_for(TargetRequest(**options))  # type: ignore[arg-type]


def test_every_candidate_of_the_mission_is_there() -> None:
    ids = {e.id for e in default_playbook().candidates}
    assert {
        "batch-8",
        "batch-16",
        "batch-32",
        "cuda-graphs",
        "awq-marlin",
        "awq-marlin-graphs",
        "chunked-prefill",
    } <= ids
    assert {"prefix-caching", "fp8-kv", "spec-ngram", "spec-draft", "attention-flashinfer"} <= ids


def test_every_flag_of_the_playbook_is_in_the_registry() -> None:
    from rooftune.vllm_rules.flag_entries import registry

    for entry in default_playbook().candidates:
        assert set(entry.change) <= set(registry()), entry.id


def test_a_file_extends_replaces_and_drops(tmp_path: Path) -> None:
    book = load_playbook(write(tmp_path / "own.yaml", OWN))
    ids = [e.id for e in book.candidates]
    assert "huge" in ids
    assert "batch-8" not in ids
    assert book.phases == ["baseline", "easy-wins", "medium-term", "bold"]
    real = target_for(
        TargetRequest(engine="vllm", model="llama-2-7b", engine_version="0.15.1", flags={"quantization": "awq"})
    )
    draft = made.plan_of(made.workload(), real, playbook=book).candidate("spec-draft")
    assert draft.runnable
    assert draft.config.speculative_config == {
        "method": "draft_model", "model": "/models/tiny", "num_speculative_tokens": 4
    }  # fmt: skip


def test_effects_that_depend_on_text_are_not_measured_without_text() -> None:
    guess = made.plan_of(made.workload()).candidate("spec-ngram")
    assert [g.verdict for g in guess.gates] == ["no artefact"]
    assert "a simulated engine generates no text" in guess.gates[0].reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("candidats: []", "did you mean 'candidates'"),
        ("drop: [batch-9]", "did you mean 'batch-8'"),
        ("candidates:\n  - {id: x, name: X, phase: easy, change: {}, hypothesis: h}", "phase 'easy'"),
        ("candidates:\n  - {id: baseline, name: X, phase: easy-wins, change: {}, hypothesis: h}", "baseline"),
        ("candidates:\n  - {id: x, name: X, phase: easy-wins, chance: {}, hypothesis: h}", "chan"),
        ("a: [", "not valid YAML"),
    ],
)
def test_errors_are_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_playbook(write(tmp_path / "own.yaml", text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml does not exist"):
        load_playbook(tmp_path / "none.yaml")


def test_candidates_from_the_command_line() -> None:
    text = 'tight=max_num_seqs=4,compilation_config={"mode":0,"cudagraph_mode":"NONE"},enforce_eager=false'
    book = with_candidates(default_playbook(), [text], "0.15.1")
    own = book.candidates[-1]
    assert own.phase == "own"
    assert own.change["max_num_seqs"] == 4
    assert own.change["compilation_config"] == {"mode": 0, "cudagraph_mode": "NONE"}
    with pytest.raises(InputError, match="NAME=FLAG=VALUE"):
        with_candidates(default_playbook(), ["nonsense"], "0.15.1")


def test_plan_on_the_cpu_leaves_gpu_candidates_out() -> None:
    cpu = Accelerator(
        name="cpu", kind="cpu", compute_capability=None, memory_bytes=16 << 30, bandwidth_bytes_per_s=20e9,
        flops_per_s={"fp32": 1e11},
    )  # fmt: skip
    hardware = made.hardware("0.32.0").model_copy(update={"accelerator": cpu, "simulated": False})
    target = target_for(
        TargetRequest(engine="vllm", model="llama-2-7b", engine_version="0.32.0", flags={"enforce_eager": True})
    )
    plan = build_plan(made.workload(), target, hardware, model_facts("llama-2-7b"), predict=False)
    ids = [c.id for c in plan.candidates]
    assert "cuda-graphs" not in ids
    assert "awq-marlin" not in ids
    assert plan.candidate("compile").runnable
    assert plan.candidate("batch-8").runnable


def test_an_endpoint_has_a_baseline_only() -> None:
    target = target_for(TargetRequest(engine="endpoint", url="http://127.0.0.1:9", model="some-model"))
    plan = build_plan(made.workload(), target, made.hardware(), None, predict=False)
    assert [c.id for c in plan.candidates] == ["baseline"]


def test_token_budgets_are_tried_where_prompts_are_long() -> None:
    short = made.plan_of(made.workload())
    long = made.plan_of(made.workload(prompt_tokens={"distribution": "fixed", "value": 800}))
    assert "token-budget-8192" not in [c.id for c in short.candidates]
    assert "token-budget-8192" in [c.id for c in long.candidates]
