"""Model families: what a config.json may leave out because the configuration class has it as default."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field
from ruamel.yaml import YAML

from rooftune.models.keys import Json

STATED = ("num_hidden_layers", "hidden_size")
"""Sizes that a file always states, unless the language model is nested in the file of a multimodal one."""
WITHOUT_TYPE = {"llava": "llama", "llava_next": "llama", "mistral3": "mistral"}
"""Language model of a multimodal family whose ``text_config`` names no ``model_type``."""


class Family(BaseModel):
    """One ``model_type``, see ``data/families.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    configuration_class: str | None = Field(default=None, alias="class")
    defaults: dict[str, int | bool] = {}
    gated: bool = True
    output_gate: bool = False
    full_layer_first: bool = False
    learned_positions: bool = False
    one_shared_expert: bool = False
    dense_mlp_is_shared: bool = False
    shared_layers_project_kv: bool = False
    not_modelled: str | None = None

    def defaults_of(self, *, nested: bool) -> Json:
        """Values of the keys that a file may leave out."""
        if nested:
            return self.defaults
        return {key: value for key, value in self.defaults.items() if key not in STATED}


def family_of(outer: Json, language: Json) -> Family | None:
    """The family of a language model; ``outer``: the whole file. None for a family that is not listed."""
    own, whole = language.get("model_type"), str(outer.get("model_type"))
    known = _families()
    for name in (str(own), f"{own}_text", f"{whole}_text", WITHOUT_TYPE.get(whole, whole)):
        if name in known:
            return known[name]
    return None


@cache
def _families() -> Mapping[str, Family]:
    text = files("rooftune.models").joinpath("data/families.yaml").read_text(encoding="utf-8")
    rows = YAML(typ="safe").load(text)
    return {name: Family(name=name, **row) for name, row in rows.items()}
