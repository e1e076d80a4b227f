"""The shape of one engine step: all that its duration depends on."""

from __future__ import annotations

from dataclasses import dataclass


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
