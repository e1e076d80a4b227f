"""The shape of one engine step, which is all that its duration depends on, and what a model of the duration offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StepShape:
    """What one step computes, summed over its sequences."""

    decode_seqs: int = 0
    """Sequences that decode."""
    decode_tokens: int = 0
    """Their tokens: ``decode_seqs``, times 1 + k with k speculative tokens."""
    decode_context: int = 0
    """Sum of the context lengths (tokens of KV read) of the decoding sequences."""
    prefill_seqs: int = 0
    """Sequences of which a prompt chunk is computed."""
    prefill_tokens: int = 0
    """Sum of their chunk lengths q."""
    prefill_pairs: float = 0.0
    """Sum of q · (c + q / 2): query-key pairs, with c the tokens computed before the chunk."""
    prefill_context: int = 0
    """Sum of c: tokens of KV read for the chunks."""
    sampled: int = 0
    """Sequences that get a token: rows of the LM head."""

    @property
    def tokens(self) -> int:
        """Rows of the linear layers."""
        return self.decode_tokens + self.prefill_tokens


class StepCosts(Protocol):
    """Durations of steps in seconds: of one shape, and as the tables that the fast path reads (``step_seconds``)."""

    linear_decode: Floats
    """Linear layers of a step that only decodes, by rows."""
    linear_mixed: Floats
    """Linear layers of a step with prefill, by rows."""
    head: Floats
    """LM head and sampling, by sampled sequences."""
    host_decode: Floats
    """Host time that overlaps with the GPU: of a step that only decodes, by sequences."""
    host_mixed: Floats
    """The same for a step with prefill, by sampled sequences."""

    @property
    def cost(self) -> Sequence[float]:
        """Scalars, see ``step_seconds``."""

    def seconds(self, shape: StepShape) -> float:
        """Duration of a step."""
