"""GPUs read through NVML, with a stand-in for the driver."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from fake_nvml import FakeNvml, gpu

from rooftune.hardware import nvml
from rooftune.hardware.probe import present, probe
from rooftune.hardware.sampler import COLUMNS, gpu_sampler
from rooftune.loadgen.schema import TICKS
from rooftune.vllm_rules.capabilities import with_capabilities

T4 = gpu("Tesla T4", 15360, (7, 5))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(*gpus: dict[str, Any], broken: bool = False) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(list(gpus), broken=broken))

    return install


def test_a_t4_is_found_and_matched(install: Any) -> None:
    install(T4)
    hardware = probe(engine="vllm", gpu=None, engine_version="0.15.1", measure=False)
    assert hardware.accelerator.name == "T4"
    assert not hardware.simulated
    assert (hardware.count, hardware.driver, hardware.power_limit_watts) == (1, "570.86.15", 70)
    assert (hardware.max_sm_clock_mhz, hardware.max_memory_clock_mhz) == (1590, 5001)
    assert present().name == "T4"


def test_two_equal_gpus_and_one_other(install: Any) -> None:
    install(T4, T4, gpu("NVIDIA L4", 23034, (8, 9)))
    hardware = probe(engine="vllm", gpu="T4", engine_version="0.15.1", measure=False)
    assert hardware.count == 2
    assert hardware.host["other_gpus"] == "NVIDIA L4"
    assert with_capabilities(hardware).can("tensor_parallel").available


def test_visible_devices_apply(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    install(T4, gpu("NVIDIA L4", 23034, (8, 9), UUID="GPU-aaaa-1"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [g.name for g in nvml.gpus()] == ["NVIDIA L4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aaaa-1")
    assert [g.index for g in nvml.gpus()] == [1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert nvml.gpus() == []


def test_a_card_with_other_memory_keeps_its_own(install: Any) -> None:
    install(gpu("NVIDIA RTX 4090", 49140, (8, 9)))
    found = nvml.matched(nvml.gpus()[0])
    assert found.name == "RTX 4090"
    assert 46 < found.memory_bytes / 2**30 < 48
    assert "the catalogue has 24.0 GiB" in found.notes


def test_a_gpu_that_the_catalogue_does_not_know(install: Any) -> None:
    odd = gpu(
        "Quadro RTX 5000", 16384, (7, 5), MemoryBusWidth=256, MaxClockInfo_2=7001, NumGpuCores=3072, MaxClockInfo_1=1815
    )
    install(odd)
    found = nvml.matched(nvml.gpus()[0])
    assert found.bandwidth_bytes_per_s == pytest.approx(448e9, rel=0.01)
    assert found.flops_per_s["fp16"] == pytest.approx(89.2e12, rel=0.01)
    assert "bf16" not in found.flops_per_s
    assert "derived" in found.source


def test_a_driver_that_answers_little(install: Any) -> None:
    bare = {"Name": "Strange GPU"}
    install(bare)
    hardware = probe(engine="vllm", gpu=None, engine_version="0.32.0", measure=False)
    assert hardware.accelerator.name == "Strange GPU"
    assert not any(c.available for c in with_capabilities(hardware).capabilities)
    sampler = gpu_sampler()
    assert sampler is not None
    assert {value for name, value in sampler().items() if name != "gpu_count"} == {None}


def test_without_a_driver_nothing_is_reported(install: Any, capsys: pytest.CaptureFixture[str]) -> None:
    install(broken=True)
    assert nvml.gpus() == []
    assert nvml.driver_version() is None
    assert gpu_sampler() is None
    assert capsys.readouterr() == ("", "")


def test_a_driver_without_gpus(install: Any) -> None:
    install()
    assert nvml.gpus() == []
    assert gpu_sampler() is None


def test_a_sample_fills_the_columns_of_the_ticks(install: Any) -> None:
    install(
        T4,
        gpu(
            "Tesla T4",
            15360,
            (7, 5),
            PowerUsage=34500,
            Temperature_0=60,
            ClockInfo_1=1590,
            CurrentClocksThrottleReasons=1,
        ),
    )
    sampler = gpu_sampler()
    assert sampler is not None
    sample = sampler()
    assert tuple(sample) == COLUMNS
    assert set(sample) == {name for name in TICKS.names if name.startswith("gpu_")}
    assert sample["gpu_power_w"] == 100
    assert sample["gpu_temperature_c"] == 71
    assert sample["gpu_sm_clock_mhz"] == 1005
    assert sample["gpu_utilization"] == pytest.approx(0.98)
    assert sample["gpu_memory_used_bytes"] == 4 * 2**30
    assert sample["gpu_throttle_reasons"] == 5
