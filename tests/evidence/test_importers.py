"""Results of other tools: every kind of file is recognised, read correctly, and a bad one gives one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooftune.errors import InputError, RooftuneError
from rooftune.evidence.audit.checks import audit
from rooftune.evidence.audit_path import audit_path
from rooftune.evidence.importers import read as importers
from rooftune.evidence.importers import vllm_bench as import_vllm
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check

DATA = Path(__file__).parent / "data"


def audited(path: Path, **more: Any) -> dict[str, Check]:
    return {c.id: c for c in audit_path(path, **more)}


def bench(name: str) -> dict[str, Any]:
    """A result of the real ``vllm bench serve``; data/README.md says how it was made."""
    found: dict[str, Any] = json.loads((DATA / f"vllm_bench_serve_{name}.json").read_text())
    return found


def statuses(value: dict[str, Any]) -> dict[str, str]:
    return {c.id: c.status for c in audit(import_vllm.read(value, "x"))}


# ---- vllm bench serve


def test_a_concurrency_cap_too_low_is_found() -> None:
    found = audited(DATA / "vllm_bench_serve_cap.json")
    assert {k for k, c in found.items() if c.status == "fail"} == {"in-flight-plateau", "load-delivered", "send-lag"}
    assert "--max-concurrency 4 held the others back" in found["in-flight-plateau"].sentence


def test_a_cap_is_found_without_single_requests() -> None:
    summary = {k: v for k, v in bench("cap").items() if not isinstance(v, list)}
    assert {k for k, s in statuses(summary).items() if s == "fail"} == {"in-flight-plateau"}


def test_a_cap_is_found_by_older_versions_without_queue_times() -> None:
    value = bench("cap")
    del value["queue_times"]
    found = statuses(value)
    assert found["in-flight-plateau"] == found["load-delivered"] == "fail"
    assert found["send-lag"] == "no data"


@pytest.mark.parametrize("name", ["free", "closed"])
def test_an_open_load_and_a_closed_loop_pass(name: str) -> None:
    assert "fail" not in statuses(bench(name)).values()
    summary = {k: v for k, v in bench(name).items() if not isinstance(v, list)}
    assert "fail" not in statuses(summary).values()


def test_records_of_vllm_give_its_own_figures() -> None:
    """What we compute from single requests equals what the tool printed."""
    value = bench("free")
    r = import_vllm.read(value, "x").requests
    assert r is not None
    ttft = (r.first_token_s - r.sent_s) * 1000
    assert np.median(ttft) == pytest.approx(value["median_ttft_ms"], rel=1e-3)
    tpot = (r.last_token_s - r.first_token_s) / (r.output_tokens - 1) * 1000
    assert np.mean(tpot) == pytest.approx(value["mean_tpot_ms"], rel=1e-3)
    assert r.token_count.sum() == pytest.approx(value["total_output_tokens"])
    assert len(r.token_s) == 120 * 32


def test_a_failed_request_is_not_a_success() -> None:
    value = bench("free")
    value["errors"][5], value["ttfts"][5], value["itls"][5], value["output_lens"][5] = "Connection reset", 0.0, [], 0
    r = import_vllm.read(value, "x").requests
    assert r is not None
    assert r.status[5] == "failed"
    assert (r.status == "completed").sum() == 119
    found = {c.id: c for c in audit(import_vllm.read(value, "x"))}
    assert found["census"].status == "fail", "120 are claimed"


def test_appended_results_are_several_runs(tmp_path: Path) -> None:
    path = tmp_path / "appended.json"
    path.write_text(json.dumps(bench("free")) + "\n" + json.dumps(bench("cap")) + "\n")
    sources = importers.read(path)
    assert [s.label for s in sources] == ["appended.json#1", "appended.json#2"]
    found = audited(path)
    assert found["in-flight-plateau"].status == "fail"
    assert found["in-flight-plateau"].sentence.startswith("appended.json#2")


# ---- guidellm


def test_a_real_report_of_guidellm_passes_and_its_cap_is_found() -> None:
    free, cap = audited(DATA / "guidellm_free.json"), audited(DATA / "guidellm_cap.json")
    assert not [k for k, c in free.items() if c.status == "fail"]
    assert free["load-delivered"].figures["sent_rate_per_s"] == pytest.approx(20, rel=0.02)
    assert {k for k, c in cap.items() if c.status == "fail"} == {"send-lag", "load-delivered", "in-flight-plateau"}
    assert "exactly 4" in cap["in-flight-plateau"].sentence


def guidellm(strategy: dict[str, Any], requests: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    metrics = {"time_to_first_token_ms": {"successful": {"percentiles": {"p99": 30.0}}}}
    return {
        "benchmarks": [{"config": {"strategy": strategy}, "duration": 20.0, "requests": requests, "metrics": metrics}]
    }


def guided(due: float, start: float, end: float) -> dict[str, Any]:
    timings = {
        "targeted_start": due,
        "request_start": start,
        "first_iteration": start + 0.02,
        "last_iteration": end,
        "request_end": end,
    }
    return {"info": {"timings": timings}, "prompt_tokens": 100, "output_tokens": 40}


def test_guidellm_is_read(tmp_path: Path) -> None:
    base = 1.7e9
    good = [guided(base + 0.1 * i, base + 0.1 * i + 0.001, base + 0.1 * i + 0.5) for i in range(200)]
    cut = [guided(base + 15 + 0.1 * i, base + 15 + 0.1 * i, base + 20) for i in range(5)]
    path = tmp_path / "benchmarks.json"
    path.write_text(
        json.dumps(
            guidellm({"type_": "constant", "rate": 10.0}, {"successful": good, "incomplete": cut, "errored": []})
        )
    )
    (source,) = importers.read(path)
    assert source.tool == "guidellm"
    assert source.requests is not None
    assert (source.requests.status == "completed").sum() == 200
    assert (source.requests.status == "cut").sum() == 5
    assert np.nanmax(source.requests.sent_s - source.requests.scheduled_s) == pytest.approx(0.001, abs=1e-6)
    found = audited(path)
    assert found["survivors"].status == "warn"
    assert found["load-delivered"].status == "pass"
    assert found["send-lag"].status == "pass"


def test_guidellm_that_sends_late_is_caught(tmp_path: Path) -> None:
    """Rates above what its processes can send are sent later than they were due."""
    base = 1.7e9
    late = [guided(base + 0.05 * i, base + 0.1 * i, base + 0.1 * i + 0.5) for i in range(200)]
    path = tmp_path / "benchmarks.json"
    path.write_text(json.dumps(guidellm({"type_": "constant", "rate": 20.0}, {"successful": late})))
    found = audited(path)
    assert found["send-lag"].status == "fail"
    assert found["load-delivered"].status == "fail"


# ---- aiperf


def test_a_real_export_of_aiperf_shows_its_cap_and_its_own_token_count() -> None:
    """Only the summary has the rate. aiperf's tokenizer counted 48 tokens where the server sent 32."""
    found = audited(DATA / "aiperf_cap" / "profile_export.jsonl")
    assert {k for k, c in found.items() if c.status == "fail"} == {"load-delivered", "in-flight-plateau", "token-count"}
    assert found["token-count"].figures == {"usage": 2560, "client": 3840}
    summary = audited(DATA / "aiperf_cap" / "profile_export_aiperf.json")
    assert {k for k, c in summary.items() if c.status == "fail"} == {"in-flight-plateau"}


def aiperf_record(i: int, *, error: bool = False, cancelled: bool = False) -> dict[str, Any]:
    start = 1_700_000_000_000_000_000 + i * 100_000_000
    metrics = {
        "time_to_first_token": {"value": 20.0, "unit": "ms"},
        "request_latency": {"value": 520.0, "unit": "ms"},
        "inter_chunk_latency": {"value": [50.0] * 10, "unit": "ms"},
        "output_sequence_length": {"value": 11, "unit": "tokens"},
        "input_sequence_length": {"value": 100, "unit": "tokens"},
    }
    about = {
        "request_start_ns": start,
        "request_end_ns": start + 520_000_000,
        "benchmark_phase": "profiling",
        "was_cancelled": cancelled,
    }
    return {"metadata": about, "metrics": {} if error else metrics, "error": {"message": "reset"} if error else None}


def test_aiperf_records_are_read(tmp_path: Path) -> None:
    path = tmp_path / "profile_export.jsonl"
    lines = [aiperf_record(i, error=i == 7, cancelled=i == 9) for i in range(100)]
    lines.append({**aiperf_record(0), "metadata": {"benchmark_phase": "warmup"}})
    path.write_text("".join(json.dumps(x) + "\n" for x in lines))
    (source,) = importers.read(path)
    assert source.tool == "aiperf"
    r = source.requests
    assert r is not None
    assert len(r) == 100
    assert [(r.status == s).sum() for s in ("completed", "failed", "cut")] == [98, 1, 1]
    assert np.nanmedian(r.first_token_s - r.sent_s) == pytest.approx(0.02)
    assert r.last_token_s[0] - r.first_token_s[0] == pytest.approx(0.5)
    assert (r.token_owner == 0).sum() == 11
    assert audited(path)["clock"].status == "pass"


def test_aiperf_summaries_are_read(tmp_path: Path) -> None:
    summary = {
        "request_throughput": {"unit": "requests/sec", "avg": 9.5},
        "time_to_first_token": {"unit": "ms", "avg": 20.0, "p50": 19.0, "p99": 40.0},
        "request_count": {"unit": "requests", "avg": 190},
        "benchmark_duration": {"unit": "sec", "avg": 20.0},
    }
    path = tmp_path / "profile_export_aiperf.json"
    path.write_text(json.dumps(summary))
    (source,) = importers.read(path)
    assert source.quoted["median_ttft_ms"] == 19
    assert source.quoted["completed"] == 190
    table = tmp_path / "profile_export_aiperf.csv"
    table.write_text(
        "Metric,avg,min,max,p99,p90,p50,std\nTime to First Token "
        "(ms),20.0,1,2,40.0,3,19.0,1\n\nMetric,Value\nRequest Count (requests),190\n"
    )
    (source,) = importers.read(table)
    assert source.quoted["p99_ttft_ms"] == 40
    assert source.quoted["completed"] == 190
    assert {c.id for c in audit(source) if c.status != "no data"} == {"own-figures"}


# ---- CSV of requests


def csv_file(folder: Path, text: str) -> Path:
    path = folder / "requests.csv"
    path.write_text(text)
    return path


def test_a_csv_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "start_time,first_token_time,end_time,completion_tokens,error\n"
        "100.0,100.1,101,10,\n100.5,,,,timeout\n101,101.2,103,20,\n",
    )
    (source,) = importers.read(path, 10)
    r = source.requests
    assert r is not None
    assert r.status.tolist() == ["completed", "failed", "completed"]
    assert r.sent_s.tolist() == [0.0, 0.5, 1.0]
    assert np.nansum(r.output_tokens) == 30
    assert not source.characters


def test_other_names_are_given(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "t0,t1,t9\n0,0.1,1\n1,1.1,2\n")
    with pytest.raises(InputError, match="--map sent_s=COLUMN"):
        importers.read(path)
    (source,) = importers.read(path, None, {"sent_s": "t0", "first_token_s": "t1", "last_token_s": "t9"})
    assert source.requests is not None
    assert source.requests.first_token_s.tolist() == [0.1, 1.1]
    with pytest.raises(InputError, match="no column 't7'"):
        importers.read(path, None, {"sent_s": "t7"})
    with pytest.raises(InputError, match="does not take 'sent'"):
        importers.read(path, None, {"sent": "t0"})


def test_latencies_may_replace_times(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "start_s,ttft_ms,latency_ms\n5,100,1000\n6,200,1500\n7,,\n")
    (source,) = importers.read(path, 10)
    r = source.requests
    assert r is not None
    assert r.first_token_s[:2].tolist() == pytest.approx([0.1, 1.2])
    assert r.last_token_s[:2].tolist() == pytest.approx([1.0, 2.5])
    assert r.status.tolist() == ["completed", "completed", "never_begun"]


def test_an_end_after_the_client_stopped_looking_did_not_happen(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "sent_s,first_token_s,last_token_s\n0,1,2\n1,2,99\n")
    (source,) = importers.read(path, 10)
    assert source.requests is not None
    assert source.requests.status.tolist() == ["completed", "cut"]


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.floats(0, 100), st.none() | st.floats(0, 9), st.none() | st.floats(0, 9)), min_size=1, max_size=30
    )
)
def test_the_census_of_any_csv_is_exact(
    rows: list[tuple[float, float | None, float | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def cells(sent: float, ttft: float | None, more: float | None) -> str:
        first = None if ttft is None else sent + ttft
        last = None if first is None or more is None else first + more
        return ",".join("" if v is None else repr(v) for v in (sent, first, last))

    path = csv_file(
        tmp_path_factory.mktemp("csv"),
        "sent_s,first_token_s,last_token_s\n" + "\n".join(cells(*r) for r in rows) + "\n",
    )
    (source,) = importers.read(path)
    r = source.requests
    assert r is not None
    done = sum(a is not None and b is not None for _, a, b in rows)
    begun = sum(a is not None and b is None for _, a, b in rows)
    counts = [(r.status == s).sum() for s in ("completed", "cut", "never_begun")]
    assert counts == [done, begun, len(rows) - done - begun]


# ---- what cannot be read


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", "", "empty"),
        ("a.json", '{"duration": 1, "comp', "cut"),
        ("a.json", "[]", "something else than JSON objects"),
        ("a.json", '{"a": 1}', "unknown kind"),
        ("a.csv", "sent_s,last_token_s\n", "no rows"),
        ("a.csv", "sent_s,last_token_s\n1,soon\n", "line 2"),
        ("a.txt", "hello", "cut or not JSON"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RooftuneError, match=words) as error:
        importers.read(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        importers.read(tmp_path / "none.json")
    with pytest.raises(InputError, match="neither a run"):
        importers.read(tmp_path)


def test_every_check_has_a_unique_name_and_a_sentence() -> None:
    checks = audit(Evidence("csv", "nothing"))
    assert len({c.id for c in checks}) == len(checks)
    assert all(c.status == "no data" and c.sentence.endswith(".") for c in checks)
