"""What a proposer of speculative tokens adds to a step, by sequences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.costs import lm_head_bytes
from rooftune.models.facts import ModelFacts
from rooftune.simulator.steptime.constants import Constants
from rooftune.simulator.steptime.linear import linear_seconds, matrix_seconds
from rooftune.vllm_rules.resolve import Resolved
from rooftune.vllm_rules.speculation import draft_facts
from rooftune.vllm_rules.versions import Releases

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SLOW_NGRAM = Releases(since="0.29", until="0.29")
"""The n-gram proposer on the CPU takes tens of milliseconds as soon as two requests run (trials on an A40 with 0.29;
0.11 does not)."""
UNKNOWN_DRAFT = 0.05
"""Size of a draft model that is not known, as a share of the model."""


def proposer_seconds(card: Accelerator, k: Constants, facts: ModelFacts, r: Resolved, seqs: Ints) -> Floats:
    """Seconds to propose the tokens of a step for each number of sequences; zero without speculative decoding."""
    if r.speculative_tokens == 0:
        return np.zeros(len(seqs))
    method, host = r.speculative_method or "", k.host
    if method == "draft_model":
        each = _draft_step(card, k, facts, r, seqs)
    elif method in ("ngram", "suffix"):
        slow = host["ngram_batch_ms"] * (seqs > 1) if method == "ngram" and SLOW_NGRAM.has(r.version) else 0.0
        return np.asarray((host["ngram_ms"] + host["ngram_per_sequence_ms"] * seqs + slow) / 1000)
    elif method == "ngram_gpu":
        return np.full(len(seqs), host["ngram_gpu_ms"] / 1000)
    else:
        each = _one_layer(card, k, facts, r, seqs)
    return np.asarray(draft_lengths(r, seqs) * (each + host["draft_step_ms"] / 1000))


def draft_lengths(r: Resolved, seqs: Ints) -> Ints:
    """Tokens of a draft for each number of sequences."""
    if not r.speculative_lengths:
        return np.full(len(seqs), r.speculative_tokens)
    return np.asarray(r.speculative_lengths)[np.minimum(seqs, len(r.speculative_lengths) - 1)]


def _draft_step(card: Accelerator, k: Constants, facts: ModelFacts, r: Resolved, seqs: Ints) -> Floats:
    """One forward pass of the draft model."""
    draft = draft_facts(r.speculative_model or "")
    if draft is None:
        return UNKNOWN_DRAFT * _pass(card, k, facts, replace(r, kernel="gemm_16bit"), seqs)
    return _pass(card, k, draft, replace(r, kernel="gemm_16bit", quantization=None), seqs)


def _one_layer(card: Accelerator, k: Constants, facts: ModelFacts, r: Resolved, seqs: Ints) -> Floats:
    """Methods that add a layer to the model: that layer in 16 bits, and the LM head."""
    one = facts.stored_as(None)
    wide = replace(r, kernel="gemm_16bit", quantization=None)
    linear = linear_seconds(card, one, wide, k, seqs, decode=True) / facts.layers
    return linear + k.linear["gemm_16bit"]["kernels"] * k.host["kernel_us"] * 1e-6 + _head(card, k, facts, r, seqs)


def _pass(card: Accelerator, k: Constants, facts: ModelFacts, r: Resolved, seqs: Ints) -> Floats:
    small = k.linear["gemm_16bit"]["kernels"] * k.host["kernel_us"] * 1e-6 * facts.layers
    return linear_seconds(card, facts, r, k, seqs, decode=True) + small + _head(card, k, facts, r, seqs)


def _head(card: Accelerator, k: Constants, facts: ModelFacts, r: Resolved, seqs: Ints) -> Floats:
    stream, flops = lm_head_bytes(facts) / r.tensor_parallel, 2.0 * facts.embedding_parameters / r.tensor_parallel
    return matrix_seconds(card, k.linear["gemm_16bit"], r.dtype, seqs, stream, flops)
