"""Deployments of a made-up run, and their files."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_export import HARD, VARIABLES, made_run

from rooftune.engines.deployed_environment import Environment
from rooftune.export.deployment import Deployment, deployment_of
from rooftune.export.formats import FORMATS, exported
from rooftune.report.run_data import RunData, read_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    """A run whose capacities do not depend on the statistics of other packages."""
    return read_run(made_run(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="session")
def deployment(run: RunData) -> Deployment:
    """The recommended configuration of that run."""
    return deployment_of(run)


@pytest.fixture(scope="session")
def hard(deployment: Deployment) -> Deployment:
    """The same with values that need every escape."""
    environment = Environment(VARIABLES, ["CUDA_VISIBLE_DEVICES"])
    return replace(deployment, config=HARD, environment=environment, prefix_caching=False)


@pytest.fixture(scope="session")
def files(deployment: Deployment) -> dict[str, str]:
    """All files of the recommended configuration."""
    return exported(deployment, FORMATS)


@pytest.fixture(scope="session")
def hard_files(hard: Deployment) -> dict[str, str]:
    """All files of the configuration that needs every escape."""
    return exported(hard, FORMATS)
