"""``vllm.yaml``: the flags as a file for ``vllm serve --config``."""

from __future__ import annotations

import json

from rooftune.export.deployment import Deployment
from rooftune.export.heading import heading
from rooftune.export.yaml_text import Node, yaml_text
from rooftune.vllm_rules.config import FlagValue
from rooftune.vllm_rules.flag_entries import registry


def vllm_config(deployment: Deployment) -> dict[str, str]:
    """The file, by name."""
    config = deployment.config
    values: dict[str, Node] = {"model": config.model}
    for name, value in config.flags().items():
        key, written = _entry(name, value)
        values[key] = written
    comments = [
        *heading(deployment, "vllm.yaml"),
        "Start it with `vllm serve --config vllm.yaml`. Flags on the command line win over this file.",
    ]
    return {"vllm.yaml": yaml_text(comments, values)}


def _entry(name: str, value: FlagValue) -> tuple[str, Node]:
    """Key and value in the form that every release reads in the same way: older ones drop a false value, and do not
    take a mapping for JSON."""
    dashed = name.replace("_", "-")
    if name in registry() and registry()[name].type == "list":
        return dashed, str(value).replace(",", " ").split()
    if value is False:
        return f"no-{dashed}", True
    if isinstance(value, dict):
        return dashed, json.dumps(value, separators=(",", ":"))
    return dashed, value
