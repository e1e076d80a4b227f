"""Other checkpoints of a model: found, recognised and named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from qwen_config import QWEN

from rooftune.errors import InputError
from rooftune.knobs.checkpoints import checkpoint, in_catalogue, known_checkpoints, stem
from rooftune.models.catalogue import model_facts

INT8 = {"num_bits": 8, "type": "int", "strategy": "channel"}
METHODS: dict[str, tuple[dict[str, Any], str, str]] = {
    "Qwen2.5-0.5B-Instruct-AWQ": ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq", "AWQ"),
    "Qwen2.5-0.5B-Instruct-GPTQ-Int4": ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq", "GPTQ"),
    "Qwen2.5-0.5B-Instruct-FP8": ({"quant_method": "fp8"}, "fp8", "FP8"),
    "Qwen2.5-0.5B-Instruct-quantized.w8a8": (
        {
            "quant_method": "compressed-tensors",
            "format": "int-quantized",
            "config_groups": {
                "g": {"targets": ["Linear"], "weights": INT8, "input_activations": {**INT8, "dynamic": True}}
            },
            "ignore": ["lm_head"],
        },
        "int8",
        "W8A8",
    ),
    "Qwen2.5-0.5B-Instruct-NVFP4": ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", "NVFP4"),
    "Qwen2.5-0.5B-Instruct-MXFP4": ({"quant_method": "fp_quant", "forward_dtype": "mxfp4"}, "mxfp4", "MXFP4"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one model folder per method; the hub cache is empty."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name, (quantization, _, _) in METHODS.items():
        place = tmp_path / "models" / name
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps({**QWEN, "quantization_config": quantization}))
    return tmp_path / "models"


@pytest.mark.parametrize("name", METHODS)
def test_the_kind_is_read_from_config_json(folder: Path, name: str) -> None:
    _, kind, words = METHODS[name]
    found = checkpoint(str(folder / name))
    assert found.kind == kind
    assert found.label == f"{words} checkpoint {name}"


def test_a_folder_is_searched_for_checkpoints_of_the_same_model(folder: Path) -> None:
    other = folder / "Another-Finetune-AWQ"
    other.mkdir()
    (other / "config.json").write_text(json.dumps(QWEN))
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{")
    found = known_checkpoints(model_facts("qwen2.5-0.5b"), [str(folder)])
    assert sorted(Path(c.model).name for c in found) == sorted(METHODS)


def test_the_hub_cache_is_searched_for_checkpoints_whose_weights_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name, weights in (("Qwen2.5-0.5B-Instruct-AWQ", True), ("Qwen2.5-0.5B-Instruct-GPTQ-Int8", False)):
        place = tmp_path / f"models--Qwen--{name}" / "snapshots" / "abc"
        place.mkdir(parents=True)
        config = {**QWEN, "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}
        (place / "config.json").write_text(json.dumps(config))
        if weights:
            (place / "model.safetensors").touch()
    found = known_checkpoints(model_facts("qwen2.5-0.5b"))
    assert [(c.model, c.kind) for c in found] == [("Qwen/Qwen2.5-0.5B-Instruct-AWQ", "awq")]


def test_a_named_checkpoint_of_another_model_is_an_error(folder: Path) -> None:
    with pytest.raises(InputError, match=r"is not a checkpoint of qwen2\.5-7b"):
        known_checkpoints(model_facts("qwen2.5-7b"), [str(folder / "Qwen2.5-0.5B-Instruct-AWQ")])


def test_a_folder_without_a_checkpoint_of_the_model_is_an_error(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"no folder in .* has a config\.json of llama-3\.1-8b.*; name a checkpoint's own"
    ):
        known_checkpoints(model_facts("llama-3.1-8b"), [str(folder)])


def test_the_catalogue_names_published_checkpoints_and_none_is_taken_without_being_named(folder: Path) -> None:
    facts = model_facts("llama-3.1-8b")
    assert {c.kind for c in in_catalogue(facts)} == {"none", "awq", "fp8", "int8"}
    assert known_checkpoints(facts) == ()


def test_two_fine_tunes_have_different_stems() -> None:
    assert stem("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4") == stem("Qwen2.5-7B-Instruct")
    assert stem("Qwen/Qwen2.5-7B") != stem("Qwen/Qwen2.5-7B-Instruct")
