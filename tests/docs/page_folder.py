"""The pages of the documentation and a folder in which the blocks of one run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import live_run
from doc_blocks import ROOT, Block, blocks, pages

TUTORIAL = "docs/tutorial.md"
URL = "http://127.0.0.1:8000"
"""The address that the pages write for a server."""
EARLIER_RUN = ("/latest", "artifacts/", "rooftune history")
"""Words of a page that reads a run which is there already: the tutorial's."""
PAGES = {str(page.relative_to(ROOT)): blocks(page) for page in pages()}
RUN = {name: [b for b in found if b.language in ("bash", "python") and not b.not_run] for name, found in PAGES.items()}


def pages_with(*words: str) -> list[str]:
    """Pages besides the tutorial whose blocks have one of these words."""
    return [
        name
        for name, found in RUN.items()
        if name != TUTORIAL and any(word in block.body for block in found for word in words)
    ]


OF_A_RUN = pages_with(*EARLIER_RUN)
OF_A_SERVER = [name for name in pages_with(URL) if name not in OF_A_RUN]
OTHERS = [name for name, found in RUN.items() if found and name not in {TUTORIAL, *OF_A_RUN, *OF_A_SERVER}]


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
            timeout=1500, check=False,
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
