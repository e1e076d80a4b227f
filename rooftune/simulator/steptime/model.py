"""How long one engine step takes: by kernel family, from the catalogue's ceilings and fitted efficiencies.

A step's GPU work is linear layers, attention and the LM head one after another; the host launches it meanwhile, so
the longer of the two counts, plus what of the host's work cannot overlap. With asynchronous scheduling the
scheduler's own time is hidden. All constants stand in ``data/kernels.yaml`` with their source; a calibration
replaces them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from packaging.version import Version

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.costs import attention_flops, full_arithmetic_share, full_kv_share, kv_read_bytes, lm_head_bytes
from rooftune.models.facts import ModelFacts
from rooftune.simulator.calibration.files import Calibration
from rooftune.simulator.engine.shape import StepShape
from rooftune.simulator.fastpath.clock import verified_rows
from rooftune.simulator.fastpath.loop import step_seconds
from rooftune.simulator.steptime.constants import Constants, constants_for, of_runner
from rooftune.simulator.steptime.linear import as_it_runs, linear_seconds, matrix_seconds
from rooftune.simulator.steptime.proposer import draft_lengths, proposer_seconds
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.resolve import Resolved, resolve

Floats = npt.NDArray[np.float64]
PCIE_AT_MOST = 100e9
"""Bytes/s that no PCIe link reaches and every NVLink does."""
PCIE_PAIR = 2
"""GPUs that reach ``all_reduce_pcie_share`` of a link: without peer access traffic passes through the host's memory,
which more GPUs share."""
NATIVE_FP8 = (8, 9)
"""Compute capability from which on attention kernels read FP8 without converting it."""
SEARCH_THE_TEXT = ("ngram", "ngram_gpu", "suffix")
SECOND_ENGINE = Version("0.8")
"""From here on vLLM's V1 engine is the default; the one before did more on the host between two steps."""


class StepTime:
    """Duration of steps of one model on one accelerator under one configuration, in seconds.

    The cost of linear layers, LM head and host is tabled by rows and by sequences; attention is linear in the
    context, so that the duration of a fixed decoding batch is a maximum of two straight lines in ``decode_context``.

    ``drafted`` is how many tokens the proposer drafts on average per sequence and step; None = as many as it may, or
    as its method usually finds.
    """

    def __init__(
        self,
        gpu: Accelerator,
        facts: ModelFacts,
        config: EngineConfig | Resolved,
        engine_version: str | None = None,
        *,
        constants: Constants | None = None,
        calibration: Calibration | None = None,
        drafted: float | None = None,
    ) -> None:
        if isinstance(config, EngineConfig):
            config = resolve(gpu, facts, config, engine_version or "0.32.0")
        self.gpu, self.facts, self.r = gpu, facts, config
        self.k = constants or constants_for(gpu, calibration=calibration)
        self.host = self.k.host
        self.card = as_it_runs(gpu, self.k)
        r = config
        self.found = self._found(drafted)
        self.kv_bytes = kv_read_bytes(facts, 1, 1, r.kv_bytes_per_value, r.tensor_parallel)
        rows = np.arange(r.max_num_batched_tokens + 1)
        self.linear_mixed = self._linear(rows, decode=False)
        self.linear_decode = self._linear(_padded(rows, list(r.capture_sizes)), decode=True)
        self.head = self._head(np.arange(max(r.max_num_seqs, 1) + 1))
        self.host_decode, self.host_mixed = self._host(np.arange(r.max_num_seqs + 1))
        self.cost = self._scalars()

    def seconds(self, shape: StepShape) -> float:
        """Duration of a step in seconds."""
        s = shape
        return float(
            step_seconds(
                self.linear_decode,
                self.linear_mixed,
                self.head,
                self.host_decode,
                self.host_mixed,
                self.cost,
                s.decode_seqs,
                s.decode_tokens,
                s.decode_context,
                s.prefill_tokens,
                s.prefill_pairs,
                s.prefill_context,
                s.sampled,
            )
        )

    def parts(self, shape: StepShape) -> dict[str, float]:
        """The GPU's seconds by part, and the host's: where the time of a step goes. ``all_reduce`` is a part of
        ``linear``."""
        mixed = shape.prefill_tokens > 0
        rows = verified_rows(shape.decode_seqs, shape.decode_tokens, self.found)
        linear = self.linear_mixed[rows + shape.prefill_tokens] if mixed else self.linear_decode[rows]
        head = float(self.head[shape.sampled])
        host = float(self.host_mixed[shape.sampled] if mixed else self.host_decode[shape.decode_seqs])
        exposed = self.cost[5] + (self.cost[8] if mixed and shape.decode_seqs else 0.0)
        attention = self.seconds(shape) - exposed - float(linear) - head
        bound = host > float(linear) + max(attention, 0.0) + head - 1e-12
        if bound:
            attention = min(max(attention, 0.0), self.cost[0] * shape.decode_context)
        exchange = float(self._all_reduce(np.asarray([rows + shape.prefill_tokens]))[0])
        return {
            "linear": float(linear), "all_reduce": exchange, "attention": attention, "head": head, "host": host,
            "exposed": exposed,
        }  # fmt: skip

    def _linear(self, rows: npt.NDArray[np.int64], decode: bool) -> Floats:
        """Seconds of all matrices of all layers on one GPU, with the all-reduces, by rows."""
        unique, back = np.unique(rows, return_inverse=True)
        seconds = linear_seconds(self.card, self.facts, self.r, self.k, unique, decode=decode)
        small = self.k.linear[self.r.kernel]["kernels"] * self.host["kernel_us"] * 1e-6 * self.facts.layers
        seconds = seconds + self._all_reduce(unique) + small
        seconds[unique == 0] = 0.0
        out: Floats = seconds[back]
        return out

    def _found(self, drafted: float | None) -> float:
        """Share of the draft tokens that a step has room for and verifies: a method that searches the text for what
        to propose often finds nothing. It is the same for every length of a schedule."""
        k = self.r.speculative_tokens
        if k and drafted is not None:
            return min(drafted, k) / k
        return self.host["matched_share"] if self.r.speculative_method in SEARCH_THE_TEXT else 1.0

    def _all_reduce(self, rows: npt.NDArray[np.int64]) -> Floats:
        """Two ring all-reduces a layer: 2 (n - 1) / n of the hidden states over the link, and a latency."""
        n = self.r.tensor_parallel
        if n == 1:
            return np.zeros(len(rows))
        link = self.gpu.interconnect_bytes_per_s or 12e9
        pcie = link < PCIE_AT_MOST
        link *= self.host["all_reduce_pcie_share"] * PCIE_PAIR / n if pcie else 1.0
        size = rows * self.facts.hidden_size * 2.0
        latency = self.host["all_reduce_pcie_latency_ms" if pcie else "all_reduce_latency_ms"] / 1000
        return np.asarray(2 * self.facts.layers * (2 * (n - 1) / n * size / link + latency))

    def _head(self, rows: npt.NDArray[np.int64]) -> Floats:
        """LM head (16 bits), sampling, speculation, and what else each sequence adds to a step, by sequences."""
        n, f = self.r.tensor_parallel, self.facts
        verified = rows + np.ceil(rows * draft_lengths(self.r, rows) * self.found - 1e-9).astype(np.int64)
        product = matrix_seconds(
            self.card,
            self.k.linear["gemm_16bit"],
            self.r.dtype,
            verified,
            lm_head_bytes(f) / n,
            2.0 * f.embedding_parameters / n,
        )
        sampling = verified * f.vocab_size * self.host["sampler_bytes_per_logit"] / self.card.bandwidth_bytes_per_s
        each = self.host[of_runner("exposed_per_sequence_ms", self.r.runner)]
        each += 0.0 if self.r.async_scheduling else self.host["scheduler_per_sequence_ms"]
        out = np.asarray(product + sampling + rows * each / 1000)
        out = out + proposer_seconds(self.card, self.k, f, self.r, rows)
        out[0] = 0.0
        return out

    def _host(self, seqs: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """(decode steps, steps with prefill): the host's seconds by sequences that overlap with the GPU."""
        h, layers = self.host, self.facts.layers
        each = "launched_per_layer_ms" if self.r.cuda_graphs else "eager_per_layer_ms"
        eager = h[each] * layers + h["per_sequence_ms"] * seqs
        graph = h["graph_step_ms"] + h["per_sequence_ms"] * seqs
        one = (seqs <= max(self.r.capture_sizes, default=0)) & self.r.full_decode_graphs
        decode = np.where(one, graph, eager)
        return decode / 1000, eager / 1000

    def _scalars(self) -> list[float]:
        gpu, r, a = self.card, self.r, self.k.attention[self.r.attention]
        read = self.kv_bytes / (gpu.bandwidth_bytes_per_s * a["memory"])
        rate = gpu.flops_per_s.get("fp16") or gpu.flops_per_s.get("bf16") or gpu.flops_per_s["fp32"]
        pair = attention_flops(self.facts, 1.0) / r.tensor_parallel / (rate * a["compute"])
        exposed = self.host["exposed_ms"] + (0.0 if r.async_scheduling else self.host["scheduler_ms"])
        f = self.facts
        exposed += a.get("step_ms", 0.0)
        if r.version < SECOND_ENGINE:
            exposed += self.host["first_engine_ms"]
        if r.kv_bytes_per_value < 2 and gpu.kind == "cuda" and (gpu.compute_capability or NATIVE_FP8) < NATIVE_FP8:
            exposed += self.host["fp8_kv_per_layer_ms"] * f.layers
        mixed = self.host[of_runner("mixed_per_layer_ms", r.runner)] * f.layers
        beside = mixed if r.version >= SECOND_ENGINE else 0.0
        floor, window = a.get("floor_ms", 0.0) / 1000, float(f.sliding_window or 0)
        full = [full_kv_share(f), full_arithmetic_share(f)]
        return [read, floor, window, pair, read, exposed / 1000, *full, beside / 1000, self.found]


def _padded(rows: npt.NDArray[np.int64], sizes: list[int]) -> npt.NDArray[np.int64]:
    """Rows padded to the next captured size; beyond the largest, and without graphs, as they are."""
    if not sizes:
        return rows
    at = np.searchsorted(sizes, rows)
    return np.where(at < len(sizes), np.asarray([*sizes, 0])[at], rows)
