"""What limits a step, as a sentence with numbers: bandwidth, arithmetic, the kernel, or overhead."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rooftune.formatting import gigabytes, milliseconds, percent, quantity
from rooftune.roofline.model import Bound

REACHED = 0.45
"""A step that reaches this share of the lower ceiling is limited by it. Good kernels reach 0.6 to 0.85."""
IMPOSSIBLE = 1.05
"""Above this share the measurement contradicts the ceilings."""
_TOO_FAST = (
    "That is more than the ceiling allows. Either another accelerator, model or weight type served the requests, or "
    "a ceiling was measured on a busy machine."
)
AWQ_ROWS = 16
"""Rows per tile of the original AWQ kernel; each tile reads all weights.

Source: vLLM 0.15, csrc/quantization/awq/gemm_kernels.cu.
"""
AWQ_DEQUANTISE_FROM = 256


@dataclass(frozen=True)
class StepNeeds:
    """The least that a step must move and compute, and its duration. Bytes, FLOP, seconds, bytes/s, FLOP/s."""

    weight_bytes: float
    kv_bytes: float
    flops: float
    seconds: float
    bandwidth: float
    rate: float
    rate_name: str
    rows: float

    @property
    def weight_s(self) -> float:
        return self.weight_bytes / self.bandwidth

    @property
    def kv_s(self) -> float:
        return self.kv_bytes / self.bandwidth

    @property
    def memory_s(self) -> float:
        return self.weight_s + self.kv_s

    @property
    def compute_s(self) -> float:
        return self.flops / self.rate

    @property
    def share(self) -> float:
        """The time that the lower ceiling allows, divided by the time that the step took."""
        return max(self.memory_s, self.compute_s) / self.seconds


@dataclass(frozen=True)
class Bottleneck:
    """What limits a step, and the sentence that shows why."""

    bound: Bound
    sentence: str


@dataclass(frozen=True)
class Circumstances:
    """What else is known about the configuration and the load."""

    old_awq: bool = False
    eager: bool | None = None
    waiting: float | None = None
    max_num_seqs: int | None = None
    overloaded: bool = False
    preemptions: float = 0.0


def decode(needs: StepNeeds, about: Circumstances) -> Bottleneck:
    """What limits a decode step of ``needs.rows`` sequences."""
    bound = _bound(needs, about)
    words = [_took(needs), _asks(needs), _verdict(needs, bound, about)]
    return Bottleneck(bound, " ".join([*words, *_queue(needs, about)]))


def _bound(needs: StepNeeds, about: Circumstances) -> Bound:
    if needs.share > IMPOSSIBLE:
        return "unknown"
    if about.old_awq and needs.share < 0.7:
        return "kernel"
    if needs.share < REACHED:
        return "overhead"
    if needs.compute_s > needs.memory_s:
        return "compute"
    return "KV bandwidth" if needs.kv_s > needs.weight_s else "weight bandwidth"


def _took(needs: StepNeeds) -> str:
    return f"A step of {_sequences(needs.rows)} took {milliseconds(needs.seconds)}."


def _asks(needs: StepNeeds) -> str:
    return (
        f"At full bandwidth, reading the weights ({gigabytes(needs.weight_bytes)}) takes "
        f"{milliseconds(needs.weight_s)} and reading the KV cache ({gigabytes(needs.kv_bytes)}) "
        f"{milliseconds(needs.kv_s)}. At the {needs.rate_name.upper()} peak, the arithmetic takes "
        f"{milliseconds(needs.compute_s)}. The step reaches {percent(needs.share)} of the lower ceiling."
    )


def _verdict(needs: StepNeeds, bound: Bound, about: Circumstances) -> str:
    if bound == "kernel":
        return _awq(needs)
    if bound == "unknown":
        return f"{_TOO_FAST} Speculative decoding, with several tokens per step, also looks like this."
    if bound == "overhead":
        causes = "kernel launches in eager mode, or inefficient kernels"
        if not about.eager:
            causes = "inefficient kernels, kernel launches, scheduling, or prompts computed in the same steps"
        return f"Neither ceiling explains the step. Possible causes are {causes}."
    sentences = {
        "weight bandwidth": "Reading the weights limits it, so more sequences per step take little more time.",
        "KV bandwidth": "Reading the KV cache limits it, so time grows in proportion to sequences and context length.",
        "compute": "Arithmetic limits it, so more sequences per step no longer raise throughput.",
    }
    return sentences[bound]


def _awq(needs: StepNeeds) -> str:
    if needs.rows >= AWQ_DEQUANTISE_FROM:
        return "The original AWQ kernel limits it: from 256 rows on, it first writes out all weights in 16 bits."
    passes = math.ceil(needs.rows / AWQ_ROWS)
    times = {1: "once", 2: "twice"}.get(passes, f"{passes} times")
    return (
        f"The original AWQ kernel limits it: it reads and unpacks all weights once for each {AWQ_ROWS} rows, here "
        f"{times}, which takes {milliseconds(passes * needs.weight_s)} at full bandwidth for reading alone."
    )


def _queue(needs: StepNeeds, about: Circumstances) -> list[str]:
    said = []
    waiting = about.waiting or 0.0
    limit = about.max_num_seqs
    if waiting >= 1 and limit and needs.rows >= 0.9 * limit:
        said.append(
            f"The limit of {limit} sequences keeps the batch small while {quantity(round(waiting), 'request')} wait."
        )
    elif waiting >= 1 and about.preemptions > 0:
        said.append(
            f"The KV cache is full: {quantity(round(waiting), 'request')} wait, and there were "
            f"{quantity(about.preemptions, 'preemption')}."
        )
    elif about.overloaded:
        said.append("The load exceeds what the server can serve, so a queue grows.")
    return said


def prefill(needs: StepNeeds, tokens: float) -> Bottleneck:
    """What limits the prefill of one prompt. Its rate is a lower bound if other work shares its steps."""
    share = needs.share
    measured = (
        f"A prompt of {quantity(round(tokens), 'token')} took {milliseconds(needs.seconds)}. At the "
        f"{needs.rate_name.upper()} peak, its arithmetic takes {milliseconds(needs.compute_s)}; at full bandwidth, "
        f"reading the weights takes {milliseconds(needs.weight_s)}. It reaches {percent(share)} of the lower ceiling."
    )
    if share > IMPOSSIBLE:
        return Bottleneck("unknown", f"{measured} {_TOO_FAST}")
    if share < REACHED:
        waits = "It shares its steps with other sequences or waits for them, so this is a lower bound."
        return Bottleneck("overhead", f"{measured} {waits}")
    if needs.compute_s >= needs.memory_s:
        return Bottleneck("compute", f"{measured} Arithmetic limits it.")
    return Bottleneck("weight bandwidth", f"{measured} Reading the weights limits it.")


def _sequences(rows: float) -> str:
    """A mean number of sequences: '8 sequences', '1.5 sequences'."""
    return quantity(rows if rows < 9.5 else round(rows), "sequence", digits=2)
