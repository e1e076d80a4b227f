"""Commands whose output is a pipe say where they are while they run. Real processes against the simulated engine."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import live_run
import pytest

from flows.service import local

pytestmark = [pytest.mark.slow]
FASTER = ("--time-scale", "8")
REFUSED = "tiny could not be measured"
"""Error of a run whose baseline fails its audit: on a busy machine, requests are sent late."""
BEGINS = re.compile(r"trial (\d+): (?:(\S+), )?(\S+) \(.*\), about \d+ s")
ON_THE_WAY = re.compile(r" s of load, |: all sent, | starts: ")
ENDS = re.compile(r"trial (\d+): (?:(\S+), )?(\S+) (\d+): (.+)")


class Reader:
    """Reads a pipe line by line, and notes for each line whether the process was still running."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.lines: list[str] = []
        self.while_running: list[str] = []
        self._process, self._pipe = process, process.stderr
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            self.lines.append(line.rstrip("\n"))
            if self._process.poll() is None:
                self.while_running.append(self.lines[-1])

    def end(self) -> tuple[int, str]:
        """The exit code and standard output."""
        assert self._process.stdout is not None
        out = self._process.stdout.read()
        self._thread.join()
        return self._process.wait(), out


def test_optimize_says_each_trial_when_it_begins_and_when_it_ends(tmp_path: Path, prefect_api: str) -> None:
    workload = live_run.write_tiny(tmp_path)
    process = live_run.start(
        tmp_path, prefect_api, "optimize", workload, *FASTER, "--budget", "45s", "--search", "ladder", "--json"
    )
    reader = Reader(process)
    code, out = reader.end()
    said = "\n".join(reader.lines)
    assert code == 0 or REFUSED in said, said
    for phase in ("run: ", "probe: ", "plan: ", "roofline: ", "report: "):
        assert [line for line in reader.while_running if line.startswith(phase)], f"{phase} is missing in {said}"
    begun = [m for line in reader.while_running if (m := BEGINS.fullmatch(line.split(". ")[0]))]
    results = [line for line in reader.while_running if not (BEGINS.match(line) or ON_THE_WAY.search(line))]
    ended = [m for line in results if (m := ENDS.fullmatch(line))]
    trials = sorted(tmp_path.glob("artifacts/tiny/*/trials/*/*/trial.json"))
    assert len(begun) == len(ended) == len(trials) >= 1, said
    assert [m[1] for m in begun] == [m[1] for m in ended] == [str(n + 1) for n in range(len(trials))]
    assert [(m[2], m[3]) for m in begun] == [(m[2], m[3]) for m in ended], "both lines name phase and candidate"
    introduced = [line for line in reader.while_running if re.match(r"trial \d+ changes from the baseline: ", line)]
    assert len(introduced) == len({m[3] for m in begun} - {"baseline"}), said
    assert all("tokens/s" in m[5] or m[5].startswith("failed: ") for m in ended), said
    assert all(m[5].endswith(" left") for m in ended), said
    assert code != 0 or json.loads(out)["trials"] == len(trials), "progress is on standard error alone"


def test_a_run_goes_on_when_nobody_reads_its_lines_any_more(tmp_path: Path, prefect_api: str) -> None:
    workload = live_run.write_tiny(tmp_path)
    process = live_run.start(tmp_path, prefect_api, "optimize", workload, *FASTER, "--budget", "20s")
    assert process.stderr is not None
    assert process.stderr.readline()
    process.stderr.close()
    assert process.stdout is not None
    out = process.stdout.read()
    code = process.wait()
    assert (code == 0 and "Report: " in out) or (code, out) == (1, ""), (code, out)
    assert list(tmp_path.glob("artifacts/tiny/*/report.md")), "the run went on to its report"
    assert live_run.left(tmp_path) == []


def test_capacity_says_each_step_and_the_time(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(
        "name: small\narrivals: {process: poisson, rate_per_s: 30}\nprompt_tokens: {distribution: fixed, value: 32}\n"
        "output_tokens: {distribution: uniform, low: 4, high: 16}\nduration_s: 30\n"
        "slo: {ttft_ms: 3000, tpot_ms: 60, share: 0.9}\n"
    )
    words = ("capacity", "small.yaml", "--set", "quantization=awq_marlin", "--precision", "15%", *FASTER)
    reader = Reader(live_run.start(tmp_path, "", *words, "--json"))
    code, out = reader.end()
    said = "\n".join(reader.lines)
    assert code == 0, said
    steps = [line for line in reader.while_running if line.startswith("step ")]
    assert len(steps) >= len(json.loads(out)["steps"]) >= 2
    assert all(re.search(r"; [\d.,]+ (s|min)( of about [\d.,]+ (s|min)| so far)", line) for line in steps), said
    assert [line for line in reader.lines if line.startswith("The reference carries ")], said


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[str]:
    """Address of a running emulated engine."""
    port = str(local.free_port())
    words = ("simulate", "--gpu", "T4", "--model", "tinyllama-1.1b", "--port", port, "--json")
    server = live_run.start(tmp_path, "", *words)
    assert server.stdout is not None
    reader = Reader(server)
    try:
        yield str(json.loads(server.stdout.readline())["url"])
    finally:
        server.terminate()
        reader.end()


def test_load_says_how_far_it_is(tmp_path: Path, simulated: str) -> None:
    workload = live_run.write_tiny(tmp_path)
    reader = Reader(live_run.start(tmp_path, "", "load", workload, "--url", simulated, "--duration", "24", "--json"))
    code, out = reader.end()
    assert code == 0, reader.lines
    assert json.loads(out)["output_throughput"] > 0
    said = [line for line in reader.while_running if line.startswith(f"loading {simulated}: ")]
    assert len(said) >= 2, reader.lines
    assert re.search(r": \d+ of 25 s of load, [\d,]+ of [\d,]+ done, ", said[0]), said


def test_doctor_says_that_it_is_still_watching(tmp_path: Path, simulated: str) -> None:
    reader = Reader(live_run.start(tmp_path, "", "doctor", "--url", simulated, "--seconds", "7", "--json"))
    code, out = reader.end()
    assert code == 0, reader.lines
    assert json.loads(out)["url"] == simulated
    assert reader.while_running[0] == f"Watching the metrics of {simulated} for 7 s ..."
    assert reader.while_running[1].startswith(f"Watching {simulated}, 5 s so far")


def test_calibrate_counts_its_rounds(tmp_path: Path) -> None:
    words = ("calibrate", "--engine", "simulated", "--gpu", "L4", "--model", "qwen2.5-0.5b", "--repeats", "2")
    reader = Reader(live_run.start(tmp_path, "", *words, "--output", "fit.yaml", "--json"))
    reader.end()
    rounds = [m for line in reader.while_running if (m := re.match(r"round (\d) of 2 over \d+ points", line))]
    assert [m[1] for m in rounds] == ["1", "2", "1", "2"], f"prompts, then batches: {reader.lines}"
