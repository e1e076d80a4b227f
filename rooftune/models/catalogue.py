"""Models by name: from the built-in catalogue, a config.json, or the local Hugging Face cache."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rooftune.errors import InputError, nearest
from rooftune.models.config_json import from_config
from rooftune.models.facts import ModelFacts
from rooftune.models.layers import AttentionLayers, MlpLayers

SHAPE = ("layers", "hidden_size", "intermediate_size", "heads", "kv_heads", "head_dim", "vocab_size", "max_position")
QUANTIZATIONS: dict[str, str | None] = {"awq": "awq", "awq_marlin": "awq", "auto_awq": "awq"}
QUANTIZATIONS |= {"gptq": "gptq", "gptq_marlin": "gptq", "auto_gptq": "gptq", "fp8": "fp8", "fbgemm_fp8": "fp8"}
QUANTIZATIONS |= {"fp8_per_tensor": "fp8", "fp8_per_block": "fp8"}
QUANTIZATIONS |= {"int8": "int8", "experts_int8": "int8", "mxfp4": "mxfp4", "none": None}
"""Kinds of weights by vLLM's names of quantisation methods."""
OF_THE_CHECKPOINT = ("compressed-tensors", "modelopt", "moe_wna16", "torchao")
"""Names of methods that say how weights are stored and not which: the checkpoint's own kind stays."""

__all__ = ["from_config", "hub_id", "may_be_served", "model_facts", "model_names"]


def model_facts(name: str, *, quantization: str | None = None) -> ModelFacts:
    """Facts of a catalogue name, a folder or file with a config.json, or a hub id.

    Args:
        quantization: overrides the checkpoint's ('awq', 'gptq', 'fp8', 'int8', 'none', or vLLM's kernel names).

    Raises:
        InputError: unknown name, or a config.json that does not describe a decoder-only transformer.
    """
    facts = _find(name)
    if quantization is None or quantization in OF_THE_CHECKPOINT:
        return facts
    if quantization not in QUANTIZATIONS:
        known = sorted(QUANTIZATIONS)
        raise InputError(
            f"unknown quantization {quantization!r}{nearest(quantization, known)}; known: {', '.join(known)}."
        )
    return facts.stored_as(QUANTIZATIONS[quantization])


def facts_if_known(name: str) -> ModelFacts | None:
    """Facts of a model by its name; None where there are none."""
    try:
        return model_facts(name)
    except InputError:
        return None


def model_names() -> list[str]:
    """Names of the catalogue."""
    return list(_catalogue())


def hub_id(facts: ModelFacts) -> str:
    """The hub id of these weights, or the name when the catalogue knows none."""
    return facts.hub_ids.get(facts.quantization or "none", facts.name)


def config_file(name: str) -> Path | None:
    """The config.json of a folder, or of a hub id that the local Hugging Face cache has."""
    beside = Path(name).expanduser() / "config.json"
    if name and beside.is_file():
        return beside
    return _in_hub_cache(name)


def models_in_hub_cache() -> Iterator[str]:
    """Hub ids of the models in the local Hugging Face cache whose weights are there too."""
    for folder in sorted(_hub_cache().glob("models--*--*")):
        if any(folder.glob("snapshots/*/*.safetensors")):
            yield folder.name.removeprefix("models--").replace("--", "/", 1)


def may_be_served(name: str) -> bool:
    """Whether an engine may know a model that ``model_facts`` does not: a hub id, or a folder with a config.json."""
    place = Path(name).expanduser()
    if place.exists():
        return (place / "config.json").is_file()
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None


def model_folder(name: str) -> Path | None:
    """The folder with the files of a model: the one that is named, or the one in the local Hugging Face cache."""
    place = Path(name).expanduser()
    if name and place.exists():
        return place if place.is_dir() else place.parent
    cached = _in_hub_cache(name)
    if cached is None:
        hubs = _catalogue()[name.lower()].hub_ids.values() if name.lower() in _catalogue() else ()
        cached = next((found for hub in hubs if (found := _in_hub_cache(hub))), None)
    return cached.parent if cached is not None else None


def _find(name: str) -> ModelFacts:
    catalogue = _catalogue()
    if name.lower() in catalogue:
        return catalogue[name.lower()]
    path = Path(name).expanduser()
    if name and path.exists():
        return from_config(path)
    for facts in catalogue.values():
        for kind, hub in facts.hub_ids.items():
            if hub.lower() == name.lower():
                return facts.model_copy(update={"quantization": QUANTIZATIONS[kind]})
    cached = _in_hub_cache(name)
    if cached:
        return from_config(cached).model_copy(update={"name": name})
    raise InputError(_unknown(name))


def _unknown(name: str) -> str:
    names = list(_catalogue())
    near = nearest(name.split("/")[-1], names)
    if "/" in name:
        return (
            f"{name} is neither a folder here nor in the catalogue nor in the local Hugging Face cache{near}; "
            "give a catalogue name, or download its config.json and name the folder."
        )
    return (
        f"unknown model {name!r}{near}; give a catalogue name ({', '.join(names)}), "
        "a folder or file with a config.json, or a hub id whose config.json is in the local Hugging Face cache."
    )


def _in_hub_cache(name: str) -> Path | None:
    if name.count("/") != 1:
        return None
    hub = _hub_cache() / f"models--{name.replace('/', '--')}"
    try:
        newest = (hub / "refs" / "main").read_text(encoding="utf-8").strip()
        chosen = [hub / "snapshots" / newest / "config.json"]
    except OSError:
        chosen = []
    found = [p for p in [*chosen, *sorted(hub.glob("snapshots/*/config.json"))] if p.is_file()]
    return found[0] if found else None


def _hub_cache() -> Path:
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()


@cache
def _catalogue() -> dict[str, ModelFacts]:
    text = files("rooftune.models").joinpath("data/models.yaml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = YAML(typ="safe").load(text)
    return {name: _row(name, dict(row)) for name, row in rows.items()}


def _row(name: str, row: dict[str, Any]) -> ModelFacts:
    shape = dict(zip(SHAPE, row.pop("shape"), strict=True))
    row.setdefault("architecture", "LlamaForCausalLM")
    hub = next(iter(row["hub_ids"].values()))
    layers, width = shape.pop("layers"), shape.pop("intermediate_size")
    heads = {key: shape.pop(key) for key in ("heads", "kv_heads", "head_dim")}
    window, windowed = row.pop("sliding_window", None), row.pop("sliding_layers", None)
    with_window = (layers if windowed is None else windowed) if window else 0
    counts = ((layers - with_window, None), (with_window, window))
    attention = tuple(AttentionLayers(count=n, window=w, **heads) for n, w in counts if n)
    experts, gated = row.pop("experts", 0), row.pop("gated_mlp", True)
    chosen = row.pop("experts_per_token", 0)
    sized = {"expert_width" if experts else "width": width, "experts": experts, "experts_per_token": chosen}
    mlp = (MlpLayers(count=layers, gated=gated, **sized),)
    return ModelFacts(name=name, source=f"config.json of {hub}", attention=attention, mlp=mlp, **shape, **row)
