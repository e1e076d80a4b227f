"""A small OTLP/HTTP receiver that decodes spans, or misbehaves."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Manner = Literal["accepts", "answers 500", "hangs"]


@dataclass
class Receiver:
    """What a receiver has seen."""

    url: str
    manner: Manner
    spans: list[Any] = field(default_factory=list)
    """Decoded spans, in the order of their arrival."""
    resource: dict[str, Any] = field(default_factory=dict)
    requests: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    """Set when a receiver that hangs may answer."""

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def children(self, span: Any) -> list[str]:
        """Names of the spans inside one, in the order of their beginning."""
        inside = [s for s in self.spans if s.parent_span_id == span.span_id]
        return [s.name for s in sorted(inside, key=lambda s: s.start_time_unix_nano)]


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as plain values."""
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(v) for v in value.array_value.values]
    return getattr(value, kind)


@contextmanager
def receiver(manner: Manner = "accepts") -> Iterator[Receiver]:
    """A receiver at ``url`` for the length of a block."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    )

    class Traces(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.requests += 1
            if found.manner == "hangs":
                found.released.wait(120)
            if found.manner == "accepts":
                assert self.path == "/v1/traces"
                assert self.headers["Content-Type"] == "application/x-protobuf"
                body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                self.keep(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(500 if found.manner == "answers 500" else 200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def keep(self, sent: Any) -> None:
            for group in sent.resource_spans:
                found.resource.update(values(group.resource.attributes))
                for scope in group.scope_spans:
                    found.spans += scope.spans

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Traces) as listening:
        found = Receiver(f"http://127.0.0.1:{listening.server_port}", manner)
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            found.released.set()
            listening.shutdown()
