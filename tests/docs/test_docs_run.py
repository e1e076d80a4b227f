"""The commands and examples of the documentation run, page by page, in an empty folder and on the simulated engine.

One run of ``rooftune optimize`` serves all pages: the tutorial makes it, and the other pages find it as the newest run.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import live_run
import pytest
from doc_blocks import ROOT, Block, blocks, pages, program

PAGES = {str(page.relative_to(ROOT)): blocks(page) for page in pages()}
RUN = {name: [b for b in found if b.language in ("bash", "python") and not b.not_run] for name, found in PAGES.items()}
TUTORIAL = "docs/tutorial.md"
OTHERS = [name for name, found in RUN.items() if found and name != TUTORIAL]
PR_SET_PDEATHSIG = 1
URL = "http://127.0.0.1:8000"
"""The address that the pages write for a server."""


class PageFolder:
    """An empty folder in which the blocks of one page run, with ``rooftune`` on the path."""

    def __init__(self, path: Path, api: str, server: str = "") -> None:
        self.path, self.server = path, server
        binaries = path / ".venv" / "bin"
        binaries.mkdir(parents=True)
        script = binaries / "rooftune"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flows.cli.app "$@"\n')
        script.chmod(0o755)
        (path / "tests").symlink_to(ROOT / "tests")
        found = live_run.environment(path, api, PYTHONPATH=str(ROOT), COLUMNS="160")
        self.environment = {
            **found,
            "PATH": f"{binaries}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{found['PATH']}",
        }

    def show(self, block: Block) -> None:
        """Write the file that a block shows."""
        if block.title:
            (self.path / block.title).write_text(block.body)

    def run(self, block: Block) -> str:
        """Run a block as a reader would; return its output."""
        text = block.body.replace(URL, self.server or URL)
        if block.run_with:
            text = "\n".join(_with(line, block.run_with) for line in text.splitlines())
        parts = text.splitlines() if block.exits_with else [text]
        start = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
        return "".join(self._ended([*start, part], block) for part in parts)

    def _ended(self, words: list[str], block: Block) -> str:
        ended = subprocess.run(
            words, cwd=self.path, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=900, check=False,
        )  # fmt: skip
        code = f"{block.place}: {words[-1]}\nended with {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        assert ended.returncode in (block.exits_with or (0,)), code
        return ended.stdout

    def follow(self, page: str) -> list[str]:
        """Show and run every block of a page, in order; return the outputs."""
        outputs = []
        for block in PAGES[page]:
            self.show(block)
            if block in RUN[page]:
                outputs.append(self.run(block))
        return outputs


def _with(line: str, more: str) -> str:
    command, hash_, comment = line.partition("  #")
    return f"{command} {more}{hash_}{comment}" if command.startswith("rooftune ") else line


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> tuple[PageFolder, list[str]]:
    """The folder of the tutorial after its last block, and what its blocks printed."""
    folder = PageFolder(tmp_path_factory.mktemp("tutorial"), prefect_api)
    return folder, folder.follow(TUTORIAL)


def _end_with_parent() -> None:
    """In a child process: ask the kernel of Linux to end it when the tests are killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the simulated server that the pages about endpoints start in another terminal."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    block = next(b for b in PAGES["docs/how-to/endpoint.md"] if "rooftune simulate" in b.body)
    (words,) = block.commands
    folder = tmp_path_factory.mktemp("server")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli.app", *words[1:-1], str(port), "--json"],
            cwd=folder, env=live_run.environment(folder, "", PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, stderr=log,
            text=True, start_new_session=True, preexec_fn=_end_with_parent,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            assert "url" in process.stdout.readline(), (folder / "log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


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
@pytest.mark.parametrize("page", OTHERS)
def test_the_blocks_of_a_page_run(
    page: str, tutorial: tuple[PageFolder, list[str]], server: str, prefect_api: str, tmp_path: Path
) -> None:
    folder = PageFolder(tmp_path, prefect_api, server)
    shutil.copytree(tutorial[0].path / "artifacts", tmp_path / "artifacts")
    folder.follow(page)


def test_what_is_run_ends_soon() -> None:
    """A search without a short budget takes minutes: it needs a comment `run with` or `not run`."""
    endless = [
        b.place
        for found in RUN.values()
        for b in found
        if b.language == "bash"
        and any(program(words) == "rooftune" and words[1] in ("optimize", "gate", "capacity") for words in b.commands)
        and not re.search(r"--budget \d\d?s", f"{b.body} {b.run_with}")
    ]
    assert not endless


def test_no_page_is_left_out() -> None:
    assert {TUTORIAL, *OTHERS} == {b.page for found in RUN.values() for b in found}
    assert not [b.place for b in RUN[TUTORIAL] if any(program(words) == "make" for words in b.commands)]
