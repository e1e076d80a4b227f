"""Names of a model's matrices, as quantisation configurations list them, and how their patterns match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import Literal

from rooftune.models.facts import ModelFacts, Part

PROJECTIONS = {"q": ("q_proj", "qkv_proj", "wq"), "k": ("k_proj", "qkv_proj", "wk"), "v": ("v_proj", "qkv_proj", "wv")}
"""Names of the attention projections before and after vLLM fuses them."""
MLP_NAMES = ("gate_proj", "up_proj", "down_proj")
EXPERT_NAMES = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}
PREFIXES = ("model.", "language_model.model.", "model.language_model.", "")
ATTENTION_BLOCKS = ("self_attn", "attention", "attn")
MLP_BLOCKS = ("mlp", "block_sparse_moe", "feed_forward", "moe")
BESIDE_MLP = ("", "moe")
"""Where the experts are in a layer that has a plain MLP too."""
SHARED_BLOCKS = ("shared_experts", "shared_expert", "shared_mlp")


@dataclass(frozen=True)
class Matrix:
    """One matrix of one layer (of experts all of their matrices of one kind): its names and number of weights."""

    part: Part | Literal["lm_head"]
    names: tuple[str, ...]
    weights: int


class Patterns:
    """Patterns that name modules: names or parts of names, globs, ``re:`` expressions, names of classes."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)

    def match(self, matrix: Matrix) -> bool:
        """Whether one of the patterns names the matrix, its block or its class."""
        if any(self._names(name) for name in matrix.names):
            return True
        block = "Attention" if matrix.part == "attention" else "MLP" if matrix.part == "mlp" else None
        return block is not None and any(p.endswith(block) and "." not in p for p in self.patterns)

    def _names(self, name: str) -> bool:
        if self._expression is not None and self._expression.match(name):
            return True
        parts = name.split(".")
        ends = range(1, len(parts) + 1)
        return any(".".join(parts[i:j]) in self._plain for j in ends for i in range(j))

    @cached_property
    def _plain(self) -> frozenset[str]:
        return frozenset(p.strip(".") for p in self.patterns if not p.startswith("re:") and "*" not in p)

    @cached_property
    def _expression(self) -> re.Pattern[str] | None:
        globs = [g for p in self.patterns if not p.startswith("re:") and "*" in p for g in (p, f"{p}.*")]
        expressions = [p.removeprefix("re:") for p in self.patterns if p.startswith("re:")]
        return _either([*(translate(glob) for glob in globs), *expressions])


def _either(expressions: list[str]) -> re.Pattern[str] | None:
    """One expression for all of them; those that are not regular expressions match nothing."""
    valid = [e for e in expressions if _compiled(e)]
    return _compiled("|".join(f"(?:{e})" for e in valid)) if valid else None


def _compiled(expression: str) -> re.Pattern[str] | None:
    try:
        return re.compile(expression)
    except (re.error, RecursionError, OverflowError):
        return None


def matrices(facts: ModelFacts) -> Iterator[Matrix]:
    """All matrices of the layers that quantisation may shrink, and the LM head."""
    h, layer = facts.hidden_size, 0
    for group in facts.attention:
        kv = h * group.kv_heads * group.head_dim if group.kv_projections else 0
        value = h * group.kv_heads * group.v_dim if group.kv_projections == 2 else 0
        sizes = {"q": h * group.heads * group.head_dim, "k": kv, "v": value}
        output = group.weights(h) - sum(sizes.values())
        for i in range(layer, layer + group.count):
            for short, names in PROJECTIONS.items():
                yield Matrix("attention", _paths(i, ATTENTION_BLOCKS, names), sizes[short])
            yield Matrix("attention", _paths(i, ATTENTION_BLOCKS, ("o_proj", "wo")), output)
        layer += group.count
    yield from _mlp_matrices(facts)
    yield Matrix("lm_head", ("lm_head", "language_model.lm_head"), facts.embedding_parameters)


def _mlp_matrices(facts: ModelFacts) -> Iterator[Matrix]:
    layer = 0
    for group in facts.mlp:
        names = MLP_NAMES if group.gated else MLP_NAMES[1:]
        for i in range(layer, layer + group.count):
            for name in names:
                both = (name, "gate_up_proj") if name != "down_proj" else (name,)
                old = EXPERT_NAMES[name]
                each = facts.hidden_size
                if group.width:
                    yield Matrix("mlp", _paths(i, MLP_BLOCKS, (*both, old)), each * group.width)
                if group.shared_width:
                    shared = [f"{s}.{n}" for s in SHARED_BLOCKS for n in both]
                    yield Matrix("shared_experts", _paths(i, (*MLP_BLOCKS, ""), shared), each * group.shared_width)
                if group.experts:
                    experts = [f"experts.{n}" for n in ("", *both, f"0.{name}", f"0.{old}")]
                    weights = each * group.expert_width * group.experts
                    yield Matrix(
                        "experts", _paths(i, BESIDE_MLP if group.width else (*MLP_BLOCKS, ""), experts), weights
                    )
        layer += group.count


def _paths(layer: int, blocks: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Every name that a matrix of a layer goes by."""
    inner = (".".join(part for part in (block, name) if part).strip(".") for block in blocks for name in names)
    tails = list(inner)
    return tuple(f"{prefix}layers.{layer}.{tail}" for prefix in PREFIXES for tail in tails)
