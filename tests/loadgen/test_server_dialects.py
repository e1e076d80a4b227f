"""Streams of other servers: the usage is read wherever it is, and only what is missing or broken is an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.server import MisbehavingServer, misbehaving
from tests.loadgen.harness import load_server, workload
from tests.loadgen.server_dialects import DIALECTS


@pytest.fixture(scope="module")
def server() -> Iterator[MisbehavingServer]:
    with misbehaving({name: dialect.fault() for name, dialect in DIALECTS.items()}) as running:
        yield running


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("through", ["sockets", "aiohttp"])
async def test_each_dialect_becomes_its_record(
    server: MisbehavingServer, tmp_path: Path, name: str, through: str
) -> None:
    dialect = DIALECTS[name]
    load = workload(duration_s=0.03, endpoint=dialect.endpoint)
    records = (await load_server(load, f"{server.url}/{name}", tmp_path, through=through)).records
    assert len(records) == 3
    found = {(r["error_class"] or "", r["output_tokens"], r["chunks"], r["prompt_tokens"]) for r in records}
    assert found == {(dialect.error_class, dialect.output_tokens, dialect.chunks, dialect.prompt_tokens)}
    assert {r["status"] for r in records} == {"failed" if dialect.error_class else "completed"}
