"""The chat template of a model: how its messages become one text, as the server writes it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rooftune.workloads.texts.prompt_text import Message

if TYPE_CHECKING:
    from jinja2 import Template

SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
"""Tokens of tokenizer_config.json that templates name."""


class NoTemplate(Exception):
    """The template does not take these messages."""


@dataclass(frozen=True)
class ChatTemplate:
    """A compiled template with the tokens that it may name."""

    template: Template
    special: dict[str, str]

    def text(self, messages: Sequence[Message]) -> str:
        """The messages up to where the answer begins.

        Raises:
            NoTemplate: the template refuses them.
        """
        from jinja2 import TemplateError

        given = [dict(m) for m in messages]
        try:
            return self.template.render(messages=given, add_generation_prompt=True, **self.special)
        except (TemplateError, TypeError, ValueError, AttributeError, LookupError) as error:
            raise NoTemplate(str(error)) from None


def template_of(folder: Path) -> ChatTemplate | None:
    """The template of a model folder; None where it has none that can be read, or Jinja is not installed."""
    try:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        return None
    config = _config(folder / "tokenizer_config.json")
    source = _source(folder, config)
    if source is None:
        return None
    loops = ["jinja2.ext.loopcontrols"]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=loops)
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    environment.filters["tojson"] = _tojson
    try:
        template = environment.from_string(source)
    except TemplateError:
        return None
    return ChatTemplate(template, {name: _token(config.get(name)) for name in SPECIAL})


def _config(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _source(folder: Path, config: dict[str, object]) -> str | None:
    """The template as a file, or in the configuration; of several named ones the default."""
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        found = config.get("chat_template")
    if isinstance(found, list):
        named = [t.get("template") for t in found if isinstance(t, dict) and t.get("name") == "default"]
        found = named[0] if named else None
    return found if isinstance(found, str) else None


def _token(value: object) -> str:
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else ""


def _refuse(message: str) -> None:
    raise ValueError(message)


def _now(form: str) -> str:
    return dt.datetime.now().strftime(form)


def _tojson(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
