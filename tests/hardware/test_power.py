"""Power and energy through the real pynvml, with a stand-in for the driver's library below it."""

from __future__ import annotations

from collections.abc import Callable

import pynvml
import pytest
from fake_driver import Card, FakeDriver

from rooftune.hardware.sampler import Sample, gpu_sampler, power_is_read

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
