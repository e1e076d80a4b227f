"""Reads what the audit looks at from our folders and from the files of other tools, recognised by their content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rooftune.errors import InputError, RooftuneError
from rooftune.evidence.audit.source import Evidence

KINDS = "a run folder, a trial folder, JSON of vllm bench serve or guidellm, JSON, JSONL or CSV of aiperf, or a CSV with one request a row"


def read(path: Path, duration_s: float | None = None, map: Mapping[str, str] | None = None) -> list[Evidence]:
    """All runs that ``path`` holds.

    Raises:
        InputError: nothing there that can be read; the message says what can.
        RooftuneError: the file is cut or empty.
    """
    if path.is_dir():
        from rooftune.evidence.importers.run_folder import read_folder

        return read_folder(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give {KINDS}.")
    if path.stat().st_size == 0:
        raise RooftuneError(f"{path} is empty.")
    if path.suffix == ".parquet":
        return _parquet(path, duration_s)
    if path.suffix == ".csv":
        from rooftune.evidence.importers import aiperf as import_aiperf
        from rooftune.evidence.importers import csv_file as import_csv

        if import_aiperf.is_summary_csv(path):
            return [import_aiperf.read_csv(path)]
        return [import_csv.read(path, duration_s, map)]
    return _json(path, duration_s)


def _json(path: Path, duration_s: float | None) -> list[Evidence]:
    from rooftune.evidence.importers import aiperf as import_aiperf
    from rooftune.evidence.importers import guidellm as import_guidellm
    from rooftune.evidence.importers import vllm_bench as import_vllm

    values = load_json(path)
    first = values[0]
    if isinstance(first.get("benchmarks"), list):
        return import_guidellm.read(first, path.name)
    if "metadata" in first and ("metrics" in first or "error" in first):
        beside = path.with_name("profile_export_aiperf.json")
        asked = load_json(beside)[0] if beside.is_file() else None
        return [import_aiperf.read_records(values, path.name, asked)]
    if isinstance(first.get("request_throughput"), dict) or isinstance(first.get("request_latency"), dict):
        return [import_aiperf.read_summary(first, path.name)]
    if "duration" in first and "completed" in first:
        return [import_vllm.read(v, _label(path, i, values), duration_s) for i, v in enumerate(values)]
    if "candidate" in first and "workload_hash" in first:
        from rooftune.evidence.importers.run_folder import read_folder

        return read_folder(path.parent)
    raise InputError(f"{path} is JSON of a kind that is not known; give {KINDS}.")


def _label(path: Path, i: int, values: list[dict[str, Any]]) -> str:
    return path.name if len(values) == 1 else f"{path.name}#{i + 1}"


def load_json(path: Path) -> list[dict[str, Any]]:
    """One JSON object, a list of them, or one a line (``--append-result``, JSONL)."""
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    try:
        value = json.loads(text)
        found = value if isinstance(value, list) else [value]
    except json.JSONDecodeError as error:
        try:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError:
            raise RooftuneError(f"{path} is cut or no JSON ({error.msg} at line {error.lineno}).") from None
    if not found or not all(isinstance(v, dict) for v in found):
        raise InputError(f"{path} holds no JSON object; give {KINDS}.")
    return found


def _parquet(path: Path, duration_s: float | None) -> list[Evidence]:
    from rooftune.evidence.records.columns import read_requests

    if path.name == "requests.parquet" and (path.parent / "load.json").is_file():
        from rooftune.evidence.importers.run_folder import read_folder

        return read_folder(path.parent)
    return [Evidence("requests.parquet", path.name, read_requests(path), duration_s=duration_s)]
