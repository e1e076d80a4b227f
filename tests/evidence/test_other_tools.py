"""Results in the formats of other tools: what their figures are, and what the audit finds in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.cli.audit import NOTHING_JUDGED
from flows.cli.audit import audit as audit_command
from rooftune.errors import InputError
from rooftune.evidence.audit.checks import audit
from rooftune.evidence.audit_path import audit_path
from rooftune.evidence.importers import read as importers
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.trial import Check

DATA = Path(__file__).parent / "data" / "other_tools"


def audited(path: Path) -> dict[str, Check]:
    return {c.id: c for c in audit_path(path)}


def judged(path: Path) -> dict[str, str]:
    return {k: c.status for k, c in audited(path).items() if c.status != "no data"}


def only(path: Path) -> Evidence:
    (source,) = importers.read(path)
    return source


def written(folder: Path, name: str, value: object) -> Path:
    path = folder / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


# ---- vLLM and SGLang


def test_vllm_0_5_has_single_requests_without_their_times() -> None:
    path = DATA / "vllm_0.5_benchmark_serving.json"
    source, found = only(path), audited(path)
    assert source.unclocked
    assert judged(path) == {
        "quantiles": "warn",
        "census": "pass",
        "survivors": "pass",
        "token-count": "pass",
        "answer-lengths": "pass",
        "clock": "pass",
        "own-figures": "pass",
    }
    assert not any("has no single requests" in c.sentence for c in found.values())
    assert "when each request was sent" in found["overload"].sentence


def test_details_of_sglang_are_read_in_the_same_way(tmp_path: Path) -> None:
    lines = (DATA / "sglang_bench_serving.jsonl").read_text().splitlines()
    value = json.loads(lines[0]) | {
        "ttfts": [0.1, 0.2, 0.0],
        "itls": [[0.02] * 9, [0.02] * 9, []],
        "output_lens": [10, 10, 0],
        "input_lens": [100, 100, 100],
        "errors": ["", "", "ServerDisconnectedError"],
        "completed": 2,
    }
    source = only(written(tmp_path, "details.jsonl", json.dumps(value)))
    assert source.tool == "sglang bench_serving"
    assert source.requests is not None
    assert source.requests.status.tolist() == ["completed", "completed", "failed"]
    assert source.quoted["mean_e2el_ms"] == 6000
    assert source.quoted["total_token_throughput"] == 13568


def test_sglang_held_back_by_its_own_limit() -> None:
    found = audited(DATA / "sglang_bench_serving.jsonl")
    assert found["in-flight-plateau"].status == "fail"
    assert "the requested 16 per second never reached the server" in found["in-flight-plateau"].sentence
    assert found["own-figures"].status == "pass"


def test_more_in_flight_than_the_limit_is_a_contradiction() -> None:
    found = audited(DATA / "vllm_bench_sweep_summary.json")
    assert found["in-flight-plateau"].status == "fail"
    assert "42.8 requests in flight" in found["in-flight-plateau"].sentence
    assert "contradicts itself" in found["in-flight-plateau"].sentence


def test_a_table_of_a_sweep_is_read_row_by_row(tmp_path: Path) -> None:
    header = "max_concurrency,duration,completed,total_output_tokens,request_throughput,mean_ttft_ms,mean_tpot_ms\n"
    path = written(tmp_path, "summary.csv", header + "32,20,200,40000,10,300,14\n32,20,190,40000,9.5,300,14\n")
    sources = importers.read(path)
    assert [s.quoted["completed"] for s in sources] == [200, 190]
    assert judged(path) == {"in-flight-plateau": "pass", "own-figures": "pass"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lm_eval_results", "lm_eval: it measures the quality of answers"),
        ("vllm_bench_latency", "without a server, so there is no load to judge; run vllm bench serve"),
        ("vllm_bench_throughput", "without a server, so there is no load to judge; run vllm bench serve"),
    ],
)
def test_what_has_no_load_is_refused_with_its_reason(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        importers.read(DATA / f"{name}.json")


def test_an_unknown_file_is_refused_with_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has the keys hello, world; give .*vllm bench serve.*inference-perf"):
        importers.read(written(tmp_path, "x.json", {"hello": 1, "world": 2}))
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": 64}
    with pytest.raises(InputError, match=r"config.json of a model and not a result"):
        importers.read(written(tmp_path, "config.json", config))


# ---- guidellm 0.3


def test_requests_that_left_after_their_targeted_start_are_late() -> None:
    found = audited(DATA / "guidellm_0.3_late.json")
    assert found["send-lag"].status == "fail"
    assert found["send-lag"].figures["p99_ms"] == pytest.approx(500, abs=1)
    assert "TTFT: 100 ms" in found["send-lag"].sentence


# ---- inference-perf


def test_a_stage_of_inference_perf_is_in_seconds() -> None:
    source, found = only(DATA / "inference_perf_stage.json"), audited(DATA / "inference_perf_stage.json")
    assert source.quoted["request_rate"] == 1.0
    assert source.quoted["sent_rate"] == 1.025
    assert source.quoted["mean_ttft_ms"] == pytest.approx(31.1)
    assert source.quoted["mean_e2el_ms"] == pytest.approx(480)
    assert found["load-delivered"].status == found["send-lag"].status == found["census"].status == "pass"
    assert found["own-figures"].status == "fail"
    assert "mean_tpot_ms is 3.47" in found["own-figures"].sentence
    assert "gives 7.22" in found["own-figures"].sentence


def test_a_stage_that_was_not_sent_fails(tmp_path: Path) -> None:
    value = json.loads((DATA / "inference_perf_stage.json").read_text())
    value["load_summary"] |= {"achieved_rate": 0.6, "schedule_delay": {"mean": 0.3, "p99": 2.0, "max": 3.0}}
    value["failures"]["count"], value["load_summary"]["count"], value["successes"]["count"] = 12, 60, 48
    found = audited(written(tmp_path, "stage_0_lifecycle_metrics.json", value))
    assert [found[k].status for k in ("load-delivered", "send-lag", "census")] == ["fail"] * 3


def test_single_requests_of_inference_perf(tmp_path: Path) -> None:
    def request(i: int, error: object = None) -> dict[str, Any]:
        start = 1000.0 + i
        times = [] if error else [start + 0.05 + 0.01 * k for k in range(10)]
        info = {"input_tokens": 100, "output_tokens": 10, "output_token_times": times}
        return {
            "start_time": start,
            "end_time": start + 0.2,
            "request": "{}",
            "response": "",
            "info": info,
            "error": error,
        }

    values = [request(i) for i in range(20)] + [request(20, {"error_type": "TimeoutError", "error_msg": "late"})]
    source = only(written(tmp_path, "per_request_lifecycle_metrics.json", values))
    assert source.requests is not None
    r = source.requests
    assert (r.status == "completed").sum() == 20
    assert np.nanmedian(r.first_token_s - r.sent_s) == pytest.approx(0.05)
    assert r.token_count.sum() == pytest.approx(200)
    assert r.error_class[20] == "late"


# ---- genai-perf, llmperf, evalscope


def test_the_raw_export_of_genai_perf(tmp_path: Path) -> None:
    start = 1_700_000_000_000_000_000
    requests = [
        {"timestamp": start + i * 10**8, "response_timestamps": [start + i * 10**8 + k * 10**7 for k in range(2, 12)]}
        for i in range(30)
    ]
    value = {
        "experiments": [{"experiment": {"mode": "request_rate", "value": 10}, "requests": requests}],
        "version": "1",
    }
    source = only(written(tmp_path, "profile_export.json", value))
    assert source.tool == "genai-perf"
    assert source.requests is not None
    assert np.nanmedian(source.requests.first_token_s - source.requests.sent_s) == pytest.approx(0.02)
    assert len(source.requests.token_s) == 300
    assert audited(tmp_path / "profile_export.json")["load-delivered"].status == "pass"


def test_summaries_of_genai_perf(tmp_path: Path) -> None:
    value = {
        "request_throughput": {"unit": "requests/sec", "avg": 4.0},
        "request_latency": {"unit": "ms", "avg": 2500.0, "p50": 2500.0, "p99": 2600.0},
        "time_to_first_token": {"unit": "ms", "avg": 500.0, "p50": 490.0, "p99": 700.0},
        "inter_token_latency": {"unit": "ms", "avg": 20.2, "p50": 20.0, "p99": 22.0},
        "output_sequence_length": {"unit": "tokens", "avg": 100.0},
        "output_token_throughput": {"unit": "tokens/sec", "avg": 400.0},
        "input_config": {"perf_analyzer": {"stimulus": {"concurrency": 10}}},
    }
    path = written(tmp_path, "profile_export_genai_perf.json", value)
    assert only(path).tool == "genai-perf"
    assert judged(path) == {"in-flight-plateau": "pass", "own-figures": "pass"}
    table = "Metric,avg,min,max,p99,p95,p90,p75,p50,p25\nTime To First Token (ms),500,1,2,700,600,550,500,490,1\n\n"
    table += "Metric,Value\nRequest Throughput (per sec),4.00\n"
    quoted = only(written(tmp_path, "profile_export_genai_perf.csv", table)).quoted
    assert (quoted["p99_ttft_ms"], quoted["request_throughput"]) == (700, 4)


def test_llmperf(tmp_path: Path) -> None:
    source = only(DATA / "llmperf_summary.json")
    assert source.quoted["mean_ttft_ms"] == 300
    assert source.quoted["mean_e2el_ms"] == 3400
    assert judged(DATA / "llmperf_summary.json") == {"census": "pass", "own-figures": "pass"}
    answer = {
        "error_code": None,
        "error_msg": "",
        "ttft_s": 0.3,
        "end_to_end_latency_s": 3.4,
        "number_input_tokens": 550,
        "number_output_tokens": 150,
    }
    bad = answer | {"error_code": 500, "error_msg": "boom"}
    path = written(tmp_path, "m_individual_responses.json", [answer] * 30 + [bad])
    assert only(path).unclocked
    assert judged(path)["census"] == "warn"
    assert judged(path)["answer-lengths"] == "pass"


def test_evalscope(tmp_path: Path) -> None:
    value = {
        "Time taken for tests (s)": 100.0,
        "Number of concurrency": 10,
        "Request rate (req/s)": -1,
        "Total requests": 200,
        "Succeed requests": 180,
        "Failed requests": 20,
        "Output token throughput (tok/s)": 360.0,
        "Request throughput (req/s)": 1.8,
        "Average latency (s)": 5.4,
        "Average time to first token (s)": 0.5,
        "Average time per output token (s)": 0.0246,
        "Average output tokens per request": 200.0,
    }
    path = written(tmp_path, "benchmark_summary.json", value)
    assert judged(path) == {"in-flight-plateau": "pass", "census": "fail", "own-figures": "pass"}


# ---- the figures of a tool against each other


@pytest.mark.parametrize(
    ("figures", "status"),
    [
        ({"duration": 10.0, "completed": 100.0, "request_throughput": 10.0}, "pass"),
        ({"duration": 10.0, "completed": 100.0, "request_throughput": 10.5}, "warn"),
        ({"duration": 10.0, "completed": 100.0, "request_throughput": 20.0}, "fail"),
        ({"median_ttft_ms": 90.0, "p99_ttft_ms": 200.0}, "pass"),
        ({"median_ttft_ms": 90.0, "p99_ttft_ms": 80.0}, "fail"),
        ({"mean_ttft_ms": 100.0, "mean_e2el_ms": 1090.0, "mean_tpot_ms": 10.0, "mean_output_tokens": 100.0}, "pass"),
        ({"mean_ttft_ms": 100.0, "mean_e2el_ms": 1090.0, "mean_tpot_ms": 14.0, "mean_output_tokens": 100.0}, "warn"),
        ({"mean_ttft_ms": 100.0, "mean_e2el_ms": 1090.0, "mean_tpot_ms": 4.0, "mean_output_tokens": 100.0}, "fail"),
        ({"mean_ttft_ms": 100.0}, "no data"),
    ],
)
def test_own_figures(figures: dict[str, float], status: str) -> None:
    (found,) = (c for c in audit(Evidence("x", "x", quoted=figures)) if c.id == "own-figures")
    assert found.status == status, found.sentence


# ---- nothing to judge


def test_a_file_with_too_little_for_any_check_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "x.json", {"duration": 5.0, "completed": 7})
    assert set(judged(path)) == set()
    assert audit_command(path) == NOTHING_JUDGED == 3
    assert "Nothing could be judged" in capsys.readouterr().out
    assert audit_command(path, as_json=True) == NOTHING_JUDGED
    printed = json.loads(capsys.readouterr().out)
    assert (printed["believed"], printed["counts"]["pass"]) == (False, 0)
