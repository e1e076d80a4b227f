"""A real vLLM for the tests of this folder: its interpreter, a tiny model, one running server and its speed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.talking_model.store import TalkingModels, talking_models
from rooftune.engines.interpreter import Installed, installed, vllm_python
from rooftune.engines.launch import start, stop
from rooftune.engines.server import ServerInfo
from rooftune.engines.target import Target
from rooftune.engines.tiny_model import SMALL, make_tiny_model
from rooftune.errors import InputError
from rooftune.hardware.host import fast_dtype
from rooftune.hardware.nvml import gpus
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig
from tests.measurements import pytest_configure
from tests.real_vllm.speed import Speed, measure_speed
from tests.real_vllm.talking_answers import TalkingAnswers, baseline_answers
from tests.real_vllm.talking_floor import TalkingFloor, measured_floor
from tests.real_vllm.talking_server import Serving, TalkingServers
from tests.real_vllm.tuned_run import TunedRun, skip_untrusted, tuned_run

__all__ = ["pytest_configure"]

ROOT = Path(__file__).parents[2]


SHARING = pytest.StashKey[set[Path]]()
"""Files whose tests use the shared server."""
SHARED = pytest.StashKey[ServerInfo]()
"""The shared server while it runs."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give all tests of this folder the marker, and a time limit that suits a server on two busy cores.

    The tests of files that measure a server get the marker ``idle`` too: other work would distort what they measure.

    Files that use the shared server run first, one after another and by name: ``test_server.py``, which ends it, comes
    last. Those that load it for a measurement follow those that expect it fresh.
    """
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    shares, loads = ({i.path for i in ours if name in _fixtures(i)} for name in ("shared_server", "speed"))
    config.stash[SHARING] = shares
    measures = {item.path for item in ours if item.get_closest_marker("measurement")}
    ordered = iter(sorted(ours, key=lambda item: (item.path not in shares, item.path in loads, item.path)))
    mine = set(ours)
    items[:] = [next(ordered) if item in mine else item for item in items]
    for item in ours:
        item.add_marker(pytest.mark.real_vllm)
        item.add_marker(pytest.mark.slow)
        if item.path in shares | loads | measures:
            item.add_marker(pytest.mark.idle)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(600))


def _fixtures(item: pytest.Item) -> list[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else []


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End the shared server after the last file that uses it, so that it is gone while other servers are measured."""
    shared = item.session.stash.get(SHARED, None)
    if shared is not None and (nextitem is None or nextitem.path not in item.config.stash[SHARING]):
        asyncio.run(stop(shared))
        del item.session.stash[SHARED]


@pytest.fixture(scope="session")
def vllm() -> Installed:
    """The vLLM under test."""
    named = os.environ.get("ROOFTUNE_VLLM_PYTHON")
    try:
        return installed(vllm_python(named or str(ROOT / ".venv-vllm" / "bin" / "python")))
    except InputError as error:
        if named:
            pytest.fail(str(error))
        pytest.skip(f"needs a real vLLM: {error}")


@pytest.fixture(scope="session")
def dtype(vllm: Installed) -> str:
    """The data type that the hardware under test computes fastest in."""
    return fast_dtype().name if vllm.cpu or not gpus() else "bfloat16"


@pytest.fixture(scope="session")
def tiny(vllm: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama of random weights, made here."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny-llama", vllm.python)


@pytest.fixture(scope="session")
def small(vllm: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a larger model, whose steps take longer than the client's work."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "small-llama", vllm.python, SMALL)


@pytest.fixture(scope="session")
def talking(vllm: Installed) -> TalkingModels:
    """Models that answer questions, made once (three to six minutes) and kept in the user's cache folder."""
    return talking_models(vllm.python)


@pytest.fixture(scope="session")
def servers(vllm: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TalkingServers]:
    """Servers of the talking model, one at a time."""
    found = TalkingServers(vllm, tmp_path_factory.mktemp("talking"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def talked(servers: TalkingServers, talking: TalkingModels) -> TalkingAnswers:
    """What the talking model answers to its prompts."""
    return baseline_answers(servers.get(Serving.baseline(talking)), talking)


@pytest.fixture(scope="session")
def floor(
    talked: TalkingAnswers,
    servers: TalkingServers,
    talking: TalkingModels,
    tmp_path_factory: pytest.TempPathFactory,
) -> TalkingFloor:
    """How much the talking model differs from itself; ``talked`` is asked of the same server."""
    return measured_floor(servers.get(Serving.baseline(talking)), talking, tmp_path_factory.mktemp("floor"))


@pytest.fixture(scope="session")
def resumed(
    vllm: Installed, talking: TalkingModels, servers: TalkingServers, tmp_path_factory: pytest.TempPathFactory
) -> TunedRun:
    """A run of ``rooftune optimize`` with a user's prompts, killed and resumed."""
    return tuned_run(vllm, talking, servers, tmp_path_factory.mktemp("talk"))


@pytest.fixture(scope="session")
def tuned(resumed: TunedRun) -> TunedRun:
    """That run, if its measurements can be trusted."""
    skip_untrusted(resumed)
    return resumed


@pytest.fixture(scope="session")
def target(vllm: Installed, tiny: Path) -> Target:
    return Target(engine="vllm", model=str(tiny), engine_version=vllm.version, vllm_python=vllm.python)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    """The folder in which the shared server writes its log."""
    return TrialFolder(tmp_path_factory.mktemp("trial"))


@pytest.fixture(scope="session")
def shared_server(
    target: Target, small: Path, folder: TrialFolder, dtype: str, request: pytest.FixtureRequest
) -> Iterator[ServerInfo]:
    """The larger model, served for several files without compilation, which halves the start-up time."""
    chosen = target.model_copy(update={"model": str(small)})
    config = EngineConfig(model=chosen.model, dtype=dtype, enforce_eager=True, max_num_seqs=16, max_model_len=2048)
    found = asyncio.run(start(chosen, config, folder, ready_timeout_s=400))
    request.session.stash[SHARED] = found
    yield found
    if SHARED in request.session.stash:
        asyncio.run(stop(found))


@pytest.fixture(scope="session")
def server(shared_server: ServerInfo) -> ServerInfo:
    """The shared server; a file may have its own instead."""
    return shared_server


@pytest.fixture(scope="session")
def speed(server: ServerInfo) -> Speed:
    """What one request costs on the shared server while nothing else runs on it."""
    return asyncio.run(measure_speed(server))
