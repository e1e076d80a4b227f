"""Model facts from a Hugging Face ``config.json``: what is understood is sized, the rest is refused by its key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rooftune.errors import InputError
from rooftune.models.attention import POSITION, attention_layers
from rooftune.models.extras import other_weights
from rooftune.models.facts import ModelFacts
from rooftune.models.families import Family, family_of
from rooftune.models.keys import Json, Keys
from rooftune.models.mlp import mlp_layers
from rooftune.models.quantization import with_quantization
from rooftune.models.refusals import not_modelled
from rooftune.models.vision import vision_tower
from rooftune.models.vocabulary import check_layers, check_other_layers, check_understood

VOCABULARY = ("vocab_size", "padded_vocab_size")
HIDDEN = ("hidden_size", "n_embd", "d_model", "n_embed")
LANGUAGE = ("text_config", "language_config", "llm_config", "thinker_config")
"""Keys under which a multimodal model has its language model; a thinker has a nested ``text_config``."""
OTHER_PARTS = {
    "vision", "vit", "audio", "speech", "talker", "code2wav", "token2wav", "projector", "generation", "thinker", "text",
}  # fmt: skip
"""First words of keys whose mappings describe other parts of a model."""
BESIDE = "hf_quant_config.json"
NO_TEXT = ("ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
FLATTENED = {"dbrx": ("attn_config", "ffn_config"), "mpt": ("attn_config",)}
"""Families that keep sizes of their layers one level down."""


def from_config(path: Path) -> ModelFacts:
    """Facts from a ``config.json`` or the folder that holds one, with the ``hf_quant_config.json`` beside it.

    Raises:
        InputError: no such file, not JSON, a key is missing, or a model whose costs are not modelled.
    """
    file = path / "config.json" if path.is_dir() else path
    name = file.resolve().parent.name if file.name == "config.json" else file.stem
    beside = file.parent / BESIDE
    config = _read(file)
    quantization = _read(beside) if file.name == "config.json" and beside.is_file() else None
    return from_mapping(config, name, quantization)


def _read(file: Path) -> Json:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{file.parent} has no {file.name}; name the folder of a Hugging Face model.") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not a valid {file.name} ({error}).") from None
    if not isinstance(content, dict):
        raise InputError(f"{file} is not a valid {file.name} (it is not a JSON object).")
    return content


def from_mapping(config: Json, name: str, beside: Json | None = None) -> ModelFacts:
    """Facts from the content of a config.json; of a multimodal model its language part and the size of its tower.

    Args:
        beside: content of the ``hf_quant_config.json`` beside it, which counts where config.json says nothing.
    """
    language = _language(config)
    family = family_of(config, language.keys)
    k = Keys(language.keys, name, family.defaults_of(nested=language.nested) if family else None)
    architecture = next((str(a) for a in _list(config.get("architectures"))), "unknown")
    if architecture.endswith(NO_TEXT):
        raise not_modelled(name, f"architectures with {architecture!r}", "a model that generates no text")
    facts = _sized(k, family, config, architecture)
    stored = (
        config.get("quantization_config"),
        config.get("compression_config"),
        _inner(config).get("quantization_config"),
    )
    quantization = next((q for q in stored if isinstance(q, dict) and q), beside)
    return with_quantization(facts, quantization)


def _sized(k: Keys, family: Family | None, config: Json, architecture: str) -> ModelFacts:
    check_layers(k, family)
    hidden = k.needed(*HIDDEN)
    attention = attention_layers(k, family, hidden)
    check_other_layers(k)
    layers = sum(a.count for a in attention)
    mlp = mlp_layers(k, family, hidden, layers)
    other = other_weights(k, hidden, layers)
    vocabulary, position = k.needed(*VOCABULARY), k.number(*POSITION) or 2048
    tied = k.flag("tie_word_embeddings", default=bool(config.get("tie_word_embeddings", False)))
    dtype = k.text("dtype") or k.text("torch_dtype") or config.get("dtype") or config.get("torch_dtype") or "float16"
    check_understood(k)
    tower = vision_tower(config, hidden, k.model)
    unknown = () if family else (_unlisted(config, k),)
    return ModelFacts(
        name=k.model,
        architecture=architecture,
        hidden_size=hidden,
        vocab_size=vocabulary,
        max_position=position,
        attention=attention,
        mlp=mlp,
        tied_embeddings=tied,
        lookup_parameters=other.tables + (position * hidden if family and family.learned_positions else 0),
        other_parameters=other.matrices,
        vision_parameters=tower.parameters,
        dtype=str(dtype),
        notes=(*unknown, *tower.notes),
        source="config.json",
    )


def _unlisted(config: Json, k: Keys) -> str:
    family = k.stated.get("model_type") or config.get("model_type") or "without a model_type"
    return f"the family {family} is not known here; all its sizes are taken from its keys"


@dataclass(frozen=True)
class Language:
    """The keys of the language model in a config.json."""

    keys: dict[str, object]
    nested: bool
    """They are one level down, and the keys beside them count where they say nothing."""


def _language(config: Json) -> Language:
    inner = _inner(config)
    if not inner:
        return Language(_flat(dict(config)), nested=False)
    around = {key: value for key, value in config.items() if not isinstance(value, dict)}
    return Language(_flat({**around, **inner}), nested=True)


def _inner(config: Json) -> dict[str, object]:
    """The mapping inside a config.json that describes the language model; empty where the file itself does.

    Raises:
        InputError: the key holds something else.
    """
    for key in LANGUAGE:
        inner = config.get(key)
        if inner and not isinstance(inner, dict):
            raise InputError(f"{key} in config.json is {str(inner)[:60]}, not a JSON object.")
        if isinstance(inner, dict) and inner:
            deeper = inner.get("text_config")
            return deeper if isinstance(deeper, dict) else inner
    return {}


def _flat(language: dict[str, object]) -> dict[str, object]:
    for key in FLATTENED.get(str(language.get("model_type")), ()):
        below = language.pop(key, None)
        if isinstance(below, dict):
            language = {**below, **language}
    return {key: value for key, value in language.items() if not _of_other_parts(key, value)}


def _of_other_parts(key: str, value: object) -> bool:
    """Whether a key describes no layer of the language model: other parts of the model, and how weights are stored."""
    if key in ("quantization_config", "compression_config"):
        return True
    return isinstance(value, dict) and key.split("_")[0] in OTHER_PARTS


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
