"""The Helm files with the charts that read them: each pod starts vLLM with the words of the measured configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from rooftune.export.deployment import Deployment
from rooftune.export.words import flag_words

CHARTS = "ROOFTUNE_TEST_CHARTS"
"""A folder with checkouts of the charts: production-stack/helm and llm-d-modelservice/charts/llm-d-modelservice.

The charts that they depend on for monitoring are not needed: take `dependencies` out of Chart.yaml.
"""
KUBERNETES = "1.33"


@dataclass(frozen=True)
class Chart:
    """A chart, the file for it, and the flags that the chart sets itself."""

    path: str
    values: str
    own_flags: tuple[str, ...]


STACK = Chart(
    "production-stack/helm", "production-stack-values.yaml", ("enable_prefix_caching", "tensor_parallel_size")
)
LLM_D = Chart(
    "llm-d-modelservice/charts/llm-d-modelservice", "llm-d-values.yaml", ("served_model_name", "tensor_parallel_size")
)


@pytest.fixture(params=["usual", "hard"])
def exported(
    request: pytest.FixtureRequest,
    deployment: Deployment,
    files: dict[str, str],
    hard: Deployment,
    hard_files: dict[str, str],
) -> tuple[Deployment, dict[str, str]]:
    """A configuration with its files."""
    return (deployment, files) if request.param == "usual" else (hard, hard_files)


def rendered(chart: Chart, values: str, folder: Path) -> list[Any]:
    """The documents that helm makes of the chart; skips where helm or the chart is missing."""
    helm = shutil.which("helm")
    if helm is None or CHARTS not in os.environ:
        pytest.skip(f"needs helm, and in {CHARTS} a folder with checkouts of the charts")
    (folder / chart.values).write_text(values, encoding="utf-8")
    words = [helm, "template", "test", Path(os.environ[CHARTS]) / chart.path, "--values", folder / chart.values]
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def server_of(documents: list[Any]) -> Any:
    """The Deployment of vLLM; Kubernetes knows all of its keys."""
    found = [d for d in documents if d["kind"] == "Deployment" and "router" not in d["metadata"]["name"]]
    (server,) = found
    pytest.importorskip("kubernetes_validate").validate(server, KUBERNETES, strict=True)
    return server


def words_of(container: Any) -> list[str]:
    """Command and arguments as the container gets them, where no variable of Kubernetes is named."""
    words = [*container["command"], *container["args"]] if "args" in container else container["command"]
    return [word.replace("$$", "$") for word in words]


def variables_of(container: Any) -> dict[str, str]:
    return {e["name"]: str(e["value"]).replace("$$", "$") for e in container["env"] if "value" in e}


@pytest.mark.parametrize("chart", [STACK, LLM_D], ids=lambda chart: chart.path.partition("/")[0])
def test_the_pod_gets_the_measured_configuration(
    chart: Chart, exported: tuple[Deployment, dict[str, str]], tmp_path: Path
) -> None:
    deployment, files = exported
    server = server_of(rendered(chart, files[chart.values], tmp_path))
    (container,) = server["spec"]["template"]["spec"]["containers"]
    words, ours = words_of(container), flag_words(deployment.config, *chart.own_flags)
    assert words[:2] == ["vllm", "serve"]
    assert words[-len(ours) :] == ours, "all flags, in one piece, with every character"
    size = deployment.config.tensor_parallel_size or 1
    before = words[: -len(ours)]
    assert size == 1 or before[before.index("--tensor-parallel-size") + 1] == str(size)
    assert server["spec"]["replicas"] == deployment.replicas
    assert container["image"] == deployment.image
    assert str(container["resources"]["limits"]["nvidia.com/gpu"]) == str(deployment.accelerators)
    variables = variables_of(container)
    assert {k: variables.get(k) for k in deployment.environment.values} == deployment.environment.values
    assert "/dev/shm" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["startupProbe"]["httpGet"]["path"] == "/health"


def test_the_production_stack_sets_prefix_caching_as_in_the_run(
    exported: tuple[Deployment, dict[str, str]], tmp_path: Path
) -> None:
    deployment, files = exported
    server = server_of(rendered(STACK, files[STACK.values], tmp_path))
    words = words_of(server["spec"]["template"]["spec"]["containers"][0])
    assert words[2] == deployment.config.model
    wanted = "--enable-prefix-caching" if deployment.prefix_caching else "--no-enable-prefix-caching"
    assert [w for w in words if w.endswith("enable-prefix-caching")] == [wanted]


def test_llm_d_serves_the_model_under_its_name(exported: tuple[Deployment, dict[str, str]], tmp_path: Path) -> None:
    deployment, files = exported
    server = server_of(rendered(LLM_D, files[LLM_D.values], tmp_path))
    words = words_of(server["spec"]["template"]["spec"]["containers"][0])
    assert words[words.index("--served-model-name") + 1] == deployment.served_name


def test_a_misspelt_value_is_refused_by_the_schema(files: dict[str, str], tmp_path: Path) -> None:
    wrong = files[LLM_D.values].replace("servicePort:", "servicePorts:")
    assert wrong != files[LLM_D.values]
    with pytest.raises(AssertionError, match="servicePorts"):
        rendered(LLM_D, wrong, tmp_path)
