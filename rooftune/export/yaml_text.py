"""YAML for readers of version 1.1 and 1.2: a comment at the head, comments at keys, and unambiguous strings."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString, SingleQuotedScalarString

COLUMNS = 112
Node = bool | int | float | str | None | Mapping[str, "Node"] | Sequence["Node"]
_PLAIN = re.compile(r"-{0,2}[A-Za-z/][A-Za-z0-9_./-]*(:[A-Za-z][A-Za-z0-9_./-]*)*")
_AMBIGUOUS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"])
"""Words that a reader of YAML 1.1 (PyYAML in vLLM, for example) takes for a bool, a null or a number."""


class Text(str):
    """A text of several lines that is written as a block."""


class Noted(dict[str, "Node"]):
    """A mapping with a comment above some of its keys."""

    def __init__(self, values: Mapping[str, Node], notes: Mapping[str, str]) -> None:
        super().__init__(values)
        self.notes = dict(notes)


def yaml_text(comments: Sequence[str], *documents: Mapping[str, Node]) -> str:
    """The documents as one file, with ``comments`` as lines at its head."""
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 100_000
    writer.indent(mapping=2, sequence=4, offset=2)
    texts = []
    for document in documents:
        stream = io.StringIO()
        writer.dump(_mapping(document, 0), stream)
        texts.append(stream.getvalue())
    return head(comments) + "---\n".join(texts)


def head(comments: Sequence[str]) -> str:
    """Comments as lines that begin with '#'; each line break in them starts a new one."""
    lines = [line for text in comments for given in text.splitlines() or [""] for line in _wrapped(given)]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _wrapped(line: str) -> list[str]:
    """A line in parts that fit the screen; words such as commands and paths stay whole."""
    if len(line) <= COLUMNS:
        return [line]
    return textwrap.wrap(line, COLUMNS, break_long_words=False, break_on_hyphens=False)


def _mapping(values: Mapping[str, Node], indent: int) -> CommentedMap:
    found = CommentedMap()
    for key, value in values.items():
        found[_string(key)] = _node(value, indent + 2)
    for key, note in getattr(values, "notes", {}).items():
        lines = [line for given in note.splitlines() for line in _wrapped(given)]
        found.yaml_set_comment_before_after_key(key, before="\n".join(lines), indent=indent)
    return found


def _node(value: Node, indent: int) -> Any:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return _mapping(value, indent)
    if isinstance(value, Sequence):
        return CommentedSeq([_node(inner, indent + 2) for inner in value])
    return value


def _string(value: str) -> Any:
    if isinstance(value, Text):
        return LiteralScalarString(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _AMBIGUOUS:
        return str(value)
    return SingleQuotedScalarString(value) if value.isprintable() else DoubleQuotedScalarString(value)
