"""``compose.yaml``: one server with Docker Compose."""

from __future__ import annotations

from rooftune.export.deployment import PORT, Deployment
from rooftune.export.heading import heading
from rooftune.export.words import SERVE, serve_words, without_expansion
from rooftune.export.yaml_text import Node, Noted, yaml_text

HEALTH = "import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/health', timeout=5)"
CACHE = "/root/.cache/huggingface"


def compose(deployment: Deployment) -> dict[str, str]:
    """The file, by name."""
    comments = [
        *heading(deployment, "compose.yaml", environment=True),
        "Start it with `docker compose up -d`. VLLM_HOST and VLLM_PORT choose the address (127.0.0.1:8000 by default); "
        "HF_TOKEN is passed on for models that need one.",
    ]
    services = {deployment.name: _service(deployment)}
    volumes: dict[str, Node] = {"huggingface": {}}
    document: dict[str, Node] = {"name": deployment.name, "services": services, "volumes": volumes}
    return {"compose.yaml": yaml_text(comments, document)}


def _service(deployment: Deployment) -> Noted:
    values: dict[str, Node] = {
        "image": deployment.image,
        "entrypoint": list[Node](SERVE),
        "command": [without_expansion(word) for word in serve_words(deployment.config, PORT)],
        "environment": _environment(deployment),
        "ports": [f"${{VLLM_HOST:-127.0.0.1}}:${{VLLM_PORT:-{PORT}}}:{PORT}"],
        "volumes": [_volume("huggingface", CACHE), *(_bind(path) for path in deployment.local_paths)],
        "shm_size": f"{shared_memory_gib(deployment)}gb",
        "restart": "unless-stopped",
        "healthcheck": {
            "test": ["CMD", "python3", "-c", HEALTH.format(port=PORT)],
            "interval": "10s",
            "timeout": "6s",
            "retries": 3,
            "start_period": f"{deployment.start_limit_s}s",
        },
    }
    if not deployment.cpu:
        device: Node = {"driver": "nvidia", "count": deployment.accelerators, "capabilities": ["gpu"]}
        values["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    notes = {
        "shm_size": "NCCL and vLLM's worker processes exchange data through shared memory.",
        "healthcheck": start_note(deployment),
    }
    if deployment.local_paths:
        notes["volumes"] = "The configuration names files of the measuring machine; they are mounted at the same path."
    return Noted(values, notes)


def start_note(deployment: Deployment) -> str:
    """Where the limit of the start comes from."""
    limit = f"A start may take {deployment.start_limit_s} s"
    if deployment.ready_after_s is None:
        return f"{limit}; no start was measured, and a large model on a slow disk takes longer."
    return f"{limit}; the measured one took {deployment.ready_after_s:.0f} s with the model on the local disk."


def shared_memory_gib(deployment: Deployment) -> int:
    """Size of /dev/shm: 2 GiB for each accelerator, as vLLM's example for Kubernetes has for one
    (https://docs.vllm.ai/en/stable/deployment/k8s/)."""
    return 2 * max(deployment.accelerators, 1)


def _environment(deployment: Deployment) -> dict[str, Node]:
    values: dict[str, Node] = {k: without_expansion(v) for k, v in deployment.environment.values.items()}
    return {**values, "HF_TOKEN": "${HF_TOKEN:-}"}


def _volume(name: str, target: str) -> dict[str, Node]:
    return {"type": "volume", "source": name, "target": target}


def _bind(path: str) -> dict[str, Node]:
    place = without_expansion(path)
    return {"type": "bind", "source": place, "target": place, "read_only": True}
