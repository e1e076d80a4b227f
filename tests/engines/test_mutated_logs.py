"""Whatever a log, a metrics page or a reply contains, reading it never raises an unforeseen exception."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rooftune.engines import metrics
from rooftune.engines.failures import classify, death, last_exception, log_warnings
from rooftune.engines.logs import read_effective
from tests.mutations import mutations

LOGS = Path(__file__).parent / "logs"
EACH = 60
"""Variants of each log; the campaign takes a few seconds."""
MODELS = {"object": "list", "data": [{"id": "m", "max_model_len": 4096}]}
INFO = {
    "vllm_config": {"scheduler_config": {"max_num_seqs": 8, "max_num_batched_tokens": 64, "async_scheduling": True}}
}


def read_all(log: str, page: str, models: Any, info: Any) -> None:
    """Read everything that the log reader reads, and write the result as server.json would."""
    found = read_effective(log, page, models, None, info)
    json.dumps(found.model_dump(), allow_nan=False)
    metrics.parse(page)
    last_exception(log)
    log_warnings(log)
    for error in (classify(log, 1), classify(log, None), death(log, 137)):
        assert error is None or "\n" not in str(error)


@pytest.mark.parametrize("name", sorted(p.name for p in LOGS.glob("*.txt")))
def test_a_mutated_log_is_read_or_ignored(name: str) -> None:
    page = (LOGS / "vllm_0.32.0_metrics.txt").read_bytes()
    log = (LOGS / name).read_bytes()
    pages = mutations(page, EACH, seed=len(name))
    for variant, mutated_page in zip(mutations(log, EACH, seed=sum(name.encode())), pages, strict=True):
        read_all(variant.decode(errors="replace"), mutated_page.decode(errors="replace"), MODELS, INFO)


@pytest.mark.parametrize("original", [MODELS, INFO], ids=["models", "server_info"])
def test_a_mutated_reply_is_read_or_ignored(original: dict[str, Any]) -> None:
    parsed = 0
    for variant in mutations(json.dumps(original).encode(), 3000, seed=7):
        try:
            value = json.loads(variant)
        except (ValueError, RecursionError):
            continue
        parsed += 1
        read_all("", "", value, value)
    assert parsed > 50


@pytest.mark.parametrize(
    "value", [[], [1], 1, "x", None, {"data": 1}, {"data": [1]}, {"data": {"a": 1}}, {"vllm_config": [1]}]
)
def test_a_reply_of_another_shape_is_ignored(value: Any) -> None:
    read_all("", "", value, value)
    assert read_effective("", None, value, None, value).model is None
