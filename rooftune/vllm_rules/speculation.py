"""Speculative decoding: what the flags ask for, and which method which release has.

Read in ``config/speculative.py`` (SpeculativeMethod) of the releases in ``versions.READ``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from packaging.version import Version

from rooftune.models.catalogue import facts_if_known
from rooftune.models.facts import ModelFacts
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
NEED_TOKENS = ("ngram", "ngram_gpu", "draft_model")
SUFFIX_DEPTH = 24
"""``suffix_decoding_max_tree_depth``, which is also the length of a draft where none is named."""
SCHEDULE = "num_speculative_tokens_per_batch_size"
HAS_SCHEDULES = Releases(since="0.29")
"""Lengths by batch size: ``num_speculative_tokens_per_batch_size`` (``v1/spec_decode/dynamic/utils.py``)."""


@dataclass(frozen=True)
class ScheduledLength:
    """The length of drafts for batches of ``first`` to ``last`` requests."""

    first: int
    last: int
    tokens: int


@dataclass(frozen=True)
class Speculation:
    """What is asked for; ``method`` is empty where only a model is named, from which vLLM derives it."""

    method: str
    model: str
    tokens: int
    padded: bool = True
    """False with ``disable_padded_drafter_batch``."""
    schedule: tuple[ScheduledLength, ...] = ()
    """Lengths by batch size, in order; empty = ``tokens`` at every batch size."""

    @property
    def kind(self) -> str:
        """The method, with all ``*_mtp`` names as ``mtp``."""
        return "mtp" if self.method.endswith("_mtp") else self.method

    def lengths(self, most: int) -> tuple[int, ...]:
        """The length of drafts by batch size, from 0 to ``most`` requests; empty without a schedule.

        A gap between two ranges, and what is beyond the last one, have the length of the range before.
        """
        if not self.schedule:
            return ()
        found, now = [self.schedule[0].tokens], 0
        for batch in range(1, most + 1):
            while now + 1 < len(self.schedule) and batch >= self.schedule[now + 1].first:
                now += 1
            found.append(self.schedule[now].tokens)
        return tuple(min(tokens, self.tokens) for tokens in found)


def speculation(config: EngineConfig) -> Speculation | None:
    """Speculative decoding as ``speculative_config`` or its short flags describe it; None = off."""
    other = config.other_flags
    short = {"method": other.get("spec_method"), "model": other.get("spec_model")}
    asked = config.speculative_config or {k: v for k, v in short.items() if v is not None}
    if not asked:
        return None
    tokens, method = asked.get("num_speculative_tokens", other.get("spec_tokens")), str(asked.get("method") or "")
    if tokens is None and method == "suffix":
        tokens = asked.get("suffix_decoding_max_tree_depth", SUFFIX_DEPTH)
    return Speculation(
        method=method,
        model=str(asked.get("model") or ""),
        tokens=tokens if isinstance(tokens, int) else 0,
        padded=not asked.get("disable_padded_drafter_batch"),
        schedule=_schedule(asked),
    )


def _schedule(asked: Mapping[str, object]) -> tuple[ScheduledLength, ...]:
    given = asked.get(SCHEDULE)
    if not isinstance(given, Sequence) or not all(_is_range(entry) for entry in given):
        return ()
    return tuple(sorted((ScheduledLength(*entry) for entry in given), key=lambda length: length.first))


def _is_range(entry: object) -> bool:
    return isinstance(entry, Sequence) and len(entry) == 3 and all(type(number) is int for number in entry)


def schedule_error(asked: Mapping[str, object]) -> str:
    """Why vLLM refuses a schedule of lengths; empty where it takes it, or none is asked for."""
    given = asked.get(SCHEDULE)
    if given is None:
        return ""
    found = _schedule(asked)
    if not found:
        return "it is a list of [first batch size, last batch size, tokens]"
    if found[0].first != 1:
        return "its first range begins at batch size 1"
    if any(length.last < length.first or length.tokens < 0 for length in found):
        return "each range ends at or after its beginning, and no length is negative"
    if any(after.first <= before.last for before, after in itertools.pairwise(found)):
        return "its ranges do not overlap"
    return ""


def has_method(method: str, engine: Version) -> bool | None:
    """Whether that version has a method; True for names that are not listed here, None where it was not read."""
    kind = "mtp" if method.endswith("_mtp") else method
    return METHODS[kind].has(engine) if kind in METHODS else True


@cache
def draft_facts(model: str) -> ModelFacts | None:
    """Facts of a draft model by its name; None where it is not known."""
    return facts_if_known(model) if model else None
