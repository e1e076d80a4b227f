"""The simulated engine as a separate process: start, log, refusal, end, and a clock that reports when it is late."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rooftune.engines.logs import read_effective
from rooftune.simulator.calibration.files import Calibration, reference, save


@dataclass
class Process:
    popen: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=300) as answer:
            return answer.read()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(tmp_path: Path, *words: str, port: int | None = None, wait: bool = True) -> Iterator[Process]:
    port = port or free_port()
    log = tmp_path / "server.log"
    command = [sys.executable, "-m", "rooftune.simulator.front", "--port", str(port), *words]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out, stdout=out)
    found = Process(process, port, log)
    try:
        while wait and process.poll() is None:
            try:
                found.get("/health")
                break
            except OSError:
                time.sleep(0.05)
        yield found
    finally:
        process.kill()
        process.wait()


AWQ = ("--engine-version", "0.15.1", "--set", "quantization=awq", "--set", "enforce_eager=true")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_starts_identifies_itself_and_ends_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path, *AWQ, "--set", "max_model_len=2048", "--served-model-name", "mine") as engine:
        assert json.loads(engine.get("/v1/models"))["data"][0]["id"] == "mine"
        engine.popen.send_signal(number)
        assert engine.popen.wait(timeout=300) == 0
    text = engine.log.read_text()
    assert "rooftune simulated engine: no GPU is used" in text.splitlines()[0]
    assert "Application startup complete." in text
    assert "Traceback" not in text
    effective = read_effective(text)
    assert effective.kv_cache_tokens == 18608
    assert effective.max_num_batched_tokens == 2048


def test_what_vllm_refuses_ends_the_process_with_its_words(tmp_path: Path) -> None:
    with started(tmp_path, *AWQ, "--set", "dtype=bfloat16", wait=False) as engine:
        assert engine.popen.wait(timeout=300) == 1
    text = engine.log.read_text()
    assert "Bfloat16 is only supported on GPUs with compute capability of at least 8.0" in text
    assert "Traceback" not in text


def test_a_calibration_that_is_not_the_recorded_one_ends_the_process(tmp_path: Path) -> None:
    file = tmp_path / "t4.yaml"
    calibration = Calibration(
        gpu="T4", bandwidth_gb_per_s=320.0, teraflops={"fp16": 65.0}, engine="vLLM 0.15.1", model="llama-2-7b",
        kernel="awq_gemm", attention="flashinfer", made_at="2026-02-11", constants={"host.exposed_ms": 1.0},
        points=9, held_back=3, error_before=0.2, error_after=0.02,
    )  # fmt: skip
    save(calibration, file)
    words = ("--calibration", str(file), "--calibration-sha256")
    with started(tmp_path, *AWQ, *words, reference(file).sha256) as engine:
        assert engine.get("/health") == b""
    with started(tmp_path, *AWQ, *words, "0" * 64, wait=False) as engine:
        assert engine.popen.wait(timeout=300) == 2
    assert "has changed since this run began" in engine.log.read_text()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with started(tmp_path, *AWQ, port=other.getsockname()[1], wait=False) as engine:
            assert engine.popen.wait(timeout=300) == 1
    assert "Address already in use" in engine.log.read_text()


def test_a_faster_clock_gives_more_tokens_in_the_same_time(tmp_path: Path) -> None:
    """Counted, not timed: what the engine's own clock says of the same request."""
    body = json.dumps({"prompt": [5, 6, 7], "max_tokens": 30}).encode()
    with started(tmp_path, *AWQ, "--time-scale", "50", "--noise", "0") as engine:
        urllib.request.urlopen(f"http://127.0.0.1:{engine.port}/v1/completions", data=body, timeout=300).read()
        text = engine.get("/metrics").decode()
    spent = next(x for x in text.splitlines() if x.startswith("vllm:e2e_request_latency_seconds_sum"))
    assert float(spent.rsplit(" ", 1)[1]) > 30 * 0.02, "thirty steps of a T4 in the engine's time, whatever passed here"


def _behind_s(engine: Process) -> float:
    text = engine.get("/metrics").decode()
    line = next(x for x in text.splitlines() if x.startswith("rooftune:clock_behind_seconds{"))
    return float(line.rsplit(" ", 1)[1])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_a_process_that_was_stopped_reports_that_its_clock_is_behind(tmp_path: Path) -> None:
    """The answer takes longer than the stop needs on any machine; the test does not wait for its end."""
    body = json.dumps({"prompt": [5, 6, 7], "max_tokens": 1900, "stream": True}).encode()
    with started(tmp_path, *AWQ, "--noise", "0", "--set", "max_model_len=2048") as engine:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{engine.port}/v1/completions", data=body, timeout=300)
        answer.readline()
        engine.popen.send_signal(signal.SIGSTOP)
        time.sleep(0.6)
        engine.popen.send_signal(signal.SIGCONT)
        while _behind_s(engine) <= 0.005:  # ends by the test's time limit if the engine never notices
            time.sleep(0.02)
