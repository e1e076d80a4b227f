"""Spans over OTLP/HTTP: what they say, what they keep back, and collectors that fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import live_run
import pytest
from otlp_receiver import Manner, Receiver, receiver, values

from flows.service.local import free_port
from rooftune.errors import EngineError, InputError, RooftuneError
from tasks import run_listener
from tasks.run_listener import RunListener
from tasks.telemetry import spans
from tasks.telemetry.spans import span

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
KEYS = re.compile(
    r"rooftune\.(kind|workload|workloads|run|engine|engine_version|gpu|model|simulated|candidate|trial|position|phase"
    r"|seed|change|why|status|overloaded|verdict|audit\.(trusted|failed|warned)|metric\.\w+"
    r"|ready_after_s|kv_cache_tokens"
    r"|attention_backend|time_scale|scheduled|send_lag_p99_ms|recommended|answer|complete|objective|reason|metric"
    r"|ratio(_low|_high)?|step|load|errors|queue_grew|attainment|requests|capacity(_low|_high)?|per|users|precise)"
    r"|exception\.(type|message)"
)
"""Everything that a span may have: names, numbers, verdicts, reasons."""


class Said(RunListener):
    """What the reader of a run is shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def phase(self, name: str, sentence: str = "") -> None:
        self.lines.append(f"{name}: {sentence}")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """No settings of OpenTelemetry from outside, and what the run shows."""
    for name in list(os.environ):
        if name.startswith("OTEL_") or name in ("TRACEPARENT", "TRACESTATE"):
            monkeypatch.delenv(name)
    spans._collector.cache_clear()
    listener = Said()
    before = run_listener.install(listener)
    yield listener.lines
    run_listener.install(before)
    spans._collector.cache_clear()


def test_spans_nest_and_errors_are_recorded(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as found:
        monkeypatch.setenv(ENDPOINT, found.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
        with pytest.raises(RooftuneError), span("run", {"workload": "tiny", "gpu": None}) as run:
            run.event("verdict", {"candidate": "fp8-kv", "ratio": 1.25})
            with span("trial"), pytest.raises(EngineError), span("start"):
                raise EngineError("the GPU has too little memory.", "oom")
            raise RooftuneError("tiny could not be measured: the server quoted this prompt.")
        (outer,), (trial,), (start,) = found.named("run"), found.named("trial"), found.named("start")
    assert (trial.parent_span_id, start.parent_span_id) == (outer.span_id, trial.span_id)
    assert outer.parent_span_id == b""
    assert values(outer.attributes) == {"rooftune.workload": "tiny"}
    assert found.resource["service.name"] == "nightly"
    assert said == [f"trace: {outer.trace_id.hex()}"]
    verdict, error = outer.events
    assert values(verdict.attributes) == {"rooftune.candidate": "fp8-kv", "rooftune.ratio": 1.25}
    assert values(error.attributes)["exception.message"] == "tiny could not be measured"
    assert (start.status.code, start.status.message) == (2, "the GPU has too little memory.")
    assert values(start.events[0].attributes)["exception.type"] == "EngineError.oom"
    assert trial.status.code == 0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (EngineError("http://x answers HTTP 400: your prompt 'secret' is too long.", "http"), ("EngineError.http", "")),
        (ValueError("secret"), ("ValueError", "")),
        (InputError("unknown GPU 'H1000'."), ("InputError", "unknown GPU 'H1000'.")),
    ],
)
def test_messages_that_may_repeat_a_prompt_stay_here(error: Exception, words: tuple[str, str]) -> None:
    assert spans.error_words(error) == words


def test_spans_of_libraries_do_not_come_between(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry import trace

    foreign = trace.get_tracer("prefect")
    with receiver() as found:
        monkeypatch.setenv(ENDPOINT, found.url)
        with foreign.start_as_current_span("flow"), span("run"), foreign.start_as_current_span("task"), span("trial"):
            pass
    (outer,), (inner,) = found.named("run"), found.named("trial")
    assert outer.parent_span_id == b""
    assert inner.parent_span_id == outer.span_id


def test_a_run_of_ci_is_part_of_its_trace(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    monkeypatch.setenv("TRACEPARENT", f"00-{trace_id}-{parent}-01")
    with receiver() as found:
        monkeypatch.setenv(ENDPOINT, found.url)
        with span("run"):
            pass
    (run,) = found.spans
    assert (run.trace_id.hex(), run.parent_span_id.hex()) == (trace_id, parent)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, None),
        ({ENDPOINT: " "}, None),
        ({ENDPOINT: "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, None),
        ({ENDPOINT: "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({ENDPOINT: "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf only, not as grpc"),
    ],
)
def test_settings_that_send_nothing(
    said: list[str], monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], sentence: str | None
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        with span("run") as recorded:
            recorded.set({"a": 1})
    assert len(said) == (sentence is not None)
    assert sentence is None or sentence in said[0]


def script(text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in another process."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", text], env={**kept, **environment}, capture_output=True, text=True, check=False
    )


OPEN = """\
import sys
from tasks.run_lines import RunLines
from tasks.run_listener import install
from tasks.telemetry.spans import span
install(RunLines(lambda line: print(line, flush=True)))
"""


def test_without_the_variable_nothing_is_imported() -> None:
    done = script(
        "import sys\nfrom tasks.telemetry.spans import begin, span\nwith span('run') as s:\n    s.set({'a': 1})\n"
        "begin('step').end()\nprint([m for m in sys.modules if m.startswith('opentelemetry')])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_without_the_extra_one_sentence_says_how_to_install_it() -> None:
    missing = "sys.modules['opentelemetry.sdk'] = None\nfor n in range(3):\n    with span('run'):\n        pass\n"
    done = script(OPEN + missing, **{ENDPOINT: "http://127.0.0.1:4318"})
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line == (
        "telemetry: an address for OpenTelemetry is set, but its SDK or its exporter is not installed, so no spans are "
        "sent; install rooftune with the extra otel (pip install 'rooftune[otel]') or unset OTEL_EXPORTER_OTLP_ENDPOINT"
    )


MANY = OPEN + "for n in range(3000):\n    with span('run') if n == 0 else span('trial', {'trial': n}):\n        pass\n"


@pytest.mark.slow
@pytest.mark.parametrize("manner", ["refuses", "answers 500", "hangs"])
def test_a_collector_that_fails_does_not_hold_up_the_run(manner: str) -> None:
    if manner == "refuses":
        done = script(MANY + "print('over')", **{ENDPOINT: f"http://127.0.0.1:{free_port()}"})
    else:
        with receiver("hangs" if manner == "hangs" else "answers 500") as found:
            done = script(MANY + "print('over')", **{ENDPOINT: found.url})
            assert found.requests >= 1
            assert not found.released.is_set(), "the process did not wait for an answer"
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "over"
    assert [line for line in lines if line.startswith("telemetry: ")] in (
        [],
        ["telemetry: the collector does not accept spans, so some are lost; the run goes on"],
    )


def run_tiny(folder: Path, api: str, found: Receiver) -> tuple[int, str]:
    """A short run whose spans go to a receiver: exit code and standard error."""
    workload = live_run.write_tiny(folder)
    words = ("optimize", workload, "--time-scale", "8", "--budget", "25s", "--search", "ladder")
    process = live_run.start(folder, api, *words, **{ENDPOINT: found.url})
    _, err = process.communicate(timeout=1500)
    assert process.returncode in (0, 1), err
    return process.returncode, err


@pytest.mark.slow
def test_a_run_sends_its_phases_and_trials(tmp_path: Path, prefect_api: str) -> None:
    with receiver() as found:
        code, err = run_tiny(tmp_path, prefect_api, found)
    (run,) = found.named("run")
    assert found.children(run) == ["phase probe", "phase plan", "phase search", "phase roofline", "phase report"]
    assert {s.trace_id for s in found.spans} == {run.trace_id}
    assert f"trace: {run.trace_id.hex()}" in err
    trials = sorted(found.named("trial"), key=lambda s: s.start_time_unix_nano)
    (search,) = found.named("phase search")
    assert len(trials) == len(list(tmp_path.glob("artifacts/tiny/*/trials/*/*/trial.json"))) >= 1
    assert {t.parent_span_id for t in trials} == {search.span_id}
    for trial in trials:
        assert found.children(trial)[:3] == ["start", "load", "stop"], found.children(trial)
        about = values(trial.attributes)
        assert about["rooftune.status"] == "measured"
        assert about["rooftune.metric.output_throughput"] > 0
        assert isinstance(about["rooftune.audit.trusted"], bool)
        assert about["rooftune.verdict"]
    first = values(trials[0].attributes)
    assert (first["rooftune.candidate"], first["rooftune.change"]) == ("baseline", "no change")
    assert values(run.attributes)["rooftune.workload"] == "tiny"
    assert run.status.code == (2 if code else 0)
    verdicts = [values(e.attributes) for e in run.events if e.name == "verdict"]
    assert verdicts[0]["rooftune.candidate"] == "baseline"
    sent = [s.attributes for s in found.spans] + [e.attributes for s in found.spans for e in s.events]
    unknown = {key for attributes in sent for key in values(attributes) if not KEYS.fullmatch(key)}
    assert not unknown, "nothing leaves the machine that this list does not name"


@pytest.mark.slow
def test_a_capacity_sends_its_steps(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(
        "name: small\narrivals: {process: poisson, rate_per_s: 30}\nprompt_tokens: {distribution: fixed, value: 32}\n"
        "output_tokens: {distribution: uniform, low: 4, high: 16}\nduration_s: 30\n"
        "slo: {ttft_ms: 3000, tpot_ms: 60, share: 0.9}\n"
    )
    words = ("capacity", "small.yaml", "--set", "quantization=awq_marlin", "--precision", "15%", "--time-scale", "8")
    with receiver() as found:
        _, err = live_run.start(tmp_path, "", *words, "--save", "here", **{ENDPOINT: found.url}).communicate(
            timeout=1500
        )
    (run,) = found.named("run")
    steps = sorted(found.named("step"), key=lambda s: s.start_time_unix_nano)
    assert [values(s.attributes)["rooftune.step"] for s in steps] == list(range(1, len(steps) + 1)), err
    assert len(steps) == len(list((tmp_path / "here" / "steps").glob("*/step.json"))) >= 2
    assert {s.parent_span_id for s in steps} == {run.span_id}
    assert all(0 <= values(s.attributes)["rooftune.attainment"] <= 1 for s in steps)
    about = values(run.attributes)
    assert (about["rooftune.kind"], about["rooftune.workload"]) == ("capacity", "small")
    assert about["rooftune.capacity_low"] < about["rooftune.capacity"] < about["rooftune.capacity_high"]
    unknown = {key for s in found.spans for key in values(s.attributes) if not KEYS.fullmatch(key)}
    assert not unknown


@pytest.mark.slow
@pytest.mark.parametrize("manner", ["hangs", "answers 500"])
def test_a_run_ends_as_ever_beside_a_collector_that_fails(tmp_path: Path, prefect_api: str, manner: Manner) -> None:
    with receiver(manner) as found:
        _, err = run_tiny(tmp_path, prefect_api, found)
        assert found.requests >= 1
        assert not found.released.is_set()
    assert list(tmp_path.glob("artifacts/tiny/*/report.md")), err
    assert "Traceback" not in err
    assert err.count("telemetry: ") <= 1
