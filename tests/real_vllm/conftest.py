"""A real vLLM for the tests of this folder: its interpreter, a tiny model, and one running server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rooftune.engines.interpreter import Installed, installed, vllm_python
from rooftune.engines.launch import start, stop
from rooftune.engines.server import ServerInfo
from rooftune.engines.target import Target
from rooftune.engines.tiny_model import SMALL, make_tiny_model
from rooftune.errors import InputError
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder carry the marker, and time enough for a server that starts on two busy cores."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.real_vllm)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(420))


@pytest.fixture(scope="session")
def vllm() -> Installed:
    """The vLLM under test."""
    named = os.environ.get("ROOFTUNE_VLLM_PYTHON") or str(ROOT / ".venv-vllm" / "bin" / "python")
    try:
        return installed(vllm_python(named))
    except InputError as error:
        pytest.skip(f"needs a real vLLM: {error}")


@pytest.fixture(scope="session")
def tiny(vllm: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama of random weights, made here."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny-llama", vllm.python)


@pytest.fixture(scope="session")
def small(vllm: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a larger one, whose steps take longer than the client's."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "small-llama", vllm.python, SMALL)


@pytest.fixture(scope="session")
def target(vllm: Installed, tiny: Path) -> Target:
    return Target(engine="vllm", model=str(tiny), engine_version=vllm.version, vllm_python=vllm.python)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    """Where the shared server of a module writes its log."""
    return TrialFolder(tmp_path_factory.mktemp("trial"))


@pytest.fixture(scope="module")
def server(target: Target, small: Path, folder: TrialFolder) -> Iterator[ServerInfo]:
    """The larger model, served for a whole module without compilation (half the start-up time)."""
    chosen = target.model_copy(update={"model": str(small)})
    config = EngineConfig(model=chosen.model, enforce_eager=True, max_num_seqs=16, max_model_len=2048)
    found = asyncio.run(start(chosen, config, folder, ready_timeout_s=300))
    yield found
    asyncio.run(stop(found))
