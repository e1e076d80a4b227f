"""``prometheus-rules.yaml``: alerts on the SLO and on the measured capacity.

The metrics exist under these names in all releases of vLLM from 0.11 to 0.33.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from rooftune.export.deployment import Deployment
from rooftune.export.heading import heading
from rooftune.export.yaml_text import Node, Text, yaml_text
from rooftune.formatting import number, percent, rate

FILE = "prometheus-rules.yaml"
WINDOW = "5m"
FULL = 0.95
"""Share of the KV cache in use above which it is treated as full."""
HISTOGRAMS = {
    "ttft_ms": "vllm:time_to_first_token_seconds",
    "tpot_ms": "vllm:request_time_per_output_token_seconds",
    "e2el_ms": "vllm:e2e_request_latency_seconds",
}
"""Limit of the SLO -> vLLM's histogram of the same time."""
WORDS = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "e2el_ms": "E2EL"}


@dataclass(frozen=True)
class Alert:
    """One alerting rule."""

    name: str
    expression: str
    lasts: str
    severity: str
    summary: str
    description: str

    def as_node(self) -> Node:
        """As an entry of the rule file."""
        return {
            "alert": self.name,
            "expr": Text(self.expression + "\n"),
            "for": self.lasts,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "description": self.description},
        }


def prometheus(deployment: Deployment) -> dict[str, str]:
    """The file, by name."""
    comments = [
        *heading(deployment, FILE, environment=True),
        "List it under rule_files of Prometheus. Each server has to keep the SLO.",
        "vLLM measures times from the arrival at the server, so time in a router or a proxy is not part of them.",
    ]
    rules = [alert.as_node() for alert in alerts(deployment)]
    groups: list[Node] = [{"name": deployment.name, "rules": rules}]
    return {FILE: yaml_text(comments, {"groups": groups})}


def alerts(deployment: Deployment) -> list[Alert]:
    """All rules, the most urgent first."""
    capacity = [_above_capacity(deployment)] if _carries(deployment) else []
    return [
        _down(deployment),
        *(_slow(deployment, limit) for limit in deployment.limits_ms if limit in HISTOGRAMS),
        _queue(deployment),
        *capacity,
        _full(deployment),
        _preemptions(deployment),
    ]


def selector(deployment: Deployment) -> str:
    """The label that chooses the metrics of this model."""
    return f"{{model_name={json.dumps(deployment.served_name, ensure_ascii=False)}}}"


def quantile_of(histogram: str, share: float, labels: str, *, by: str = "instance, model_name") -> str:
    """The quantile of a histogram in PromQL."""
    return f"histogram_quantile({share:.10g}, sum by (le, {by}) (rate({histogram}_bucket{labels}[{WINDOW}])))"


def request_rate(labels: str) -> str:
    """Finished requests per second of each server in PromQL."""
    return f"sum by (instance, model_name) (rate(vllm:request_success_total{labels}[{WINDOW}]))"


def _carries(deployment: Deployment) -> bool:
    return deployment.capacity is not None and deployment.capacity.low > 0


def _down(deployment: Deployment) -> Alert:
    return Alert(
        name="VllmAbsent",
        expression=f"absent(vllm:num_requests_running{selector(deployment)})",
        lasts="2m",
        severity="critical",
        summary="No vLLM server reports metrics",
        description="Either no server of this model runs, or Prometheus does not reach its /metrics.",
    )


def _slow(deployment: Deployment, limit: str) -> Alert:
    seconds = deployment.limits_ms[limit] / 1000
    share = percent(deployment.slo_share, 3)
    expression = quantile_of(HISTOGRAMS[limit], deployment.slo_share, selector(deployment))
    return Alert(
        name=f"VllmSlo{WORDS[limit].capitalize()}",
        expression=f"{expression} > {seconds:.10g}",
        lasts=WINDOW,
        severity="critical",
        summary=f"{WORDS[limit]} breaks the SLO of {number(1000 * seconds)} ms",
        description=(
            f"The SLO says that {share} of the requests stay below {number(seconds)} s; now the quantile is "
            "{{ $value | humanizeDuration }} on {{ $labels.instance }}. The quantile is interpolated between the edges "
            "of vLLM's buckets."
        ),
    )


def _queue(deployment: Deployment) -> Alert:
    labels = selector(deployment)
    state = deployment.at_capacity
    usual = max(state.waiting, 1.0) if state is not None else 1.0
    waiting = f"vllm:num_requests_waiting{labels}"
    known = f" Near the capacity about {number(usual)} wait." if state is not None else ""
    return Alert(
        name="VllmQueueGrows",
        expression=f"deriv({waiting}[{WINDOW}]) > 0\nand min_over_time({waiting}[{WINDOW}]) > {number_of(usual)}",
        lasts=WINDOW,
        severity="warning",
        summary="The queue of a vLLM server grows",
        description=(
            "{{ $labels.instance }} gets more requests than it serves, so the TTFT grows for as long as this lasts."
            f"{known} Add servers or refuse requests."
        ),
    )


def _above_capacity(deployment: Deployment) -> Alert:
    assert deployment.capacity is not None
    low, estimate = deployment.capacity.low, deployment.capacity.estimate
    how = "simulated" if deployment.simulated else "measured"
    return Alert(
        name="VllmAboveCapacity",
        expression=f"{request_rate(selector(deployment))} > {number_of(low)}",
        lasts=WINDOW,
        severity="warning",
        summary="A vLLM server is loaded above its capacity",
        description=(
            "{{ $labels.instance }} finishes {{ $value | humanize }} requests per second. The "
            f"{how} capacity within the SLO is {rate(estimate, 'request', 3)}, {number(low)} at the lower end of its "
            "interval. Requests with other lengths than the measured ones change it."
        ),
    )


def _full(deployment: Deployment) -> Alert:
    labels = selector(deployment)
    return Alert(
        name="VllmKvCacheFull",
        expression=(
            f"avg_over_time(vllm:kv_cache_usage_perc{labels}[{WINDOW}]) > {FULL}\n"
            f"and avg_over_time(vllm:num_requests_waiting{labels}[{WINDOW}]) >= 1"
        ),
        lasts=WINDOW,
        severity="warning",
        summary="Requests wait for the KV cache of a vLLM server",
        description=(
            "{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its KV cache while requests wait."
        ),
    )


def _preemptions(deployment: Deployment) -> Alert:
    state = deployment.at_capacity
    usual = state.preemptions_per_s if state is not None else 0.0
    return Alert(
        name="VllmPreemptions",
        expression=f"rate(vllm:num_preemptions_total{selector(deployment)}[{WINDOW}]) > {number_of(2 * usual)}",
        lasts=WINDOW,
        severity="warning",
        summary="A vLLM server preempts requests",
        description=(
            "{{ $labels.instance }} evicts running requests and computes them again, {{ $value | humanize }} times per "
            f"second; {number(usual)} per second were counted in the run. Lower max-num-seqs or add KV cache."
        ),
    )


def number_of(value: float) -> str:
    """A number in PromQL, with four significant digits."""
    return f"{float(f'{value:.4g}'):.10g}"
