"""``python -m docpages``: write the pages of docs/reference. With ``--check``, only say which ones are not current."""

from __future__ import annotations

import sys
from pathlib import Path

from docpages.pages import FOLDER, outdated, pages
from rooftune.files import write_text


def main(words: list[str]) -> int:
    """Write or check the pages; return the exit code."""
    folder = Path(__file__).parents[1] / FOLDER
    if "--check" in words:
        stale = outdated(folder)
        for name in stale:
            print(f"{FOLDER}/{name} is not current; run: make reference", file=sys.stderr)
        return 1 if stale else 0
    for name, text in pages().items():
        write_text(folder / name, text)
        print(f"{FOLDER}/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
