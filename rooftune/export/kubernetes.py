"""``kubernetes.yaml``: a Deployment and a Service, without other tools."""

from __future__ import annotations

from rooftune.export import pod
from rooftune.export.autoscaling import adapter_values, autoscaler
from rooftune.export.compose import start_note
from rooftune.export.deployment import PORT, Deployment
from rooftune.export.heading import heading
from rooftune.export.words import SERVE, serve_words, without_expansion
from rooftune.export.yaml_text import Node, Noted, yaml_text
from rooftune.formatting import rate

GRACE_S = 30


def kubernetes(deployment: Deployment) -> dict[str, str]:
    """The files, by name."""
    comments = [
        *heading(deployment, "kubernetes.yaml", environment=True),
        "Apply it with `kubectl apply -f kubernetes.yaml`. Change the namespace, the node selector and the volumes to "
        "those of your cluster.",
    ]
    return {
        "kubernetes.yaml": yaml_text(comments, _deployment(deployment), _service(deployment)),
        "hpa.yaml": autoscaler(deployment),
        "prometheus-adapter-values.yaml": adapter_values(deployment),
    }


def labels(deployment: Deployment) -> dict[str, Node]:
    """By these labels the Service finds the pods."""
    return {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/instance": deployment.name}


def replica_note(deployment: Deployment) -> str:
    """Where the number of replicas comes from."""
    asked = deployment.asked_rate_per_s
    if deployment.capacity is None or not asked or deployment.capacity.low <= 0:
        return "The capacity of one server is not known, so choose the number of servers."
    each = rate(deployment.capacity.low, "request", 3)
    return f"For {rate(asked, 'request', 3)}, with at most {each} on each (the lower end of the capacity)."


def _deployment(deployment: Deployment) -> dict[str, Node]:
    spec: dict[str, Node] = {
        "replicas": deployment.replicas,
        "selector": {"matchLabels": labels(deployment)},
        "template": {
            "metadata": {"labels": labels(deployment)},
            "spec": Noted(
                {
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": deployment.drain_s + GRACE_S,
                    "containers": [_container(deployment)],
                    "volumes": pod.volumes(deployment),
                },
                {
                    "enableServiceLinks": "Variables of Services whose names begin with vllm confuse vLLM.",
                    "terminationGracePeriodSeconds": f"The wait of preStop, and {GRACE_S} s for vLLM to stop.",
                    "volumes": _volume_note(deployment),
                },
            ),
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": deployment.name, "labels": labels(deployment)},
        "spec": Noted(spec, {"replicas": replica_note(deployment)}),
    }


def _volume_note(deployment: Deployment) -> str:
    note = "model-cache is lost with the pod; a PersistentVolumeClaim saves the download."
    if deployment.local_paths:
        note += "\nThe flags name paths of the measuring machine, which each node has to have."
    return note


def _container(deployment: Deployment) -> Noted:
    values: dict[str, Node] = {
        "name": "vllm",
        "image": deployment.image,
        "command": list[Node](SERVE),
        "args": [without_expansion(word) for word in serve_words(deployment.config, PORT)],
        "env": [pod.token(), *pod.environment(deployment)],
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": pod.startup_probe(deployment, "http"),
        "livenessProbe": pod.liveness_probe("http"),
        "readinessProbe": pod.readiness_probe("http"),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(deployment.drain_s)]}}},
        "resources": pod.resources(deployment),
        "volumeMounts": pod.mounts(deployment),
    }
    notes = {
        "startupProbe": start_note(deployment),
        "lifecycle": "New requests go to other pods meanwhile, and running ones end.",
        "resources": "CPU and memory of the host are estimates; they were not measured.",
    }
    return Noted(values, notes)


def _service(deployment: Deployment) -> dict[str, Node]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": deployment.name, "labels": labels(deployment)},
        "spec": {
            "selector": labels(deployment),
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }
