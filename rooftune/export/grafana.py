"""``grafana-dashboard.json``: vLLM's metrics with the SLO and the measured capacity as lines."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from rooftune.export.deployment import Deployment
from rooftune.export.heading import heading
from rooftune.export.prometheus import FULL
from rooftune.export.promql import (
    HISTOGRAMS,
    KV_USAGE,
    PREEMPTIONS,
    RUNNING,
    WAITING,
    WORDS,
    per_second,
    quantile_of,
    request_rate,
)
from rooftune.export.yaml_text import Node

FILE = "grafana-dashboard.json"
LABELS = '{model_name="$model"}'
SOURCE: dict[str, Node] = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, ABOUT_HEIGHT = 12, 8, 5
SCHEMA = 39
"""Version of the dashboard schema: that of Grafana 10.4; later releases convert it."""


@dataclass(frozen=True)
class Panel:
    """One time series panel."""

    title: str
    unit: str
    queries: dict[str, str] = field(default_factory=dict)
    """Legend -> PromQL."""
    line: float | None = None
    """Drawn as a threshold."""
    about: str = ""


def grafana(deployment: Deployment) -> dict[str, str]:
    """The file, by name."""
    about = "\n\n".join([*heading(deployment, FILE, environment=True), "Import it under Dashboards, New, Import."])
    text: dict[str, Node] = {
        "id": 1,
        "type": "text",
        "title": "About",
        "gridPos": {"x": 0, "y": 0, "w": 2 * WIDTH, "h": ABOUT_HEIGHT},
        "options": {"mode": "markdown", "content": about},
    }
    series = [_panel(panel, place) for place, panel in enumerate(panels(deployment))]
    dashboard: dict[str, Node] = {
        "title": f"vLLM: {deployment.workload} ({deployment.candidate})",
        "uid": deployment.name[:40],
        "description": heading(deployment, FILE, environment=True)[0],
        "tags": ["vllm", "rooftune"],
        "editable": True,
        "schemaVersion": SCHEMA,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables(deployment)},
        "panels": [text, *series],
    }
    return {FILE: json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"}


def panels(deployment: Deployment) -> list[Panel]:
    """The panels, in the order of the questions: is the SLO kept, how near is the capacity, what limits it."""
    capacity = deployment.capacity
    low = capacity.low if capacity is not None and capacity.low > 0 else None
    by_server = "{{instance}}"
    found = [_times(deployment, limit) for limit in HISTOGRAMS]
    return [
        *found,
        Panel(
            "Requests per second",
            "reqps",
            {by_server: request_rate(LABELS)},
            low,
            "Finished requests of each server. The line is the lower end of the capacity." if low else "",
        ),
        Panel(
            "Requests running and waiting",
            "short",
            {
                "running {{instance}}": f"{RUNNING}{LABELS}",
                "waiting {{instance}}": f"{WAITING}{LABELS}",
            },
            deployment.at_capacity.running if deployment.at_capacity is not None else None,
            "The line is the number that runs near the capacity." if deployment.at_capacity is not None else "",
        ),
        Panel("KV cache in use", "percentunit", {by_server: f"{KV_USAGE}{LABELS}"}, FULL),
        Panel(
            "Tokens per second",
            "short",
            {
                "output": f"sum({per_second('vllm:generation_tokens_total', LABELS)})",
                "prompt": f"sum({per_second('vllm:prompt_tokens_total', LABELS)})",
            },
        ),
        Panel(
            "Preemptions per second",
            "short",
            {by_server: per_second(PREEMPTIONS, LABELS)},
        ),
        Panel(
            "Prompt tokens from the prefix cache",
            "percentunit",
            {
                by_server: f"{per_second('vllm:prefix_cache_hits_total', LABELS)} / "
                f"{per_second('vllm:prefix_cache_queries_total', LABELS)}"
            },
        ),
    ]


def _times(deployment: Deployment, limit: str) -> Panel:
    """Median and the SLO's quantile of one time, over all servers."""
    seconds = deployment.limits_ms.get(limit)
    shares = {"p50": 0.5, f"p{100 * deployment.slo_share:.6g}": deployment.slo_share}
    return Panel(
        WORDS[limit],
        "s",
        {name: quantile_of(HISTOGRAMS[limit], share, LABELS, by="model_name") for name, share in shares.items()},
        seconds / 1000 if seconds is not None else None,
        "The line is the limit of the SLO." if seconds is not None else "The SLO has no limit for it.",
    )


def _panel(panel: Panel, place: int) -> Node:
    row, column = divmod(place, 2)
    steps: list[Node] = [{"color": "green", "value": None}]
    steps += [{"color": "red", "value": panel.line}] if panel.line is not None else []
    return {
        "id": place + 2,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": ABOUT_HEIGHT + row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {"thresholdsStyle": {"mode": "line" if panel.line is not None else "off"}},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for n, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def _variables(deployment: Deployment) -> list[Node]:
    chosen: Node = {"text": deployment.served_name, "value": deployment.served_name}
    query = f"label_values({RUNNING}, model_name)"
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "model",
            "label": "Model",
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": "model"},
            "refresh": 2,
            "current": chosen,
        },
    ]
