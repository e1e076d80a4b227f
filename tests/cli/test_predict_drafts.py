"""``predict --acceptance`` and ``--by-streams``: what speculative decoding gains, and from what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rooftune.answers.answer import Answer, Answers
from rooftune.evidence.records.trial import Census, TrialResult
from rooftune.runfolder import RunFolder
from tests.tuning.drafted_trial import drafted

SERVER = (
    "chat-medium",
    "--gpu",
    "L4",
    "--model",
    "llama-3.1-8b",
    "--engine-version",
    "0.32.0",
    "--set",
    "max_model_len=4096",
)
HEAD = ("--set", 'speculative_config={"method":"eagle3","model":"head","num_speculative_tokens":3}')
NGRAM = (
    "--set",
    'speculative_config={"method":"ngram","num_speculative_tokens":3,"prompt_lookup_min":2,"prompt_lookup_max":4}',
)


def test_up_to_which_load_it_gains_is_a_table_and_a_sentence(rooftune) -> None:
    ended = rooftune("predict", *SERVER, *HEAD, "--acceptance", "0.4,0.15,0.05", "--by-streams", "1,256")
    assert ended.code == 0, ended.err
    assert "Speculation gains up to 1 stream and loses beyond." in ended.out
    found = rooftune("predict", *SERVER, *HEAD, "--acceptance", "0.4,0.15,0.05", "--by-streams", "1,256", "--json").json
    assert [row["streams"] for row in found["streams"]] == [1, 256]
    assert found["streams"][0]["gain"] > 1 > found["streams"][1]["gain"]
    assert found["simulated"] is True


def test_acceptance_changes_the_prediction_and_its_note(rooftune) -> None:
    low, high = (
        rooftune("predict", *SERVER, *HEAD, "--acceptance", given, "--json").json for given in ("0.1", "0.9,0.8,0.7")
    )
    assert high["median_tpot_ms"] < low["median_tpot_ms"]
    assert any("0.1" in note for note in low["notes"])
    assert any("3.4 tokens" in note for note in high["notes"])


def test_the_gain_against_load_says_where_drafts_are_out_of_the_full_graph(rooftune) -> None:
    words = ("predict", *SERVER, *HEAD, "--acceptance", "0.6", "--by-streams", "1", "--json")
    plain, fp8 = rooftune(*words).json, rooftune(*words, "--set", "kv_cache_dtype=fp8").json
    assert not any("one CUDA graph" in note for note in plain["notes"])
    assert any("kv_cache_dtype=fp8 selects FlashInfer" in note for note in fp8["notes"])


def test_recorded_answers_are_replayed(rooftune, tmp_path: Path) -> None:
    copied = tuple(range(3, 60))
    Answers(tuple(Answer(str(i), copied, copied, "stop") for i in range(4))).write(tmp_path / "answers.parquet")
    found = rooftune("predict", *SERVER, *NGRAM, "--acceptance", "answers.parquet", "--json").json
    assert any("accept the draft" in note for note in found["notes"])
    refused = rooftune("predict", *SERVER, *HEAD, "--acceptance", "answers.parquet")
    assert refused.code == 2
    assert "cannot be replayed" in refused.sentence()


def test_the_counters_of_a_trial_are_taken(rooftune, tmp_path: Path) -> None:
    server = {
        "spec_drafts": 100.0, "spec_draft_tokens": 300.0, "spec_accepted_tokens": 150.0, "generation_tokens": 260.0,
        "first_tokens": 10.0, "spec_accepted_pos_1": 80.0, "spec_accepted_pos_2": 50.0, "spec_accepted_pos_3": 20.0,
    }  # fmt: skip
    trial = TrialResult(
        candidate="spec", n=1, status="measured", workload="w", workload_hash="h", seed=0, position=0,
        census=Census(scheduled=0), server=server,
    )  # fmt: skip
    (tmp_path / "trial.json").write_text(trial.model_dump_json())
    found = rooftune("predict", *SERVER, *HEAD, "--acceptance", "trial.json", "--json").json
    assert any("2.5 tokens" in note for note in found["notes"])
    (tmp_path / "trial.json").write_text(json.dumps({**json.loads(trial.model_dump_json()), "server": {}}))
    assert "drafted no tokens" in rooftune("predict", *SERVER, *HEAD, "--acceptance", "trial.json").sentence()
    falling = {"speculative_config": {"num_speculative_tokens_per_batch_size": [[1, 8, 3], [9, 64, 1]]}}
    (tmp_path / "trial.json").write_text(trial.model_copy(update={"flags": falling}).model_dump_json())
    assert "lengths by batch size" in rooftune("predict", *SERVER, *HEAD, "--acceptance", "trial.json").sentence()


def test_the_trials_of_a_run_hold_for_other_lengths_of_the_proposer(rooftune, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "artifacts", "mine", {})
    asked = {"method": "eagle3", "model": "head", "num_speculative_tokens": 3}
    folder = run.trial("head", 1)
    folder.path.mkdir(parents=True)
    folder.trial_json.write_text(drafted(asked, 100, 80, 50, 20).model_dump_json())
    for length, tokens in ((3, "2.5"), (1, "1.8")):
        speculation = json.dumps({**asked, "num_speculative_tokens": length})
        found = rooftune(
            "predict", *SERVER, "--set", f"speculative_config={speculation}", "--acceptance", str(run.path), "--json"
        ).json
        assert any(f"gives {tokens} tokens" in note for note in found["notes"])
    refused = rooftune("predict", *SERVER, *NGRAM, "--acceptance", str(run.path))
    assert refused.code == 2
    assert "drafted with this method and model" in refused.sentence()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((*HEAD, "--acceptance", "often"), "is not an acceptance"),
        ((*HEAD, "--acceptance", "1.5"), "between 0 and 1"),
        ((*HEAD, "--acceptance", "0.4,0.6"), "must fall"),
        ((*NGRAM, "--acceptance", "0.6,0.4"), "does not draft in every step"),
        (("--acceptance", "0.6"), "needs speculative decoding"),
        ((*HEAD, "--by-streams", "few"), "not a list of streams"),
        ((*HEAD, "--by-streams", "8:2"), "not a range of streams"),
        (("--by-streams", "1,4"), "no speculative decoding"),
        ((*NGRAM, "--acceptance", "missing.parquet"), "missing"),
    ],
)
def test_what_cannot_be_taken_is_one_sentence(rooftune, words: tuple[str, ...], reason: str) -> None:
    ended = rooftune("predict", *SERVER, *words)
    assert ended.code != 0
    assert reason in ended.sentence()
