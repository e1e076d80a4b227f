"""The knowledge base: one entry per knob, read strictly from ``data/knobs.yaml``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from ruamel.yaml import YAML

from rooftune.errors import InputError, nearest
from rooftune.vllm_rules.config import FlagValue

Relief = Literal[
    "weight bandwidth",
    "KV bandwidth",
    "KV capacity",
    "arithmetic",
    "prefill interference",
    "queueing",
    "host time",
    "recomputation",
    "start-up",
    "energy",
    "cost",
]
Status = Literal["searched", "advice", "derived"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sourced(_Strict):
    """A statement and where it is from."""

    text: str
    source: str = Field(min_length=4)


class Expected(Sourced):
    """The expected size of the effect; ``low`` and ``high`` are ratios of the metric that the text names."""

    low: float | None = None
    high: float | None = None


class Need(_Strict):
    """A capability that ``rooftune probe`` must report for some values, or for all where none is named."""

    capability: str
    values: list[str] = Field(default_factory=list)


class Exclusion(_Strict):
    """Flags that do not go together with the knob, with an example that is refused or changes nothing."""

    text: str
    example: dict[str, FlagValue]
    outcome: Literal["refused", "no effect"] = "refused"


class Name(_Strict):
    """What the knob was called up to a release, or from one on."""

    name: str
    until: str | None = None
    since: str | None = None


class Knob(_Strict):
    """One knob. ``data/knobs.yaml`` explains the keys."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    flags: list[str] = Field(default_factory=list)
    names: list[Name] = Field(default_factory=list)
    status: Status = "searched"
    crossed: bool = False
    family: bool = False
    switchable: bool = False
    does: str
    values: str
    relieves: list[Relief] = Field(min_length=1)
    needs: list[Need] = Field(default_factory=list)
    excludes: list[Exclusion] = Field(default_factory=list)
    refused_by: list[str] = Field(default_factory=list)
    changes_outputs: bool = False
    takes_memory: bool = False
    outputs: str
    expected: Expected
    traps: list[Sourced] = Field(default_factory=list)
    sources: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _says_what_it_sets(self) -> Knob:
        if self.status == "searched" and not self.flags:
            raise ValueError(f"{self.name} is searched, so it must name the flags that it sets")
        return self


class Untuned(_Strict):
    """Flags of the registry that no knob sets, and why."""

    reason: str
    flags: list[str] = Field(min_length=1)


class KnowledgeBase(_Strict):
    """All entries, in the order in which they are crossed."""

    knobs: list[Knob]
    untuned: list[Untuned]

    @model_validator(mode="after")
    def _every_flag_once(self) -> KnowledgeBase:
        names = [*(k.name for k in self.knobs), *(f for u in self.untuned for f in u.flags)]
        twice = {n for n in names if names.count(n) > 1}
        if twice:
            raise ValueError(f"named twice: {sorted(twice)}")
        return self


@cache
def knowledge_base() -> KnowledgeBase:
    """The entries that come with rooftune."""
    text = files("rooftune.knobs").joinpath("data/knobs.yaml").read_text(encoding="utf-8")
    return KnowledgeBase.model_validate(YAML(typ="safe").load(text))


def knobs() -> list[Knob]:
    """All knobs, in the order in which they are crossed."""
    return knowledge_base().knobs


def risky_knobs() -> frozenset[str]:
    """Names of the knobs that can change the answers or take memory."""
    return frozenset(k.name for k in knobs() if k.changes_outputs or k.takes_memory)


def knob(name: str) -> Knob:
    """The knob of that name, or the knob that sets that flag; dashes are underscores.

    Raises:
        InputError: there is no such knob; the message names the nearest, or says why the flag is not tuned.
    """
    plain = name.strip().lstrip("-").replace("-", "_")
    for found in knobs():
        if plain == found.name or plain in found.flags or plain in (n.name for n in found.names):
            return found
    for untuned in knowledge_base().untuned:
        if plain in untuned.flags:
            raise InputError(f"rooftune does not tune {plain}: {untuned.reason}.")
    known = [k.name for k in knobs()]
    raise InputError(f"unknown knob {name!r}{nearest(plain, known)}; the knobs are {', '.join(known)}.")
