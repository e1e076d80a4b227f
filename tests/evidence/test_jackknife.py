"""The uncertainty within one trial, by leaving out one block at a time."""

from __future__ import annotations

import numpy as np
import pytest

from rooftune.evidence.metrics.jackknife import BLOCKS, jackknife, within
from rooftune.evidence.metrics.request_metrics import request_metrics
from rooftune.evidence.records.columns import ChunkArrivals, Requests, requests_from
from rooftune.metrics.window import Window

WINDOW = Window(start_s=0.0, end_s=100.0)


def tokens(at: np.ndarray) -> Requests:
    """One stream with tokens at these times."""
    columns = {"scheduled_s": [0.0], "status": ["cut"], "first_token_s": [at.min()], "last_token_s": [at.max()]}
    return requests_from(columns, ChunkArrivals(at, np.ones(len(at)), np.zeros(len(at), dtype=np.int64)))  # fmt: skip


def test_it_is_the_standard_error_of_the_blocks_rate() -> None:
    """For a mean the jackknife is the usual standard error over blocks; here of ln(rate), so relative."""
    counts = np.array([100, 110, 90, 105, 95, 120, 80, 100, 98, 102])
    at = np.concatenate([10 * i + 10 * (np.arange(n) + 0.5) / n for i, n in enumerate(counts)])
    found = within(jackknife(tokens(np.sort(at)), WINDOW, {"output_throughput"}))["output_throughput"]
    assert found == pytest.approx(counts.std(ddof=1) / np.sqrt(BLOCKS) / counts.mean(), rel=0.02)


def test_it_sees_bursts_that_counting_would_miss() -> None:
    """Poisson tokens give 1/sqrt(n); tokens in clumps give more."""
    random = np.random.default_rng(0)
    smooth = np.sort(random.uniform(0, 100, 10_000))
    clumps = np.sort(np.clip(np.repeat(random.uniform(0, 100, 100), 100) + random.uniform(0, 0.1, 10_000), 0, 99.99))
    errors = [
        within(jackknife(tokens(x), WINDOW, {"output_throughput"}))["output_throughput"] for x in (smooth, clumps)
    ]
    assert errors[0] == pytest.approx(0.01, rel=0.6)
    assert errors[1] > 3 * errors[0]


def test_only_what_is_quoted_gets_blocks() -> None:
    r = tokens(np.linspace(0, 99.9, 1000))
    metrics = request_metrics(r, WINDOW).metrics
    found = jackknife(r, WINDOW, set(metrics))
    assert set(found) <= set(metrics)
    assert len(found["output_throughput"]) == BLOCKS
    assert all(np.isfinite(v).all() for v in found.values())


def test_a_metric_with_an_empty_block_has_none() -> None:
    half = tokens(np.linspace(0, 40, 500))
    assert "mean_itl_ms" not in jackknife(half, WINDOW, {"mean_itl_ms", "output_throughput"})
