"""Copies of a trained model: spoilt by noise, with more layers that change nothing, and with weights in INT8 or FP8 in
the format compressed-tensors."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS, CONFIG = "model.safetensors", "config.json"
SPOILT_LAYER = 1
NOISE = 1.0
"""Standard deviation of the noise in units of that of the weights."""


@dataclass(frozen=True)
class Eight:
    """A type of eight bits for weights and activations."""

    type: str
    """Its name in compressed-tensors, int or float."""
    format: str
    largest: float
    dtype: torch.dtype


INT8 = Eight("int", "int-quantized", 127.0, torch.int8)
FP8 = Eight("float", "float-quantized", 448.0, torch.float8_e4m3fn)


def spoil(model: Path, folder: Path, seed: int = 1) -> None:
    """Copy a model and add noise to the matrices of one layer."""
    chance = torch.Generator().manual_seed(seed)
    weights = load_file(model / WEIGHTS)
    for name, weight in sorted(weights.items()):
        if f".layers.{SPOILT_LAYER}." in name and weight.ndim == 2:
            noise = torch.randn(weight.shape, generator=chance) * weight.float().std() * NOISE
            weights[name] = (weight.float() + noise).to(weight.dtype)
    _copy(model, folder, weights)


def deepen(model: Path, folder: Path, layers: int) -> None:
    """Copy a model and add layers that add nothing to its states: the answers stay, and a step takes longer.

    Args:
        layers: of the copy. The added ones repeat the last, with zeros in the two matrices that write its result.
    """
    weights = load_file(model / WEIGHTS)
    config = json.loads((model / CONFIG).read_text(encoding="utf-8"))
    known = config["num_hidden_layers"]
    last = {name: weight for name, weight in weights.items() if f".layers.{known - 1}." in name}
    for layer in range(known, layers):
        for name, weight in last.items():
            adds_nothing = name.endswith(("o_proj.weight", "down_proj.weight"))
            copied = torch.zeros_like(weight) if adds_nothing else weight.clone()
            weights[name.replace(f".layers.{known - 1}.", f".layers.{layer}.")] = copied
    _copy(model, folder, weights)
    if "layer_types" in config:
        config["layer_types"] = config["layer_types"][:1] * layers
    config["num_hidden_layers"] = layers
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def quantise(model: Path, folder: Path, kind: Eight) -> None:
    """Copy a model with the layers' matrices in eight bits: a scale per row, activations scaled per token."""
    weights = {}
    for name, weight in load_file(model / WEIGHTS).items():
        if ".layers." not in name or weight.ndim != 2:
            weights[name] = weight
            continue
        scale = weight.float().abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / kind.largest
        scaled = weight.float() / scale
        rounded = scaled if kind.dtype.is_floating_point else scaled.round()
        weights[name] = rounded.clamp(-kind.largest, kind.largest).to(kind.dtype)
        weights[f"{name}_scale"] = scale
    _copy(model, folder, weights)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config["quantization_config"] = _scheme(kind)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _scheme(kind: Eight) -> dict[str, object]:
    """What vLLM reads about the weights from ``config.json``."""
    common = {"num_bits": 8, "type": kind.type, "symmetric": True}
    group = {
        "targets": ["Linear"],
        "weights": {**common, "strategy": "channel", "dynamic": False},
        "input_activations": {**common, "strategy": "token", "dynamic": True},
        "output_activations": None,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": kind.format,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }


def _copy(model: Path, folder: Path, weights: dict[str, torch.Tensor]) -> None:
    shutil.copytree(model, folder)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / WEIGHTS, {"format": "pt"})
