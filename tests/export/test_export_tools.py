"""The tools that read the files accept them: schemas of Compose and Kubernetes, promtool, systemd-analyze."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

KUBERNETES = ("1.27", "1.33")
"""Releases whose schemas are tried: autoscaling/v2 is older than the first."""


@pytest.fixture(scope="module", params=["files", "hard_files"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of a usual configuration, and of one with awkward values."""
    folder = tmp_path_factory.mktemp("deploy")
    for name, text in request.getfixturevalue(request.param).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def ran(*words: object) -> subprocess.CompletedProcess[str]:
    """The tool's answer."""
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False, timeout=500)


def tool(name: str) -> str:
    """The path of a tool; the test is skipped without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_key(written: Path, version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    found = [*documents(written / "kubernetes.yaml"), *documents(written / "hpa.yaml")]
    assert [d["kind"] for d in found] == ["Deployment", "Service", "HorizontalPodAutoscaler"]
    for document in found:
        validator.validate(document, version, strict=True)
    found[0]["spec"]["template"]["spec"]["containers"][0]["startupProb"] = {}
    with pytest.raises(validator.ValidationError):
        validator.validate(found[0], version, strict=True)


def interpolated(text: str) -> str:
    """A Compose file as Compose reads it without variables in its environment."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text).replace("$$", "$")


def test_compose_knows_every_key(written: Path) -> None:
    reader = pytest.importorskip("compose_spec").PyCompose
    text = interpolated((written / "compose.yaml").read_text(encoding="utf-8"))
    reader.from_yaml(text).validate()
    with pytest.raises(ValueError, match="shm_sise"):
        reader.from_yaml(text.replace("shm_size", "shm_sise"))


def test_promtool_accepts_the_rules(written: Path) -> None:
    done = ran(tool("promtool"), "check", "rules", written / "prometheus-rules.yaml")
    assert done.returncode == 0, done.stderr
    assert "7 rules found" in done.stdout


def test_promtool_parses_every_query_of_the_dashboard(written: Path) -> None:
    import json

    board = json.loads((written / "grafana-dashboard.json").read_text(encoding="utf-8"))
    queries = [t["expr"] for p in board["panels"] for t in p.get("targets", [])]
    rules = [{"record": f"panel:query{n}", "expr": q} for n, q in enumerate(queries)]
    path = written / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = ran(tool("promtool"), "check", "rules", path)
    assert done.returncode == 0, done.stderr
    assert len(queries) > 10


def test_systemd_accepts_the_unit(written: Path) -> None:
    (unit,) = written.glob("*.service")
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", unit.read_text(encoding="utf-8"), flags=re.M)
    copy = written / "copy.service"
    copy.write_text(text, encoding="utf-8")
    done = ran(tool("systemd-analyze"), "verify", copy)
    assert done.returncode == 0, done.stderr
    assert "copy.service" not in done.stderr
    copy.write_text(text.replace("Restart=on-failure", "Restart=sometimes"), encoding="utf-8")
    assert "copy.service" in ran(tool("systemd-analyze"), "verify", copy).stderr
