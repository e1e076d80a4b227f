"""The tutorial runs in an empty folder, and the pages that read a run find the one that it made."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from doc_blocks import ROOT
from page_folder import OF_A_RUN, TUTORIAL, PageFolder


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> tuple[PageFolder, list[str]]:
    """The folder of the tutorial after its last block, and what its blocks printed."""
    folder = PageFolder(tmp_path_factory.mktemp("tutorial"), prefect_api)
    return folder, folder.follow(TUTORIAL)


@pytest.mark.slow
def test_the_tutorial_leads_from_nothing_to_a_report(tutorial: tuple[PageFolder, list[str]]) -> None:
    folder, outputs = tutorial
    (report,) = folder.path.glob("artifacts/chat-medium/*/report.md")
    assert (report.parent / "report.html").is_file()
    assert (report.parent / "start_vllm.sh").is_file()
    assert (folder.path / "deploy" / "kubernetes.yaml").is_file()
    assert any("max_num_seqs" in text or "max-num-seqs" in text for text in outputs), "the exported configuration"


@pytest.mark.slow
def test_every_file_of_a_run_has_its_section_in_the_reference(tutorial: tuple[PageFolder, list[str]]) -> None:
    (run,) = tutorial[0].path.glob("artifacts/chat-medium/*")
    for kind, page in (("json", "json.md"), ("parquet", "parquet.md")):
        headings = set(re.findall(r"^## (\S+)$", (ROOT / "docs" / "reference" / page).read_text(), re.M))
        written = {path.name for path in run.rglob(f"*.{kind}")}
        assert written
        if kind == "json":
            written.discard("summary.json")  # it lists what result.json has
        assert written <= headings


@pytest.mark.slow
@pytest.mark.parametrize("page", OF_A_RUN)
def test_the_blocks_of_a_page_about_runs(
    page: str, tutorial: tuple[PageFolder, list[str]], prefect_api: str, tmp_path: Path
) -> None:
    folder = PageFolder(tmp_path, prefect_api)
    shutil.copytree(tutorial[0].path / "artifacts", tmp_path / "artifacts")
    folder.follow(page)
