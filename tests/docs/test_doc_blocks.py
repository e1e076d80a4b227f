"""Every command in the documentation is run or says why not, and names options and targets that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_blocks import (
    ROOT,
    RUN_LANGUAGES,
    SHOWN_LANGUAGES,
    Block,
    blocks,
    blocks_of,
    pages,
    program,
    without_environment,
)
from ruamel.yaml import YAML

from docpages.command_line import commands, options

ALL = [block for page in pages() for block in blocks(page)]
SHELL = [block for block in ALL if block.language == "bash"]
KNOWN = {name: options(command) for name, command in commands().items()}
ROOT_OPTIONS = {"--help", "-h", "--version", "--install-completion", "--show-completion"}
MAKE_TARGETS = {
    target
    for path in (ROOT / "Makefile", *sorted((ROOT / "make").glob("*.mk")))
    for target in re.findall(r"^([a-z][a-z-]*):", path.read_text(encoding="utf-8"), re.M)
}


DEPLOYMENTS = {
    f"{entry['entrypoint'].rpartition(':')[2]}/{entry['name']}"
    for entry in YAML(typ="safe").load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
}


def wrong_words(words: list[str]) -> list[str]:
    """Words of a command that rooftune, make or prefect.yaml does not know."""
    name, rest = program(words), without_environment(words)[1:]
    if name == "make":
        return [word for word in rest if not re.match(r"[A-Z_]+=|-", word) and word not in MAKE_TARGETS]
    if name == "prefect" and rest[:2] == ["deployment", "run"]:
        return [] if rest[2] in DEPLOYMENTS else [rest[2]]
    if name != "rooftune" or not rest or rest[0] in ROOT_OPTIONS:
        return []
    command = " ".join(rest[:2]) if " ".join(rest[:2]) in KNOWN else rest[0]
    if command not in KNOWN:
        return [] if command == "COMMAND" else [command]
    used = {word.partition("=")[0] for word in rest[1:] if word.startswith("--")}
    return sorted(used - KNOWN[command] - ROOT_OPTIONS)


def unmarked(block: Block) -> str:
    """Why a block is neither run nor marked; empty if all is well."""
    if block.language in SHOWN_LANGUAGES:
        looks = [line for line in block.body.splitlines() if re.match(r"(\S*/)?(rooftune|make) [a-z]", line)]
        return f"{block.place} has commands; give it the language bash" if looks else ""
    if block.language not in RUN_LANGUAGES:
        return f"{block.place} has the language {block.language!r}; use one of {(*RUN_LANGUAGES, *SHOWN_LANGUAGES)}"
    return ""


def test_the_documentation_has_commands() -> None:
    assert len(SHELL) > 40
    assert {"README.md", "docs/tutorial.md", "docs/reference/command-line.md"} <= {b.page for b in SHELL}


def test_every_block_has_a_language_that_decides_whether_it_is_run() -> None:
    wrong = [reason for block in ALL if (reason := unmarked(block))]
    assert not wrong, "\n".join(wrong)


def test_indented_code_is_not_used() -> None:
    """An indented block has no language, so nothing would run it."""
    wrong = [
        f"{page.relative_to(ROOT)}: {line.strip()}"
        for page in pages()
        for line in page.read_text(encoding="utf-8").splitlines()
        if re.match(r"    (\S*/)?(rooftune|make|python -m|prefect) ", line)
        and not any(line.strip() in block.body for block in blocks(page))
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("block", SHELL, ids=lambda b: b.place)
def test_commands_and_options_exist(block: Block) -> None:
    wrong = {" ".join(words): found for words in block.commands if (found := wrong_words(words))}
    assert not wrong, f"{block.place}: {wrong}"


def test_a_reason_says_something() -> None:
    assert not [block.place for block in ALL if block.not_run and len(block.not_run.split()) < 2]


MADE = """
Text.

<!-- not run: needs a GPU -->

```bash
CUDA_VISIBLE_DEVICES=0 rooftune optimise chat-low \\
  --budgett 5m   # a comment with --nothing
make nothing && .venv/bin/rooftune plan chat-low --gpu "L4" | cat
.venv/bin/prefect deployment run optimise/chat-low --watch
```

```
rooftune plan chat-low
```

```yaml title="a.yaml"
name: a
```
"""


def test_what_is_wrong_is_found() -> None:
    first, second, third = blocks_of(MADE, "made.md")
    assert first.not_run == "needs a GPU"
    assert [program(words) for words in first.commands] == ["rooftune", "make", "rooftune", "cat", "prefect"]
    assert [wrong_words(words) for words in first.commands] == [
        ["optimise"],
        ["nothing"],
        [],
        [],
        ["optimise/chat-low"],
    ]
    assert wrong_words(["rooftune", "optimize", "chat-low", "--budgett=5m"]) == ["--budgett"]
    assert "language" in unmarked(second)
    assert not second.not_run
    assert (third.title, unmarked(third)) == ("a.yaml", "")
    assert third.body == "name: a\n"


def test_the_pages_are_all_there() -> None:
    assert {path.name for path in (ROOT / "docs").rglob("*.md")} <= {Path(page).name for page in pages()}
