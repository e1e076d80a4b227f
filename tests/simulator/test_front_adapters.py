"""The simulated engine takes requests for adapters, and keeps their prefixes apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from simulated_front import core_of, serving
from test_http_front import ask

from rooftune.evidence.metrics.by_adapter import BASE, adapter_metrics
from rooftune.evidence.records.columns import requests_of
from rooftune.loadgen.schema import REQUESTS
from rooftune.metrics.window import Window
from rooftune.workloads.slo import Slo
from tests.loadgen.harness import load_server, workload

ADAPTERS = {"enable_lora": True, "lora_modules": "sql=org/sql chat=/a/chat"}


def body(model: str) -> dict[str, Any]:
    return {"model": model, "prompt": list(range(20, 84)), "max_tokens": 3}


async def test_adapters_are_models_of_the_server() -> None:
    async with serving(core_of(**ADAPTERS)) as (_, port):
        models = json.loads((await ask(port, "GET", "/v1/models"))[1])["data"]
        assert [(m["id"], m["parent"]) for m in models] == [("m", None), ("chat", "m"), ("sql", "m")]
        status, text = await ask(port, "POST", "/v1/completions", body("sql"))
        assert (status, json.loads(text)["model"]) == (200, "sql")
        status, text = await ask(port, "POST", "/v1/completions", body("other"))
        assert status == 404
        assert "`other` does not exist" in text


async def test_prefixes_of_an_adapter_are_its_own() -> None:
    async with serving(core_of(**ADAPTERS)) as (_, port):
        cached = []
        for model in ("m", "sql", "m", "sql"):
            usage = json.loads((await ask(port, "POST", "/v1/completions", body(model)))[1])["usage"]
            cached.append(usage["prompt_tokens_details"]["cached_tokens"])
        assert cached == [0, 0, 48, 48]


async def test_each_adapter_has_its_figures(tmp_path: Path) -> None:
    lora = [{"name": "sql", "share": 0.5}, {"name": "chat", "share": 0.3}]
    load = workload(lora=lora, duration_s=0.6, drain_s=600)
    async with serving(core_of(**ADAPTERS), time_scale=20.0) as (_, port):
        records = (await load_server(load, f"http://127.0.0.1:{port}", tmp_path, time_scale=20.0)).records
    assert {r["status"] for r in records} == {"completed"}
    names = [r["adapter"] for r in records]
    assert set(names) == {"sql", "chat", None}
    requests = requests_of(pa.Table.from_pylist(records, REQUESTS))
    found = adapter_metrics(requests, Window(start_s=0.0, end_s=1000.0), Slo(ttft_ms=1e6))
    assert list(found) == [BASE, "chat", "sql"]
    assert {n: found[n]["completed"] for n in found} == {
        BASE: names.count(None), "chat": names.count("chat"), "sql": names.count("sql"),
    }  # fmt: skip
    assert sum(f["output_throughput"] for f in found.values()) * 1000 == 8 * len(records)
    assert all(f["slo_attainment"] == 1 and f["median_ttft_ms"] > 0 for f in found.values())


def test_without_adapters_there_are_no_such_figures() -> None:
    rows = requests_of(pa.Table.from_pylist([{**dict.fromkeys(REQUESTS.names), "index": 0, "status": "completed",
        "scheduled_s": 1.0, "planned_prompt_tokens": 1, "planned_output_tokens": 1, "streamed_tokens": 1, "chunks": 0,
        "prefix_id": -1, "conversation": -1, "turn": 0, "part": 0, "process": 0, "bytes_received": 1, "chunk_s": []}], REQUESTS))  # fmt: skip
    assert adapter_metrics(rows, Window(start_s=0.0, end_s=9.0), None) == {}
