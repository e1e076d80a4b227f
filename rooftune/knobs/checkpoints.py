"""Other checkpoints of a model: recognised by their config.json in a folder, in the hub cache, or in the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rooftune.errors import InputError
from rooftune.models.catalogue import facts_if_known, model_facts, models_in_hub_cache
from rooftune.models.facts import ModelFacts

LABELS = {"awq": "AWQ", "gptq": "GPTQ", "fp8": "FP8", "int8": "W8A8", "nvfp4": "NVFP4", "mxfp4": "MXFP4"}
"""How a report names the kinds of weights."""
STORAGE = re.compile(
    r"meta|hf|awq|gptq|gptqmodel|autoround|int[48]|uint4|[48]bit|\d+g|fp8|fp4|nvfp4|mxfp4|w\d+a\d+|bf16|fp16"
    r"|dynamic|static|quantized|quant|marlin|compressed|tensors|modelopt|kv"
)
"""Words of a checkpoint's name that say how its weights are stored."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a model in one type."""

    model: str
    """A folder or hub id, as ``--model`` takes it."""
    kind: str
    """awq, gptq, fp8, int8 (W8A8), nvfp4, mxfp4, another method of vLLM, or 'none' for 16 bits."""

    @property
    def label(self) -> str:
        """The kind and the name: 'AWQ checkpoint Llama-2-7B-AWQ'."""
        kind = LABELS.get(self.kind, "16-bit" if self.kind == "none" else self.kind)
        return f"{kind} checkpoint {self.model.rstrip('/').rsplit('/', 1)[-1]}"


def checkpoint(name: str) -> Checkpoint:
    """The checkpoint that a user named: a folder, or a hub id that the catalogue or the hub cache has.

    Raises:
        InputError: there is no such checkpoint, or its config.json cannot be read.
    """
    return Checkpoint(name, model_facts(name).quantization or "none")


def checkpoints_at(facts: ModelFacts | None, places: Iterable[str]) -> tuple[Checkpoint, ...]:
    """The checkpoints that a user named: hub ids, model folders, and folders of model folders.

    Raises:
        InputError: a checkpoint does not exist or is of another model, or a folder has none of the model.
    """
    found: list[Checkpoint] = []
    for place in places:
        folder = Path(place).expanduser()
        if folder.is_dir() and not (folder / "config.json").is_file():
            inside = list(in_folder(facts, folder)) if facts is not None else []
            if not inside:
                model = facts.name if facts is not None else "a model that rooftune knows"
                raise InputError(
                    f"no folder in {place} has a config.json of {model} and its name; name a checkpoint's own folder."
                )
            found += inside
            continue
        one = checkpoint(str(folder) if folder.is_dir() else place)
        if facts is not None and not same_model(facts, model_facts(one.model)):
            raise InputError(
                f"{place} is not a checkpoint of {facts.name}: its layers differ; name a checkpoint of the same model."
            )
        found.append(one)
    return _each_once(found)


def known_checkpoints(facts: ModelFacts | None, places: Iterable[str] = ()) -> tuple[Checkpoint, ...]:
    """Checkpoints of the same model: those that a user named, and those in the hub cache.

    Raises:
        InputError: see ``checkpoints_at``.
    """
    found = checkpoints_at(facts, places)
    return _each_once([*found, *in_hub_cache(facts)]) if facts is not None else found


def in_catalogue(facts: ModelFacts) -> tuple[Checkpoint, ...]:
    """Published checkpoints of a model that rooftune knows by name."""
    return tuple(Checkpoint(hub, kind) for kind, hub in facts.hub_ids.items())


def _each_once(found: Iterable[Checkpoint]) -> tuple[Checkpoint, ...]:
    return tuple({c.model: c for c in reversed(list(found))}.values())[::-1]


def in_folder(facts: ModelFacts, folder: Path) -> Iterator[Checkpoint]:
    """Checkpoints of a model in a folder of model folders, in order of their names."""
    for file in sorted(folder.expanduser().glob("*/config.json")):
        found = facts_if_known(str(file.parent))
        if found is not None and _surely_same(facts, found, file.parent.name):
            yield Checkpoint(str(file.parent), found.quantization or "none")


def in_hub_cache(facts: ModelFacts) -> Iterator[Checkpoint]:
    """Checkpoints of a model in the local Hugging Face cache whose weights are there too."""
    for name in models_in_hub_cache():
        found = facts_if_known(name)
        if found is not None and _surely_same(facts, found, name):
            yield Checkpoint(name, found.quantization or "none")


def same_model(facts: ModelFacts, other: ModelFacts) -> bool:
    """Whether two checkpoints have the same layers, vocabulary and family; two fine-tunes of one model have."""
    return (
        facts.architecture == other.architecture
        and facts.attention == other.attention
        and facts.mlp == other.mlp
        and facts.hidden_size == other.hidden_size
        and facts.vocab_size == other.vocab_size
    )


def stem(name: str) -> str:
    """A checkpoint's name without its owner and the words for how its weights are stored.

    >>> stem("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4"), stem("meta-llama/Llama-3.1-8B-Instruct")
    ('llama-3.1-8b-instruct', 'llama-3.1-8b-instruct')
    """
    words = name.rstrip("/").rsplit("/", 1)[-1].lower().replace("_", "-").split("-")
    return "-".join(word for word in words if word and not STORAGE.fullmatch(word.removeprefix("quantized.")))


def _surely_same(facts: ModelFacts, found: ModelFacts, name: str) -> bool:
    """The same layers, and a name that differs only in how the weights are stored."""
    known = {stem(facts.name), *(stem(hub) for hub in facts.hub_ids.values())}
    return same_model(facts, found) and stem(name) in known
