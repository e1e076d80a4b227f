"""A pydantic model as Markdown tables: one for the model, one for each model inside of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from docpages.markdown import cell, code, prose, sentence_case, table

Schema = Mapping[str, Any]
"""A part of a JSON Schema. Its values are whatever pydantic writes there."""
Described = Mapping[str, Mapping[str, str]]
FLAG_VALUE = {"string", "integer", "number", "boolean"}
"""Types whose union is the value of an engine's flag."""
TYPES = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "mapping",
    "array": "list",
}


class SchemaTables:
    """Writes the tables of models and remembers which inner models have a section on this page."""

    def __init__(
        self,
        mode: Literal["validation", "serialization"] = "validation",
        elsewhere: Mapping[str, str] | None = None,
    ) -> None:
        """Tables of files that are read (validation) or written.

        Args:
            elsewhere: models that another page explains, with the link.
        """
        self.mode, self.elsewhere = mode, elsewhere or {}
        self.written: set[str] = set()

    def of(self, model: type[BaseModel], described: Described | None = None) -> list[str]:
        """The table of a model, then sections for the models inside that are not on the page yet.

        Args:
            described: by model, meanings of keys that it does not describe itself.
        """
        known = described or {}
        schema = model.model_json_schema(mode=self.mode)
        lines = self._table(schema, known.get(model.__name__, {}))
        for name, inner in schema.get("$defs", {}).items():
            if name not in self.written and name not in self.elsewhere and "properties" in inner:
                self.written.add(name)
                lines += [f"### {name}", "", *self._intro(inner), *self._table(inner, known.get(name, {}))]
        return lines

    def _intro(self, schema: Schema) -> list[str]:
        text = prose(schema.get("description"))
        return [text, ""] if text else []

    def _table(self, schema: Schema, described: Mapping[str, str]) -> list[str]:
        required = set(schema.get("required", ()))
        rows = []
        for name, field in schema.get("properties", {}).items():
            needed = "required" if name in required else default_of(field)
            meaning = prose(field.get("description") or described.get(name, ""))
            rows.append([code(name), type_of(field, self.elsewhere), needed, cell(sentence_case(meaning))])
        if self.mode == "serialization":
            return table(["Key", "Type", "Meaning"], [[key, kind, text] for key, kind, _, text in rows])
        return table(["Key", "Type", "Default", "Meaning"], rows)


ANY_JSON = "JsonValue"
"""Pydantic's name for any JSON value, which has no table."""


def type_of(field: Schema, elsewhere: Mapping[str, str]) -> str:
    """The type of a field in words; a model inside of it is a link to its section."""
    if "$ref" in field:
        name = str(field["$ref"]).rpartition("/")[2]
        if name == ANY_JSON:
            return "any JSON value"
        return f"[{name}]({elsewhere.get(name, f'#{name.lower()}')})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in field:
            return _union(field[key], elsewhere)
    if "const" in field:
        return code(_value(field["const"]))
    if "enum" in field:
        return ", ".join(code(_value(value)) for value in field["enum"])
    kind = field.get("type")
    if kind == "array":
        return f"list of {type_of(field['items'], elsewhere)}" if "items" in field else "list"
    if kind == "object":
        inside = field.get("additionalProperties")
        return f"mapping to {type_of(inside, elsewhere)}" if isinstance(inside, Mapping) and inside else "mapping"
    return TYPES.get(str(kind), "any value") + _bounds(field)


def _union(parts: Sequence[Schema], elsewhere: Mapping[str, str]) -> str:
    kinds = {str(part.get("type")) for part in parts}
    if kinds >= FLAG_VALUE:
        return "value of a flag or null" if "null" in kinds else "value of a flag"
    return " or ".join(dict.fromkeys(type_of(part, elsewhere) for part in parts))


def _bounds(field: Schema) -> str:
    signs = {"exclusiveMinimum": "&gt;", "minimum": "≥", "exclusiveMaximum": "&lt;", "maximum": "≤"}
    found = [f"{sign} {field[key]:,}" for key, sign in signs.items() if key in field and field[key] < 2**63]
    return f" {' and '.join(found)}" if found else ""


def default_of(field: Schema) -> str:
    """The default of a field as YAML or JSON shows it; a dash where it is empty."""
    value = field.get("default")
    return "–" if value is None or value == "" or isinstance(value, (list, dict)) else code(_value(value))


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
