"""The whole flow on a real vLLM: killed under load, resumed, decided and reported."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.talking_model.store import TalkingModels
from rooftune.engines.interpreter import Installed
from tests.real_vllm.flow_process import alive, family, measured
from tests.real_vllm.tuned_run import RUN_S, START_S, TunedRun

pytestmark = pytest.mark.timeout(START_S + RUN_S + 60)


def test_kill_9_under_load_leaves_no_engine(resumed: TunedRun) -> None:
    assert resumed.left_after_kill == []


def test_what_was_measured_before_the_kill_is_not_measured_again(resumed: TunedRun) -> None:
    assert resumed.before
    assert {path: Path(path).stat().st_mtime for path in resumed.before} == resumed.before


@pytest.mark.measurement
def test_a_candidate_that_cannot_start_is_refused_with_its_reason_before_a_server_is_started(tuned: TunedRun) -> None:
    refused = tuned.verdicts["bad"]
    assert refused["verdict"] == "not supported"
    assert refused["trials"] == []
    assert "must be divisible by tensor parallel size (5)" in refused["reason"]
    assert "It would start with tensor_parallel_size=" in refused["reason"]
    assert tuned.verdicts["baseline"]["verdict"] == "applied"


@pytest.mark.measurement
def test_client_and_server_count_the_same_tokens(resumed: TunedRun) -> None:
    """Over the whole load, the usage of all responses equals the gain of the server's counters.

    A busy machine delays tokens and samples of the counter, so the window alone says nothing here; ``token-arrival``
    judges that.
    """
    whole = 0
    for trial in measured(resumed.folder):
        files = resumed.folder.trial(trial.candidate, trial.n)
        requests = pq.read_table(files.requests).to_pydict()
        check = next(c for c in trial.checks if c.id == "token-count")
        assert check.status != "fail", check.sentence
        assert 0 < check.figures["client"] <= check.figures["usage"], "vLLM merges tokens into a chunk when it is late"
        if set(requests["status"]) != {"completed"}:
            continue
        whole += 1
        ticks = pq.read_table(files.ticks).to_pydict()
        for column, counter in (("prompt_tokens", "prompt_tokens_total"), ("output_tokens", "generation_tokens_total")):
            counted = [v for v in ticks[counter] if v is not None]
            assert counted[-1] - counted[0] == sum(requests[column]), counter
    assert whole


@pytest.mark.measurement
def test_the_effective_configuration_is_that_of_each_candidate(tuned: TunedRun, talking: TalkingModels) -> None:
    assert set(tuned.verdicts) == {"baseline", "bad", "spoilt", "ngram"}
    seen = {t.candidate: t.effective for t in measured(tuned.folder)}
    assert set(seen) == {"baseline", "spoilt", "ngram"}
    assert {e.max_num_seqs for e in seen.values() if e} == {8}


def test_the_report_says_where_and_with_what_it_was_measured(tuned: TunedRun, vllm: Installed) -> None:
    assert f"vLLM {vllm.version}" in tuned.report
    assert "- **Hardware**: CPU (" in tuned.report
    reason = tuned.verdicts["bad"]["reason"]
    assert reason[0].upper() + reason[1:] in tuned.report
    assert "**Simulated.**" not in tuned.report
    subprocess.run(["bash", "-n", str(tuned.folder.path / "start_vllm.sh")], check=True)
    assert "vllm.entrypoints.openai.api_server" in tuned.script
    for name in ("result.json", "requests.parquet", "ticks.parquet", "server.log", "server.json"):
        assert (tuned.folder.path / "trials" / "baseline" / "1" / name).stat().st_size > 0


def test_no_engine_is_left_at_the_end(resumed: TunedRun, talking: TalkingModels) -> None:
    assert alive(family(talking.deep, talking.spoilt)) == []
