"""``prometheus-rules.yaml``: alerts on the SLO and on the measured capacity."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.export.deployment import AtCapacity, Deployment
from rooftune.export.heading import heading
from rooftune.export.promql import (
    HISTOGRAMS,
    KV_USAGE,
    PREEMPTIONS,
    RUNNING,
    WAITING,
    WINDOW,
    WORDS,
    above,
    of_model,
    over_window,
    per_second,
    quantile_of,
    request_rate,
)
from rooftune.export.yaml_text import Node, Text, yaml_text
from rooftune.formatting import number, percent, rate
from rooftune.tuning.plan import CapacityFigures

FILE = "prometheus-rules.yaml"
FULL = 0.95
"""Share of the KV cache in use above which it is treated as full."""


@dataclass(frozen=True)
class Alert:
    """One alerting rule. Most warn after a window."""

    name: str
    expression: str
    summary: str
    description: str
    severity: str = "warning"
    lasts: str = WINDOW

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
    labels, state, capacity = of_model(deployment.served_name), deployment.at_capacity, deployment.capacity
    known = [_above_capacity(labels, capacity, deployment)] if capacity is not None and capacity.low > 0 else []
    return [
        _down(labels),
        *(_slow(labels, limit, deployment) for limit in deployment.limits_ms if limit in HISTOGRAMS),
        _queue(labels, state),
        *known,
        _full(labels),
        _preemptions(labels, state),
    ]


def _down(labels: str) -> Alert:
    return Alert(
        name="VllmAbsent",
        expression=f"absent({RUNNING}{labels})",
        summary="No vLLM server reports metrics",
        description="Either no server of this model runs, or Prometheus does not reach its /metrics.",
        severity="critical",
        lasts="2m",
    )


def _slow(labels: str, limit: str, deployment: Deployment) -> Alert:
    seconds, share = deployment.limits_ms[limit] / 1000, percent(deployment.slo_share, 3)
    quantile = quantile_of(HISTOGRAMS[limit], deployment.slo_share, labels)
    return Alert(
        name=f"VllmSlo{WORDS[limit].capitalize()}",
        expression=f"{quantile} > {seconds:.10g}",
        summary=f"{WORDS[limit]} breaks the SLO of {number(1000 * seconds)} ms",
        description=(
            f"The SLO says that {share} of the requests stay below {number(seconds)} s; now the quantile is "
            "{{ $value | humanizeDuration }} on {{ $labels.instance }}. The quantile is interpolated between the edges "
            "of vLLM's buckets."
        ),
        severity="critical",
    )


def _queue(labels: str, state: AtCapacity | None) -> Alert:
    usual = max(state.waiting, 1.0) if state is not None else 1.0
    known = f" Near the capacity about {number(usual)} wait." if state is not None else ""
    grows = f"{over_window('deriv', WAITING, labels)} > 0"
    return Alert(
        name="VllmQueueGrows",
        expression=f"{grows}\nand {above(over_window('min_over_time', WAITING, labels), usual)}",
        summary="The queue of a vLLM server grows",
        description=(
            "{{ $labels.instance }} gets more requests than it serves, so the TTFT grows for as long as this lasts."
            f"{known} Add servers or refuse requests."
        ),
    )


def _above_capacity(labels: str, capacity: CapacityFigures, deployment: Deployment) -> Alert:
    how = "simulated" if deployment.simulated else "measured"
    return Alert(
        name="VllmAboveCapacity",
        expression=above(request_rate(labels), capacity.low),
        summary="A vLLM server is loaded above its capacity",
        description=(
            "{{ $labels.instance }} finishes {{ $value | humanize }} requests per second. The "
            f"{how} capacity within the SLO is {rate(capacity.estimate, 'request', 3)}, {number(capacity.low)} at the "
            "lower end of its interval. Requests with other lengths than the measured ones change it."
        ),
    )


def _full(labels: str) -> Alert:
    waits = f"{over_window('avg_over_time', WAITING, labels)} >= 1"
    return Alert(
        name="VllmKvCacheFull",
        expression=f"{above(over_window('avg_over_time', KV_USAGE, labels), FULL)}\nand {waits}",
        summary="Requests wait for the KV cache of a vLLM server",
        description=(
            "{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its KV cache while requests wait."
        ),
    )


def _preemptions(labels: str, state: AtCapacity | None) -> Alert:
    usual = state.preemptions_per_s if state is not None else 0.0
    return Alert(
        name="VllmPreemptions",
        expression=above(per_second(PREEMPTIONS, labels), 2 * usual),
        summary="A vLLM server preempts requests",
        description=(
            "{{ $labels.instance }} evicts running requests and computes them again, {{ $value | humanize }} times per "
            f"second; {number(usual)} per second were counted in the run. Lower max-num-seqs or add KV cache."
        ),
    )
