"""A damaged file is read or refused with one sentence; no other exception leaves a reader.

The damage is random but seeded: each case is the same on every run. To look for more, raise ``CASES`` by hand.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from rooftune.engines.target import Target
from rooftune.errors import RooftuneError
from rooftune.evidence.aggregate import aggregate
from rooftune.evidence.audit.checks import audit
from rooftune.evidence.importers import read as importers
from rooftune.models.config_json import from_config
from rooftune.runfolder import RunFolder, TrialFolder
from rooftune.workloads.draw import draw
from rooftune.workloads.load import load_workload
from rooftune.workloads.spec import Workload
from tests.damage.mutate import damaged_json, damaged_text
from tests.evidence import made_load

CASES = 80
"""Damaged copies of each file."""
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "evidence" / "data"
Reader = Callable[[Path], object]

CONFIGS: dict[str, dict[str, object]] = {
    "dense": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 16, "hidden_size": 2048,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 8192,
        "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    },
    "mixture": {
        "architectures": ["Qwen3MoeForCausalLM"], "num_hidden_layers": 48, "hidden_size": 2048,
        "num_attention_heads": 32, "num_key_value_heads": 4, "intermediate_size": 6144, "moe_intermediate_size": 768,
        "num_experts": 128, "num_experts_per_tok": 8, "vocab_size": 151936, "mlp_only_layers": [],
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128], "group_size": 128},
    },
    "multimodal": {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": {
            "model_type": "gemma3_text", "num_hidden_layers": 6, "hidden_size": 64, "num_attention_heads": 4,
            "intermediate_size": 256, "vocab_size": 1000, "sliding_window": 512,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        },
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 128}}},
        },
    },
}  # fmt: skip


def json_lines(values: Iterable[object]) -> str:
    return "\n".join(json.dumps(v) for v in values)


TRACES = {
    "mooncake.jsonl": "\n".join(
        json.dumps({"timestamp": 900 * i, "input_length": 700 + i, "output_length": 9, "hash_ids": [1, 2 + i]})
        for i in range(12)
    ),
    "azure.csv": "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    + "\n".join(f"2023-11-16 18:17:{i:02d}.9799600,{300 + i},{20 + i}" for i in range(12)),
    "own.csv": "arrival_s,prompt_tokens,output_tokens,prefix_id,prefix_tokens,conversation,think_s\n"
    + "\n".join(f"{0.5 * i},{300 + i},{20 + i},{i % 3},100,{i // 4},1.5" for i in range(12)),
    "bailian.jsonl": json_lines(
        {
            "chat_id": i,
            "parent_chat_id": -1,
            "timestamp": 1.5 * i,
            "input_length": 30,
            "output_length": 9,
            "hash_ids": [1, 2 + i],
        }
        for i in range(12)
    ),
    "burstgpt.csv": "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    + "\n".join(f"{3 * i},{i // 2},4.1,ChatGPT,{400 + i},100,500,Conversation log" for i in range(12)),
    "llmservingsim.tsv": "input_toks\toutput_toks\tarrival_time_ns\n"
    + "\n".join(f"{100 + i}\t10\t{i * 10**9}" for i in range(12)),
    "openai.jsonl": json_lines(
        {"messages": [{"role": "user", "content": f"why {i}"}, {"role": "assistant", "content": "because"}]}
        for i in range(8)
    ),
    "batch.jsonl": json_lines(
        {"custom_id": "1", "body": {"messages": [{"role": "user", "content": f"why {i}"}], "max_tokens": 9}}
        for i in range(8)
    ),
    "aiperf.jsonl": json_lines(
        {
            "session_id": "a",
            "turns": [{"text": f"why {i}", "delay": 5, "output_length": 9}, {"text": "x", "output_length": 9}],
        }
        for i in range(8)
    ),
    "guidellm.json": json.dumps(
        {"benchmarks": [{"requests": {"successful": [
            {"start_time": 1.7e9 + i, "prompt_tokens": 9, "output_tokens": 9} for i in range(8)
        ]}}]}
    ),
    "sharegpt.json": json.dumps(
        [{"conversations": [{"from": "human", "value": f"why {i}"}, {"from": "gpt", "value": "because"}]} for i in range(8)]
    ),
}  # fmt: skip


TABLES = {
    "requests.csv": "\n".join((RESULTS / "t4_requests_baseline.csv").read_text().splitlines()[:40]),
    "latencies.csv": "start,ttft_ms,latency_ms,output_tokens,prompt,status\n"
    + "\n".join(f"{0.5 * i},{20 + i},{300 + i},16,p{i % 5},ok" for i in range(20)),
    "summary.csv": "Metric,avg,min,max,p99,p95,p90,p50,std\nTime to First Token (ms),20.1,10,40,39,35,30,19,3\n"
    "Inter Token Latency (ms),20.1,10,40,39,35,30,19,3\n\nMetric,Value\nRequest Throughput (requests/sec),4.5\n"
    "Request Count (requests),190\nBenchmark Duration (sec),42\n",
}


def results(path: Path) -> object:
    """Read a results file and judge it, as ``rooftune audit`` does."""
    return [audit(evidence) for evidence in importers.read(path, 40.0 if path.suffix == ".csv" else None)]


def requests_of_trace(path: Path) -> object:
    arrivals = {"process": "trace", "file": str(path), "rate_per_s": 2}
    return draw(Workload.model_validate({"name": "t", "arrivals": arrivals, "duration_s": 30}))


def workload(path: Path) -> object:
    return draw(load_workload(str(path)))


def sentences(read: Reader, path: Path, damaged: Callable[[random.Random], bytes], cases: int) -> list[str]:
    """Read ``cases`` damaged copies of a file; what was refused, by its sentence."""
    found = []
    for seed in range(cases):
        content = damaged(random.Random(f"{path.name} {seed}"))
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(path)
        except RooftuneError as error:
            found.append(str(error))
        except Exception as error:
            pytest.fail(f"case {seed} raised {type(error).__name__} ({error}) for {content[:2000]!r}")
    for sentence in found:
        assert "\n" not in sentence, sentence
        assert sentence.rstrip().endswith((".", "?", ")")), sentence
    return found


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "workloads").glob("*.yaml")))
def test_workloads(name: str, tmp_path: Path) -> None:
    text = (ROOT / "workloads" / name).read_text(encoding="utf-8")
    found = sentences(workload, tmp_path / name, lambda rng: damaged_text(text, rng), CASES)
    assert len(found) > CASES / 4
    assert sum(", line " in sentence for sentence in found) > 0.8 * len(found)


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_of_models(name: str, tmp_path: Path) -> None:
    value = CONFIGS[name]
    assert (
        len(sentences(from_config, tmp_path / "config.json", lambda rng: damaged_json(value, rng), 2 * CASES))
        > CASES / 4
    )
    text = json.dumps(value)
    assert sentences(from_config, tmp_path / "config.json", lambda rng: damaged_text(text, rng), CASES)


@pytest.mark.parametrize("name", TRACES)
def test_traces(name: str, tmp_path: Path) -> None:
    text = TRACES[name]
    assert sentences(requests_of_trace, tmp_path / name, lambda rng: damaged_text(text, rng), 2 * CASES)


@pytest.mark.parametrize("name", [n for n in TRACES if n.endswith((".json", ".jsonl"))])
def test_values_of_traces(name: str, tmp_path: Path) -> None:
    text = TRACES[name]
    value = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.split("\n")]
    assert sentences(requests_of_trace, tmp_path / name, lambda rng: damaged_json(value, rng), 2 * CASES)


@pytest.mark.parametrize(
    "name",
    [
        "guidellm_cap.json",
        "vllm_bench_serve_cap.json",
        "aiperf_cap/profile_export_aiperf.json",
        "other_tools/guidellm_0.3_late.json",
        "other_tools/inference_perf_stage.json",
        "other_tools/llmperf_summary.json",
        "other_tools/vllm_0.5_benchmark_serving.json",
        "other_tools/vllm_bench_sweep_summary.json",
    ],
)
def test_results_of_other_tools_as_json(name: str, tmp_path: Path) -> None:
    text = (RESULTS / name).read_text(encoding="utf-8")
    value = json.loads(text)
    path = tmp_path / Path(name).name
    sentences(results, path, lambda rng: damaged_json(value, rng), CASES)
    assert sentences(results, path, lambda rng: damaged_text(text, rng), CASES)


def test_records_of_aiperf(tmp_path: Path) -> None:
    lines = (RESULTS / "aiperf_cap" / "profile_export.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    values = [json.loads(line) for line in lines]
    path = tmp_path / "profile_export.jsonl"
    sentences(results, path, lambda rng: damaged_json(values, rng), CASES)
    assert sentences(results, path, lambda rng: damaged_text("\n".join(lines), rng), CASES)


RECORDS: dict[str, object] = {
    "profile_export.json": {
        "experiments": [
            {
                "experiment": {"mode": "request_rate", "value": 10},
                "requests": [
                    {"timestamp": 17 * 10**17 + i * 10**8, "response_timestamps": [17 * 10**17 + i * 10**8 + 10**7]}
                    for i in range(15)
                ],
            }
        ]
    },
    "per_request_lifecycle_metrics.json": [
        {
            "start_time": 10.0 + i,
            "end_time": 10.5 + i,
            "request": "{}",
            "info": {"input_tokens": 9, "output_tokens": 3, "output_token_times": [10.1 + i, 10.2 + i, 10.5 + i]},
            "error": None,
        }
        for i in range(15)
    ],
    "m_individual_responses.json": [
        {"error_code": None, "ttft_s": 0.3, "end_to_end_latency_s": 3.4, "number_output_tokens": 150} for _ in range(15)
    ],
    "benchmark_summary.json": {
        "Time taken for tests (s)": 100.0,
        "Number of concurrency": 10,
        "Total requests": 200,
        "Succeed requests": 180,
        "Request throughput (req/s)": 1.8,
        "Average latency (s)": 5.4,
    },
}


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_results_of_more_tools(name: str, tmp_path: Path) -> None:
    value = RECORDS[name]
    sentences(results, tmp_path / name, lambda rng: damaged_json(value, rng), CASES)
    assert sentences(results, tmp_path / name, lambda rng: damaged_text(json.dumps(value), rng), CASES)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_results_as_csv(name: str, tmp_path: Path) -> None:
    text = TABLES[name]
    found = sentences(results, tmp_path / name, lambda rng: damaged_text(text, rng), CASES)
    assert any(", line " in sentence for sentence in found) or name == "summary.csv"


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    """A measured trial of our own, in its run."""
    load = made_load.workload(4.0, duration=20.0, warmup=5.0)
    spec = {"workload_spec": load.model_dump(mode="json")}
    run = RunFolder.create(tmp_path_factory.mktemp("artifacts"), load.name, spec)
    folder = run.trial("baseline", 1)
    made_load.write(folder, load, made_load.serve(4.0, load.total_s, slots=8, tpot_s=0.02), 8)
    target = Target(model="llama-2-7b", engine_version="0.15.1", gpu="T4")
    aggregate(folder, made_load.order("baseline", 1, 0, max_num_seqs=8), load, target)
    return folder


@pytest.mark.parametrize("name", ["trial.json", "load.json", "../../../run.json"])
def test_json_of_our_own_runs(trial: TrialFolder, name: str) -> None:
    path = (trial.path / name).resolve()
    whole = path.read_bytes()
    value = json.loads(whole)
    try:
        sentences(lambda _: results(trial.path), path, lambda rng: damaged_json(value, rng), CASES)
        found = sentences(lambda _: results(trial.path), path, lambda rng: damaged_text(whole.decode(), rng), CASES)
        assert len(found) > CASES / 10
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["requests.parquet", "ticks.parquet"])
def test_parquet_of_our_own_runs(trial: TrialFolder, name: str) -> None:
    path = trial.path / name
    whole = path.read_bytes()

    def damaged(rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return whole[: rng.randrange(len(whole))]
        footer = rng.random() < 0.5
        place = rng.randrange(max(0, len(whole) - 3000), len(whole)) if footer else rng.randrange(len(whole))
        return whole[:place] + bytes([rng.randrange(256)]) + whole[place + 1 :]

    try:
        assert sentences(lambda _: results(trial.path), path, damaged, CASES)
    finally:
        path.write_bytes(whole)
