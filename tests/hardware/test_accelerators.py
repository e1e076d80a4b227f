"""The catalogue of accelerators: names, memory, rates, prices and their sources."""

from __future__ import annotations

import pytest

from rooftune.errors import InputError
from rooftune.hardware.catalogue import accelerators
from rooftune.hardware.named import accelerator

GIB = 1024**3
NAMED = [
    "T4",
    "V100",
    "A10",
    "A10G",
    "A30",
    "A40",
    "A6000",
    "A100-40",
    "A100-80",
    "A100-80 PCIe",
    "L4",
    "L40",
    "L40S",
    "RTX 3090",
    "RTX 4090",
    "RTX 5090",
    "RTX 6000 Ada",
    "H100",
    "H100 PCIe",
    "H100 NVL",
    "H200",
    "B200",
    "RTX PRO 6000",
]


@pytest.mark.parametrize("name", NAMED)
def test_every_promised_gpu_is_there(name: str) -> None:
    assert accelerator(name).name == name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("t4", "T4"),
        ("Tesla T4", "T4"),
        ("a100_80", "A100-80"),
        ("a100 80 pcie", "A100-80 PCIe"),
        ("rtx4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA A100-SXM4-80GB", "A100-80"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX A6000", "A6000"),
        ("NVIDIA A10G", "A10G"),
    ],
)
def test_names_as_people_and_drivers_write_them(written: str, name: str) -> None:
    assert accelerator(written).name == name


@pytest.mark.parametrize(("wrong", "near"), [("A100", "'A100-40' or 'A100-80'"), ("L41", "'L4'"), ("T5", "'T4'")])
def test_an_unknown_name_says_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(InputError) as caught:
        accelerator(wrong)
    assert near in str(caught.value)
    assert "H200" in str(caught.value)


def test_a_t4_has_two_sizes_of_memory() -> None:
    t4 = accelerator("T4")
    assert t4.memory_bytes == int(14.56 * GIB)
    assert t4.driver_memory_bytes == 15 * GIB


@pytest.mark.parametrize("a", accelerators(), ids=lambda a: a.name)
def test_figures_hang_together(a) -> None:  # type: ignore[no-untyped-def]
    cc, rates = a.compute_capability, a.flops_per_s
    assert ("bf16" in rates) == (cc >= (8, 0))
    assert ("int8" in rates) == (cc >= (7, 5))
    assert ("fp8" in rates) == (cc >= (8, 9))
    assert ("fp4" in rates) == (cc >= (10, 0))
    if "fp8" in rates:
        assert rates["fp8"] == pytest.approx(2 * rates["fp16"], rel=0.02), "both dense"
    assert 1e11 < a.bandwidth_bytes_per_s < 1e13
    assert 20 < rates["fp16"] / a.bandwidth_bytes_per_s < 450, "ridge point in FLOP/byte"
    assert a.driver_memory_bytes is None or 0.9 < a.memory_bytes / a.driver_memory_bytes <= 1
    assert a.source
    if a.price:
        assert 0.1 < a.price.usd_per_hour < 20
        assert a.price.offer
        assert a.price.source
        assert a.price.date.startswith("2026-")


def test_known_pitfalls() -> None:
    assert accelerator("A10G").flops_per_s["fp16"] < 0.6 * accelerator("A10").flops_per_s["fp16"]
    assert accelerator("L4").bandwidth_bytes_per_s < accelerator("T4").bandwidth_bytes_per_s
    assert accelerator("H100").flops_per_s["fp16"] == 989e12, "dense, not the sparse 1979"


def test_the_processor_of_this_machine_has_a_name_too() -> None:
    assert accelerator("CPU").kind == "cpu"
    assert "cpu" not in [a.name for a in accelerators()]
