"""``rooftune capacity`` as a user runs it: bad input, a whole measurement, Ctrl-C, and a server that is not there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.live_run import environment, start

SMALL = """\
name: small
arrivals: {process: poisson, rate_per_s: 30}
prompt_tokens: {distribution: fixed, value: 32}
output_tokens: {distribution: uniform, low: 4, high: 16}
duration_s: 30
slo: {ttft_ms: 3000, tpot_ms: 60, share: 0.9}
"""
CLOSED = "name: closed\narrivals: {process: closed, concurrency: 4}\n" + SMALL.split("\n", 2)[2]
RAMP = "name: ramp\narrivals: {process: ramp, from_rate_per_s: 1, to_rate_per_s: 2}\n" + SMALL.split("\n", 2)[2]
NO_SLO = SMALL.replace("slo: {ttft_ms: 3000, tpot_ms: 60, share: 0.9}\n", "").replace("small", "no-slo")
KEYS = {
    "per", "users", "low_users", "high_users", "asked_users", "predicted_users", "rate_per_s", "low_per_s", "high_per_s",
    "level", "half", "limited_by", "asked_rate_per_s", "believed", "format",
    "workload", "url", "model", "simulated", "time_scale", "reference", "predicted_per_s", "precise", "ended",
    "stopped", "speed", "lone", "replicas", "usd_per_hour", "price_source", "requests_per_arrival", "output_tokens",
    "usd_per_million_output_tokens", "load_s", "real_s", "steps", "curve", "predicted_curve", "checks",
}  # fmt: skip
"""Keys of ``--json``. Others read them: a key is never renamed."""
CARD = ("--set", "quantization=awq_marlin")


@pytest.fixture(autouse=True)
def workloads(tmp_path: Path) -> None:
    for name, text in (("small", SMALL), ("closed", CLOSED), ("ramp", RAMP), ("no-slo", NO_SLO)):
        (tmp_path / f"{name}.yaml").write_text(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-slo.yaml"], "no-slo has no SLO, so it has no capacity; add slo: {ttft_ms: 500} or give --slo."),
        (["closed.yaml", "--per", "rate"], "the closed loop of closed needs --per users."),
        (["small.yaml", "--per", "cats"], "--per takes rate or users, not 'cats'."),
        (["small.yaml", "--per", "rate", "--think-time", "2"], "--users and --think-time need --per users."),
        (["small.yaml", "--per", "users", "--rate", "2"], "users set their own rate; leave out --rate"),
        (["ramp.yaml"], "ramp arrivals have no rate to vary"),
        (["ramp.yaml", "--per", "users"], "the ramp of ramp says when requests arrive, so no users can send them"),
        (["small.yaml", "--precision", "much"], "--precision takes a share such as 5%, not 'much'."),
        (["small.yaml", "--precision", "90%"], "--precision must be between 0.5 % and 50 %, not 90%."),
        (["small.yaml", "--slo", "ttft=500"], "did you mean 'ttft_ms'?"),
        (["small.yaml", "--slo", "ttft_ms=soon"], "--slo ttft_ms needs a number, not 'soon'."),
        (["small.yaml", "--slo", "share=2"], "slo.share"),
        (["small.yaml", "--budget", "long"], "'long' is not a length of time"),
        (["small.yaml", "--gpu", "L44"], "unknown GPU 'L44'"),
        (["small.yaml", "--prompts", "pictures"], "--prompts takes a file of prompts, tokens or text"),
    ],
)
def test_bad_input_is_one_sentence(rooftune, words: list[str], said: str) -> None:
    ended = rooftune("capacity", *words)
    assert ended.code == 2, ended.err
    assert said in ended.sentence()


def test_a_server_that_is_not_there(rooftune) -> None:
    ended = rooftune("capacity", "small.yaml", "--url", "http://127.0.0.1:9")
    assert ended.code == 1
    assert "http://127.0.0.1:9 does not answer" in ended.sentence()


def test_the_slo_of_a_command_replaces_single_limits() -> None:
    from flows.inputs.workloads import slo_limits

    assert slo_limits(["ttft_ms=500,tpot_ms=none", "share=95%"]) == {"ttft_ms": 500.0, "tpot_ms": None, "share": 0.95}


def wait_for(path: Path, running: subprocess.Popen[str]) -> None:
    """Wait until a running command has written a file."""
    deadline = time.monotonic() + 600
    while not path.is_file() and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.1)
    assert path.is_file(), running.communicate(timeout=30)


@pytest.mark.slow
def test_a_whole_measurement_with_files_and_json(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "flows.cli.app", "capacity", "small.yaml", *CARD, "--precision", "12%", "--json",
         "--time-scale", "8", "--save", "here", "--slo", "ttft_ms=2500", "--price", "0.45"],
        cwd=tmp_path, env=environment(tmp_path, ""), capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert set(found) == KEYS
    assert found["low_per_s"] < found["rate_per_s"] < found["high_per_s"]
    limits = {name: value for name, value in found["workload"]["slo"].items() if value is not None}
    assert limits == {"ttft_ms": 2500.0, "tpot_ms": 60.0, "share": 0.9}
    assert found["replicas"]["at_estimate"] >= 1
    assert (found["usd_per_hour"], found["price_source"]) == (0.45, "given with --price")
    assert all(row["usd_per_hour"] == pytest.approx(0.45 * row["replicas"]) for row in found["replicas"]["rows"])
    assert found["reference"]["gpu"] == "T4"
    assert {c["id"] for c in found["checks"]} >= {"settled-start", "fresh-prompts", "drift", "steps-agree"}
    here = tmp_path / "here"
    text = (here / "capacity.md").read_text()
    assert text.startswith("# Capacity of small")
    assert (here / "figures" / "attainment.png").stat().st_size > 10_000
    assert (here / "figures" / "latencies.png").stat().st_size > 10_000
    for place in range(1, 1 + len(found["steps"])):
        assert (here / "steps" / str(place) / "step.json").is_file()


@pytest.mark.slow
def test_the_users_of_a_closed_loop_are_counted_without_being_asked_for(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "flows.cli.app", "capacity", "closed.yaml", *CARD, "--precision", "12%", "--json",
         "--time-scale", "8", "--save", "here", "--users", "90"],
        cwd=tmp_path, env=environment(tmp_path, ""), capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert set(found) == KEYS
    assert found["per"] == "users"
    assert found["low_users"] <= found["users"] <= found["high_users"]
    assert found["low_per_s"] is None
    assert found["asked_users"] == found["replicas"]["asked_users"] == 90
    assert found["replicas"]["at_estimate"] == -(-90 // found["users"])
    assert [s["users"] for s in found["steps"]] == [s["workload"]["arrivals"]["concurrency"] for s in found["steps"]]
    assert "one server carries" in (tmp_path / "here" / "capacity.md").read_text()


@pytest.mark.slow
def test_ctrl_c_ends_with_what_is_known_and_the_same_command_goes_on(tmp_path: Path) -> None:
    words = ("capacity", "small.yaml", *CARD, "--precision", "1%", "--time-scale", "8", "--save", "here")
    running = start(tmp_path, "", *words)
    wait_for(tmp_path / "here" / "steps" / "2" / "order.json", running)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    assert "one server carries" in out
    assert "--save here goes on" in err
    assert "step 1:" in err
    saved = json.loads((tmp_path / "here" / "capacity.json").read_text())
    assert saved["stopped"]
    assert len(saved["steps"]) == 1

    early = start(tmp_path, "", *words[:-1], "there")
    wait_for(tmp_path / "there" / "steps" / "1" / "order.json", early)
    early.send_signal(signal.SIGINT)
    _, err = early.communicate(timeout=300)
    assert early.returncode == 130
    assert "nothing is left running" in err
