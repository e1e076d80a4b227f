"""``hpa.yaml``: the number of servers by vLLM's own metrics, and what makes them visible to Kubernetes."""

from __future__ import annotations

import math

from rooftune.export.deployment import AtCapacity, Deployment
from rooftune.export.heading import heading
from rooftune.export.yaml_text import Node, Noted, yaml_text
from rooftune.formatting import quantity

RUNNING, WAITING = "vllm_num_requests_running", "vllm_num_requests_waiting"
"""Names in the custom metrics API, which does not allow the colon of vLLM's names."""
SETTLED_S = 300
"""Window of the scale-down, so that a pause of the load does not end servers that take minutes to start."""


def autoscaler(deployment: Deployment) -> str:
    """``hpa.yaml``."""
    comments = [
        *heading(deployment, "hpa.yaml", environment=True),
        "It needs prometheus-adapter with the rules of prometheus-adapter-values.yaml. Without an adapter the metrics "
        "are unknown and nothing is scaled.",
    ]
    metrics: list[Node] = []
    state = deployment.at_capacity
    if state is not None and (target := running_target(state, deployment)):
        metrics.append(_metric(RUNNING, target, _running_note(target)))
    waiting = waiting_target(deployment)
    metrics.append(_metric(WAITING, waiting, _waiting_note(deployment)))
    spec: dict[str, Node] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name},
        "minReplicas": 1,
        "maxReplicas": max(2 * deployment.replicas, 2),
        "metrics": metrics,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": SETTLED_S}},
    }
    notes = {"maxReplicas": "Twice the number for the asked rate; set it to what you can pay for."}
    document: dict[str, Node] = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": deployment.name},
        "spec": Noted(spec, notes),
    }
    return yaml_text(comments, document)


def running_target(state: AtCapacity, deployment: Deployment) -> int:
    """Requests in the batch of each server at which another one is started; 0 where the batch limit hides the load."""
    limit = deployment.config.max_num_seqs
    target = max(math.floor(state.running), 1)
    return 0 if limit is not None and target >= 0.9 * limit else target


def waiting_target(deployment: Deployment) -> int:
    """Requests in the queue of each server at which another one is started."""
    state = deployment.at_capacity
    return math.ceil(state.waiting) + 1 if state is not None else 1


def _running_note(target: int) -> str:
    return (
        f"About {quantity(target, 'request')} run at once on one server at the lower end of its capacity. "
        "Lower this to add servers earlier."
    )


def _waiting_note(deployment: Deployment) -> str:
    target = quantity(waiting_target(deployment), "request")
    if deployment.at_capacity is None:
        return f"{target} in the queue of each server; the capacity, and so the usual queue, is not known."
    return f"Near the capacity fewer than {target} wait on one server."


def _metric(name: str, target: int, note: str) -> Node:
    values: dict[str, Node] = {
        "metric": {"name": name},
        "target": {"type": "AverageValue", "averageValue": str(target)},
    }
    return {"type": "Pods", "pods": Noted(values, {"target": note})}


def adapter_values(deployment: Deployment) -> str:
    """Rules for the Helm chart of prometheus-adapter."""
    comments = [
        *heading(deployment, "prometheus-adapter-values.yaml", environment=True),
        "Values for the chart prometheus-community/prometheus-adapter. Prometheus has to scrape the pods with the "
        "labels `namespace` and `pod`, as the PodMonitor of the Prometheus operator does.",
    ]
    rules: list[Node] = [_rule("vllm:num_requests_running", RUNNING), _rule("vllm:num_requests_waiting", WAITING)]
    return yaml_text(comments, {"rules": {"custom": rules}})


def _rule(series: str, name: str) -> Node:
    return {
        "seriesQuery": f'{series}{{namespace!="",pod!=""}}',
        "resources": {"overrides": {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}},
        "name": {"matches": "", "as": name},
        "metricsQuery": "sum(<<.Series>>{<<.LabelMatchers>>}) by (<<.GroupBy>>)",
    }
