"""The alerts in Prometheus' own engine: all of them fire in an overload, and none fires near the capacity."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rooftune.export.deployment import Deployment
from rooftune.export.prometheus import FILE, alerts

MINUTES = 30


def series(model: str, name: str, values: str, **labels: str) -> dict[str, str]:
    pairs = {"model_name": model, "instance": "a:8000", **labels}
    return {
        "series": f"{name}{{{','.join(f'{k}={json.dumps(v)}' for k, v in pairs.items())}}}",
        "values": f"{values}x{MINUTES}",
    }


def times(model: str, name: str, fast: int, slow: int, edges: tuple[str, str]) -> list[dict[str, str]]:
    """A histogram: ``fast`` requests per minute below the first edge, ``slow`` more below the second."""
    counts = {edges[0]: fast, edges[1]: fast + slow, "+Inf": fast + slow}
    return [series(model, f"{name}_bucket", f"0+{n}", le=edge) for edge, n in counts.items()]


def load(deployment: Deployment, *, per_minute: int, slow: int, waiting: str, kv: str, preempted: int) -> list[Any]:
    """What a server exports under a load."""
    model, fast = deployment.served_name, per_minute - slow
    return [
        series(model, "vllm:num_requests_running", "90+0"),
        series(model, "vllm:num_requests_waiting", waiting),
        series(model, "vllm:kv_cache_usage_perc", kv),
        series(model, "vllm:num_preemptions_total", f"0+{preempted}"),
        series(model, "vllm:request_success_total", f"0+{per_minute}", finished_reason="stop"),
        *times(model, "vllm:time_to_first_token_seconds", fast, slow, ("1", "20")),
        *times(model, "vllm:request_time_per_output_token_seconds", fast, slow, ("0.05", "0.3")),
    ]


def firing(names: list[str], input_series: list[Any]) -> dict[str, Any]:
    """A test of promtool: these alerts, and no others, fire after 25 minutes."""
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names]
    expected = {
        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
        "eval_time": "25m",
        "exp_samples": samples,
    }
    return {"interval": "1m", "input_series": input_series, "promql_expr_test": [expected]}


def test_all_fire_in_an_overload_and_none_near_the_capacity(
    deployment: Deployment, files: dict[str, str], tmp_path: Path
) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool")
    assert deployment.capacity is not None
    assert deployment.at_capacity is not None
    near = round(60 * 0.95 * deployment.capacity.low)
    start = round(deployment.at_capacity.waiting)
    usual = load(deployment, per_minute=near, slow=1, waiting=f"{start}+0", kv="0.9+0", preempted=3)
    heavy = load(deployment, per_minute=near * 2, slow=near, waiting=f"{start + 1}+50", kv="0.99+0", preempted=60)
    every = [alert.name for alert in alerts(deployment)]
    (tmp_path / FILE).write_text(files[FILE], encoding="utf-8")
    cases = [firing([n for n in every if n != "VllmAbsent"], heavy), firing([], usual), firing(["VllmAbsent"], [])]
    tests = {"rule_files": [FILE], "evaluation_interval": "1m", "tests": cases}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(tests), encoding="utf-8")
    done = subprocess.run(
        [promtool, "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
