"""The engine's metrics in Prometheus text with vLLM's names, labels and bucket edges."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

TTFT = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
    160,
    640,
    2560,
)
ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
LONG = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
TOKENS = tuple(float(x) for b in range(5) for x in (10**b, 2 * 10**b, 5 * 10**b))
LATE = (
    0.0005,
    0.001,
    0.0015,
    0.002,
    0.003,
    0.004,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.2,
    0.5,
    1,
    5,
)
ITERATION = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Histogram:
    """Counts by bucket, sum and count."""

    def __init__(self, edges: Iterable[float]) -> None:
        self.edges = tuple(float(e) for e in edges)
        self.counts = [0] * (len(self.edges) + 1)
        self.sum, self.count = 0.0, 0
        self._last, self._bucket = float("nan"), 0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value. The sequences of one step repeat the same one, so its bucket is kept."""
        if value != self._last:
            self._last, self._bucket = value, bisect_left(self.edges, value)
        self.counts[self._bucket] += times
        self.sum += value * times
        self.count += times


class Metrics:
    """All counters and histograms of one engine."""

    def __init__(self, model: str) -> None:
        self.labels = f'engine="0",model_name="{model}"'
        self.counters = dict.fromkeys(
            (
                "prompt_tokens",
                "generation_tokens",
                "num_preemptions",
                "prefix_cache_queries",
                "prefix_cache_hits",
                "spec_decode_num_drafts",
                "spec_decode_num_draft_tokens",
                "spec_decode_num_accepted_tokens",
            ),
            0.0,
        )
        self.accepted_at: list[int] = []
        """Accepted tokens at each position of a draft."""
        self.success = {"length": 0, "stop": 0, "abort": 0}
        self.histograms = {
            "time_to_first_token_seconds": Histogram(TTFT),
            "inter_token_latency_seconds": Histogram(ITL),
            "e2e_request_latency_seconds": Histogram(LONG),
            "request_queue_time_seconds": Histogram(LONG),
            "request_inference_time_seconds": Histogram(LONG),
            "request_prefill_time_seconds": Histogram(LONG),
            "request_decode_time_seconds": Histogram(LONG),
            "request_time_per_output_token_seconds": Histogram(ITL),
            "request_prompt_tokens": Histogram(TOKENS),
            "request_generation_tokens": Histogram(TOKENS),
            "iteration_tokens_total": Histogram(ITERATION),
            "rooftune:clock_late": Histogram(LATE),
            "rooftune:delivery": Histogram(LATE),
        }

    def text(self, gauges: dict[str, float], info: dict[str, object]) -> bytes:
        """The whole page. Names of ``gauges`` get the prefix ``vllm:`` unless they have one."""
        out: list[str] = []
        for name, value in gauges.items():
            full = name if ":" in name else f"vllm:{name}"
            out += [f"# TYPE {full} gauge", f"{full}{{{self.labels}}} {value}"]
        for name, value in self.counters.items():
            out += [f"# TYPE vllm:{name}_total counter", f"vllm:{name}_total{{{self.labels}}} {value}"]
        out += self._by_position()
        out.append("# TYPE vllm:request_success_total counter")
        out += [
            f'vllm:request_success_total{{{self.labels},finished_reason="{k}"}} {v}' for k, v in self.success.items()
        ]
        for name, h in self.histograms.items():
            out += self._histogram(f"{name}_seconds" if ":" in name else f"vllm:{name}", h)
        pairs = ",".join(f'{k}="{v}"' for k, v in info.items())
        out += ["# TYPE vllm:cache_config_info gauge", f'vllm:cache_config_info{{{pairs},engine="0"}} 1.0', ""]
        return "\n".join(out).encode()

    def _by_position(self) -> list[str]:
        if not self.accepted_at:
            return []
        name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
        samples = (f'{name}{{{self.labels},position="{i}"}} {n}' for i, n in enumerate(self.accepted_at))
        return [f"# TYPE {name} counter", *samples]

    def _histogram(self, name: str, h: Histogram) -> list[str]:
        out, total = [f"# TYPE {name} histogram"], 0
        for edge, count in zip((*h.edges, float("inf")), h.counts, strict=True):
            total += count
            label = "+Inf" if edge == float("inf") else str(edge)
            out.append(f'{name}_bucket{{{self.labels},le="{label}"}} {total}')
        return [*out, f"{name}_count{{{self.labels}}} {h.count}", f"{name}_sum{{{self.labels}}} {h.sum}"]
