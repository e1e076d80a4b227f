"""The load generator against its peers: streamed chunks per second and core, CPU time per chunk, errors of its figures.

    python -m benchmarks.loadgen [--only rooftune,bare,...] [--seconds 10]

A stub in a separate process on its own core streams 128 tokens at 20 ms, one per chunk, and records when it sent
what. Each client runs with all its processes on one other core. A client keeps a rate if the requests came on time,
and if the median and the p99 of the stream lengths that it saw are within 2 % and 5 % of what the stub sent. Streams
last 2.6 s, so a load of 10 s is at its full rate most of the time; within 3 s a client could buffer what it cannot
process. The exit code is 0 only if our client keeps at least 80 % of the rate of a bare socket protocol and three
times that of the best peer, at no more than 1/0.8 of the bare protocol's CPU time per chunk, and with a send lag
below 2 ms (p99) at 500 requests/s.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loadgen.clients import CLIENTS, LADDERS, NEEDS, ROOT, VLLM, ClientRun, Floats, Seen

TOKENS = 128
LAG_RATE, LAG_MS = 500, 2.0
SHARE_OF_BARE, TIMES_PEER = 0.8, 3.0
STUB_LATE_MS = 20.0
COLUMNS = (
    "client, one core",
    "highest rate kept, chunks/s",
    "CPU seconds per 1,000 chunks",
    "send lag p99 at 500 requests/s, ms",
    "rate of the errors, chunks/s",
    "TTFT mean error, ms",
    "ITL p99 error, ms",
    "E2EL mean error, ms",
)


@dataclass(frozen=True)
class LoadRun:
    """One client at one rate, with the stub's figures."""

    rate: float
    seen: Seen
    chunks: int
    stub_busy_us: float
    stub_late_ms: float
    ttft: Floats
    itl: Floats
    e2el: Floats
    sent_rate: float

    @property
    def kept(self) -> bool:
        """Whether the client kept up."""
        if self.doubted or len(self.seen.e2el) < 0.99 * len(self.e2el) or self.sent_rate < 0.97 * self.rate:
            return False
        mine, true = self.seen.e2el, self.e2el
        off = [abs(np.quantile(mine, q) / np.quantile(true, q) - 1) for q in (0.5, 0.99)]
        return bool(off[0] < 0.02 and off[1] < 0.05)

    @property
    def doubted(self) -> bool:
        """Whether the stub itself was late, so that the run proves nothing."""
        return self.stub_late_ms > STUB_LATE_MS


def main() -> int:
    """Run all clients, print the tables, judge the result."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--only", default=",".join(CLIENTS), help="names of clients or their first letters, separated by commas"
    )
    p.add_argument("--seconds", type=float, default=10.0, help="length of each load, which is at full rate after 2.6 s")
    asked = p.parse_args()
    names = [n for n in CLIENTS if any(n.startswith(w.strip()) for w in asked.only.split(","))]
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("This benchmark needs two cores, one for the stub and one for the client.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="rooftune-bench-") as scratch:
        tokenizer = _tokenizer(Path(scratch))
        runs: dict[str, list[LoadRun]] = {}
        missing: dict[str, str] = {}
        for name in names:
            if name in NEEDS and not NEEDS[name].exists():
                missing[name] = "not installed (make peers, make vllm)"
                continue
            try:
                runs[name] = _ladder(name, asked.seconds, cores, tokenizer)
            except (RuntimeError, OSError, KeyError, ValueError, StopIteration) as error:
                missing[name] = f"did not run: {error}"
    print(report(runs, missing))
    return judge(runs)


def _ladder(name: str, seconds: float, cores: list[int], tokenizer: Path) -> list[LoadRun]:
    """Run a client at rising rates until it falls behind."""
    found: list[LoadRun] = []
    for rate in LADDERS[name]:
        with tempfile.TemporaryDirectory(prefix="rooftune-bench-") as scratch:
            run = once(name, rate, seconds, cores, tokenizer, Path(scratch))
            for again in range(2):
                if run.kept or (again and not run.doubted):
                    break
                run = once(name, rate, seconds, cores, tokenizer, _emptied(Path(scratch)))
        found.append(run)
        us = run.seen.cpu_s / run.chunks * 1e6
        lag = "" if run.seen.lag_p99_ms is None else f", send lag p99 {run.seen.lag_p99_ms:.2f} ms"
        state = "kept" if run.kept else "not measured because the stub was late" if run.doubted else "fell behind"
        cost = f"{us:.1f} us of CPU per chunk in all{lag}; stub late {run.stub_late_ms:.1f} ms"
        print(f"{name}: {rate * TOKENS:,.0f} chunks/s {state}, {cost}", file=sys.stderr)
        if not run.kept:
            break
    return found


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


def once(name: str, rate: float, seconds: float, cores: list[int], tokenizer: Path, scratch: Path) -> LoadRun:
    """Do one run with a fresh stub."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = scratch / "stub.json"
    stub = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.loadgen.stub", str(port), str(log)],
        cwd=ROOT, preexec_fn=lambda: os.sched_setaffinity(0, {cores[0]}),
    )  # fmt: skip
    try:
        _listening(port)
        seen = CLIENTS[name](ClientRun(port, rate, seconds, cores[1], tokenizer), scratch)
    finally:
        stub.send_signal(signal.SIGTERM)
        stub.wait()
    return _run(rate, seen, json.loads(log.read_text()))


def _listening(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)


def _run(rate: float, seen: Seen, stub: dict[str, Any]) -> LoadRun:
    rows = [np.asarray(r) for r in stub["requests"] if len(r) == TOKENS + 1]
    # A client may send one request more to check whether the server answers.
    rows = rows[len(rows) - max(seen.completed, 1) :] if len(rows) > seen.completed else rows
    at = np.array([r[0] for r in rows])
    span = float(at.max() - at.min()) if len(at) > 1 else 1.0
    return LoadRun(
        rate, seen, stub["chunks"], stub["busy_s"] / max(1, stub["chunks"]) * 1e6, stub["late_p99_ms"],
        np.array([r[1] - r[0] for r in rows]), np.concatenate([np.diff(r[1:]) for r in rows]) if rows else np.empty(0),
        np.array([r[-1] - r[0] for r in rows]), (len(at) - 1) / span if span else 0.0,
    )  # fmt: skip


def _tokenizer(scratch: Path) -> Path:
    """The tokenizer that peers require, made locally with vLLM's interpreter."""
    from rooftune.engines.tiny_model import make_tiny_model

    return make_tiny_model(scratch / "tokenizer", str(VLLM)) if VLLM.exists() else scratch


def best(runs: list[LoadRun]) -> LoadRun | None:
    """The run at the highest rate that was kept."""
    kept = [r for r in runs if r.kept]
    return max(kept, key=lambda r: r.rate) if kept else None


def cpu_us(runs: list[LoadRun]) -> float | None:
    """CPU microseconds per chunk without the start-up: the slope from the lowest to the highest rate that was kept."""
    low, high = runs[0], best(runs)
    if high is None or high is low:
        return None
    return (high.seen.cpu_s - low.seen.cpu_s) / (high.chunks - low.chunks) * 1e6


def report(runs: dict[str, list[LoadRun]], missing: dict[str, str]) -> str:
    """The tables, as Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for name, found in runs.items():
        top, us = best(found), cpu_us(found)
        fell = next(
            (f"; {'stub late' if r.doubted else 'fell behind'} at {r.rate * TOKENS:,.0f}" for r in found if not r.kept),
            "; the highest tried",
        )
        lag = next((r.seen.lag_p99_ms for r in found if r.rate == LAG_RATE and r.seen.lag_p99_ms is not None), None)
        cells = [name, f"{top.rate * TOKENS:,.0f}{fell}" if top else f"none{fell}", f"{us / 1000:.4f}" if us else "-"]
        cells.append(f"{lag:.2f}" if lag is not None else "-")
        cells += _errors(found)
        lines.append(f"| {' | '.join(cells)} |")
    lines += [f"| {name} | {why} | | | | | | |" for name, why in missing.items()]
    busiest = max((r for found in runs.values() for r in found if r.kept), key=lambda r: r.chunks, default=None)
    if busiest is not None:
        ceiling = 1e6 / busiest.stub_busy_us
        spent = f"The stub spends {busiest.stub_busy_us:.2f} us of its core per chunk at the highest rate kept"
        late = f"its sends were at most {busiest.stub_late_ms:.2f} ms late (p99)"
        lines += ["", f"{spent}, so its own ceiling is near {ceiling:,.0f} chunks/s; {late}."]
    return "\n".join(lines)


def _errors(found: list[LoadRun]) -> list[str]:
    """Client minus stub at the second rate of the ladder, or at the first if the second was not kept."""
    run = next((r for r in reversed(found[:2]) if r.kept), None)
    if run is None:
        return ["-"] * 4
    seen = run.seen

    def off(mine: Floats, true: Floats, q: float | None = None) -> str:
        if not len(mine) or not len(true):
            return "-"
        gap = mine.mean() - true.mean() if q is None else np.quantile(mine, q) - np.quantile(true, q)
        return f"{gap * 1000:+.2f}"

    return [
        f"{run.rate * TOKENS:,.0f}",
        off(seen.ttft, run.ttft),
        off(seen.itl, run.itl, 0.99),
        off(seen.e2el, run.e2el),
    ]


def judge(runs: dict[str, list[LoadRun]]) -> int:
    """Print what was reached and missed; return 0 if the goal is met."""
    mine, plain = runs.get("rooftune"), runs.get("bare protocol")
    if not mine or not plain or (us := cpu_us(mine)) is None or (plain_us := cpu_us(plain)) is None:
        print("\nThe goal cannot be judged: our client or the bare one did not run or kept no rate.")
        return 1
    rate, plain_rate = (b.rate if (b := best(r)) else 0.0 for r in (mine, plain))
    peers = {n: b.rate for n, r in runs.items() if n in NEEDS and (b := best(r)) is not None}
    lag = next((r.seen.lag_p99_ms for r in mine if r.rate == LAG_RATE), None)
    by_rate, by_cpu = 100 * rate / plain_rate, 100 * plain_us / us
    goal = f"(goal: {100 * SHARE_OF_BARE:.0f} %)"
    print(f"\nOurs / bare protocol: {by_rate:.0f} % of the rate kept, {by_cpu:.0f} % by CPU time per chunk {goal}.")
    good = rate >= SHARE_OF_BARE * plain_rate and plain_us >= SHARE_OF_BARE * us
    if peers:
        name = max(peers, key=lambda n: peers[n])
        print(f"Ours / best peer ({name}): {rate / peers[name]:.1f} times (goal: {TIMES_PEER:g}).")
        good = good and rate >= TIMES_PEER * peers[name]
    else:
        print("No peer ran, so the goal of three times the best peer cannot be judged.")
        good = False
    if lag is None:
        print(f"No send lag was measured at {LAG_RATE} requests/s.")
    else:
        print(f"Send lag p99 at {LAG_RATE} requests/s: {lag:.2f} ms (goal: below {LAG_MS:g}).")
    good = good and lag is not None and lag < LAG_MS
    print("Goal met." if good else "Goal missed.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
