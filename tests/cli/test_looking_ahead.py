"""probe and plan: dry, quick, with a reason for everything; quiet in a pipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from live_run import environment
from qwen_config import QWEN

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
    "workload",
    [
        "chat-low",
        "chat-medium",
        "chat-high",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("rag-medium", "code-medium", "mixed", "burst")),
    ],
)
def test_plan_of_every_workload(rooftune, workload: str) -> None:
    found = rooftune("plan", workload, "--search", "ladder", "--json").json
    assert found["workload"] == workload
    assert found["candidates"][0]["id"] == "baseline"
    assert len(found["candidates"]) > 5
    assert found["predicted"]["baseline"]["capacity"] > 0
    for candidate in found["candidates"]:
        assert candidate["hypothesis"]
        assert candidate["command"].startswith("python -m vllm")


@pytest.mark.slow
def test_plan_on_another_gpu_changes_what_is_possible(rooftune) -> None:
    def states(gpu: str) -> dict[str, bool]:
        found = rooftune(
            "plan", "chat-low", "--gpu", gpu, "--model", "llama-3.1-8b", "--search", "ladder", "--json"
        ).json
        return {c["id"]: all(g["verdict"] in ("open", "trap") for g in c["gates"]) for c in found["candidates"]}

    assert states("H100")["fp8-kv"] != states("T4")["fp8-kv"]


@pytest.mark.slow
def test_plan_takes_your_own_candidate(rooftune) -> None:
    found = rooftune(
        "plan", "chat-low", "--candidate", "tiny=max_num_seqs=2,enforce_eager=true", "--search", "ladder", "--json"
    ).json
    mine = next(c for c in found["candidates"] if c["id"] == "tiny")
    assert mine["change"]["max_num_seqs"] == 2


CHECKPOINTS = {
    "AWQ": {"quant_method": "awq", "bits": 4, "group_size": 128},
    "GPTQ-Int4": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    "FP8": {"quant_method": "fp8"},
    "NVFP4": {"quant_method": "modelopt", "quant_algo": "NVFP4"},
}
PINNED = """\
knobs:
  max_num_seqs: [64, 256]
  max_num_batched_tokens: [null]
  kv_cache_dtype: [null]
  attention_backend: [null]
  graphs: [null]
  gpu_memory_utilization: [null]
  performance_mode: [null]
  async_scheduling: [null]
  stream_interval: [null]
  prefix_caching: [null]
checkpoints: [models]
"""


@pytest.fixture
def qwen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Words of a plan for a small model, with checkpoints in a folder and a playbook that pins most knobs."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for kind, quantization in CHECKPOINTS.items():
        place = tmp_path / "models" / f"Qwen2.5-0.5B-Instruct-{kind}"
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps({**QWEN, "quantization_config": quantization}))
    (tmp_path / "pinned.yaml").write_text(PINNED)
    case = ("--gpu", "L4", "--model", "qwen2.5-0.5b", "--set", "max_model_len=4096")
    return ("plan", "chat-low", *case, "--playbook", "pinned.yaml", "--search", "guided")


@pytest.mark.slow
def test_plan_takes_checkpoints_of_the_model_from_a_folder(rooftune, qwen: tuple[str, ...]) -> None:
    found = rooftune(*qwen, "--json").json["search"]
    options = {o["id"]: o for o in found["options"]}
    awq = options["qwen2.5-0.5b-instruct-awq"]
    assert awq["change"] == {"model": "models/Qwen2.5-0.5B-Instruct-AWQ"}
    assert awq["changes_outputs"]
    assert awq["name"] == "AWQ checkpoint Qwen2.5-0.5B-Instruct-AWQ"
    assert awq["predicted"] > 1.05 * options["baseline"]["predicted"], "predicted with its own weights"
    assert {"qwen2.5-0.5b-instruct-gptq-int4", "qwen2.5-0.5b-instruct-fp8+seqs64"} <= set(options)
    left_out = {left["what"]: left["reason"] for left in found["left_out"]}
    assert "no step time is known for nvfp4 weights" in left_out["NVFP4 checkpoint Qwen2.5-0.5B-Instruct-NVFP4"]


@pytest.mark.slow
def test_plan_shows_the_front_what_the_budget_suffices_for_and_the_first_trials(
    rooftune, qwen: tuple[str, ...]
) -> None:
    shown = rooftune(*qwen, "--budget", "1m").out
    assert "The budget of 60 s has room for about " in shown.split("baseline: python")[0]
    assert "--budget " in shown.split("baseline: python")[0]
    front = shown.split("The front as predicted")[1]
    assert "qwen2.5-0.5b-instruct-" in front
    assert "trial 1: baseline (starting point)" in shown


def test_plan_keeps_what_a_playbook_pins(rooftune, qwen: tuple[str, ...]) -> None:
    Path("pinned.yaml").write_text(PINNED.replace("[64, 256]", "64").replace("checkpoints: [models]", ""))
    found = rooftune(*qwen, "--json").json["search"]["options"]
    assert found[0]["change"] == {}
    assert len(found) > 2
    assert all(o["change"]["max_num_seqs"] == 64 for o in found[1:])


@pytest.fixture
def unpredicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command refuses, it refuses before anything is predicted, which takes a while."""

    def predictions(*case: object) -> None:
        raise AssertionError("something was predicted")

    monkeypatch.setattr("rooftune.tuning.playbook.predictions", predictions)


def test_a_ladder_refuses_values_of_knobs(rooftune, qwen: tuple[str, ...], unpredicted: None) -> None:
    ended = rooftune(*qwen[:-1], "ladder")
    assert ended.code == 2
    assert "the ladder tries its own candidates only" in ended.sentence()


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ("{max_num_seq: [64]}", "'max_num_seq' is neither a knob nor an engine flag (did you mean 'max_num_seqs'?)"),
        ("{kv_cache_dtype: [fp9]}", "'fp9' is not a value of this flag"),
        (
            "{weights: [awq_marlin]}",
            "no value of weights that you named can run here (weights awq_marlin: quantization=awq_marlin needs awq",
        ),
        ("{max_num_seqs: {a: 1}}", "knobs.max_num_seqs: write one value or a list of values, such as [64, 128]"),
        ("{max_num_seqs: [100000]}", "nothing is left to try besides the baseline"),
        ("{block_size: 32}", "no value of block_size that you named can run here (block_size 32: the simulated engine"),
        ("[max_num_seqs]", "knobs: write one line per knob, such as max_num_seqs: [64, 128]"),
        ("{max_num_seqs: []}", "knobs.max_num_seqs: name at least one value"),
    ],
)
def test_a_playbook_that_narrows_wrongly_says_what_to_write(
    rooftune, qwen: tuple[str, ...], knobs: str, sentence: str, unpredicted: None
) -> None:
    Path("pinned.yaml").write_text(f"knobs: {knobs}\n")
    ended = rooftune(*qwen)
    assert ended.code == 2
    assert sentence in ended.sentence()


def test_a_checkpoint_of_another_model_is_refused(rooftune, qwen: tuple[str, ...], unpredicted: None) -> None:
    ended = rooftune("plan", "chat-low", "--gpu", "L4", "--model", "llama-3.1-8b", "--checkpoint", "models")
    assert ended.code == 2
    assert "no folder in models has a config.json of llama-3.1-8b" in ended.sentence()


@pytest.mark.slow
def test_plan_reads_as_a_table(rooftune) -> None:
    ended = rooftune("plan", "chat-medium")
    assert ended.notes == []
    assert "(simulated)" in ended.out
    assert "Guided search over " in ended.out
    assert "rule attention-backend" in ended.out, "why combinations are left out"
    assert "awq_marlin+fp8-kv+seqs128" in ended.out, "the best as predicted"
    assert "trial 1: baseline" in ended.out
    assert "trial 2: awq_marlin+fp8-kv" in ended.out
    assert "\x1b" not in ended.out, "no colours in a pipe"


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_plan_loads_no_prefect(qwen: tuple[str, ...], tmp_path: Path) -> None:
    """Importing it takes about a second, and no flow runs."""
    script = (
        "import sys\nfrom flows.cli.app import run\nassert run(sys.argv[1:]) == 0\nassert 'prefect' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *qwen], cwd=tmp_path, env=environment(tmp_path, ""), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Guided search over " in done.stdout


THINKING = """name: thinking
endpoint: chat
arrivals: {process: poisson, rate_per_s: 1}
prompt_tokens: {distribution: fixed, value: 200}
output_tokens: {distribution: fixed, value: 300}
duration_s: 30
"""


def test_a_limit_on_the_answer_is_predicted_with_its_assumption(rooftune, tmp_path: Path) -> None:
    file = tmp_path / "thinking.yaml"
    file.write_text(THINKING)
    where = ("--gpu", "L4", "--model", "qwen2.5-7b")
    fits, tight = (rooftune("predict", file, *where, "--slo", f"answer_ttft_ms={ms}") for ms in (20_000, 8_000))
    assert "The first half of each answer is taken for reasoning." in fits.out
    assert "Capacity: it carries about" in fits.out
    assert "limit of answer TTFT" in tight.out, "151 tokens alone take longer than that"
