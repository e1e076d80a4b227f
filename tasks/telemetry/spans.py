"""Opens spans: run > phase > trial > start, load, stop. Without a collector in the environment nothing is imported.

The parent is kept here and not in OpenTelemetry's own context, in which Prefect's spans, which nobody records, come
between.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING

from rooftune.errors import EngineError, InputError, RooftuneError
from tasks import run_listener
from tasks.telemetry.span import Attributes, Span

if TYPE_CHECKING:
    from tasks.telemetry.otlp import Collector, Recorded

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"
QUOTES_THE_SERVER = ("http",)
"""Kinds of errors whose message repeats an answer of the server, which may repeat a prompt."""
_current: ContextVar[Recorded | None] = ContextVar("rooftune_span", default=None)


@contextlib.contextmanager
def span(name: str, attributes: Attributes | None = None) -> Iterator[Span]:
    """Record a block as a span inside the one that is open; an error of the block is recorded and goes on."""
    collector = _collector()
    if collector is None:
        yield Span()
        return
    parent = _current.get()
    opened = collector.open(name, attributes or {}, parent)
    if parent is None:
        run_listener.current().phase("trace", opened.trace_id)
    token = _current.set(opened)
    try:
        yield opened
    except BaseException as error:
        opened.fail(*error_words(error))
        raise
    finally:
        _current.reset(token)
        opened.end()
        if parent is None:
            collector.flush()


def begin(name: str, attributes: Attributes | None = None) -> Span:
    """Open a span inside the current one; the caller ends it."""
    collector = _collector()
    return Span() if collector is None else collector.open(name, attributes or {}, _current.get())


def error_words(error: BaseException) -> tuple[str, str]:
    """The kind of an error and its message. Only messages that rooftune wrote itself leave the machine."""
    kind = type(error).__name__
    if isinstance(error, EngineError):
        return f"{kind}.{error.kind}", failure_words(str(error), error.kind)
    if isinstance(error, InputError):
        return kind, str(error)
    # The reason after the colon may be that of a trial, which may repeat a prompt.
    return kind, str(error).partition(": ")[0] if isinstance(error, RooftuneError) else ""


def failure_words(sentence: str, kind: str | None) -> str:
    """The message of a failed trial; empty where it may repeat a prompt."""
    return "" if kind in QUOTES_THE_SERVER else sentence[:1000]


@lru_cache(maxsize=1)
def _collector() -> Collector | None:
    """Where spans go; None where nothing asks for them. What keeps them from being sent is said once."""
    if not asked_for():
        return None
    protocol = next((os.environ[name] for name in PROTOCOLS if os.environ.get(name)), SPOKEN)
    if protocol != SPOKEN:
        _say(
            f"spans are sent as {SPOKEN} only, not as {protocol}, so none are sent; set {PROTOCOLS[1]}={SPOKEN} and "
            "the address of an HTTP receiver, usually port 4318"
        )
        return None
    try:
        from tasks.telemetry.otlp import Collector

        return Collector(_say)
    except ImportError:
        _say(
            "an address for OpenTelemetry is set, but its SDK or its exporter is not installed, so no spans are sent; "
            f"install rooftune with the extra otel (pip install 'rooftune[otel]') or unset {ENDPOINTS[1]}"
        )
    except Exception as error:
        _say(f"no spans are sent, because the settings of OpenTelemetry are refused: {error}")
    return None


def asked_for() -> bool:
    """Whether the environment names a collector and does not turn OpenTelemetry off."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() not in ("otlp", ""):
        return False
    return any(os.environ.get(name, "").strip() for name in ENDPOINTS)


def _say(sentence: str) -> None:
    run_listener.current().phase("telemetry", sentence)
