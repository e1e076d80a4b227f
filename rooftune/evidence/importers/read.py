"""Reads runs from our own folders and from the files of other tools, which are recognised by their content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rooftune.errors import InputError, RooftuneError
from rooftune.evidence.importers import (
    aiperf,
    csv_file,
    guidellm,
    inference_perf,
    perf_analyzer,
    summaries,
    unreadable,
    vllm_bench,
)
from rooftune.evidence.importers.run_folder import read_folder
from rooftune.evidence.importers.values import Json
from rooftune.evidence.records.evidence import Evidence
from rooftune.evidence.records.parquet_files import read_requests

KINDS = (
    "a run folder, a trial folder, a result of vllm bench serve, sglang.bench_serving, guidellm, aiperf, genai-perf, "
    "inference-perf, llmperf or evalscope perf, or a CSV with one request per row"
)


def read(path: Path, duration_s: float | None = None, map: Mapping[str, str] | None = None) -> list[Evidence]:
    """All runs in ``path``.

    Raises:
        InputError: there is nothing that can be read; the message lists what can.
        RooftuneError: the file is cut or empty.
    """
    if path.is_dir():
        return read_folder(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give {KINDS}.")
    if path.stat().st_size == 0:
        raise RooftuneError(f"{path} is empty.")
    if path.suffix == ".parquet":
        return _parquet(path, duration_s)
    if path.suffix == ".csv":
        if aiperf.is_summary_csv(path):
            return [aiperf.read_csv(path)]
        if (rows := csv_file.summaries(path)) is not None:
            return [vllm_bench.read(row, _label(path, i, rows), duration_s) for i, row in enumerate(rows)]
        return [csv_file.read(path, duration_s, map)]
    return _json(path, duration_s)


def _json(path: Path, duration_s: float | None) -> list[Evidence]:
    values = load_json(path)
    first = values[0]
    if isinstance(first.get("benchmarks"), list):
        return guidellm.read(first, path.name)
    if perf_analyzer.is_export(first):
        return perf_analyzer.read(first, path.name)
    if inference_perf.is_record(first):
        return [inference_perf.read_records(values, path.name)]
    if summaries.is_llmperf_answer(first):
        return [summaries.read_llmperf_answers(values, path.name)]
    if "metadata" in first and ("metrics" in first or "error" in first):
        beside = path.with_name("profile_export_aiperf.json")
        summary = load_json(beside)[0] if beside.is_file() else None
        return [aiperf.read_records(values, path.name, summary)]
    if "candidate" in first and "workload_hash" in first:
        return read_folder(path.parent)
    return [_summary(path, _label(path, i, values), value, duration_s) for i, value in enumerate(values)]


def _summary(path: Path, label: str, value: Json, duration_s: float | None) -> Evidence:
    """One run of a file that may have several.

    Raises:
        InputError: no reader knows it; the message says what it has and what can be read.
    """
    if isinstance(value.get("request_throughput"), dict) or isinstance(value.get("request_latency"), dict):
        return aiperf.read_summary(value, label)
    if "duration" in value and "completed" in value:
        return vllm_bench.read(value, label, duration_s)
    if inference_perf.is_summary(value):
        return inference_perf.read_summary(value, label)
    if summaries.is_llmperf(value):
        return summaries.read_llmperf(value, label)
    if summaries.is_evalscope(value):
        return summaries.read_evalscope(value, label)
    refusal = unreadable.reason(value)
    if refusal is not None:
        raise InputError(f"{path} {refusal}.")
    raise InputError(f"{path} is JSON of an unknown kind: it {unreadable.seen(value)}; give {KINDS}.")


def _label(path: Path, i: int, values: list[Json]) -> str:
    return path.name if len(values) == 1 else f"{path.name}#{i + 1}"


def load_json(path: Path) -> list[Json]:
    """One JSON object, a list of them, or one per line (``--append-result``, JSONL).

    Raises:
        InputError: the file has no JSON object.
        RooftuneError: it is cut or not JSON.
    """
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    try:
        value = json.loads(text)
        found = value if isinstance(value, list) else [value]
    except RecursionError:
        raise RooftuneError(f"{path} is nested too deeply to be a results file.") from None
    except ValueError as error:
        try:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            raise RooftuneError(f"{path} is cut or not JSON ({error}).") from None
    if not found or not all(isinstance(v, dict) for v in found):
        raise InputError(f"{path} has something else than JSON objects; give {KINDS}.")
    return found


def _parquet(path: Path, duration_s: float | None) -> list[Evidence]:
    if path.name == "requests.parquet" and (path.parent / "load.json").is_file():
        return read_folder(path.parent)
    return [Evidence("requests.parquet", path.name, read_requests(path), duration_s=duration_s)]
