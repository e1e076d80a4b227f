"""Values for the Helm chart of llm-d's model service.

Keys as in chart llm-d-modelservice v0.4.12 (https://github.com/llm-d-incubation/llm-d-modelservice,
charts/llm-d-modelservice/values.yaml and values.schema.json, 22 April 2026).
"""

from __future__ import annotations

import math
from pathlib import PurePosixPath

from rooftune.export import pod
from rooftune.export.compose import shared_memory_gib
from rooftune.export.deployment import PORT, Deployment
from rooftune.export.heading import heading
from rooftune.export.kubernetes import replica_note
from rooftune.export.words import flag_words, without_expansion
from rooftune.export.yaml_text import Node, Noted, yaml_text

FILE = "llm-d-values.yaml"
OF_THE_CHART = ("served_model_name", "tensor_parallel_size")
"""Flags that the chart passes itself."""
CLAIM = "models"
UNKNOWN_GIB = 200


def llm_d(deployment: Deployment) -> dict[str, str]:
    """The file, by name."""
    comments = [
        *heading(deployment, FILE, environment=True),
        "Values for the chart llm-d-modelservice (v0.4.12): one kind of server for prefill and decode.",
        "  helm repo add llm-d-modelservice https://llm-d-incubation.github.io/llm-d-modelservice/",
        f"  helm install {deployment.name} llm-d-modelservice/llm-d-modelservice -f {FILE}",
    ]
    document: dict[str, Node] = {
        "fullnameOverride": deployment.name,
        "accelerator": {"type": "cpu" if deployment.cpu else "nvidia"},
        "modelArtifacts": _artifacts(deployment),
        "routing": {"servicePort": PORT, "proxy": {"enabled": False}},
        "prefill": {"create": False},
        "decode": _decode(deployment),
    }
    return {FILE: yaml_text(comments, document)}


def _artifacts(deployment: Deployment) -> Noted:
    model = deployment.config.model
    values: dict[str, Node] = {"name": deployment.served_name, "uri": f"hf://{_literal(model)}"}
    notes = {"uri": "For a gated model, set authSecretName to a secret with the key HF_TOKEN."}
    if model.startswith("/"):
        values["uri"] = f"pvc://{CLAIM}/{_literal(PurePosixPath(model).name)}"
        notes["uri"] = f"A PersistentVolumeClaim `{CLAIM}` that contains the measured folder {model}."
    else:
        known = deployment.weights_gib is not None
        values["size"] = f"{math.ceil(1.5 * (deployment.weights_gib or 0.0)) + 5 if known else UNKNOWN_GIB}Gi"
        notes["size"] = "Volume for the download: the weights and half as much again." if known else "Of the download."
    return Noted(values, notes)


def _decode(deployment: Deployment) -> Noted:
    shared: Node = {"medium": "Memory", "sizeLimit": f"{shared_memory_gib(deployment)}Gi"}
    values: dict[str, Node] = {
        "create": True,
        "replicas": deployment.replicas,
        "enableServiceLinks": False,
        "parallelism": {"tensor": deployment.config.tensor_parallel_size or 1},
        "containers": [_container(deployment)],
        "volumes": [{"name": "shm", "emptyDir": shared}, {"name": "metrics-volume", "emptyDir": {}}],
    }
    return Noted(values, {"replicas": replica_note(deployment)})


def _container(deployment: Deployment) -> Noted:
    words = flag_words(deployment.config, *OF_THE_CHART)
    values: dict[str, Node] = {
        "name": "vllm",
        "image": deployment.image,
        "modelCommand": "vllmServe",
        "args": [without_expansion(word) for word in words],
        "env": [{"name": k, "value": _literal(without_expansion(v))} for k, v in deployment.environment.values.items()],
        "ports": [{"name": "http", "containerPort": PORT}],
        "mountModelVolume": True,
        "resources": {"requests": {"cpu": str(pod.cpus(deployment)), "memory": f"{pod.memory_gib(deployment)}Gi"}},
        "startupProbe": pod.startup_probe(deployment, "http"),
        "livenessProbe": pod.liveness_probe("http"),
        "readinessProbe": pod.readiness_probe("http"),
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},
            {"name": "metrics-volume", "mountPath": "/.config"},
        ],
    }
    notes = {
        "modelCommand": "The chart adds the model, the port, --served-model-name and --tensor-parallel-size.",
        "resources": "The chart adds the accelerators. CPU and memory of the host are estimates.",
    }
    other = [path for path in deployment.local_paths if path != deployment.config.model]
    if other:
        notes["args"] = f"These paths have to exist in the container: {', '.join(other)}."
    return Noted(values, notes)


def _literal(text: str) -> str:
    """A text that the chart's templates leave as it is."""
    return text.replace("{{", '{{ "{{" }}')
