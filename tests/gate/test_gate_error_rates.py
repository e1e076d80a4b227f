"""The simulated error rates of the gate, on a small scale: ``python -m benchmarks.validity.losses`` is the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.validity.losses import LOSSES, SETTINGS, Experiments, Rates, broken, rates, table
from benchmarks.validity.scenes import scenes

COUNT, BOUND = 100, 0.03
NOISE = {scene.name: scene for scene in scenes()}


@pytest.mark.parametrize("scene", ["the T4", "capacity, simulated engine"])
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_a_hundred_gates_keep_the_error_rates(scene: str, setting: object) -> None:
    made = Experiments(NOISE[scene], COUNT, np.random.default_rng(11))
    rows = [rates(made, setting, loss, BOUND) for loss in (0.0, BOUND, 2 * BOUND)]  # type: ignore[arg-type]
    assert broken(rows, BOUND, COUNT) == []


def test_a_false_alarm_or_a_missed_loss_is_reported() -> None:
    good = Rates("x", SETTINGS[0].name, 0.0, 0.95, 0.01, 0.04, 5.0)
    assert broken([good], BOUND, 1000) == []
    assert "false alarms" in broken([replace(good, failed=0.10)], BOUND, 1000)[0]
    lost = replace(good, loss=0.06, passed=0.0, failed=0.9)
    assert broken([lost], BOUND, 1000) == []
    assert "passed" in broken([replace(lost, passed=0.09)], BOUND, 1000)[0]
    assert "found" in broken([replace(lost, failed=0.5)], BOUND, 1000)[0]
    assert "decided" in broken([replace(good, loss=BOUND, passed=0.05, failed=0.05)], BOUND, 1000)[0]


def test_the_table_has_a_line_for_each_way_to_use_the_gate() -> None:
    rows = [Rates("x", SETTINGS[0].name, share * BOUND, 0.1, 0.2, 0.7, 5.0) for share in LOSSES]
    *_, line = table(rows, BOUND)
    assert line == "| x | --beside | 10.0% | 20.0% | 10.0% | 30.0% | 20.0% | 10.0% | 5.0 |"
