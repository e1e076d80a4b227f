"""What each generation of GPUs can do under which engine version, and that every answer has its reason."""

from __future__ import annotations

import pytest

from rooftune.hardware.accelerator import Capability
from rooftune.hardware.catalogue import accelerators
from rooftune.hardware.named import accelerator
from rooftune.hardware.processor import cpu
from rooftune.vllm_rules.capabilities import capabilities

IDS = {
    *(
        "fp16",
        "bf16",
        "int8",
        "fp8",
        "fp8_kv",
        "flash_attention_2",
        "flash_attention_3",
        "flashinfer",
        "triton_attention",
    ),
    *("marlin", "fp8_weight_only", "cuda_graphs", "tensor_parallel", "int8_kv"),
}


def table(gpu: str, version: str, count: int = 1) -> dict[str, Capability]:
    return {c.id: c for c in capabilities(accelerator(gpu), version, count)}


def yes(gpu: str, version: str) -> set[str]:
    return {i for i, c in table(gpu, version).items() if c.available}


@pytest.mark.parametrize("version", ["0.8.5", "0.15.1", "0.24.0", "0.32.0", "main"])
def test_every_gpu_answers_every_question_with_a_reason(version: str) -> None:
    for gpu in [*accelerators(), cpu()]:
        rows = capabilities(gpu, version)
        assert {c.id for c in rows} == IDS
        assert all(len(c.reason) > 10 and c.name for c in rows)


def test_a_t4_in_two_versions() -> None:
    old, new = yes("T4", "0.15.1"), yes("T4", "0.32.0")
    assert old == {
        "fp16",
        "int8",
        "fp8_kv",
        "flashinfer",
        "triton_attention",
        "marlin",
        "fp8_weight_only",
        "cuda_graphs",
    }
    assert old - new == {"fp8_kv", "flashinfer"}
    assert new - old == {"int8_kv"}
    assert "Triton needs 8.9" in table("T4", "0.32.0")["fp8_kv"].reason
    assert "--dtype half" in table("T4", "0.32.0")["bf16"].reason


@pytest.mark.parametrize(("version", "there"), [("0.13.0", False), ("0.14.0", True)])
def test_marlin_came_to_turing_late(version: str, there: bool) -> None:
    assert table("T4", version)["marlin"].available is there
    assert table("A100-80", version)["marlin"].available


def test_volta_is_out_of_the_wheels() -> None:
    assert "cuda_graphs" in yes("V100", "0.15.1")
    assert yes("V100", "0.32.0") == set()
    assert "7.5" in table("V100", "0.32.0")["fp16"].reason


@pytest.mark.parametrize(
    ("gpu", "fp8", "fp8_kv", "fa2", "fa3"),
    [
        ("A100-80", False, True, True, False),
        ("A10G", False, True, True, False),
        ("L4", True, True, True, False),
        ("H100", True, True, True, True),
        ("B200", True, True, False, False),
        ("RTX 5090", True, True, True, False),
    ],
)
def test_generations_under_032(gpu: str, fp8: bool, fp8_kv: bool, fa2: bool, fa3: bool) -> None:
    rows = table(gpu, "0.32.0")
    found = [rows[i].available for i in ("fp8", "fp8_kv", "flash_attention_2", "flash_attention_3")]
    assert found == [fp8, fp8_kv, fa2, fa3]


def test_fp8_kv_on_ampere_is_storage() -> None:
    assert "storage" in table("A100-80", "0.32.0")["fp8_kv"].reason


def test_tensor_parallelism_needs_two() -> None:
    assert not table("A100-80", "0.32.0")["tensor_parallel"].available
    assert table("A100-80", "0.32.0", 4)["tensor_parallel"].available


def test_a_gpu_of_unknown_generation_promises_nothing() -> None:
    unknown = accelerator("T4").model_copy(update={"compute_capability": None})
    rows = capabilities(unknown, "0.32.0")
    assert {c.id for c in rows} == IDS
    assert not any(c.available for c in rows)
