"""The public measurements: whole, named as the catalogues name things, cited, and physically possible."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rooftune.hardware.named import accelerator
from rooftune.models import costs
from rooftune.models.catalogue import model_facts
from rooftune.models.facts import ModelFacts

DATA: dict[str, Any] = YAML(typ="safe").load(
    files("benchmarks.fidelity").joinpath("data/measurements.yaml").read_text(encoding="utf-8")
)
POINTS: list[dict[str, Any]] = DATA["points"]
REPOSITORY = Path(__file__).parents[2]
NEEDED = {
    "gemm": {"m", "n", "k"},
    "decode": {"model", "quantization", "batch", "context"},
    "prefill": {"model", "quantization", "batch", "prompt"},
    "serving": {"model", "quantization", "prompt", "output"},
}
METRICS = {
    "gemm": {"tflops"},
    "decode": {"step_ms", "tokens_per_s"},
    "prefill": {"tokens_per_s", "step_ms"},
    "serving": {"mean_e2el_ms", "mean_tpot_ms", "output_throughput", "request_throughput"},
}
RATE = {"fp8": "fp8", "int8": "int8"}


def facts_of(point: dict[str, Any]) -> ModelFacts:
    facts = model_facts(point["model"], quantization=point["quantization"])
    return facts.model_copy(update={"weight_bits": point.get("weight_bits")})


def test_there_is_enough_of_it() -> None:
    judged = [p for p in POINTS if p["use"] != "aside"]
    assert len(judged) >= 40
    assert len({p["gpu"] for p in judged}) >= 5
    assert {"gemm_16bit", "marlin", "fp8", "awq_gemm", "int8"} <= {p["kernel"] for p in judged}
    held = sum(p["use"] == "hold" for p in POINTS)
    assert held / len(judged) > 0.5, "more is held back than fitted to"


def test_every_point_is_named_once_and_cited() -> None:
    assert len({p["id"] for p in POINTS}) == len(POINTS)
    assert {p["source"] for p in POINTS} == set(DATA["sources"])
    for source in DATA["sources"].values():
        assert set(source) == {"what", "url", "date", "setting"}
        assert source["url"].startswith("https://") or (REPOSITORY / source["url"]).is_file()


@pytest.mark.parametrize("kind", sorted(NEEDED))
def test_points_have_what_their_kind_needs(kind: str) -> None:
    of_kind = [p for p in POINTS if p["kind"] == kind]
    assert of_kind
    for p in of_kind:
        assert NEEDED[kind] <= set(p), p["id"]
        assert p["metric"] in METRICS[kind], p["id"]
        assert p["use"] in ("fit", "hold", "aside")
        assert p["use"] != "aside" or p["note"]
        assert accelerator(p["gpu"]).name == p["gpu"]
        assert p["value"] > 0


@pytest.mark.parametrize("point", [p for p in POINTS if p["use"] != "aside"], ids=lambda p: p["id"])
def test_no_measurement_beats_the_ceilings(point: dict[str, Any]) -> None:
    """A wrong GPU, model or digit would show here; GeForce cards run above their nominal clock."""
    gpu = accelerator(point["gpu"])
    rate = gpu.flops_per_s[RATE.get(point["kernel"], "fp16")] * 1.1
    if point["kind"] == "gemm":
        assert point["value"] * 1e12 <= rate
        return
    facts = facts_of(point)
    if point["kind"] == "prefill":
        computed = point["prompt"] - point.get("cached", 0)
        seconds = point["value"] / 1000 if point["metric"] == "step_ms" else point["prompt"] / point["value"]
        assert costs.prefill_flops(facts, computed) / seconds <= rate
    elif point["kind"] == "decode":
        step = point["value"] / 1000 if point["metric"] == "step_ms" else point["batch"] / point["value"]
        assert step >= costs.decode_bytes(facts, point["batch"], point["context"]) / gpu.bandwidth_bytes_per_s
    elif point.get("concurrency") == 1:
        whole = point["value"] / 1000 if point["metric"] == "mean_e2el_ms" else point["output"] / point["value"]
        context = point["prompt"] + point["output"] / 2
        decode = (point["output"] - 1) * costs.decode_bytes(facts, 1, context) / gpu.bandwidth_bytes_per_s
        assert whole >= decode + costs.prefill_flops(facts, point["prompt"]) / rate
    elif point["metric"] == "request_throughput":
        assert point["value"] * costs.prefill_flops(facts, point["prompt"]) <= rate
