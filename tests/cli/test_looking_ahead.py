"""probe and plan: dry, quick, with a reason for everything; quiet in a pipe."""

from __future__ import annotations

import pytest


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
