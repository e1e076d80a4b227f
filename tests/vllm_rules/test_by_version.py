"""The rules by release: one table, one row per case and setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rooftune.errors import EngineError
from rooftune.hardware.accelerator import Accelerator
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.resolve import Resolved, resolve
from rooftune.vllm_rules.start.startup import startup
from rooftune.vllm_rules.versions import READ

TABLE = YAML(typ="safe").load(Path(__file__).with_name("by_version.yaml").read_text(encoding="utf-8"))
ROWS = [
    pytest.param(case, setting, values, id=f"{case['name']}: {setting}")
    for case in TABLE["cases"]
    for setting, values in case["expect"].items()
]


def device(name: str) -> Accelerator:
    if name == "GB10":
        changed = {"name": "GB10", "compute_capability": (12, 1), "memory_bytes": 119 * 2**30}
        return accelerator("RTX PRO 6000").model_copy(update=changed)
    return accelerator(name)


def value_of(found: Resolved, setting: str) -> Any:
    if setting.startswith("captures_"):
        return int(setting.removeprefix("captures_")) in found.capture_sizes
    return max(found.capture_sizes) if setting == "largest_captured" else getattr(found, setting)


@pytest.mark.parametrize(("case", "setting", "expected"), ROWS)
def test_each_release_resolves_as_its_source_says(case: dict[str, Any], setting: str, expected: list[Any]) -> None:
    facts = model_facts(case["model"], quantization=case.get("quantization"))
    config = EngineConfig(model=case["model"]).with_change(case.get("flags", {}))
    found: list[Any] = []
    for release in TABLE["releases"]:
        try:
            found.append(value_of(resolve(device(case["gpu"]), facts, config, release), setting))
        except EngineError:
            found.append("refused")
    assert dict(zip(TABLE["releases"], found, strict=True)) == dict(zip(TABLE["releases"], expected, strict=True))


def test_the_table_has_every_release_that_was_read() -> None:
    assert [".".join(release.split(".")[:2]) for release in TABLE["releases"]] == list(READ)


@pytest.mark.parametrize(
    ("quantization", "flags", "version", "words"),
    [
        ("awq", {"quantization": "awq"}, "0.26.0", "0.26.0 was not read: 0.23 forces the old kernel"),
        ("fp8", {}, "0.30.0", "0.30.0 was not read: 0.29 cannot run per-tensor FP8 weights"),
        ("mxfp4", {}, "0.32.0", "no step time is known for mxfp4 weights"),
    ],
)
def test_what_is_not_known_is_said(quantization: str, flags: dict[str, Any], version: str, words: str) -> None:
    facts = model_facts("llama-3.1-8b", quantization=quantization)
    config = EngineConfig(model="m", max_model_len=2048).with_change(flags)
    assert words in " ".join(resolve(accelerator("A10G"), facts, config, version).notes)


def test_a_refusal_of_fp8_weights_names_the_way_out() -> None:
    facts = model_facts("llama-3.1-8b", quantization="fp8")
    config = EngineConfig(model="m", max_model_len=2048)
    with pytest.raises(EngineError, match="linear_backend=marlin"):
        startup(accelerator("A10G"), facts, config, "0.29.0").started()
