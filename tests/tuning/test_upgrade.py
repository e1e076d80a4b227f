"""The upgrade path: arithmetic of change, cost and number of accelerators; reasons for what cannot run."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import synthetic_run as made

from rooftune.errors import EngineError
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.report.page.model import Paragraph
from rooftune.report.run import hardware
from rooftune.simulator.virtual.capacity import capacity, sample
from rooftune.simulator.virtual.predict import engine_of
from rooftune.tuning import upgrade
from rooftune.tuning.case import TargetRequest, target_for
from rooftune.tuning.upgrade import UpgradePath, UpgradeRow, options, upgrade_path


def path(monkeypatch: pytest.MonkeyPatch) -> UpgradePath:
    def predicted(
        workload: object, gpu: str, target: object, flags: dict[str, object], calibration: object
    ) -> upgrade._Service:
        assert calibration is None
        if gpu == "L4" and flags.get("quantization") != "awq_marlin":
            raise EngineError("No available memory for the cache blocks.", "oom")
        if gpu == "B200":
            raise EngineError("no kernel image is available.", "driver")
        rate = accelerator(gpu).bandwidth_bytes_per_s / 1e9 * (1.5 if flags.get("quantization") == "fp8" else 1.0)
        return upgrade._Service(
            output_throughput=rate, served_rate_per_s=rate / 150, overloaded=rate < 3000, slo_share=0.5,
            median_tpot_ms=20.0, band=0.12, output_tokens_per_s=rate,
        )  # fmt: skip

    monkeypatch.setattr(upgrade, "_predicted", predicted)
    flags = {"quantization": "awq_marlin", "max_model_len": 2048}
    return upgrade_path(made.workload(), target_for(TargetRequest()), model_facts("llama-2-7b"), flags, 20.0)


def test_change_and_cost_follow_from_the_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {r.gpu: r for r in path(monkeypatch).rows}
    t4, a10g = rows["T4"], rows["A10G"]
    assert t4.current
    assert t4.change == 1
    assert a10g.change == pytest.approx(600 / 320)
    assert t4.accelerators_needed == 10
    assert t4.usd_per_hour is not None
    assert t4.usd_per_million_output_tokens == pytest.approx(t4.usd_per_hour * 1e6 / 3600 / 320)


def test_the_best_plausible_configuration_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {r.gpu: r for r in path(monkeypatch).rows}
    assert rows["H100"].configuration == "FP8 weights"
    assert rows["L4"].configuration == "AWQ weights, Marlin kernel"
    assert rows["T4"].configuration == "the recommended flags"


def test_what_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(r for r in path(monkeypatch).rows if r.gpu == "B200")
    assert row.impossible == "no kernel image is available."
    assert row.output_throughput is None


def test_options_fit_the_accelerator() -> None:
    facts = model_facts("llama-2-7b")
    t4 = {
        o.words: o.flags
        for o in options(accelerator("T4"), facts, {"enforce_eager": True, "max_model_len": 2048}, "0.32.0")
    }
    h100 = {o.words: o.flags for o in options(accelerator("H100"), facts, {"enforce_eager": True}, "0.32.0")}
    assert "FP8 weights" not in t4
    assert "FP8 weights" in h100
    assert all("enforce_eager" not in flags for flags in [*t4.values(), *h100.values()])
    assert t4["16-bit weights"]["max_model_len"] == 2048


def row(gpu: str, price: float, served: float, share: float | None, overloaded: bool = False) -> UpgradeRow:
    return UpgradeRow(
        gpu=gpu, memory_bytes=24 * 2**30, bandwidth_bytes_per_s=3e11, fp8=True, configuration="FP8 weights",
        output_throughput=2700.0, served_rate_per_s=served, overloaded=overloaded, slo_share=share, usd_per_hour=price,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [row("L4", 0.8, 18.5, 0.0), row("L40S", 1.9, 54.0, 1.0)],
            "within the SLO is the L40S at $1.90",
        ),
        (
            [row("L4", 0.8, 22.0, 0.6), row("L40S", 1.9, 54.0, 1.0)],
            "within the SLO is the L40S at $1.90",
        ),
        (
            [row("L4", 0.8, 22.0, 0.995), row("L40S", 1.9, 54.0, 1.0)],
            "within the SLO is the L4 at $0.80",
        ),
        (
            [row("L4", 0.8, 22.0, None), row("L40S", 1.9, 54.0, None)],
            "that alone serves 20 requests/s is the L4 at $0.80",
        ),
        ([row("L4", 0.8, 11.0, None, True), row("A10G", 1.0, 12.0, None, True)], "none of these GPUs alone"),
    ],
)
def test_advice_wants_the_whole_rate_and_the_slo(rows: list[UpgradeRow], said: str) -> None:
    """On a nearly full server the queue grows so slowly that a test of a short window does not detect overload."""
    path = UpgradePath(
        workload="chat-medium",
        model="llama-2-7b",
        engine_version="0.15.1",
        asked_rate_per_s=20.0,
        error_band=0.1,
        rows=rows,
    )
    plan = made.plan_of(made.workload())
    run = SimpleNamespace(upgrade=path, plan=plan, by_capacity=False)
    found = hardware.hardware(run)  # type: ignore[arg-type]
    assert found is not None
    assert isinstance(found.blocks[0], Paragraph)
    assert said in found.blocks[0].text


@pytest.mark.slow
def test_where_the_capacity_decides_the_path_predicts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "PATH", ("T4", "L4"))
    load = made.workload(objective={"metric": "capacity"})
    flags = {"quantization": "awq_marlin", "max_model_len": 2048}
    target = target_for(TargetRequest())
    found = upgrade_path(load, target, model_facts("llama-2-7b"), flags, 20.0)
    rows = {r.gpu: r for r in found.rows}
    t4, l4 = rows["T4"], rows["L4"]
    alone = capacity(engine_of("T4", target.model, target.engine_version, flags), sample(load))
    assert t4.capacity_per_s == pytest.approx(alone.rate_per_s)
    assert t4.limited_by == alone.limited_by
    assert t4.capacity_per_s
    assert l4.capacity_per_s
    assert l4.change == pytest.approx(l4.capacity_per_s / t4.capacity_per_s)
    assert l4.accelerators_needed == math.ceil(20 / l4.capacity_per_s)
    others = [
        capacity(engine_of("L4", target.model, target.engine_version, o.flags), sample(load)).rate_per_s
        for o in options(accelerator("L4"), model_facts("llama-2-7b"), flags, target.engine_version)
    ]
    assert l4.capacity_per_s == pytest.approx(max(others)), "the configuration that carries most"
    assert t4.usd_per_hour
    tokens_per_h = t4.capacity_per_s * 150 * 3600
    assert t4.usd_per_million_output_tokens == pytest.approx(t4.usd_per_hour * 1e6 / tokens_per_h, rel=0.001)
