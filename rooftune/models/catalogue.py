"""Models by name: from the built-in catalogue, a config.json, or the local Hugging Face cache."""

from __future__ import annotations

import json
import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rooftune.errors import InputError, nearest
from rooftune.models.facts import ModelFacts

SHAPE = ("layers", "hidden_size", "intermediate_size", "heads", "kv_heads", "head_dim", "vocab_size", "max_position")
QUANTIZATIONS = {"awq": "awq", "awq_marlin": "awq", "auto_awq": "awq", "gptq": "gptq", "gptq_marlin": "gptq"}
QUANTIZATIONS |= {"auto_gptq": "gptq", "fp8": "fp8", "int8": "int8", "none": None}


def model_facts(name: str, *, quantization: str | None = None) -> ModelFacts:
    """Facts of a catalogue name, a folder or file with a config.json, or a hub id.

    Args:
        quantization: overrides the checkpoint's ('awq', 'gptq', 'fp8', 'int8', 'none', or vLLM's kernel names).

    Raises:
        InputError: unknown name, or a config.json that is none of a decoder-only transformer.
    """
    facts = _find(name)
    if quantization is None:
        return facts
    if quantization not in QUANTIZATIONS:
        known = sorted(QUANTIZATIONS)
        raise InputError(
            f"unknown quantization {quantization!r}{nearest(quantization, known)}; known: {', '.join(known)}."
        )
    return facts.model_copy(update={"quantization": QUANTIZATIONS[quantization]})


def model_names() -> list[str]:
    """Names of the catalogue."""
    return list(_catalogue())


def hub_id(facts: ModelFacts) -> str:
    """The hub id of these weights, or the name when the catalogue knows none."""
    return facts.hub_ids.get(facts.quantization or "none", facts.name)


def _find(name: str) -> ModelFacts:
    catalogue = _catalogue()
    if name.lower() in catalogue:
        return catalogue[name.lower()]
    path = Path(name).expanduser()
    if path.exists():
        return from_config(path)
    for facts in catalogue.values():
        for kind, hub in facts.hub_ids.items():
            if hub.lower() == name.lower():
                return facts.model_copy(update={"quantization": QUANTIZATIONS[kind]})
    cached = _in_hub_cache(name)
    if cached:
        return from_config(cached)
    names = list(catalogue)
    raise InputError(
        f"unknown model {name!r}{nearest(name, names)}; give a catalogue name ({', '.join(names[:6])} ...), "
        "a folder or file with a config.json, or a hub id whose config.json is in the local Hugging Face cache."
    )


def _in_hub_cache(name: str) -> Path | None:
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    found = sorted((home / "hub" / f"models--{name.replace('/', '--')}").glob("snapshots/*/config.json"))
    return found[-1] if found else None


def from_config(path: Path) -> ModelFacts:
    """Facts from a ``config.json`` or the folder that holds one.

    Raises:
        InputError: no such file, not JSON, or a key is missing.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        return _from_mapping(config.get("text_config") or config, path.resolve().name if path.is_dir() else path.stem)
    except FileNotFoundError:
        raise InputError(f"{path} has no config.json; name the folder of a Hugging Face model.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise InputError(f"{file} is not a valid config.json ({error}).") from None
    except KeyError as error:
        raise InputError(f"{file} has no {error}; rooftune knows decoder-only transformers.") from None


def _from_mapping(c: dict[str, Any], name: str) -> ModelFacts:
    heads, hidden = int(c["num_attention_heads"]), int(c["hidden_size"])
    experts = int(c.get("num_local_experts") or c.get("num_experts") or c.get("n_routed_experts") or 1)
    window = c.get("sliding_window") if c.get("use_sliding_window", True) else None
    return ModelFacts(
        name=name,
        architecture=(c.get("architectures") or ["unknown"])[0],
        layers=int(c["num_hidden_layers"]),
        hidden_size=hidden,
        intermediate_size=int(c.get("moe_intermediate_size") or c["intermediate_size"])
        if experts > 1
        else int(c["intermediate_size"]),
        heads=heads,
        kv_heads=int(c.get("num_key_value_heads") or heads),
        head_dim=int(c.get("head_dim") or hidden // heads),
        vocab_size=int(c["vocab_size"]),
        max_position=int(c.get("max_position_embeddings") or 2048),
        tied_embeddings=bool(c.get("tie_word_embeddings", False)),
        sliding_window=int(window) if window else None,
        experts=experts,
        experts_per_token=int(c.get("num_experts_per_tok") or 1),
        shared_expert_intermediate_size=int(c.get("shared_expert_intermediate_size") or 0),
        dtype=str(c.get("torch_dtype") or c.get("dtype") or "float16"),
        quantization=_quantization(c.get("quantization_config")),
        group_size=int((c.get("quantization_config") or {}).get("group_size") or 128),
        source="config.json",
    )


def _quantization(q: dict[str, Any] | None) -> str | None:
    if not q:
        return None
    method = str(q.get("quant_method", ""))
    if method == "compressed-tensors":
        kinds = {(g.get("weights") or {}).get("type"): g for g in (q.get("config_groups") or {}).values()}
        bits = {(g.get("weights") or {}).get("num_bits") for g in kinds.values()}
        return "fp8" if "float" in kinds else "gptq" if 4 in bits else "int8"
    return QUANTIZATIONS.get(method, method or None)


@cache
def _catalogue() -> dict[str, ModelFacts]:
    text = files("rooftune.models").joinpath("data/models.yaml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = YAML(typ="safe").load(text)
    return {name: _row(name, dict(row)) for name, row in rows.items()}


def _row(name: str, row: dict[str, Any]) -> ModelFacts:
    shape = dict(zip(SHAPE, row.pop("shape"), strict=True))
    row.setdefault("architecture", "LlamaForCausalLM")
    hub = next(iter(row["hub_ids"].values()))
    return ModelFacts(name=name, source=f"config.json of {hub}", **shape, **row)
