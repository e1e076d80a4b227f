"""Every value of the Helm files has a name that the templates of its chart read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHARTS = yaml.safe_load((Path(__file__).parent / "chart_keys.yaml").read_text(encoding="utf-8"))


def unread(values: Any, known: Any, place: str = "") -> Iterator[str]:
    """Places of the values that no template reads."""
    if known == "*":
        return
    if isinstance(values, dict):
        for name, value in values.items():
            if not isinstance(known, dict) or name not in known:
                yield f"{place}.{name}"
            else:
                yield from unread(value, known[name], f"{place}.{name}")
    elif isinstance(values, list):
        for value in values:
            yield from unread(value, known[0] if isinstance(known, list) else None, f"{place}[]")
    elif known != "value":
        yield place


@pytest.mark.parametrize("name", CHARTS)
def test_the_chart_reads_every_value(name: str, files: dict[str, str], hard_files: dict[str, str]) -> None:
    for text in (files[name], hard_files[name]):
        assert list(unread(yaml.safe_load(text), CHARTS[name]["keys"])) == []


def test_a_name_that_no_template_reads_is_found() -> None:
    keys = CHARTS["production-stack-values.yaml"]["keys"]
    values = {"servingEngineSpec": {"modelSpec": [{"replicas": 2, "env": [{"name": "A"}], "vllmConfig": 3}], "name": 1}}
    assert list(unread(values, keys)) == [
        ".servingEngineSpec.modelSpec[].replicas",
        ".servingEngineSpec.modelSpec[].vllmConfig",
        ".servingEngineSpec.name",
    ]
