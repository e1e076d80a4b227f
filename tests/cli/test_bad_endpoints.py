"""``load`` against endpoints that are down, refuse, answer nonsense, break off or stall: one sentence, right code."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import live_run
import pytest

Answer = Callable[[BaseHTTPRequestHandler], None]


def plain(status: int, body: str, kind: str = "application/json") -> Answer:
    """An answer that is always the same."""

    def answer(h: BaseHTTPRequestHandler) -> None:
        h.send_response(status)
        h.send_header("Content-Type", kind)
        h.send_header("Content-Length", str(len(body)))
        h.end_headers()
        h.wfile.write(body.encode())

    return answer


MODELS = plain(200, json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}))
ONE = plain(200, json.dumps({"id": "x", "object": "text_completion", "choices": [{"text": "hi", "index": 0}]}))


def event(**more: Any) -> bytes:
    body = {"id": "x", "object": "text_completion", "choices": [{"index": 0, "text": "a", **more}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def broken_off(h: BaseHTTPRequestHandler) -> None:
    """One token, then the connection ends in the middle of a chunk."""
    h.send_response(200)
    h.send_header("Content-Type", "text/event-stream")
    h.send_header("Transfer-Encoding", "chunked")
    h.end_headers()
    h.wfile.write(b"%x\r\n%s\r\n" % (len(event()), event()))
    h.wfile.write(b"ff\r\ndata: {")
    h.close_connection = True


def stalled(h: BaseHTTPRequestHandler) -> None:
    """Headers, then nothing for as long as the test may take."""
    h.send_response(200)
    h.send_header("Content-Type", "text/event-stream")
    h.end_headers()
    time.sleep(60)
    h.close_connection = True


class Server:
    """An endpoint that answers streamed requests as given, and the rest correctly by default."""

    def __init__(self, stream: Answer, other: Answer | None = None) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if other is not None:
                    other(self)
                elif self.path == "/v1/models":
                    MODELS(self)
                else:
                    plain(404, "{}")(self)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                (other or (stream if body.get("stream") else ONE))(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start such an endpoint; yields what takes its answers and returns its address."""
    servers: list[Server] = []

    def start(stream: Answer, other: Answer | None = None) -> str:
        servers.append(Server(stream, other))
        return servers[-1].url

    yield start
    for one in servers:
        one.http.shutdown()
        one.http.server_close()


AT_ONCE = [
    (401, '{"error": {"message": "no key"}}', "application/json", ["HTTP 401", "OPENAI_API_KEY"]),
    (404, '{"detail": "Not Found"}', "application/json", ["HTTP 404"]),
    (429, '{"error": {"message": "slow down"}}', "application/json", ["HTTP 429", "rate limit"]),
    (503, '{"error": {"message": "loading"}}', "application/json", ["HTTP 503", "loading"]),
    (200, "<html><body>Welcome to nginx</body></html>", "text/html", ["HTML page", "check the address"]),
]


@pytest.mark.parametrize(("status", "body", "kind", "words"), AT_ONCE, ids=lambda v: str(v)[:12])
def test_refused_at_once(rooftune, serve, status: int, body: str, kind: str, words: list[str]) -> None:
    answer = plain(status, body, kind)
    ended = rooftune("load", "chat-low", "--url", serve(answer, answer))
    assert ended.code == 1
    sentence = ended.sentence()
    assert all(w in sentence for w in words), sentence


def test_down(rooftune) -> None:
    ended = rooftune("load", "chat-low", "--url", "http://127.0.0.1:9", "--json")
    assert (ended.code, ended.out) == (1, "")
    assert "does not answer" in ended.sentence()


UNDER_LOAD = [
    ("429 under load", plain(429, '{"error": {"message": "slow down"}}'), "slow down"),
    ("503 under load", plain(503, '{"error": {"message": "busy"}}'), "busy"),
    ("HTML under load", plain(200, "<html>bad gateway</html>", "text/html"), ""),
    ("broken stream", broken_off, ""),
    ("stalls", stalled, ""),
]


@pytest.mark.parametrize(("name", "answer", "error"), UNDER_LOAD, ids=[name for name, *_ in UNDER_LOAD])
def test_failing_under_load(rooftune, serve, tmp_path: Path, name: str, answer: Answer, error: str) -> None:
    workload = live_run.write_tiny(tmp_path)
    words = ["--duration", "2", "--warmup", "0", "--drain", "1", "--save", tmp_path / "kept"]
    ended = rooftune("load", workload, "--url", serve(answer), *words, "--json")
    assert ended.code == 1, ended
    assert ended.json["believed"] is False or ended.json["census"]["completed"] == 0
    assert "no request to" in ended.sentence()
    assert error in ended.sentence(), "the first error says what to change"
    assert (tmp_path / "kept" / "requests.parquet").is_file(), "what was measured is kept"
    assert ended.json["census"]["scheduled"] > 0
