"""The page of the Python interface: what ``import rooftune`` offers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cached_property

import rooftune
from docpages.markdown import head, prose, text_of
from rooftune.opened_run import OpenedRun


def page() -> str:
    """The page as Markdown."""
    lines = head(
        "Python interface",
        "`import rooftune` needs neither a GPU nor vLLM nor Prefect. Examples: [Load results](../how-to/results.md).",
    )
    for name in rooftune.__all__:
        value = getattr(rooftune, name)
        if callable(value):
            lines += [f"## rooftune.{name}", "", *_signature(f"rooftune.{name}", value), *_paragraphs(value)]
        else:
            lines += [f"## rooftune.{name}", "", "The version of rooftune, as text.", ""]
    lines += ["## OpenedRun", "", *_paragraphs(OpenedRun)]
    for name, member in vars(OpenedRun).items():
        read = member.func if isinstance(member, cached_property) else getattr(member, "fget", None)
        if read is not None and not name.startswith("_"):
            kind = str(read.__annotations__["return"])
            lines += [f"### {name}", "", f"`{kind}`", "", *_paragraphs(read)]
    return text_of(lines)


def _signature(name: str, function: Callable[..., object]) -> list[str]:
    shown = str(inspect.signature(function)).replace("'", "")
    return ["<!-- not run: a signature -->", "", "```python", f"{name}{shown}", "```", ""]


def _paragraphs(documented: object) -> list[str]:
    """A docstring in Google's style as Markdown; its doctest lines become an example."""
    lines: list[str] = []
    for block in (inspect.getdoc(documented) or "").split("\n\n"):
        title = re.match(r"(Args|Raises):\n", block)
        if title:
            entries = re.sub(r"\n\s{8,}", " ", block[title.end() :]).splitlines()
            pairs = [entry.strip().partition(": ") for entry in entries]
            lines += [f"**{'Arguments' if title[1] == 'Args' else 'Raises'}**", ""]
            lines += [*(f"- `{name}`: {prose(text)}" for name, _, text in pairs), ""]
        elif block.startswith(">>>"):
            shown = [re.sub(r"\s*# doctest:.*$", "", line.removeprefix(">>> ")) for line in block.splitlines()]
            lines += ["```python", "import rooftune", "", *shown, "```", ""]
        else:
            lines += [prose(block), ""]
    return lines
