"""How long one engine step takes: by kernel family, from the catalogue's ceilings and fitted efficiencies.

A step is host work, then linear layers, attention and the LM head one after another. With asynchronous scheduling the
scheduler's own time is hidden behind the GPU's. All constants stand in ``data/kernels.yaml`` with their source.
"""

from __future__ import annotations

import math
from functools import cache
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from rooftune.hardware.accelerator import Accelerator
from rooftune.models.costs import attention_flops, linear_bytes, lm_head_bytes
from rooftune.models.facts import ModelFacts
from rooftune.simulator.resolve import Resolved
from rooftune.simulator.shape import StepShape


@cache
def constants() -> dict[str, Any]:
    """Content of ``data/kernels.yaml``."""
    text = files("rooftune.simulator").joinpath("data/kernels.yaml").read_text(encoding="utf-8")
    value: dict[str, Any] = YAML(typ="safe").load(text)
    return value


class StepTime:
    """Duration of steps of one model on one GPU under one configuration."""

    def __init__(
        self, gpu: Accelerator, facts: ModelFacts, resolved: Resolved, overrides: dict[str, float] | None = None
    ):
        self.gpu, self.facts, self.r = gpu, facts, resolved
        table = constants()
        self.kernel = {**table["kernels"][resolved.kernel], **(overrides or {})}
        self.attention = table["attention"][resolved.attention]
        self.host = table["host"]
        self.bandwidth = gpu.bandwidth_bytes_per_s
        kind = {"fp8": "fp8", "int8": "int8"}.get(resolved.kernel, "bf16" if resolved.dtype == "bfloat16" else "fp16")
        self.rate = gpu.flops_per_s.get(kind) or gpu.flops_per_s.get("fp16") or gpu.flops_per_s["fp32"]
        self.rate16 = gpu.flops_per_s.get("fp16") or gpu.flops_per_s["fp32"]
        self.linear_bytes = linear_bytes(facts)
        self.linear_flops = 2.0 * facts.active_linear_parameters
        self.kv_bytes = facts.kv_bytes_per_token(resolved.kv_bytes_per_value)

    def seconds(self, shape: StepShape) -> float:
        """Duration of a step in seconds."""
        if not shape.tokens:
            return 0.0
        tp = self.r.tensor_parallel
        gpu = (self.linear_s(shape) + self.attention_s(shape) + self.head_s(shape.sampled)) / tp
        gpu += self.all_reduce_s(shape.tokens)
        return gpu + self.host_s(shape)

    def linear_s(self, shape: StepShape) -> float:
        """Time of all matrices of all layers for the step's rows, on one GPU."""
        rows, k = shape.tokens, self.kernel
        if self.r.kernel == "awq_gemm":
            dequantising = rows >= k["dequantise_from"] or (self.r.awq_graph_trap and not shape.prefill_tokens)
            return self._dequantised_s(rows) if dequantising else self._tiled_s(rows)
        stream = self._streamed_bytes(rows) / (self.bandwidth * k["memory"])
        passes = math.ceil(rows / k["tile"]) if "tile" in k and rows <= 256 else 1
        compute = rows * self.linear_flops / (self.rate * k["compute"])
        if self.r.kernel == "marlin":
            ramp = 1 + 0.0125 * max(0, min(rows, 64) - 16)  # inside a tile: flat to 16 rows, then growing
            return max(stream * ramp * min(passes, 2), compute)
        return math.hypot(stream, compute) if compute < 2 * stream else max(stream, compute)

    def _tiled_s(self, rows: int) -> float:
        k = self.kernel
        stream = self.linear_bytes / (self.bandwidth * k["memory"])
        return stream * math.ceil(rows / k["tile"]) + rows * self.linear_flops / (self.rate16 * k["row_flops"])

    def _dequantised_s(self, rows: int) -> float:
        full = 2.0 * self.facts.linear_parameters
        traffic = (self.linear_bytes + 2 * full) / (self.bandwidth * 0.8)
        return traffic + rows * self.linear_flops / (self.rate16 * 0.42)

    def _streamed_bytes(self, rows: int) -> float:
        f = self.facts
        if f.experts == 1:
            return self.linear_bytes
        touched = 1 - (1 - f.experts_per_token / f.experts) ** rows
        share = f.attention_parameters / f.linear_parameters
        return self.linear_bytes * (share + (1 - share) * touched)

    def attention_s(self, shape: StepShape) -> float:
        """Time of attention: KV reads of decodes, and the larger of reads and products of prefills."""
        a = self.attention
        window = self.facts.sliding_window
        context = shape.decode_context
        if window and shape.decode_seqs:
            context = min(context, window * shape.decode_seqs)
        read = self.bandwidth * a["memory"]
        decode = context * self.kv_bytes / read
        compute = attention_flops(self.facts, shape.prefill_pairs) / (self.rate16 * a["compute"])
        return decode + max(compute, shape.prefill_context * self.kv_bytes / read)

    def head_s(self, rows: int) -> float:
        """Time of the LM head and sampling for so many rows."""
        stream = lm_head_bytes(self.facts) / (self.bandwidth * 0.85)
        compute = rows * 2.0 * self.facts.embedding_parameters / (self.rate16 * 0.5)
        return max(stream, compute)

    def host_s(self, shape: StepShape) -> float:
        """Launches and Python on the critical path."""
        h = self.host
        replayed = self.r.cuda_graphs and not shape.prefill_tokens
        launch = h["graph_step"] if replayed else h["eager_per_layer"] * self.facts.layers
        scheduler = 0.0 if self.r.async_scheduling else h["scheduler_step"] + 0.01 * shape.sampled
        return (launch + scheduler + h["per_sequence"] * shape.sampled) / 1000

    def all_reduce_s(self, rows: int) -> float:
        """Two ring all-reduces a layer: 2 (n - 1) / n of the hidden states over the slowest link, and a latency."""
        n = self.r.tensor_parallel
        if n == 1:
            return 0.0
        link = self.gpu.interconnect_bytes_per_s or 12e9
        size = rows * self.facts.hidden_size * 2.0
        return 2 * self.facts.layers * (2 * (n - 1) / n * size / link + 10e-6)
