"""What a deployment takes from a run: configuration, version, environment, capacity, limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_export import made_run

from rooftune.engines.deployed_environment import environment_of
from rooftune.engines.server import ServerInfo
from rooftune.errors import InputError
from rooftune.export.autoscaling import running_target, waiting_target
from rooftune.export.deployment import AtCapacity, Deployment, deployment_of, dns_label
from rooftune.export.formats import FORMATS, chosen_formats, exported
from rooftune.files import write_json
from rooftune.report.run_data import RunData, read_run
from rooftune.report.scripts import write_scripts
from rooftune.tuning.plan import SearchSummary


def test_the_recommendation_is_the_default(run: RunData, deployment: Deployment) -> None:
    assert deployment.candidate == run.decision.incumbent
    assert deployment.config == run.config(run.decision.incumbent)
    assert (deployment.engine_version, deployment.image) == ("0.15.1", "vllm/vllm-openai:v0.15.1")
    assert deployment.capacity == run.decision.capacity
    assert deployment.limits_ms == {"ttft_ms": 2000.0, "tpot_ms": 100.0}
    assert run.decision.replicas is not None
    assert deployment.replicas == run.decision.replicas.at_low


def test_a_candidate_or_a_phase_can_be_chosen(run: RunData) -> None:
    assert deployment_of(run, "baseline").candidate == "baseline"
    assert deployment_of(run, "baseline").name == "vllm-chat-medium-baseline"
    assert deployment_of(run, "easy-wins").candidate == run.incumbent_after("easy-wins")


def with_same_answers(run: RunData, name: str, *verdicts: str) -> RunData:
    """The run with a search that found these unchanged answers, and with the verdicts of these candidates only."""
    search = SearchSummary(method="guided", space=10, predicted=8, measured=3, reason="done", same_answers=name)
    kept = [v for v in run.decision.verdicts if v.candidate in verdicts]
    return replace(run, decision=run.decision.model_copy(update={"search": search, "verdicts": kept}))


def test_the_best_with_unchanged_answers_can_be_chosen(run: RunData) -> None:
    found = deployment_of(with_same_answers(run, "awq-marlin", "awq-marlin"), "same-answers")
    assert (found.candidate, found.config) == ("awq-marlin", run.config("awq-marlin"))
    assert found.what == "the best configuration that leaves the answers as they are"


def test_a_configuration_that_was_only_predicted_is_labelled(run: RunData) -> None:
    untried = replace(with_same_answers(run, "awq-marlin"), trials=[])
    found = deployment_of(untried, "same-answers")
    assert found.config == run.plan.candidate("awq-marlin").config
    assert "No trial of this configuration was measured." in found.comments
    assert found.capacity is None


def test_an_unknown_candidate_is_refused_with_the_known_ones(run: RunData) -> None:
    with pytest.raises(InputError, match=r"'baselin' \(did you mean 'baseline'\?\); choose from recommended, "):
        deployment_of(run, "baselin")


def test_an_endpoint_has_no_flags_to_export(run: RunData) -> None:
    target = run.plan.target.model_copy(update={"engine": "endpoint", "url": "http://127.0.0.1:8000"})
    with pytest.raises(InputError, match="measured an endpoint"):
        deployment_of(replace(run, plan=run.plan.model_copy(update={"target": target})))


def test_a_simulated_version_is_labelled_in_every_file(files: dict[str, str]) -> None:
    for name, text in files.items():
        assert "vLLM 0.15.1 was simulated: no server of this version was started." in text, name
        assert "run 20260101-000000-test" in text, name


def test_a_real_server_gives_version_environment_and_start(tmp_path: Path) -> None:
    folder = made_run(tmp_path)
    for path in folder.path.glob("trials/*/*/trial.json"):
        path.write_text(path.read_text().replace('"simulated": true', '"simulated": false'))
        server = ServerInfo(
            engine="vllm", url="http://127.0.0.1:1", model="m", started_at=0.0, ready_after_s=150.0, simulated=False,
            environment={"VLLM_USE_X": "1", "CUDA_VISIBLE_DEVICES": "3", "VLLM_SERVER_DEV_MODE": "1", "HF_HOME": "/h"},
        )  # fmt: skip
        write_json(path.parent / "server.json", server.model_dump(mode="json"))
    plan = folder.plan_json.read_text().replace('"engine": "simulated"', '"engine": "vllm"')
    folder.plan_json.write_text(plan)
    found = deployment_of(read_run(folder))
    assert (found.ready_after_s, found.start_limit_s) == (150.0, 750)
    assert found.environment.values == {"VLLM_USE_X": "1"}
    compose = exported(found, ["compose"])["compose.yaml"]
    assert "# Measured with vLLM 0.15.1." in compose
    assert "simulated" not in compose
    assert "CUDA_VISIBLE_DEVICES." in compose
    script = write_scripts(read_run(folder))[0].read_text()
    assert "export VLLM_USE_X=1\n" in script
    assert "VLLM_SERVER_DEV_MODE" not in script


def test_variables_of_the_machine_and_of_the_measurement_are_left_out() -> None:
    recorded = {"NCCL_DEBUG": "WARN", "CUDA_HOME": "/usr", "VLLM_SERVER_DEV_MODE": "1", "HF_HOME": "/data", "PATH": "/"}
    found = environment_of(recorded)
    assert found.values == {"NCCL_DEBUG": "WARN"}
    assert found.left_out == ["CUDA_HOME"]


def test_a_development_version_takes_the_image_of_its_release(deployment: Deployment) -> None:
    assert replace(deployment, engine_version="0.33.1.dev12+gabc").image_tag == "v0.33.1"


def state(running: float, waiting: float = 0.4, slowest_s: float | None = 20.0) -> AtCapacity:
    return AtCapacity(running=running, waiting=waiting, preemptions_per_s=0.0, slowest_s=slowest_s)


def test_the_autoscaler_adds_servers_at_the_measured_concurrency(deployment: Deployment) -> None:
    assert running_target(state(37.9), deployment) == 37
    assert running_target(state(0.3), deployment) == 1
    assert waiting_target(replace(deployment, at_capacity=state(5, waiting=0.4))) == 2


def test_a_full_batch_says_nothing_about_the_load(deployment: Deployment) -> None:
    limited = replace(deployment, config=deployment.config.with_change({"max_num_seqs": 32}))
    assert running_target(state(31.0), limited) == 0
    text = exported(replace(limited, at_capacity=state(31.0)), ["k8s"])["hpa.yaml"]
    assert "vllm_num_requests_waiting" in text
    assert "vllm_num_requests_running" not in text


def test_a_server_is_left_the_time_that_its_requests_take(deployment: Deployment) -> None:
    times = {20.4: 26, 1.0: 15, 5000.0: 600}
    assert {s: replace(deployment, at_capacity=state(5, slowest_s=s)).drain_s for s in times} == times


def test_without_a_capacity_nothing_refers_to_one(deployment: Deployment) -> None:
    found = exported(replace(deployment, capacity=None, at_capacity=None, asked_rate_per_s=None), FORMATS)
    assert "VllmAboveCapacity" not in found["prometheus-rules.yaml"]
    assert "choose the number of servers" in found["kubernetes.yaml"]
    assert "vllm_num_requests_running" not in found["hpa.yaml"]


def test_names_of_formats() -> None:
    assert chosen_formats(["grafana", "compose"]) == ["compose", "grafana"]
    assert chosen_formats(["all"]) == list(FORMATS)
    with pytest.raises(InputError, match=r"'composer' is not a format to export \(did you mean 'compose'\?\)"):
        chosen_formats(["composer"])


@pytest.mark.parametrize(("text", "label"), [("vllm-a+b.c", "vllm-a-b-c"), ("x" * 60, "x" * 50), ("-A_", "a")])
def test_names_are_dns_labels(text: str, label: str) -> None:
    assert dns_label(text) == label
