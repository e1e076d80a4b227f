"""What Kubernetes files share: the container's environment, probes, resources and volumes."""

from __future__ import annotations

import math

from rooftune.export.compose import shared_memory_gib
from rooftune.export.deployment import PORT, Deployment
from rooftune.export.words import without_expansion
from rooftune.export.yaml_text import Node

PROBE_EVERY_S = 10
SPARE_GIB = 8
"""Host memory next to the weights while they are loaded."""
CACHE = "/root/.cache/huggingface"


def environment(deployment: Deployment) -> list[Node]:
    """The variables of the configuration."""
    return [{"name": k, "value": without_expansion(v)} for k, v in deployment.environment.values.items()]


def token() -> Node:
    """The token of the Hugging Face hub, from a secret that need not exist."""
    secret: Node = {"name": "hf-token", "key": "HF_TOKEN", "optional": True}
    return {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": secret}}


def startup_probe(deployment: Deployment, port: Node = PORT) -> dict[str, Node]:
    """A start that takes longer than the limit is restarted."""
    return _probe(port, failures=math.ceil(deployment.start_limit_s / PROBE_EVERY_S))


def liveness_probe(port: Node = PORT) -> dict[str, Node]:
    """A server that has not answered for a minute is restarted; a busy one still answers /health."""
    return _probe(port, failures=6)


def readiness_probe(port: Node = PORT) -> dict[str, Node]:
    """A server that has not answered for 30 s gets no more requests."""
    return _probe(port, failures=3)


def _probe(port: Node, failures: int) -> dict[str, Node]:
    return {
        "httpGet": {"path": "/health", "port": port},
        "periodSeconds": PROBE_EVERY_S,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def cpus(deployment: Deployment) -> int:
    """Cores that vLLM needs: one for the API server, one for the engine, one for each worker
    (https://docs.vllm.ai/en/stable/configuration/optimization/)."""
    return 2 + max(deployment.accelerators, 1)


def memory_gib(deployment: Deployment) -> int:
    """Host memory: the weights pass through it, and processes take the rest."""
    return SPARE_GIB + math.ceil(deployment.weights_gib or 0.0) * max(deployment.accelerators, 1)


def resources(deployment: Deployment) -> dict[str, Node]:
    """Requests of CPU and memory, and the accelerators, which are requested by their limit."""
    found: dict[str, Node] = {
        "requests": {"cpu": str(cpus(deployment)), "memory": f"{memory_gib(deployment)}Gi"},
    }
    if deployment.accelerators:
        found["limits"] = {"nvidia.com/gpu": str(deployment.accelerators)}
    return found


def volumes(deployment: Deployment) -> list[Node]:
    """Shared memory, the model cache, and the paths that the flags name."""
    shared: Node = {"medium": "Memory", "sizeLimit": f"{shared_memory_gib(deployment)}Gi"}
    paths: list[Node] = [
        {"name": f"path-{place}", "hostPath": {"path": path}} for place, path in enumerate(deployment.local_paths)
    ]
    return [{"name": "shm", "emptyDir": shared}, {"name": "model-cache", "emptyDir": {}}, *paths]


def mounts(deployment: Deployment) -> list[Node]:
    """Where the container sees them."""
    paths: list[Node] = [
        {"name": f"path-{place}", "mountPath": path, "readOnly": True}
        for place, path in enumerate(deployment.local_paths)
    ]
    return [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "model-cache", "mountPath": CACHE}, *paths]
