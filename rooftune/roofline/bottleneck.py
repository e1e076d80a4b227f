"""What limits a step, named in a sentence with figures: bandwidth, arithmetic, the kernel, or what is neither."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rooftune.roofline.model import Bound

REACHED = 0.45
"""Share of the lower ceiling from which a step counts as limited by it. Good kernels reach 0.6 to 0.85."""
IMPOSSIBLE = 1.05
"""Share from which the figures contradict the ceilings."""
_TOO_FAST = (
    "That is more than the ceiling allows: the accelerator, the model or its weights are not those that served, or a measured "
    "ceiling was taken on a busy machine."
)
AWQ_ROWS = 16
"""Rows of a tile of the old AWQ kernel (vLLM 0.15, csrc/quantization/awq/gemm_kernels.cu): each reads all weights again."""
AWQ_DEQUANTISE_FROM = 256


@dataclass(frozen=True)
class StepNeeds:
    """What a step must move and compute at least, and how long it took. Bytes, FLOP, seconds, bytes/s, FLOP/s."""

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
        """Time that the lower ceiling asks for over the time that it took."""
        return max(self.memory_s, self.compute_s) / self.seconds


@dataclass(frozen=True)
class Circumstances:
    """What else is known of the configuration and the load."""

    old_awq: bool = False
    eager: bool | None = None
    waiting: float | None = None
    max_num_seqs: int | None = None
    overloaded: bool = False
    preemptions: float = 0.0


def decode(needs: StepNeeds, about: Circumstances) -> tuple[Bound, str]:
    """Bound and sentence of a decode step of ``needs.rows`` sequences."""
    bound = _bound(needs, about)
    words = [_took(needs), _asks(needs), _verdict(needs, bound, about)]
    return bound, " ".join([*words, *_queue(needs, about)])


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
    return f"A step of {count(needs.rows)} took {ms(needs.seconds)} ms."


def _asks(needs: StepNeeds) -> str:
    return (
        f"At full bandwidth the weights ({gb(needs.weight_bytes)} GB) take {ms(needs.weight_s)} ms and the KV cache "
        f"({gb(needs.kv_bytes)} GB) {ms(needs.kv_s)} ms; at the {needs.rate_name.upper()} peak the arithmetic takes "
        f"{ms(needs.compute_s)} ms: {percent(needs.share)} of what the lower ceiling allows."
    )


def _verdict(needs: StepNeeds, bound: Bound, about: Circumstances) -> str:
    if bound == "kernel":
        return _awq(needs)
    if bound == "unknown":
        return f"{_TOO_FAST} Several tokens per step (speculative decoding) look like this too."
    if bound == "overhead":
        why = "launching kernels one by one in eager mode, or the kernels themselves" if about.eager else (
            "the kernels' own efficiency, launching, scheduling, or prompts computed in the same steps"
        )  # fmt: skip
        return f"Neither ceiling explains the step; what is left is {why}."
    sentences = {
        "weight bandwidth": "Reading the weights limits it: more sequences per step cost little more time.",
        "KV bandwidth": "Reading the KV cache limits it: more sequences or longer contexts cost time in proportion.",
        "compute": "Arithmetic limits it: more sequences per step no longer raise throughput.",
    }
    return sentences[bound]


def _awq(needs: StepNeeds) -> str:
    if needs.rows >= AWQ_DEQUANTISE_FROM:
        return (
            "The old AWQ kernel limits it: from 256 rows on it writes the weights out in 16 bits before it multiplies."
        )
    passes = math.ceil(needs.rows / AWQ_ROWS)
    times = {1: "once", 2: "twice"}.get(passes, f"{passes} times")
    return (
        f"The old AWQ kernel limits it: it goes through all weights once for each {AWQ_ROWS} rows, here {times}, which takes "
        f"{ms(passes * needs.weight_s)} ms at full bandwidth, and it unpacks them each time."
    )


def _queue(needs: StepNeeds, about: Circumstances) -> list[str]:
    said = []
    waiting = about.waiting or 0.0
    limit = about.max_num_seqs
    if waiting >= 1 and limit and needs.rows >= 0.9 * limit:
        said.append(f"Its limit of {limit} sequences holds the batch down while {waiting:.0f} wait.")
    elif waiting >= 1 and about.preemptions > 0:
        said.append(f"The KV cache is full: {waiting:.0f} wait and {about.preemptions:.0f} were preempted.")
    elif about.overloaded:
        said.append("More is asked than it serves, so a queue grows.")
    return said


def prefill(needs: StepNeeds, tokens: float) -> tuple[Bound, str]:
    """Bound and sentence of the prefill of one prompt; a lower bound where other work shares its steps."""
    share = needs.share
    limit = "arithmetic" if needs.compute_s >= needs.memory_s else "reading the weights"
    said = (
        f"A prompt of {tokens:.0f} tokens took {ms(needs.seconds)} ms; its arithmetic takes {ms(needs.compute_s)} ms at the "
        f"{needs.rate_name.upper()} peak, reading the weights {ms(needs.weight_s)} ms: {percent(share)} of the lower ceiling."
    )
    if share > IMPOSSIBLE:
        return "unknown", f"{said} {_TOO_FAST}"
    if share < REACHED:
        return (
            "overhead",
            f"{said} It shares its steps with other sequences or waits for them, so this is a lower bound.",
        )
    bound: Bound = "compute" if needs.compute_s >= needs.memory_s else "weight bandwidth"
    return bound, f"{said} {limit.capitalize()} limits it."


def count(rows: float) -> str:
    """A number of sequences in words: '8 sequences'."""
    text = f"{rows:.0f}" if rows >= 9.5 or abs(rows - round(rows)) < 0.05 else f"{rows:.1f}"
    return f"{text} sequence{'' if text == '1' else 's'}"


def ms(seconds: float) -> str:
    """Milliseconds with two or three digits."""
    value = 1000 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def gb(size: float) -> str:
    """Gigabytes (1e9 bytes) with two digits."""
    return f"{size / 1e9:.1f}" if size >= 1e9 else f"{size / 1e9:.2g}"


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"
