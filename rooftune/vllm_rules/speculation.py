"""Speculative decoding: what the flags ask for, and which method which release has.

Read in ``config/speculative.py`` (SpeculativeMethod) of the releases in ``versions.READ``.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.version import Version

from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.versions import Releases

METHODS = {
    "ngram": Releases(),
    "ngram_gpu": Releases(since="0.19"),
    "suffix": Releases(since="0.15"),
    "draft_model": Releases(since="0.15"),
    "eagle": Releases(),
    "eagle3": Releases(),
    "mtp": Releases(),
    "medusa": Releases(until="0.32"),
    "mlp_speculator": Releases(until="0.32"),
    "dflash": Releases(since="0.23"),
    "dspark": Releases(since="0.29"),
    "custom_class": Releases(since="0.23"),
}
"""0.11 lists draft_model and raises NotImplementedError for it. A ``*_mtp`` name is the method ``mtp`` of one model."""
NEED_A_MODEL = ("draft_model", "eagle", "eagle3", "medusa", "mlp_speculator")
NEED_TOKENS = ("ngram", "ngram_gpu", "suffix", "draft_model")


@dataclass(frozen=True)
class Speculation:
    """What is asked for; ``method`` is empty where only a model is named, from which vLLM derives it."""

    method: str
    model: str
    tokens: int
    padded: bool = True
    """False with ``disable_padded_drafter_batch``."""

    @property
    def kind(self) -> str:
        """The method, with all ``*_mtp`` names as ``mtp``."""
        return "mtp" if self.method.endswith("_mtp") else self.method


def speculation(config: EngineConfig) -> Speculation | None:
    """Speculative decoding as ``speculative_config`` or its short flags describe it; None = off."""
    other = config.other_flags
    short = {"method": other.get("spec_method"), "model": other.get("spec_model")}
    asked = config.speculative_config or {k: v for k, v in short.items() if v is not None}
    if not asked:
        return None
    tokens = asked.get("num_speculative_tokens", other.get("spec_tokens"))
    return Speculation(
        method=str(asked.get("method") or ""),
        model=str(asked.get("model") or ""),
        tokens=tokens if isinstance(tokens, int) else 0,
        padded=not asked.get("disable_padded_drafter_batch"),
    )


def has_method(method: str, engine: Version) -> bool | None:
    """Whether that version has a method; True for names that are not listed here, None where it was not read."""
    kind = "mtp" if method.endswith("_mtp") else method
    return METHODS[kind].has(engine) if kind in METHODS else True
