"""probe and plan: dry, quick, with a reason for everything; quiet in a pipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

CLOSED = """\
name: closed
arrivals: {process: closed, concurrency: USERS, think_s: 1}
prompt_tokens: {distribution: fixed, value: 128}
output_tokens: {distribution: uniform, low: 16, high: 64}
duration_s: 200
warmup_s: 60
slo: {tpot_ms: 60, share: 0.9}
"""


def test_probe_of_a_catalogue_gpu(rooftune) -> None:
    ended = rooftune("probe", "--gpu", "T4", "--engine-version", "0.15.1")
    assert ended.code == 0
    assert ended.err == ""
    assert "simulated" in ended.out.splitlines()[0]
    found = rooftune("probe", "--gpu", "T4", "--engine-version", "0.15.1", "--json").json
    assert found["simulated"] is True
    assert all(c["reason"] for c in found["capabilities"])
    by_name = {c["name"]: c["available"] for c in found["capabilities"]}
    assert False in by_name.values()
    assert True in by_name.values()


def test_probe_of_this_machine_without_measuring(rooftune) -> None:
    found = rooftune("probe", "--gpu", "cpu", "--no-measure", "--json").json
    assert found["simulated"] is False
    assert found["accelerator"]["memory_bytes"] > 0


@pytest.mark.parametrize(
    "workload", ["chat-low", "chat-medium", "chat-high", "rag-medium", "code-medium", "mixed", "burst"]
)
def test_plan_of_every_workload(rooftune, workload: str) -> None:
    found = rooftune("plan", workload, "--search", "ladder", "--json").json
    assert found["workload"] == workload
    assert found["candidates"][0]["id"] == "baseline"
    assert len(found["candidates"]) > 5
    for candidate in found["candidates"]:
        assert candidate["hypothesis"]
        assert candidate["command"].startswith("python -m vllm")


def test_plan_on_another_gpu_changes_what_is_possible(rooftune) -> None:
    def states(gpu: str) -> dict[str, bool]:
        found = rooftune(
            "plan", "chat-low", "--gpu", gpu, "--model", "llama-3.1-8b", "--search", "ladder", "--json"
        ).json
        return {c["id"]: all(g["verdict"] in ("open", "trap") for g in c["gates"]) for c in found["candidates"]}

    assert states("H100")["fp8-kv"] != states("T4")["fp8-kv"]


def test_plan_takes_your_own_candidate(rooftune) -> None:
    found = rooftune(
        "plan", "chat-low", "--candidate", "tiny=max_num_seqs=2,enforce_eager=true", "--search", "ladder", "--json"
    ).json
    mine = next(c for c in found["candidates"] if c["id"] == "tiny")
    assert mine["change"]["max_num_seqs"] == 2


def test_plan_reads_as_a_table(rooftune) -> None:
    ended = rooftune("plan", "chat-medium")
    assert ended.err == ""
    assert "(simulated)" in ended.out
    assert "Guided search over " in ended.out
    assert "rule attention-backend" in ended.out, "why combinations are left out"
    assert "awq_marlin+fp8-kv+seqs128" in ended.out, "the best as predicted"
    assert "trial 1: baseline" in ended.out
    assert "trial 2: awq_marlin+fp8-kv" in ended.out
    assert "\x1b" not in ended.out, "no colours in a pipe"


@pytest.mark.parametrize("flag", ["data_parallel_size", "pipeline_parallel_size"])
def test_a_flag_that_is_not_modelled_is_named_and_no_error_is_claimed(rooftune, flag: str) -> None:
    server = ("--gpu", "L4", "--model", "llama-3.1-8b", "--set", "max_model_len=4096", "--set", f"{flag}=2")
    printed = rooftune("predict", "chat-low", *server).out
    assert f"not modelled: {flag}" in printed
    assert "the error was within" not in printed
    found = rooftune("predict", "chat-low", *server, "--json").json
    assert not isinstance(found["error_band"], float)
    assert found["unmodelled"][0].startswith(flag)
    assert flag in rooftune("steptime", *server).out
    assert flag in rooftune("predict", "chat-low", *server, "--sweep", "max_num_seqs=8,16").out
    plan = rooftune("plan", "chat-low", *server, "--search", "ladder", "--json").json
    assert plan["unmodelled"][0].startswith(flag)
    assert plan["predicted_error"] is None
    assert plan["candidates"][1]["expected"]["low"] is None


def test_a_closed_loop_is_predicted_in_users(rooftune, tmp_path: Path) -> None:
    """The number that is printed keeps the SLO in a separate run, and a fifth more breaks it."""
    server = ("--gpu", "L4", "--model", "qwen2.5-7b")

    def predicted(users: int, *more: str) -> Any:
        (tmp_path / "closed.yaml").write_text(CLOSED.replace("USERS", str(users)))
        return rooftune("predict", "closed.yaml", *server, *more)

    found = predicted(4, "--json").json["capacity"]
    assert found["per"] == "users"
    assert found["limited_by"] == "tpot_ms"
    carried = found["users"]
    sentence = f"Capacity: it carries about {carried} users within the SLO, limited by TPOT (simulated)."
    assert sentence in predicted(4).out
    assert predicted(carried, "--json").json["slo_attainment"] >= 0.88
    assert predicted(round(1.2 * carried), "--json").json["slo_attainment"] < 0.88
    none = predicted(4, "--slo", "tpot_ms=5").out
    assert "Capacity: none, because even a lone user breaks the limit of TPOT (simulated)." in none
    assert predicted(4, "--slo", "tpot_ms=none", "--json").json["capacity"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--objective", "energy_per_output_token_j"], "the simulated engine has no model of it"),
        (["--constraint", "energy_per_output_token_j<=1"], "measure with --engine vllm on an NVIDIA GPU"),
        (["--objective", "cost_per_million_output_tokens_usd", "--gpu", "A30", "--model", "qwen2.5-7b"], "--price"),
        (["--objective", "cost_per_token"], "did you mean 'cost_per_million_output_tokens_usd'?"),
    ],
)
def test_an_objective_that_cannot_be_measured_here_is_refused(rooftune, words: list[str], said: str) -> None:
    ended = rooftune("plan", "chat-medium", *words)
    assert ended.code == 2
    assert said in ended.sentence()


def test_a_plan_for_the_cost_expects_the_price_over_the_capacity(rooftune) -> None:
    found = rooftune(
        "plan", "chat-low", "--objective", "cost_per_million_output_tokens_usd", "--price", "0.36", "--json"
    ).json
    assert found["objective"]["direction"] == "lower"
    assert found["objective"]["at_capacity"]
    assert found["search"] is None, "the ladder"
    base, marlin = (found["predicted"][name] for name in ("baseline", "awq-marlin"))
    cost = "cost_per_million_output_tokens_usd"
    assert marlin[cost] / base[cost] == pytest.approx(base["capacity"] / marlin["capacity"])
    tokens = 0.36e6 / 3600 / base[cost] / base["capacity"]
    assert 20 < tokens < 400, "mean length of an answer"
    (expected,) = [c["expected"] for c in found["candidates"] if c["id"] == "awq-marlin"]
    assert expected["metric"] == cost
    assert expected["ratio"] < 1
