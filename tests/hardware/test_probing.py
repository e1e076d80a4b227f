"""Probing without a GPU: the processor of this machine, named accelerators, and errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import FakeNvml

from rooftune.errors import InputError
from rooftune.hardware import ceilings, host
from rooftune.hardware.ceilings import memory_copy, torch_ceilings
from rooftune.hardware.probe import probe
from rooftune.hardware.processor import cpu
from rooftune.vllm_rules.capabilities import with_capabilities


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml([], broken=True))


def test_the_simulated_engine_is_the_named_gpu() -> None:
    hardware = probe(engine="simulated", gpu="t4", engine_version="0.15.1")
    assert hardware.simulated
    assert hardware.accelerator.name == "T4"
    assert hardware.ceilings == []
    assert hardware.host["cores"] >= 1
    with pytest.raises(InputError, match="--gpu T4"):
        probe(engine="simulated", gpu=None, engine_version="0.15.1")


def test_an_endpoint_may_be_anything() -> None:
    assert probe(engine="endpoint", gpu="L4", engine_version="0.32.0").accelerator.name == "L4"
    blank = probe(engine="endpoint", gpu=None, engine_version="0.32.0")
    assert blank.accelerator.name == "unknown"
    assert not blank.simulated
    assert "--gpu" in with_capabilities(blank).can("fp16").reason


def test_a_gpu_that_is_not_here_is_refused() -> None:
    with pytest.raises(InputError, match="no NVIDIA GPU"):
        probe(engine="vllm", gpu="T4", engine_version="0.32.0")
    with pytest.raises(InputError, match="unknown GPU"):
        probe(engine="vllm", gpu="T44", engine_version="0.32.0")


def test_the_cpu_with_measured_ceilings() -> None:
    hardware = probe(engine="vllm", gpu=None, engine_version="0.32.0")
    assert hardware.accelerator.kind == "cpu"
    assert not hardware.simulated
    by = {c.name: c for c in hardware.ceilings}
    assert hardware.accelerator.bandwidth_bytes_per_s == by["memory_copy"].value > 1e8
    assert hardware.accelerator.flops_per_s["fp32"] == by["matmul_fp32"].value > 1e8
    assert "read and write counted" in by["memory_copy"].how
    assert hardware.capabilities == []
    assert not with_capabilities(hardware).can("cuda_graphs").available
    assert probe(engine="simulated", gpu="cpu", engine_version="0.32.0").simulated


def test_an_unmeasured_cpu_says_so() -> None:
    hardware = probe(engine="vllm", gpu="cpu", engine_version="0.32.0", measure=False)
    assert hardware.ceilings == []
    assert "not measured" in hardware.accelerator.source
    assert cpu().flops_per_s["fp32"] > 0


def test_a_copy_in_the_cache_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "last_level_cache_bytes", lambda: 2**30)
    assert "cache" in memory_copy(seconds=0.01, size=2**22).how
    monkeypatch.setattr(ceilings, "last_level_cache_bytes", lambda: 2**20)
    assert "cache" not in memory_copy(seconds=0.01, size=2**22).how


@pytest.mark.parametrize(("load", "said"), [(0.0, False), (99.0, True)])
def test_a_busy_machine_is_reported(monkeypatch: pytest.MonkeyPatch, load: float, said: bool) -> None:
    monkeypatch.setattr("psutil.getloadavg", lambda: (load, 0, 0))
    assert ("other programs ran" in ceilings._busy()) is said


def test_an_interpreter_without_torch_gives_no_ceilings(tmp_path: Path) -> None:
    assert torch_ceilings(None, cuda=False) == []
    assert torch_ceilings(str(tmp_path / "python"), cuda=False) == []
    liar = tmp_path / "liar"
    liar.write_text("#!/bin/sh\necho hello\n")
    liar.chmod(0o755)
    assert torch_ceilings(str(liar), cuda=True) == []


def test_another_interpreters_figures_are_taken(tmp_path: Path) -> None:
    teller = tmp_path / "teller"
    row = '[{"name": "matmul_bf16", "value": 1e12, "unit": "FLOP/s", "how": "torch"}]'
    teller.write_text(f"#!/bin/sh\necho warning\necho '{row}'\n")
    teller.chmod(0o755)
    assert torch_ceilings(str(teller), cuda=False)[0].value == 1e12


def test_host_limits_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text("1073741824\n")
    monkeypatch.setattr(host, "CGROUP", tmp_path)
    facts: dict[str, Any] = host.host_facts()
    assert facts["cpu_limit"] == 1.5
    assert facts["memory_bytes"] == 2**30


@pytest.mark.parametrize(
    ("flags", "name", "words"),
    [
        ("avx2 avx512f avx512_bf16 amx_bf16", "bfloat16", "AMX"),
        ("avx2 avx512f avx512_bf16", "bfloat16", "AVX512-BF16"),
        ("avx2 avx512f", "bfloat16", "AVX-512"),
        ("asimd bf16", "bfloat16", "Arm"),
        ("avx avx2 fma", "float32", "without AVX-512"),
        ("asimd fp", "float32", "without AVX-512"),
        ("", "float32", "does not list"),
    ],
)
def test_the_probe_says_which_dtype_the_processor_is_fast_with(
    monkeypatch: pytest.MonkeyPatch, flags: str, name: str, words: str
) -> None:
    monkeypatch.setattr(host, "cpu_flags", lambda: frozenset(flags.split()))
    fast = host.fast_dtype()
    assert fast.name == name
    assert words in fast.reason
    hardware = with_capabilities(probe(engine="vllm", gpu="cpu", engine_version="0.32.0", measure=False))
    assert hardware.host["fast_dtype"] == f"{name}: {fast.reason}"
    assert fast.reason in hardware.can("bf16").reason
    assert ("--dtype float32" in hardware.can("bf16").reason) is (name == "float32")
