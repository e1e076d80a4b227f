"""Models by name: parameter counts against published totals, names, hub ids, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rooftune.errors import InputError
from rooftune.models.catalogue import hub_id, may_be_served, model_facts, model_names

PUBLISHED = {
    "llama-2-7b": 6.738e9,
    "llama-2-7b-chat": 6.738e9,
    "llama-2-13b": 13.016e9,
    "llama-2-70b": 68.977e9,
    "llama-3-8b": 8.030e9,
    "llama-3-70b": 70.554e9,
    "llama-3.1-8b": 8.030e9,
    "llama-3.1-70b": 70.554e9,
    "llama-3.2-1b": 1.236e9,
    "llama-3.2-3b": 3.213e9,
    "llama-3.3-70b": 70.554e9,
    "mistral-7b": 7.242e9,
    "mistral-7b-v0.3": 7.248e9,
    "mistral-nemo-12b": 12.248e9,
    "mixtral-8x7b": 46.703e9,
    "tinyllama-1.1b": 1.100e9,
    "qwen2.5-0.5b": 0.494e9,
    "qwen2.5-1.5b": 1.544e9,
    "qwen2.5-3b": 3.086e9,
    "qwen2.5-7b": 7.616e9,
    "qwen2.5-14b": 14.770e9,
    "qwen2.5-32b": 32.764e9,
    "qwen2.5-72b": 72.706e9,
    "qwen3-0.6b": 0.596e9,
    "qwen3-1.7b": 1.721e9,
    "qwen3-4b": 4.022e9,
    "qwen3-8b": 8.191e9,
    "qwen3-14b": 14.768e9,
    "qwen3-32b": 32.762e9,
    "qwen3-30b-a3b": 30.532e9,
    "phi-3-mini": 3.821e9,
    "phi-4": 14.660e9,
    "granite-3.1-8b": 8.171e9,
    "gemma-2-2b": 2.614e9,
    "gemma-2-9b": 9.242e9,
    "gemma-2-27b": 27.227e9,
    "opt-125m": 0.1236e9,
}
"""Weights of the checkpoints as their model pages print them; opt-125m without its table of positions."""


def test_every_model_of_the_catalogue_has_a_published_total() -> None:
    assert set(PUBLISHED) == set(model_names())


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_parameters_agree_with_the_published_total(name: str) -> None:
    assert model_facts(name).parameters == pytest.approx(PUBLISHED[name], rel=0.003)


@pytest.mark.parametrize(("name", "active"), [("mixtral-8x7b", 12.9e9), ("qwen3-30b-a3b", 3.3e9)])
def test_active_parameters_of_a_mixture(name: str, active: float) -> None:
    facts = model_facts(name)
    assert facts.active_linear_parameters + 2 * facts.embedding_parameters == pytest.approx(active, rel=0.02)


def test_a_hub_id_names_model_and_quantisation() -> None:
    facts = model_facts("TheBloke/Llama-2-7B-AWQ")
    assert (facts.name, facts.quantization) == ("llama-2-7b", "awq")
    assert hub_id(facts) == "TheBloke/Llama-2-7B-AWQ"
    assert hub_id(model_facts("llama-2-7b")) == "meta-llama/Llama-2-7b-hf"


@pytest.mark.parametrize(
    ("asked", "kind"), [("awq_marlin", "awq"), ("auto_gptq", "gptq"), ("none", None), ("fp8", "fp8")]
)
def test_quantisation_by_the_engines_names(asked: str, kind: str | None) -> None:
    assert model_facts("llama-2-7b", quantization=asked).quantization == kind


def test_a_storage_format_keeps_the_checkpoints_kind() -> None:
    hub = "neuralmagic/Meta-Llama-3.1-8B-Instruct-quantized.w8a8"
    assert model_facts(hub, quantization="compressed-tensors").quantization == "int8"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("llama-2-7", "llama-2-7b"),
        ("someone/not-here", "name the folder"),
        ("", "unknown model"),
        ("/no/such/folder", "unknown model"),
    ],
)
def test_an_unknown_model_says_the_way_out(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said if "folder" not in name else None):
        model_facts(name)


def test_an_unknown_quantisation_names_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'awq_marlin'"):
        model_facts("llama-2-7b", quantization="awqmarlin")


def test_a_hub_id_of_the_local_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    snapshots = tmp_path / "hub" / "models--someone--thing"
    for commit, layers in (("aaa", 3), ("zzz", 5)):
        (snapshots / "snapshots" / commit).mkdir(parents=True)
        config = {"num_hidden_layers": layers, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
        (snapshots / "snapshots" / commit / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))
    (snapshots / "refs").mkdir()
    (snapshots / "refs" / "main").write_text("aaa")
    found = model_facts("someone/thing")
    assert (found.name, found.layers) == ("someone/thing", 3)


@pytest.mark.parametrize(
    ("name", "may"),
    [("a-lab/New-9B", True), ("/nowhere", False), ("./nowhere", False), ("a/b/c", False), ("~/x", False), ("x", False)],
)
def test_what_an_engine_may_know(name: str, may: bool) -> None:
    assert may_be_served(name) is may


def test_a_folder_may_be_served_when_it_holds_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "new").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not may_be_served("models/new")
    (tmp_path / "models" / "new" / "config.json").write_text("{}")
    assert may_be_served("models/new")
