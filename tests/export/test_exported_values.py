"""Every file holds the flags of the configuration, whatever characters they contain."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
import yaml
from made_export import HARD, VARIABLES

from rooftune.engines.command_line import arguments, shell_script
from rooftune.export.deployment import Deployment
from rooftune.export.grafana import panels
from rooftune.export.prometheus import alerts
from rooftune.export.systemd import quoted
from rooftune.export.words import flag_words
from rooftune.vllm_rules.config import EngineConfig

WORDS = [HARD.model, *flag_words(HARD), "--host", "0.0.0.0", "--port", "8000"]


def expanded(text: str) -> str:
    """A text as Kubernetes and Compose read it where it contains no variable of theirs."""
    assert "$" not in text.replace("$$", "")
    return text.replace("$$", "$")


def loaded(text: str) -> Any:
    """One document as PyYAML reads it, which knows YAML 1.1 only, as vLLM's reader and many others do."""
    return yaml.safe_load(text)


def test_the_words_are_those_of_the_start_script() -> None:
    words = [word for flag in arguments(HARD) for word in flag]
    assert WORDS[: -len(["--host", "0.0.0.0", "--port", "8000"])] == words[1:]
    script = shell_script(HARD, [])
    shown = shlex.split(script.replace("\\\n", " "), comments=True)
    assert [w for w in words if w not in shown] == []


def test_flags_that_a_chart_sets_are_left_out() -> None:
    assert "--tensor-parallel-size" in flag_words(HARD)
    assert "--tensor-parallel-size" not in flag_words(HARD, "tensor_parallel_size")


def as_arguments(values: dict[str, Any]) -> list[str]:
    """What vLLM makes of its configuration file, in all releases from 0.11 on."""
    words: list[str] = []
    for key, value in values.items():
        if isinstance(value, bool):
            assert value, "older releases drop a false value"
            words.append(f"--{key}")
        elif isinstance(value, list):
            words += [f"--{key}", *(str(v) for v in value)]
        else:
            assert not isinstance(value, dict), "older releases take JSON as a string only"
            words += [f"--{key}", str(value)]
    return words


def test_the_vllm_file_gives_the_same_flags(hard_files: dict[str, str]) -> None:
    values = loaded(hard_files["vllm.yaml"])
    assert as_arguments(values) == ["--model", HARD.model, *flag_words(HARD)]


def test_the_vllm_file_names_the_environment_that_it_cannot_set(hard_files: dict[str, str]) -> None:
    assert "OMP_NUM_THREADS=8" in hard_files["vllm.yaml"]


def test_compose_gives_the_same_words_and_variables(hard_files: dict[str, str], hard: Deployment) -> None:
    service = loaded(hard_files["compose.yaml"])["services"][hard.name]
    assert [expanded(w) for w in service["command"]] == WORDS
    assert {k: expanded(v) for k, v in service["environment"].items() if k != "HF_TOKEN"} == VARIABLES
    mounted = [expanded(v["source"]) for v in service["volumes"] if v["type"] == "bind"]
    assert mounted == [HARD.model, "/models/draft\\one"]
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 2


def test_kubernetes_gives_the_same_words_and_variables(hard_files: dict[str, str]) -> None:
    pods = next(yaml.safe_load_all(hard_files["kubernetes.yaml"]))["spec"]["template"]["spec"]
    (container,) = pods["containers"]
    assert container["command"] == ["vllm", "serve"]
    assert [expanded(w) for w in container["args"]] == WORDS
    assert {e["name"]: expanded(e["value"]) for e in container["env"] if "value" in e} == VARIABLES
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert {v["name"] for v in pods["volumes"]} == {m["name"] for m in container["volumeMounts"]}


def test_the_production_stack_gets_every_flag_once(hard_files: dict[str, str]) -> None:
    (model,) = loaded(hard_files["production-stack-values.yaml"])["servingEngineSpec"]["modelSpec"]
    config = model["vllmConfig"]
    assert expanded(model["modelURL"]) == HARD.model
    assert config["tensorParallelSize"] == 2
    assert config["enablePrefixCaching"] is False
    assert [expanded(w) for w in config["extraArgs"]] == flag_words(
        HARD, "tensor_parallel_size", "enable_prefix_caching"
    )
    assert (model["requestGPU"], model["replicaCount"]) == (2, 3)


def test_the_production_stack_keeps_prefix_caching_on_where_no_flag_says_so(files: dict[str, str]) -> None:
    (model,) = loaded(files["production-stack-values.yaml"])["servingEngineSpec"]["modelSpec"]
    assert model["vllmConfig"]["enablePrefixCaching"] is True


def test_llm_d_gets_every_flag_once(hard_files: dict[str, str], files: dict[str, str]) -> None:
    values = loaded(hard_files["llm-d-values.yaml"])
    (container,) = values["decode"]["containers"]
    assert [expanded(w) for w in container["args"]] == flag_words(HARD, "tensor_parallel_size", "served_model_name")
    assert values["decode"]["parallelism"] == {"tensor": 2}
    assert values["modelArtifacts"]["name"] == HARD.served_model_name
    assert values["modelArtifacts"]["uri"] == "pvc://models/My model $(HOME) 50%"
    assert loaded(files["llm-d-values.yaml"])["modelArtifacts"]["uri"] == "hf://TheBloke/Llama-2-7B-AWQ"


def unit_words(line: str) -> list[str]:
    """A line of a unit as systemd reads it."""
    return [word.replace("%%", "%") for word in shlex.split(line)]


def test_the_unit_gives_the_same_words_and_variables(hard_files: dict[str, str], hard: Deployment) -> None:
    text = hard_files[f"{hard.name}.service"].replace("\\\n", " ")
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
    words = [word.replace("$$", "$") for word in unit_words(command)]
    assert words[3:] == ["--model", HARD.model, *flag_words(HARD), "--host", "127.0.0.1", "--port", "8000"]
    variables = [unit_words(line)[0] for line in re.findall(r"^Environment=(.*)$", text, re.M)[1:]]
    assert dict(v.split("=", 1) for v in variables) == VARIABLES


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("plain", "plain"),
        ("a b", '"a b"'),
        ("5%", '"5%%"'),
        ("$x", '"$$x"'),
        ('"', '"\\""'),
        ("", '""'),
        ("a\\", '"a\\\\"'),
    ],
)
def test_words_of_a_unit(text: str, unit: str) -> None:
    assert quoted(text) == unit


def test_the_model_name_is_escaped_in_promql(hard: Deployment) -> None:
    label = 'model_name="name \\"with\\" $quotes\'"'
    assert all(label in alert.expression for alert in alerts(hard))


def test_alerts_hold_the_slo_and_the_capacity(deployment: Deployment) -> None:
    found = {alert.name: alert.expression for alert in alerts(deployment)}
    assert deployment.capacity is not None
    assert found["VllmSloTtft"].endswith("> 2")
    assert found["VllmSloTpot"].endswith("> 0.1")
    assert found["VllmSloTtft"].startswith("histogram_quantile(0.99,")
    limit = float(found["VllmAboveCapacity"].rsplit("> ", 1)[1])
    assert limit == pytest.approx(deployment.capacity.low, rel=1e-3)
    assert "VllmSloE2el" not in found


def test_the_dashboard_has_the_limits_as_lines(deployment: Deployment, files: dict[str, str]) -> None:
    lines = {panel.title: panel.line for panel in panels(deployment)}
    assert deployment.capacity is not None
    assert (lines["TTFT"], lines["TPOT"], lines["E2EL"]) == (2.0, 0.1, None)
    assert lines["Requests per second"] == deployment.capacity.low
    board = json.loads(files["grafana-dashboard.json"])
    places = [tuple(p["gridPos"].values()) for p in board["panels"]]
    assert len(set(places)) == len({p["id"] for p in board["panels"]}) == len(board["panels"]) == len(lines) + 1


def test_a_cpu_server_asks_for_no_gpu(hard: Deployment) -> None:
    from dataclasses import replace

    from rooftune.export.formats import FORMATS, exported

    found = exported(replace(hard, cpu=True, config=EngineConfig(model="m")), FORMATS)
    assert not [name for name, text in found.items() if "nvidia.com/gpu" in text or "driver: nvidia" in text]
    assert "vllm-cpu-release-repo" in found["compose.yaml"]
