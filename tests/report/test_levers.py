"""What weights, KV cache type and speculation gave, by load, with what they did to the answers."""

from __future__ import annotations

import pytest
from reading import columns, section
from test_answer_quality_section import judged

from rooftune.errors import RooftuneError
from rooftune.files import read_model, write_json
from rooftune.report import lever_gains
from rooftune.report.lever_gains import used, write_levers
from rooftune.report.levers import LEVERS, GainAtStreams, Lever, Levers
from rooftune.report.page.to_markdown import markdown
from rooftune.report.page.to_terminal import summary
from rooftune.report.run.changes import another_kernel
from rooftune.report.run.page import page_of
from rooftune.report.run.pictures import Pictures
from rooftune.report.run_data import RunData, read_run
from rooftune.runfolder import RunFolder
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from rooftune.workloads.load import load_workload

HEADING = "## What each lever gave"


def with_levers(folder: RunFolder, *levers: Lever) -> RunData:
    write_json(folder.path / LEVERS, Levers(levers=list(levers)).model_dump(mode="json"))
    return read_run(folder)


def page(data: RunData) -> str:
    return markdown(page_of(data, Pictures(), []), data.folder.path)


def kv_lever(*gains: tuple[int, float]) -> Lever:
    made = [GainAtStreams(streams=n, gain=gain) for n, gain in gains]
    return Lever(name="kv_cache_dtype", candidate="fp8-kv", change={"kv_cache_dtype": "fp8"}, gains=made)


def test_a_lever_has_its_gain_at_each_load_and_the_verdict_on_its_answers(folder: RunFolder) -> None:
    judged(folder, "changed within the threshold")
    data = with_levers(folder, kv_lever((1, 1.01), (40, 1.2)))
    (row,) = columns(section(page(data), HEADING))
    assert row["Lever"] == "KV cache type"
    assert row["Change"] == "`--kv-cache-dtype fp8`"
    assert (row["1 in flight"], row["40 in flight"]) == ("+1.0 %", "+20 %")
    assert "compared with `awq-marlin-graphs`, measured" in row["Gain in capacity"]
    assert row["Answers"] == "changed within the threshold"
    assert "What each lever gave" in summary(page_of(data, Pictures(), []))


def test_a_verdict_on_two_levers_at_once_names_the_other(folder: RunFolder) -> None:
    judged(folder, "equal")
    weights = Lever(name="weights", candidate="fp8-kv", change={"quantization": "fp8"})
    first, second = columns(section(page(with_levers(folder, weights, kv_lever((1, 1.01)))), HEADING))
    assert first["Answers"] == "equal, together with the KV cache type"
    assert second["Answers"] == "equal, together with the weights"


def test_a_gain_of_two_levers_at_once_names_the_other(folder: RunFolder) -> None:
    at_once = {"kv_cache_dtype": "fp8", "quantization": "fp8"}  # of a configuration that a search took as a whole
    weights = Lever(name="weights", candidate="fp8-kv", change=at_once)
    first, second = columns(section(page(with_levers(folder, weights, kv_lever((1, 1.01)))), HEADING))
    assert first["Gain in capacity"].endswith("measured, together with the KV cache type")
    assert second["Gain in capacity"].endswith("measured, together with the weights")


def test_a_lever_that_was_not_chosen_is_compared_with_the_recommended_configuration(folder: RunFolder) -> None:
    data = judged(folder)  # fp8-kv spoils the answers
    assert data.decision.incumbent != "fp8-kv"
    (row,) = columns(section(page(with_levers(folder, kv_lever((1, 1.01)))), HEADING))
    assert row["Gain in capacity"].startswith("not chosen: +")
    assert row["Gain in capacity"].endswith("compared with the recommended")
    assert row["Answers"] == "spoilt"


def test_without_a_check_the_section_says_why(folder: RunFolder) -> None:
    text = section(page(with_levers(folder, kv_lever((1, 1.01)))), HEADING)
    (row,) = columns(text)
    assert row["Answers"] == "not judged"
    assert "Not judged: the workload has no texts to compare answers on" in text


def test_what_could_not_be_simulated_has_its_reason_and_no_column(folder: RunFolder) -> None:
    refused = kv_lever().model_copy(update={"refused": "the simulator predicts GPUs only."})
    text = section(page(with_levers(folder, refused)), HEADING)
    assert "in flight" not in text.splitlines()[1]
    assert "KV cache type: the simulator predicts GPUs only." in text


def test_a_run_without_levers_has_no_section(folder: RunFolder) -> None:
    assert HEADING not in page(read_run(folder))


def test_levers_are_found_and_simulated_from_the_files_of_a_run(folder: RunFolder) -> None:
    """On a T4 an FP8 KV cache reads half the bytes: worth more the more requests run."""
    run = read_run(folder)
    found = used(run, "kv_cache_dtype")
    assert found is not None
    assert found.change == {"kv_cache_dtype": "fp8"}
    assert used(run, "speculation") is None
    write_levers(folder, load_workload("chat-medium"))
    levers = {lever.name: lever for lever in read_model(folder.path / LEVERS, Levers).levers}
    gains = {g.streams: g.gain for g in levers["kv_cache_dtype"].gains}
    assert list(gains) == lever_gains.streams_of(run)
    assert gains[max(gains)] > gains[1] > 0.9


def test_a_server_that_cannot_be_simulated_leaves_the_reason(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RooftuneError("unknown accelerator.")

    monkeypatch.setattr(lever_gains, "engine_of", refuse)
    write_levers(folder, load_workload("chat-medium"))
    levers = read_model(folder.path / LEVERS, Levers).levers
    assert levers
    assert {lever.refused for lever in levers} == {"unknown accelerator."}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"quantization": "awq_marlin"}, True),
        ({"quantization": "fp8"}, False),
        ({"quantization": None}, False),
        ({"quantization": "awq_marlin", "model": "other"}, False),
    ],
)
def test_another_kernel_for_the_same_weights(change: dict[str, FlagValue | None], same: bool) -> None:
    assert another_kernel(change, EngineConfig(model="m", quantization="awq")) is same
