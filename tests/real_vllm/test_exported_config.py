"""``vllm.yaml`` is read by the installed vLLM, and gives the flags of the configuration."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rooftune.engines.command_line import MODULE
from rooftune.engines.deployed_environment import Environment
from rooftune.engines.interpreter import Installed
from rooftune.engines.launch_spec import choose_port, server_environment
from rooftune.engines.process import spawn
from rooftune.engines.readiness import wait_ready
from rooftune.engines.server import ServerInfo
from rooftune.engines.target import Target
from rooftune.export.deployment import Deployment
from rooftune.export.grafana import panels
from rooftune.export.prometheus import alerts
from rooftune.export.vllm_config import vllm_config
from rooftune.export.words import flag_words
from rooftune.vllm_rules.config import EngineConfig

CONFIG = EngineConfig(
    model="/models/My model $x",
    dtype="bfloat16",
    max_model_len=4096,
    gpu_memory_utilization=0.85,
    enable_prefix_caching=False,
    enforce_eager=True,
    max_num_seqs=16,
    compilation_config={"cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": [1, 2, 4]},
    served_model_name="on",
    other_flags={"uvicorn_log_level": "warning"},
)
_PARSE = """
import json, sys
from vllm.entrypoints.cli.serve import FlexibleArgumentParser, ServeSubcommand
parser = FlexibleArgumentParser()
ServeSubcommand().subparser_init(parser.add_subparsers(dest="subparser"))
found = {key: vars(parser.parse_args(["serve", *words])) for key, words in json.loads(sys.argv[1]).items()}
print("ANSWER " + json.dumps({key: {n: str(v) for n, v in flags.items()} for key, flags in found.items()}))
"""


def deployment_with(config: EngineConfig, **more: Any) -> Deployment:
    """A deployment of which only the configuration matters."""
    fixed = Deployment(
        name="vllm-test", candidate="baseline", what="a configuration", config=config, engine_version="0.32.0",
        environment=Environment(), comments=[], workload="test", cpu=True, simulated=False,
        limits_ms={"ttft_ms": 500.0, "tpot_ms": 50.0, "e2el_ms": 9000.0}, slo_share=0.99, replicas=1, capacity=None,
        at_capacity=None, asked_rate_per_s=None, ready_after_s=None, prefix_caching=True, weights_gib=None,
        python="python",
    )  # fmt: skip
    return replace(fixed, **more)


def parsed(vllm: Installed, **given: list[str]) -> dict[str, dict[str, str]]:
    """What vLLM's own parser makes of each list of words after ``vllm serve``."""
    done = subprocess.run(
        [vllm.python, "-c", _PARSE, json.dumps(given)], capture_output=True, text=True, timeout=300, check=False
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    if not answers:
        pytest.fail(done.stderr[-2000:])
    found: dict[str, dict[str, str]] = json.loads(answers[0].removeprefix("ANSWER "))
    return found


def test_vllm_reads_the_file_as_the_same_flags(vllm: Installed, tmp_path: Path) -> None:
    path = tmp_path / "vllm.yaml"
    path.write_text(vllm_config(deployment_with(CONFIG))["vllm.yaml"], encoding="utf-8")
    found = parsed(vllm, file=["--config", str(path)], words=[CONFIG.model, *flag_words(CONFIG)])
    assert found["file"].pop("model") == found["words"].pop("model_tag") == CONFIG.model
    for flags in found.values():
        for name in ("model", "model_tag", "config"):
            flags.pop(name, None)
    assert found["file"] == found["words"]
    assert found["file"]["served_model_name"] == "['on']"
    assert found["file"]["enable_prefix_caching"] == "False"
    assert "FULL_DECODE_ONLY" in found["file"]["compilation_config"]


def test_a_server_starts_from_the_file(target: Target, tiny: Path, dtype: str, tmp_path: Path) -> None:
    config = EngineConfig(
        model=str(tiny),
        dtype=dtype,
        enforce_eager=True,
        max_model_len=512,
        max_num_seqs=4,
        served_model_name="exported",
    )
    path = tmp_path / "vllm.yaml"
    path.write_text(vllm_config(deployment_with(config))["vllm.yaml"], encoding="utf-8")
    port = choose_port(None, "127.0.0.1")
    place = ["--host", "127.0.0.1", "--port", str(port)]
    command = [str(target.vllm_python), "-m", MODULE, "--config", str(path), *place]
    process = spawn(command, tmp_path / "server.log", server_environment(target, config))
    try:  # ready: it has answered a completion of the model that the file names
        limit = time.monotonic() + 500
        asyncio.run(wait_ready(process, f"http://127.0.0.1:{port}", "exported", limit, None))
    finally:
        process.stop()


def test_the_server_exports_every_metric_of_alerts_and_dashboard(server: ServerInfo) -> None:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
        page = answer.read().decode()
    exported = set(re.findall(r"^(vllm:\w+)\{", page, re.M))
    deployment = deployment_with(CONFIG)
    queries = [a.expression for a in alerts(deployment)] + [q for p in panels(deployment) for q in p.queries.values()]
    used = {name for query in queries for name in re.findall(r"vllm:\w+", query)}
    assert len(used) >= 10
    assert used <= exported
    assert f'model_name="{server.model}"' in page
