"""Sends spans over OTLP/HTTP from another thread. A collector that fails or hangs never holds up a run."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rooftune.version import __version__
from tasks.telemetry.span import Attributes, Span

FLUSH_S = 3.0
"""Longest wait at the end of a run for the spans that are not sent yet."""
PREFIX = "rooftune."


class Recorded(Span):
    """A span that is sent when it has ended."""

    def __init__(self, inner: trace.Span) -> None:
        self._inner = inner

    @property
    def trace_id(self) -> str:
        """The identity of the trace, as back ends show it."""
        return trace.format_trace_id(self._inner.get_span_context().trace_id)

    @property
    def context(self) -> Context:
        """The context in which the spans inside this one are opened."""
        return trace.set_span_in_context(self._inner)

    def set(self, attributes: Attributes) -> None:
        self._inner.set_attributes(_named(attributes))

    def event(self, name: str, attributes: Attributes) -> None:
        self._inner.add_event(name, _named(attributes))

    def fail(self, kind: str, sentence: str) -> None:
        message = {"exception.message": sentence} if sentence else {}
        self._inner.add_event("exception", {"exception.type": kind, **message})
        self._inner.set_status(trace.StatusCode.ERROR, sentence or kind)

    def end(self) -> None:
        self._inner.end()


class Collector:
    """The receiver that the environment names."""

    def __init__(self, say: Callable[[str], None]) -> None:
        _keep_quiet()
        self._exporter = _Guarded(OTLPSpanExporter(), say)
        resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME") or "rooftune"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("rooftune", __version__)

    def open(self, name: str, attributes: Attributes, parent: Recorded | None) -> Recorded:
        """Begin a span; without a parent here, that of ``TRACEPARENT``, with which CI systems pass on theirs."""
        context = parent.context if parent is not None else _context_of_environment()
        return Recorded(self._tracer.start_span(name, context=context, attributes=_named(attributes)))

    def flush(self) -> None:
        """Wait a little for the spans that are not sent yet, unless the collector has failed before."""
        if self._exporter.failed:
            return
        sending = threading.Thread(target=self._provider.force_flush, name="spans", daemon=True)
        sending.start()
        sending.join(FLUSH_S)


class _Guarded(SpanExporter):
    """Says once that spans could not be sent; nothing else notices."""

    def __init__(self, inner: SpanExporter, say: Callable[[str], None]) -> None:
        self._inner, self._say = inner, say
        self.failed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._inner.export(spans)
        except Exception:
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS and not self.failed:
            self.failed = True
            self._say("the collector does not accept spans, so some are lost; the run goes on")
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)


def _context_of_environment() -> Context:
    """The parent that ``TRACEPARENT`` names, else none; never a span that some library has opened."""
    named = {k: os.environ[k.upper()] for k in ("traceparent", "tracestate") if os.environ.get(k.upper())}
    return TraceContextTextMapPropagator().extract(named, context=Context())


def _keep_quiet() -> None:
    """Leave out the log lines of the exporter, which repeat for every attempt; ``_Guarded`` says it once."""
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _named(attributes: Attributes) -> dict[str, str | bool | int | float | Sequence[str]]:
    """Attributes with our prefix, without those that are not known."""
    return {f"{PREFIX}{name}": value for name, value in attributes.items() if value is not None}
