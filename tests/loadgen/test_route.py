"""Which way requests go, and how aiohttp reports TLS errors."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rooftune.engines.urls import server_root
from rooftune.errors import InputError
from rooftune.loadgen.wire.route import proxy_for, uses_plain_sockets
from tests.loadgen.harness import load_server, workload


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_plain_http_goes_over_sockets_and_all_else_through_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    assert uses_plain_sockets("http://llm.example.org:8000")
    assert not uses_plain_sockets("https://llm.example.org")
    monkeypatch.setenv("http_proxy", "http://proxy.example.org:3128")
    assert not uses_plain_sockets("http://llm.example.org:8000")
    assert proxy_for("http://llm.example.org:8000") == "http://proxy.example.org:3128"
    assert uses_plain_sockets("http://127.0.0.1:8000"), "a proxy is never asked for this machine itself"
    monkeypatch.setenv("no_proxy", "example.org")
    assert uses_plain_sockets("http://llm.example.org:8000")


@pytest.mark.parametrize(
    "url", ["http://h:8000", "http://h:8000/", "http://h:8000/v1", "http://h:8000/v1/chat/completions"]
)
def test_a_url_may_be_written_in_several_ways(url: str) -> None:
    assert server_root(url) == "http://h:8000"


@pytest.mark.parametrize("url", ["h:8000", "ftp://h", "http://", "http://h:no"])
def test_an_invalid_url_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError, match="not the URL"):
        server_root(url)


async def test_tls_with_a_server_without_tls(tmp_path: Path) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    records = (await load_server(workload(duration_s=0.02), url, tmp_path, through="aiohttp")).records
    server.close()
    assert {(r["status"], r["error_class"]) for r in records} == {("failed", "tls")}
