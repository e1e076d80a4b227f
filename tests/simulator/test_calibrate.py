"""Calibration: what is fitted comes back, helps on points held back, and is used only where it belongs."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from web_app import served

from rooftune.errors import InputError
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.simulator.calibration.files import load, newest, opened, reference, save
from rooftune.simulator.calibration.fit import Observation, ServedTrial, calibrate, from_trials
from rooftune.simulator.calibration.measure import (
    REPEATS,
    Arrival,
    MeasurementGrid,
    SweepClient,
    TimedStream,
    grid_for,
    in_rounds,
    measure,
    points_of,
)
from rooftune.simulator.steptime.accuracy import error_band
from rooftune.simulator.steptime.constants import Constants, constants_for, table
from rooftune.simulator.steptime.durations import decode_seconds, prefill_seconds
from rooftune.simulator.steptime.model import StepTime
from rooftune.simulator.virtual.predict import engine_of
from rooftune.vllm_rules.config import EngineConfig

SERVED = ServedTrial(
    accelerator("L4"), model_facts("llama-3.1-8b"), EngineConfig(model="x", max_model_len=4096), "0.32.0"
)


def _observed(constants: Constants, front_s: float = 0.008) -> list[Observation]:
    step = StepTime(SERVED.gpu, SERVED.facts, SERVED.resolved(), constants=constants)
    found = [Observation("decode", decode_seconds(step, b, c), b, c) for b in (1, 4, 16, 64) for c in (64, 512, 1536)]
    return found + [Observation("prefill", front_s + prefill_seconds(step, p), 1, p) for p in (64, 256, 1024, 2048)]


@settings(max_examples=8, deadline=None)
@given(st.floats(0.6, 0.95), st.floats(0.3, 0.8), st.floats(0.1, 3.0))
def test_an_engine_that_differs_is_predicted_after_the_fit(memory: float, compute: float, exposed_ms: float) -> None:
    truth = constants_for(SERVED.gpu, table()).replaced(
        {"linear.gemm_16bit.memory": memory, "linear.gemm_16bit.compute": compute, "host.exposed_ms": exposed_ms}
    )
    found = calibrate(SERVED, _observed(truth)).calibration
    assert found.error_after < 0.02
    assert found.error_after <= found.error_before + 1e-3
    assert found.constants["linear.gemm_16bit.memory"] == pytest.approx(memory, rel=0.08)


def test_too_few_points_are_refused() -> None:
    with pytest.raises(InputError, match="at least"):
        calibrate(SERVED, _observed(constants_for(SERVED.gpu))[:4])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    truth = constants_for(SERVED.gpu, table()).replaced({"linear.gemm_16bit.memory": 0.6})
    path = tmp_path / "l4.yaml"
    save(calibrate(SERVED, _observed(truth)).calibration, path)
    return path


def test_a_calibration_replaces_constants_of_its_accelerator_and_no_other(file: Path) -> None:
    shipped, found = constants_for(SERVED.gpu), load(file)
    assert constants_for(SERVED.gpu, calibration=found).value("linear.gemm_16bit.memory") == pytest.approx(
        0.6, rel=0.08
    )
    assert shipped == constants_for(SERVED.gpu, table())
    with pytest.raises(InputError, match="is for L4, not for T4"):
        constants_for(accelerator("T4"), calibration=found)
    assert "calibrated on vLLM 0.32.0" in str(error_band(SERVED.gpu, SERVED.resolved(), found))
    assert "calibrated" not in str(error_band(SERVED.gpu, SERVED.resolved()))


def test_nothing_but_the_argument_brings_a_calibration_into_a_prediction(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a file in the folder of calibrations nor an environment variable changes a prediction."""
    home = file.parent / "home"
    save(load(file), home / "calibrations" / "l4.yaml")
    monkeypatch.chdir(file.parent)
    server = ("L4", "llama-3.1-8b", "0.32.0", {"max_model_len": 4096})
    before = engine_of(*server).step_time.k
    monkeypatch.setenv("ROOFTUNE_HOME", str(home))
    monkeypatch.setenv("ROOFTUNE_CALIBRATION", str(file))
    assert engine_of(*server).step_time.k == before
    assert engine_of(*server, calibration=load(file)).step_time.k != before


def test_a_recorded_calibration_is_opened_only_with_the_content_that_was_recorded(file: Path) -> None:
    recorded = reference(file)
    assert Path(recorded.path).is_absolute()
    assert opened(recorded) == load(file)
    assert opened(None) is None
    file.write_text(file.read_text() + "# touched\n")
    with pytest.raises(InputError, match="has changed since this run began"):
        opened(recorded)


def test_the_newest_file_of_an_accelerator_is_found(file: Path) -> None:
    folder = file.parent / "several"
    for name, gpu, age_s in (("old", "L4", 300), ("new", "L4", 200), ("other", "T4", 100)):
        save(load(file).model_copy(update={"gpu": gpu}), folder / f"{name}.yaml")
        os.utime(folder / f"{name}.yaml", (1e9 - age_s, 1e9 - age_s))
    assert newest("L4", folder) == folder / "new.yaml"
    assert newest("L40S", folder) is None
    assert newest("L4", file.parent / "nowhere") is None


def test_shares_are_converted_where_ceilings_are_measured_again(file: Path) -> None:
    found = load(file)
    twice = SERVED.gpu.model_copy(update={"bandwidth_bytes_per_s": 2 * SERVED.gpu.bandwidth_bytes_per_s})
    mine, theirs = found.constants_on(SERVED.gpu), found.constants_on(twice)
    assert theirs["linear.gemm_16bit.memory"] == pytest.approx(mine["linear.gemm_16bit.memory"] / 2)
    assert theirs["linear.gemm_16bit.compute"] == mine["linear.gemm_16bit.compute"]


@pytest.mark.parametrize("text", ["", "gpu: L4\n", "[1, 2", "\x00"])
def test_a_file_that_is_not_a_calibration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="is not a rooftune calibration"):
        load(path)


async def test_a_steady_drift_of_the_machine_does_not_bend_the_curve() -> None:
    made = 0

    async def measured(point: int) -> float:
        nonlocal made
        made += 1
        return 100 + point + made / 10

    points = range(20)
    found = await in_rounds(measured, points, REPEATS, lambda _line: None)
    assert made == REPEATS * len(points)
    assert [value - found[0] for value in found] == pytest.approx(list(points))


def test_a_sweep_fits_into_the_engine() -> None:
    grid = grid_for(max_num_seqs=24, max_model_len=1024, kv_cache_tokens=9000)
    assert max(grid.batches) <= 24
    assert max(*grid.contexts, *grid.prompts) + grid.tokens < 1024
    assert all(b * (c + grid.tokens) <= 6000 for b, c in points_of(grid, 9000))


def test_trials_without_figures_are_left_out() -> None:
    whole = {"running": 12.0, "mean_tpot_ms": 30.0, "mean_input_len": 100.0, "mean_output_len": 50.0}
    (found,) = from_trials([whole, {"running": 3.0}, {**whole, "mean_tpot_ms": 0.0}])
    assert (found.batch, found.context, found.seconds) == (12.0, 125.0, 0.03)


async def test_the_sweep_times_steps_and_prompts_of_a_server() -> None:
    """The server waits at least 1 ms per 32 tokens of the prompt, and at least 10 ms before each further token."""
    seen: list[dict[str, Any]] = []
    took: list[float] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        seen.append(body)
        began = time.monotonic()
        stream = web.StreamResponse()
        await stream.prepare(request)
        await asyncio.sleep(len(body["prompt"]) / 32e3)
        for i in range(body["max_tokens"]):
            chunk = {"choices": [{"text": "a"}], "usage": {"completion_tokens": i + 1}}
            await stream.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            await asyncio.sleep(0.01)
        await stream.write(b"data: [DONE]\n\n")
        took.append(time.monotonic() - began)
        return stream

    app = web.Application()
    app.router.add_post("/v1/completions", answer)
    async with served(app) as url:
        grid = MeasurementGrid(batches=(1, 2), contexts=(64,), prompts=(64, 1600), repeats=1, tokens=12)
        found = await measure(url, "m", 1000, grid, 10_000)
    short, long, *steps = found
    assert (short.kind, long.kind, {s.kind for s in steps}) == ("prefill", "prefill", {"decode"})
    assert short.seconds >= 64 / 32e3
    assert long.seconds >= 1600 / 32e3
    assert [(s.batch, s.context) for s in steps] == [(1, 70.0), (2, 70.0)]
    assert all(0.009 < s.seconds <= max(took) / 5 for s in steps), "a step is a gap between tokens, not a whole answer"
    assert [(len(b["prompt"]), b["max_tokens"]) for b in seen] == [(32, 12)] * 2 + [(64, 1), (1600, 1)] + [(64, 12)] * 3
    assert len({tuple(b["prompt"][:16]) for b in seen}) == len(seen)  # no prefix is shared


@pytest.mark.parametrize(
    ("arrivals", "seconds"),
    [
        ([[0.1, 0.2, 0.3, 0.4, 0.5], [0.15, 0.25, 0.35, 0.45, 0.55]], 0.1),  # side by side from 0.15 to 0.5
        ([[0.1, 0.2, 0.3], [5.1, 5.3, 5.5]], 0.15),  # never side by side: the median of the answers' own means
    ],
)
async def test_a_step_is_timed_while_the_whole_batch_decodes(
    monkeypatch: pytest.MonkeyPatch, arrivals: list[list[float]], seconds: float
) -> None:
    async def batch(self: SweepClient, batch: int, prompt: int, tokens: int) -> list[TimedStream]:
        return [TimedStream(0.0, [Arrival(t, i + 1) for i, t in enumerate(times)]) for times in arrivals]

    monkeypatch.setattr(SweepClient, "batch", batch)
    client = SweepClient(None, "m", 1000, random.Random(1))  # type: ignore[arg-type]
    assert await client.step(2, 64, 6) == pytest.approx(seconds)
