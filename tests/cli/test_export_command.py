"""``rooftune export`` writes into the run folder, into a folder, or to standard output."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_looking_back import finished_run

from rooftune.runfolder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return finished_run(tmp_path_factory.mktemp("artifacts"))


def test_all_formats_go_into_the_run_folder(rooftune, run: RunFolder) -> None:
    ended = rooftune("export", run.path, "--to", "all")
    assert (ended.code, ended.err) == (0, "")
    paths = [Path(line) for line in ended.out.splitlines()]
    assert {p.parent for p in paths} == {run.path / "deploy"}
    assert all(p.is_file() for p in paths)
    assert {"vllm.yaml", "compose.yaml", "kubernetes.yaml", "grafana-dashboard.json"} <= {p.name for p in paths}


def test_another_candidate_gets_its_own_folder(rooftune, run: RunFolder, tmp_path: Path) -> None:
    found = rooftune("export", run.path, "--to", "compose", "--candidate", "baseline", "--json").json
    assert found["candidate"] == "baseline"
    assert found["files"] == [str(run.path / "deploy" / "baseline" / "compose.yaml")]
    found = rooftune("export", run.path, "--to", "compose", "--output", tmp_path / "here", "--json").json
    assert found["files"] == [str(tmp_path / "here" / "compose.yaml")]


def test_one_file_can_be_printed(rooftune, run: RunFolder) -> None:
    ended = rooftune("export", run.path, "--to", "vllm-config", "--output", "-")
    assert ended.out.startswith("# vllm.yaml: the recommended configuration for chat-medium")
    several = rooftune("export", run.path, "--to", "k8s", "-o", "-").out
    assert several.startswith("==> kubernetes.yaml <==\n# kubernetes.yaml: ")
    assert list(rooftune("export", run.path, "--to", "helm", "-o", "-", "--json").json) == [
        "production-stack-values.yaml",
        "llm-d-values.yaml",
    ]


def test_bad_input_ends_with_2(rooftune, run: RunFolder) -> None:
    ended = rooftune("export", run.path, "--to", "helmet")
    assert ended.code == 2
    assert "'helmet' is not a format to export (did you mean 'helm'?)" in ended.err
    ended = rooftune("export", run.path, "--to", "helm", "--candidate", "nobody")
    assert ended.code == 2
    assert "has no measured configuration 'nobody'" in ended.err
    assert rooftune("export", run.path).code == 2
