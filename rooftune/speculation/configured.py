"""The proposer that a configuration asks for, where it is a pure function of the texts."""

from __future__ import annotations

from collections.abc import Mapping

from rooftune.speculation.ngram import DEFAULT_LOOKUP, NgramProposer
from rooftune.speculation.sessions import Proposer
from rooftune.speculation.suffix import SuffixProposer
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.speculation import speculation

REPLAYED = ("ngram", "ngram_gpu", "suffix")
"""Methods whose drafts follow from the texts alone."""


def proposer_of(config: EngineConfig) -> Proposer | None:
    """The proposer of a configuration; None without speculation, and for methods that ask a model."""
    spec = speculation(config)
    if spec is None or spec.kind not in REPLAYED:
        return None
    asked = config.speculative_config or {}
    if spec.kind == "suffix":
        return _suffix(asked, spec.tokens)
    shortest, longest = asked.get("prompt_lookup_min"), asked.get("prompt_lookup_max")
    return NgramProposer(
        length=spec.tokens,
        shortest=int(shortest or longest or DEFAULT_LOOKUP),
        longest=int(longest or shortest or DEFAULT_LOOKUP),
    )


def _suffix(asked: Mapping[str, object], tokens: int) -> SuffixProposer:
    def number(name: str, default: float) -> float:
        value = asked.get(f"suffix_decoding_{name}")
        return float(value) if isinstance(value, (int, float)) else default

    plain = SuffixProposer()
    depth = int(number("max_tree_depth", plain.depth))
    return SuffixProposer(
        length=tokens or depth,
        depth=depth,
        factor=number("max_spec_factor", plain.factor),
        least_probability=number("min_token_prob", plain.least_probability),
        remembers=number("max_cached_requests", 1) > 0,
    )
