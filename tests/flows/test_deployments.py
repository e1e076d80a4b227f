"""prefect.yaml matches the workload files and the signatures of the flows, and its schedule is active.

Prefect takes an unknown parameter without a word and the run then crashes, so this is held here.
"""

from __future__ import annotations

import importlib
import inspect
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.utilities.callables import parameter_schema
from ruamel.yaml import YAML

from rooftune.workloads.load import workload_files

ROOT = Path(__file__).parents[2]
PHASES = ("probe", "plan", "provision", "load", "aggregate", "roofline", "report")


@cache
def project() -> dict[str, Any]:
    return dict(YAML(typ="safe").load((ROOT / "prefect.yaml").read_text(encoding="utf-8")))


DEPLOYMENTS: list[dict[str, Any]] = project()["deployments"]
IDS = [f"{d['entrypoint'].rpartition(':')[2]}/{d['name']}" for d in DEPLOYMENTS]


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    module, _, name = deployment["entrypoint"].rpartition(":")
    assert "/" not in module, "entrypoints are modules: by path a flow's module would get a second identity"
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, Flow)
    return found


def test_names_are_what_the_documents_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    wanted = [f"{flow}/{name}" for flow in ("optimize", "capacity") for name in workload_files()]
    wanted += ["sweep/nightly"] + [f"{p}/{p}" for p in PHASES]
    assert sorted(IDS) == sorted(wanted)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=IDS)
def test_parameters_fit_the_flow(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    known = set(inspect.signature(flow.fn).parameters)
    given = deployment["parameters"]
    assert set(given) <= known
    assert flow.validate_parameters(given).items() >= given.items(), "values are taken as they stand"
    for schedule in deployment.get("schedules", []):
        assert set(schedule.get("parameters", {})) <= known
    needed = {n for n, p in inspect.signature(flow.fn).parameters.items() if p.default is inspect.Parameter.empty}
    assert needed <= set(given), "a click on Run in the UI must be enough"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=IDS)
def test_it_is_described_tagged_and_goes_to_the_pool_that_up_makes(deployment: dict[str, Any]) -> None:
    from flows.service.up import POOL

    assert deployment["description"].endswith(".")
    assert deployment["tags"]
    assert deployment["work_pool"]["name"] == POOL


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=IDS)
def test_every_parameter_is_typed_and_described(deployment: dict[str, Any]) -> None:
    flow = flow_of(deployment)
    for name, about in parameter_schema(flow).properties.items():
        assert about.get("description"), f"{name} has no description in the docstring of {flow.name}"
        assert about.keys() & {"type", "anyOf", "enum", "$ref", "allOf"}, f"{name} has no type"


def test_optimize_deployments_name_their_own_workload() -> None:
    for deployment, name in zip(DEPLOYMENTS, IDS, strict=True):
        if name.startswith("optimize/"):
            assert deployment["parameters"]["workload"] == deployment["name"]


def test_the_nightly_sweep_comes_every_night() -> None:
    nightly = DEPLOYMENTS[IDS.index("sweep/nightly")]
    (schedule,) = nightly["schedules"]
    assert schedule["active"] is True
    minute, hour, *rest = CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"]).cron.split()
    assert f"{minute}{hour}".isdigit()
    assert rest == ["*", "*", "*"]
    assert nightly["concurrency_limit"]["limit"] == 1


def test_up_takes_the_prefect_yaml_of_the_current_folder_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.service.up import project_file

    monkeypatch.chdir(tmp_path)
    assert project_file() == ROOT / "prefect.yaml"
    (tmp_path / "prefect.yaml").write_text("deployments: []\n")
    assert project_file() == Path("prefect.yaml")
