"""The blocks of the pages about endpoints run beside a simulated server."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import live_run
import pytest
from doc_blocks import ROOT
from page_folder import OF_A_SERVER, PAGES, PageFolder

PR_SET_PDEATHSIG = 1


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
@pytest.mark.parametrize("page", OF_A_SERVER)
def test_the_blocks_of_a_page_about_servers(page: str, server: str, prefect_api: str, tmp_path: Path) -> None:
    PageFolder(tmp_path, prefect_api, server).follow(page)
