"""The published T4 experiment: the audit finds its errors, and its figures follow from the causes that we name.

Published figures: logs of kshyp/varcas (MIT, 2026-02-11). Ours are worked out from the same rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rooftune.evidence.audit.checks import CHECKS, OF_OTHER_TOOLS
from rooftune.evidence.audit_path import audit_path
from rooftune.evidence.importers.csv_file import read
from rooftune.evidence.metrics.request_metrics import request_metrics
from rooftune.evidence.records.columns import Requests
from rooftune.evidence.records.trial import Check
from rooftune.metrics.queues import inside
from rooftune.metrics.window import Window

DATA = Path(__file__).parent / "data"
BASELINE, EIGHT = DATA / "t4_requests_baseline.csv", DATA / "t4_requests_max_num_seqs_8.csv"


def audited(path: Path) -> dict[str, Check]:
    return {c.id: c for c in audit_path(path, duration_s=40)}


def failed(checks: dict[str, Check]) -> set[str]:
    return {name for name, c in checks.items() if c.status == "fail"}


def test_the_baseline_fails_for_the_true_reasons() -> None:
    found = audited(BASELINE)
    assert failed(found) == {"in-flight-plateau", "survivors", "token-count", "prompts-repeated", "window-length"}
    assert "exactly 100" in found["in-flight-plateau"].sentence
    assert found["survivors"].figures == {"scheduled": 767, "unfinished": 701, "share": 0.914}
    assert "13 distinct prompts" in found["prompts-repeated"].sentence
    assert "Characters / 4" in found["token-count"].sentence
    census = found["census"].figures
    assert (census["completed"], census["cut"], census["never_begun"]) == (66, 100, 601)


def test_the_run_with_eight_sequences_fails_for_the_true_reasons() -> None:
    """Its plateau at 8 may be the server's max_num_seqs, which the file does not say: a warning."""
    found = audited(EIGHT)
    assert failed(found) == {"survivors", "token-count", "prompts-repeated"}
    assert found["in-flight-plateau"].status == "warn"
    assert "exactly 8" in found["in-flight-plateau"].sentence
    assert found["survivors"].figures["unfinished"] == 711


@pytest.mark.parametrize("path", [BASELINE, EIGHT])
def test_what_a_file_cannot_show_is_reported(path: Path) -> None:
    found = audited(path)
    assert len(found) == len(CHECKS) + len(OF_OTHER_TOOLS)
    blind = {name for name, c in found.items() if c.status == "no data"}
    assert {"send-lag", "client-cpu", "littles-law", "prefix-hits", "throttling", "server-log"} <= blind
    assert all(c.sentence for c in found.values())
    assert all(c.remedy for c in found.values() if c.status in ("warn", "fail"))


def rows(path: Path) -> tuple[Requests, np.ndarray]:
    evidence = read(path, 40)
    assert evidence.requests is not None
    characters = np.genfromtxt(path, delimiter=",", names=True)["output_chars"]
    return evidence.requests, characters


def as_published(path: Path, seconds: float = 40.0) -> dict[str, float]:
    """The figures as the experiment computed them: finished answers only, characters / 4 for tokens."""
    r, characters = rows(path)
    done = r.status == "completed"
    tokens = characters[done] / 4
    decode = (r.last_token_s - r.first_token_s)[done]
    return {
        "tokens_per_s": float(tokens.sum() / seconds),
        "requests_per_s": len(r) / seconds,
        "median_ttft_ms": float(np.nanmedian(r.first_token_s - r.sent_s)) * 1000,
        "median_e2el_ms": float(np.median((r.last_token_s - r.sent_s)[done])) * 1000,
        "median_tpot_ms": float(np.median((decode / (tokens - 1))[tokens > 2])) * 1000,
    }


@pytest.mark.parametrize(
    ("path", "tokens_per_s", "tpot_ms", "e2el_ms", "ttft_ms"),
    [(BASELINE, 168.8, 231.7, 26_013, 669), (EIGHT, 202.6, 35.7, 18_149, 16_387)],
)
def test_the_published_figures_are_reproduced(
    path: Path, tokens_per_s: float, tpot_ms: float, e2el_ms: float, ttft_ms: float
) -> None:
    """Baseline, and the second run with eight sequences."""
    found = as_published(path)
    assert found["tokens_per_s"] == pytest.approx(tokens_per_s, rel=0.01)
    assert found["median_tpot_ms"] == pytest.approx(tpot_ms, rel=0.01)
    assert found["median_e2el_ms"] == pytest.approx(e2el_ms, rel=0.001)
    assert found["median_ttft_ms"] == pytest.approx(ttft_ms, rel=0.001)
    assert found["requests_per_s"] == pytest.approx(19.2, abs=0.1)


def streams(path: Path) -> float:
    """Mean number of answers that stream in the second half."""
    r, _ = rows(path)
    at = np.linspace(20, 39, 400)
    return float((inside(r.first_token_s, r.left_s, at)).mean())


def test_the_gain_is_one_of_survivors() -> None:
    """By finished answers eight sequences look better; by the rate at which answers stream they are worse."""
    baseline, eight = as_published(BASELINE), as_published(EIGHT)
    assert eight["tokens_per_s"] / baseline["tokens_per_s"] == pytest.approx(1.2, abs=0.02)
    streamed = [1000 * streams(p) / f["median_tpot_ms"] for p, f in ((BASELINE, baseline), (EIGHT, eight))]
    assert streamed[1] / streamed[0] == pytest.approx(0.53, abs=0.02)


@pytest.mark.parametrize("path", [BASELINE, EIGHT])
def test_ours_withholds_what_the_rows_do_not_contain(path: Path) -> None:
    r, _ = rows(path)
    found = request_metrics(r, Window(start_s=0.0, end_s=40.0))
    assert {"median_ttft_ms", "median_e2el_ms", "mean_e2el_ms"} <= set(found.withheld)
    assert found.metrics["request_throughput"] < 2


def test_the_server_itself_counted_a_loss_of_about_45_percent() -> None:
    """Its own 10 s lines, the partly idle first one left out."""
    lines = np.genfromtxt(DATA / "t4_server_windows.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    rate = {run: np.mean(lines["generation_tok_s"][lines["run"] == run][1:]) for run in ("baseline", "max_num_seqs_8")}
    assert rate["max_num_seqs_8"] / rate["baseline"] == pytest.approx(0.54, abs=0.02)
