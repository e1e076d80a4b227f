"""The registry of vLLM's flags as typed entries, read from ``data/flags.yaml``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

from packaging.version import Version
from pydantic import BaseModel, ConfigDict, Field, model_validator
from ruamel.yaml import YAML

from rooftune.vllm_rules.config import FlagValue
from rooftune.vllm_rules.versions import Releases

Effect = Literal["modelled", "neutral", "not modelled"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    since: str | None = None
    until: str | None = None
    before: str | None = None
    after: str | None = None

    @property
    def releases(self) -> Releases:
        """The releases that have it."""
        return Releases(self.since, self.until, self.before, self.after)


class Values(_Entry):
    """Values that only some releases take."""

    names: list[str]


class Flag(_Entry):
    """One flag: its type, the releases that have it, its values and default, and what the simulator makes of it."""

    type: Literal["bool", "int", "float", "str", "json", "list"]
    effect: Effect
    why: str = Field(default="", description="why it changes nothing here, or what is left out")
    values: list[str] = Field(default_factory=list, description="choices of every release; empty = any value")
    more_values: list[Values] = Field(default_factory=list)
    default: FlagValue | None = Field(default=None, description="of the server; None where it depends on the device")
    defaults: dict[str, FlagValue] = Field(default_factory=dict, description="first release -> default from then on")
    modelled_values: list[str] = Field(default_factory=list, description="only these values are modelled")
    modelled_keys: list[str] = Field(default_factory=list, description="only these keys of a JSON value are modelled")
    server: bool = Field(default=False, description="the simulated server does it, predictions in virtual time do not")
    broken: str = Field(default="", description="why it cannot be used although the release has it")
    note: str = Field(default="", description="added to a refusal")

    @model_validator(mode="after")
    def _says_why(self) -> Flag:
        if self.effect != "modelled" and not self.why:
            raise ValueError(f"effect {self.effect!r} needs a reason under `why`")
        return self

    def default_of(self, engine: Version) -> FlagValue | None:
        """The server's default in that version; None = none, or it depends on the device."""
        found = self.default
        for release, value in self.defaults.items():
            if engine.release[:2] >= Version(release).release[:2]:
                found = value
        return found


@cache
def registry() -> dict[str, Flag]:
    """Flag name -> its entry in ``data/flags.yaml``."""
    text = files("rooftune.vllm_rules").joinpath("data/flags.yaml").read_text(encoding="utf-8")
    return {name: Flag.model_validate(row) for name, row in YAML(typ="safe").load(text).items()}
