"""Models that draft for another: named by the user, or found in a folder or the hub cache by vocabulary and size."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from rooftune.errors import InputError
from rooftune.models.catalogue import config_file, facts_if_known, models_in_hub_cache
from rooftune.models.facts import ModelFacts
from rooftune.speculation.candidates import DraftModel

MOST_SHARE = 0.3
"""Size of a draft model relative to the model, at most: a larger one takes longer than it saves."""
MTP_KEYS = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers", "num_mtp_modules")
"""Keys of a config.json that count layers for multi-token prediction."""


def draft_models(facts: ModelFacts | None, model: str, places: Iterable[str] = ()) -> tuple[DraftModel, ...]:
    """What can draft for a model: what the user named, what the hub cache has, and the model's own MTP layers.

    Raises:
        InputError: a named model does not exist or has another vocabulary, or a named folder has none that fits.
    """
    named = named_draft_models(facts, places)
    cached = models_in_hub_cache() if facts is not None else ()
    found = [draft for name in cached if (draft := _fitting(facts, name)) is not None]
    own = [DraftModel("", "mtp")] if has_mtp_layers(model) else []
    return tuple({draft.model: draft for draft in [*own, *found, *named]}.values())


def named_draft_models(facts: ModelFacts | None, places: Iterable[str]) -> tuple[DraftModel, ...]:
    """What a user named to draft for a model: hub ids, model folders, and folders of model folders.

    Raises:
        InputError: see ``draft_models``.
    """
    return tuple(draft for place in places for draft in _at(facts, place))


def has_mtp_layers(model: str) -> bool:
    """Whether a model's config.json counts layers for multi-token prediction."""
    config = _config(model)
    return any(isinstance(n := config.get(key), int) and n > 0 for key in MTP_KEYS)


def _at(facts: ModelFacts | None, place: str) -> list[DraftModel]:
    folder = Path(place).expanduser()
    if folder.is_dir() and not (folder / "config.json").is_file():
        inside = [d for file in sorted(folder.glob("*/config.json")) if (d := _fitting(facts, str(file.parent)))]
        if not inside:
            raise InputError(f"no folder in {place} has a model that can draft for this one; name its own folder.")
        return inside
    draft = _fitting(facts, place)
    if draft is None:
        wanted = f" ({facts.vocab_size:,} tokens)" if facts is not None else ""
        raise InputError(
            f"{place} cannot draft for this model: it has another vocabulary{wanted}, or more than "
            f"{MOST_SHARE:.0%} of its size; name a smaller model of the same family, or a head trained for it."
        )
    return [draft]


def _fitting(facts: ModelFacts | None, name: str) -> DraftModel | None:
    """The model as a drafter, if its vocabulary and size fit."""
    config = _config(name)
    head = _head(config)
    if head:
        return DraftModel(name, head) if facts is None or _fits_head(config, facts) else None
    own = facts_if_known(name)
    if own is None:
        return None
    if facts is None:
        return DraftModel(name, "draft_model")
    small = 0 < own.parameters <= MOST_SHARE * facts.parameters
    return DraftModel(name, "draft_model") if small and own.vocab_size == facts.vocab_size else None


def _head(config: Mapping[str, object]) -> str:
    """The method of a head by its config.json; empty for a whole model."""
    words = [str(config.get("speculators_model_type", "")), str(config.get("model_type", ""))]
    architectures = config.get("architectures")
    words += [str(name) for name in architectures] if isinstance(architectures, list) else []
    text = " ".join(words).lower()
    return "eagle3" if "eagle3" in text else "eagle" if "eagle" in text else ""


def _fits_head(config: Mapping[str, object], facts: ModelFacts) -> bool:
    """Whether a head was made for a model of this vocabulary and width."""
    layer = config.get("transformer_layer_config")
    inner = layer if isinstance(layer, dict) else config
    width = config.get("target_hidden_size") or inner.get("hidden_size")
    vocabulary = inner.get("vocab_size")
    return width in (None, facts.hidden_size) and vocabulary in (None, facts.vocab_size)


def _config(name: str) -> dict[str, object]:
    """The config.json of a model that is on this machine; empty without one."""
    file = config_file(name)
    if file is None:
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
