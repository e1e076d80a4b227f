"""Values for the Helm chart of vLLM's production stack.

Keys as in chart vllm-stack 0.1.12 (https://github.com/vllm-project/production-stack, helm/values.yaml and
helm/values.schema.json, 5 August 2026).
"""

from __future__ import annotations

from rooftune.export import pod
from rooftune.export.compose import shared_memory_gib
from rooftune.export.deployment import Deployment
from rooftune.export.heading import heading
from rooftune.export.kubernetes import replica_note
from rooftune.export.words import flag_words, without_expansion
from rooftune.export.yaml_text import Node, Noted, yaml_text

FILE = "production-stack-values.yaml"
OF_THE_CHART = ("enable_prefix_caching", "tensor_parallel_size")
"""Flags that the chart passes itself."""


def production_stack(deployment: Deployment) -> dict[str, str]:
    """The file, by name."""
    comments = [
        *heading(deployment, FILE, environment=True),
        "Values for the chart vllm-stack (0.1.12):",
        "  helm repo add vllm https://vllm-project.github.io/production-stack",
        f"  helm install {deployment.name} vllm/vllm-stack -f {FILE}",
    ]
    engine: dict[str, Node] = {
        "modelSpec": [_model(deployment)],
        "startupProbe": pod.startup_probe(deployment),
        "livenessProbe": pod.liveness_probe(),
        "readinessProbe": pod.readiness_probe(),
    }
    if deployment.cpu:
        engine["runtimeClassName"] = ""
    return {FILE: yaml_text(comments, {"servingEngineSpec": engine})}


def _model(deployment: Deployment) -> Noted:
    values: dict[str, Node] = {
        "name": deployment.name,
        "repository": deployment.image_name,
        "tag": deployment.image_tag,
        "modelURL": without_expansion(deployment.config.model),
        "replicaCount": deployment.replicas,
        "requestCPU": pod.cpus(deployment),
        "requestMemory": f"{pod.memory_gib(deployment)}Gi",
        "requestGPU": deployment.accelerators,
        "shmSize": f"{shared_memory_gib(deployment)}Gi",
        "vllmConfig": _vllm_config(deployment),
    }
    if deployment.environment.values:
        values["env"] = pod.environment(deployment)
    notes = {
        "replicaCount": replica_note(deployment),
        "requestCPU": "CPU and memory of the host are estimates; they were not measured.",
    }
    if deployment.local_paths:
        places = list(enumerate(deployment.local_paths))
        values["extraVolumes"] = [{"name": f"path-{n}", "hostPath": {"path": path}} for n, path in places]
        values["extraVolumeMounts"] = [{"name": f"path-{n}", "mountPath": path, "readOnly": True} for n, path in places]
        notes["extraVolumes"] = "The flags name paths of the measuring machine, which each node has to have."
    return Noted(values, notes)


def _vllm_config(deployment: Deployment) -> Noted:
    size = deployment.config.tensor_parallel_size or 1
    words = flag_words(deployment.config, *OF_THE_CHART)
    values: dict[str, Node] = {
        "enablePrefixCaching": deployment.prefix_caching,
        "tensorParallelSize": size,
        "extraArgs": [without_expansion(word) for word in words],
    }
    notes = {
        "enablePrefixCaching": "The chart turns prefix caching off where this key is missing; the server of the "
        f"run had it {'on' if deployment.prefix_caching else 'off'}.",
        "tensorParallelSize": "With this key the chart mounts /dev/shm.",
        "extraArgs": "All other flags of the configuration.",
    }
    return Noted(values, notes)
