"""Power and energy through the real pynvml, with a stand-in for the driver's library below it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pynvml
import pytest
from fake_driver import Card, FakeDriver

from rooftune.evidence.metrics.token_price import energy_j
from rooftune.evidence.records.parquet_files import read_ticks
from rooftune.hardware.sampler import Sample, gpu_sampler, power_is_read
from rooftune.loadgen.ticks import TickRecorder
from rooftune.metrics.window import Window

Sampled = Callable[..., Sample]


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> Sampled:
    """One sample of these cards."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def sample(*cards: Card) -> Sample:
        monkeypatch.setattr(pynvml, "nvmlLib", FakeDriver(list(cards)))
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        sampler = gpu_sampler()
        assert sampler is not None
        return sampler()

    return sample


def test_power_and_the_energy_counter_in_watts_and_joules(sampled: Sampled) -> None:
    found = sampled(Card())
    assert (found["gpu_count"], found["gpu_power_w"], found["gpu_energy_j"]) == (1, 71.5, 9_000_000)
    assert power_is_read()


def test_only_the_gpus_of_the_server_are_read(sampled: Sampled) -> None:
    idle = Card(milliwatts=30_000, millijoules=1_000)
    found = sampled(idle, Card(pids=[4711, 4712]), idle, Card(pids=[4713]))
    assert (found["gpu_count"], found["gpu_power_w"]) == (2, 143)
    assert found["gpu_energy_j"] == 18_000_000
    everything = sampled(idle, Card(), idle)
    assert (everything["gpu_count"], everything["gpu_power_w"]) == (3, 131.5), "no process is listed in some containers"


def test_a_sum_that_lacks_a_card_is_not_given(sampled: Sampled) -> None:
    found = sampled(Card(pids=[1]), Card(pids=[2], milliwatts=None, millijoules=None))
    assert (found["gpu_count"], found["gpu_power_w"], found["gpu_energy_j"]) == (2, None, None)
    assert not power_is_read()


def test_a_card_before_volta_has_power_and_no_counter(sampled: Sampled) -> None:
    found = sampled(Card(millijoules=None))
    assert (found["gpu_power_w"], found["gpu_energy_j"]) == (71.5, None)
    assert power_is_read()


def test_the_power_of_a_whole_gpu_is_not_that_of_its_slice(sampled: Sampled) -> None:
    found = sampled(Card(mig=True))
    assert (found["gpu_power_w"], found["gpu_energy_j"]) == (None, None)


class Metered(FakeDriver):
    """Its counter grows by 60 J from one reading to the next."""

    readings = 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, millijoules: Any) -> int:
        self.readings += 1
        millijoules._obj.value = 60_000 * self.readings
        return 0


def test_a_load_records_the_counter_and_the_energy_follows_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the driver's function to ticks.parquet to joules; the server need not answer."""
    monkeypatch.setattr(pynvml, "nvmlLib", Metered([Card(pids=[1])]))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    client: dict[str, float | None] = {"client_in_flight": 0, "client_connections": 0}
    recorder = TickRecorder("http://127.0.0.1:9", tmp_path, 1.0, lambda: client)
    recorder.prepare()
    recorder.start(time.monotonic())
    deadline = time.monotonic() + 300
    while len(list(tmp_path.glob("ticks-*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    recorder.stop()
    assert recorder.error is None
    tables = [read_ticks(path) for path in sorted(tmp_path.glob("ticks-*.parquet"))]
    ticks = {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}
    assert set(ticks["gpu_count"]) == {1.0}
    whole = Window(start_s=float(ticks["t_s"][0]), end_s=float(ticks["t_s"][-1]))
    assert energy_j(ticks, whole) == pytest.approx(60 * (len(tables) - 1))
