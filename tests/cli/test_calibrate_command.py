"""calibrate: from trials of the history, its file used afterwards, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooftune.evidence import history
from rooftune.evidence.records.trial import Check, TrialResult
from rooftune.hardware.named import accelerator
from rooftune.models.catalogue import model_facts
from rooftune.simulator.steptime.constants import constants_for, table
from rooftune.simulator.steptime.durations import decode_seconds
from rooftune.simulator.steptime.model import StepTime
from rooftune.vllm_rules.config import EngineConfig

SLOWER = {"linear.gemm_16bit.memory": 0.6}
"""What the engine of these trials reaches, unlike the shipped constant."""


def _trials(root: Path, engine: str = "endpoint", gpu: str = "L4", erratic: bool = False) -> None:
    card = accelerator(gpu)
    constants = constants_for(card, table()).replaced(SLOWER)
    step = StepTime(
        card, model_facts("qwen2.5-7b"), EngineConfig(model="x", max_model_len=4096), "0.32.0", constants=constants
    )
    for n, batch in enumerate((1, 2, 4, 8, 12, 16, 24, 32, 48), 1):
        trial = TrialResult(
            candidate="baseline",
            n=n,
            status="measured",
            simulated=engine == "simulated",
            time_scale=1.0,
            workload="chat-low",
            workload_hash="w",
            seed=n,
            position=n,
            started_at=1e9 + n,
            engine=engine,
            engine_version="0.32.0",
            gpu=gpu,
            model="qwen2.5-7b",
            flags={"max_model_len": 4096, "max_num_seqs": max(batch, 8)},
            metrics={
                "mean_tpot_ms": 1000 * decode_seconds(step, batch, 300) * (1 + 4 * (n % 2) * erratic),
                "completed": 100,
                "total_input_tokens": 22500,
                "total_output_tokens": 15000,
            },
            server={"running": float(batch)},
            checks=[Check(id="c", status="fail" if n == 9 else "pass", sentence="")],
        )
        history.append(root, trial)


def test_trials_of_the_history_are_fitted_to_and_the_file_is_used(rooftune, tmp_path: Path) -> None:
    plainly = rooftune("predict", "chat-low", "--gpu", "L4", "--model", "qwen2.5-7b", "--json").json
    _trials(Path("artifacts/history"))
    file = tmp_path / "l4.yaml"
    found = rooftune("calibrate", "--from", "history", "--output", str(file), "--json").json
    assert found["points"] == 8  # the ninth was not believed
    assert found["error_after"] < 0.02 < found["error_before"]
    used = rooftune(
        "predict", "chat-low", "--gpu", "L4", "--model", "qwen2.5-7b", "--calibration", str(file), "--json"
    ).json
    assert used["median_tpot_ms"] > 1.2 * plainly["median_tpot_ms"]
    assert "calibrated" in used["error_band"]
    assert used["calibration"]["path"] == str(file)
    assert plainly["calibration"] is None


@pytest.mark.slow
def test_the_default_calibration_is_the_newest_for_the_accelerator_and_is_named(rooftune) -> None:
    _trials(Path("artifacts/history"))
    file = rooftune("calibrate", "--from", "history", "--json").json["file"]
    predict = ("predict", "chat-low", "--gpu", "L4", "--model", "qwen2.5-7b", "--json")
    used = rooftune(*predict)
    assert used.json["calibration"]["path"] == file
    assert "calibrated" in used.json["error_band"]
    plan = rooftune("plan", "chat-low", "--gpu", "L4", "--model", "qwen2.5-7b", "--json").json
    assert plan["target"]["calibration"] == used.json["calibration"]
    assert rooftune(*predict, "--calibration", "none").json["calibration"] is None
    other = rooftune("predict", "chat-low", "--gpu", "T4", "--calibration", file)
    assert other.code == 2
    assert "is for L4, not for T4" in other.sentence()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "nowhere"], "no run 'nowhere'"),
        (["--from", "history"], "none of the 0 trials"),
        (["--url", "http://127.0.0.1:9", "--gpu", "L4"], "127.0.0.1:9"),
        (["--engine", "endpoint"], "--url"),
    ],
)
def test_what_cannot_be_calibrated_is_explained_in_one_sentence(rooftune, arguments: list[str], said: str) -> None:
    ended = rooftune("calibrate", *arguments)
    assert ended.code in (1, 2)
    assert said in ended.sentence()


def test_simulated_trials_are_not_measurements(rooftune) -> None:
    _trials(Path("artifacts/history"), engine="simulated")
    assert "none of the 9 trials" in rooftune("calibrate", "--from", "history").sentence()


def test_trials_of_several_gpus_must_be_chosen_from(rooftune) -> None:
    _trials(Path("artifacts/history"))
    _trials(Path("artifacts/history"), gpu="L40S")
    assert "choose one with --gpu" in rooftune("calibrate", "--from", "history").sentence()
    assert rooftune("calibrate", "--from", "history", "--gpu", "l40s", "--output", "x.yaml").code == 0


def test_a_fit_that_does_not_fit_is_not_kept(rooftune, tmp_path: Path) -> None:
    _trials(Path("artifacts/history"), erratic=True)
    ended = rooftune("calibrate", "--from", "history", "--output", str(tmp_path / "bad.yaml"))
    assert ended.code == 1
    assert "does not fit" in ended.sentence()
    assert not (tmp_path / "bad.yaml").exists()
