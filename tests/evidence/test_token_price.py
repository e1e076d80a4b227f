"""What an output token costs: from the price of the server, and from the power of its GPUs."""

from __future__ import annotations

import math
from typing import Any

import made_load as made
import numpy as np
import pytest

from rooftune.engines.price import accelerators_of, price_of, usd_per_hour
from rooftune.engines.target import Target
from rooftune.evidence.metrics.token_price import GAP_S, IDLE, NO_READING, energy_j, energy_jackknife
from rooftune.evidence.records.trial import TrialResult
from rooftune.metrics.window import Window
from rooftune.workloads.spec import COST, ENERGY

WINDOW = Window(start_s=20.0, end_s=80.0)
AT = np.arange(0.0, 111.0)
L4 = {"gpu_count": 1.0, "gpu_utilization": 0.9}


def trial(**samples: Any) -> TrialResult:
    found = made.evidence(samples=samples).trial
    assert found is not None
    return found


def test_the_counter_of_the_driver_over_the_tokens_of_the_window() -> None:
    found = trial(**L4, gpu_energy_j=1e7 + 60.0 * AT, gpu_power_w=1e3)
    assert found.metrics[ENERGY] == pytest.approx(60.0 / found.metrics["output_throughput"], rel=1e-6)
    assert ENERGY not in found.withheld
    assert 0 < found.within[ENERGY] < 0.2


def test_without_a_counter_the_power_is_integrated() -> None:
    found = trial(**L4, gpu_power_w=np.where(AT < 50, 40.0, 80.0))
    assert found.metrics[ENERGY] == pytest.approx(60.0 / found.metrics["output_throughput"], rel=0.02)


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        ({}, NO_READING),
        ({**L4, "gpu_power_w": np.where((AT > 40) & (AT < 42 + GAP_S), np.nan, 60.0)}, NO_READING),
        ({**L4, "gpu_power_w": np.where(AT > 60, np.nan, 60.0)}, NO_READING),
        ({**L4, "gpu_power_w": 60.0, "gpu_utilization": 0.0}, IDLE),
        ({**L4, "gpu_power_w": 60.0, "gpu_count": 4.0}, "power was read from 4 GPUs, but the server uses 1"),
    ],
)
def test_a_reading_that_is_not_the_servers_is_withheld(samples: dict[str, Any], why: str) -> None:
    found = trial(**samples)
    assert ENERGY not in found.metrics
    assert found.withheld[ENERGY].startswith(why)


def test_one_missing_sample_is_interpolated() -> None:
    power = np.full(len(AT), 60.0)
    power[[30, 55]] = np.nan
    assert energy_j({"t_s": AT, "gpu_power_w": power}, WINDOW) == pytest.approx(3600)


def test_blocks_show_how_much_the_energy_of_a_token_varies() -> None:
    tokens = np.arange(0.0, 100.0, 0.01)
    ones = np.ones(len(tokens))
    steady = energy_jackknife({"t_s": AT, "gpu_energy_j": 60.0 * AT}, WINDOW, tokens, ones)
    assert len(steady) == 10
    assert np.std(steady) == pytest.approx(0, abs=1e-3)
    assert steady[0] == pytest.approx(math.log(0.6), abs=1e-3)
    rising = energy_jackknife({"t_s": AT, "gpu_energy_j": AT**2}, WINDOW, tokens, ones)
    assert np.std(rising) > 10 * np.std(steady)


def test_the_price_of_a_server_is_that_of_its_accelerators() -> None:
    target = Target(gpu="L4", model="llama-3.1-8b", engine_version="0.32.0")
    listed = price_of(target)
    assert listed is not None
    assert usd_per_hour(listed, {}) == listed.usd_per_hour
    assert usd_per_hour(listed, {"tensor_parallel_size": 4}) == 4 * listed.usd_per_hour
    assert accelerators_of({"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "data_parallel_size": 3}) == 12
    own = price_of(target.model_copy(update={"usd_per_gpu_hour": 0.4}))
    assert own is not None
    assert (own.usd_per_hour, own.words) == (0.4, "given with --price")
    assert price_of(Target(engine="endpoint", model="m", engine_version="unknown", url="http://x")) is None


def test_the_cost_of_a_trial_follows_from_its_throughput() -> None:
    about = made.evidence()
    assert about.trial is not None
    assert about.trial.withheld[COST] == "the price of its accelerator is not known; give it with --price"
    priced = about.trial.model_copy(update={"usd_per_hour": 0.72, "metrics": {}, "withheld": {}})
    assert about.requests is not None
    assert about.load is not None
    found = made.measured(priced, about.requests, about.ticks, about.load, made.workload(10.0))
    assert found.metrics[COST] == pytest.approx(0.72 / 3600 * 1e6 / found.metrics["output_throughput"])
    assert found.within[COST] == pytest.approx(found.within["output_throughput"])
