"""Fixtures that more than one room uses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("counts", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("counts")
"""No property test fails because the machine is busy."""
SLOW_S = 1800.0
"""Seconds after which a slow test is ended, and with it the run; the others get those of pyproject.toml. They end what
hangs: on a busy machine a test may take ten times as long as on an idle one."""
COMPILE = "from rooftune.simulator.fastpath.compilation import compile_ahead; compile_ahead()"
TRACE_SUBPROCESSES = "COVERAGE_PROCESS_CONFIG"
"""Environment variable with which coverage traces the processes that a test starts."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests get more time. Workers take the files with the most slow tests first, so that none is left with a long
    file at the end."""
    for item in items:
        if item.get_closest_marker("slow") and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SLOW_S))
    if hasattr(config, "workerinput"):
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the simulator before the workers start; otherwise they all wait for the one that compiles it."""
    from rooftune.machine_code import wanted
    from rooftune.simulator.fastpath.compilation import is_cached

    config = session.config
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput") and wanted() and not is_cached():
        untraced = {name: value for name, value in os.environ.items() if name != TRACE_SUBPROCESSES}
        subprocess.run([sys.executable, "-c", COMPILE], env=untraced, check=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Slow tests run without coverage, which would make them three times as slow and find few more branches."""
    if item.get_closest_marker("slow") is None:
        return (yield)
    with untraced():
        return (yield)


@contextmanager
def untraced() -> Iterator[None]:
    """Pause coverage in this process, and keep it out of the processes that start meanwhile."""
    coverage = sys.modules.get("coverage")
    tracer = coverage.Coverage.current() if coverage is not None else None
    if tracer is None:
        yield
        return
    inherited = os.environ.pop(TRACE_SUBPROCESSES, None)
    tracer.stop()
    try:
        yield
    finally:
        tracer.start()
        if inherited is not None:
            os.environ[TRACE_SUBPROCESSES] = inherited


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB, for tests of a disk that runs full. Needs the right to mount."""
    place = tmp_path / "small-disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk could be mounted: {mounted.stderr.decode().strip()}")
    yield place
    # Lazily: a process that still ends may have a file open.
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of one Prefect server for the whole session, with its own database; it takes some seconds to start."""
    from flows.service import local

    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PREFECT_API_URL", "PREFECT_PROFILES_PATH", "PREFECT_HOME"):
            patch.delenv(name, raising=False)
        patch.delenv(TRACE_SUBPROCESSES, raising=False)  # nothing of the domain runs in Prefect's server
        patch.setenv("ROOFTUNE_HOME", str(home))
        for name, value in local.environment().items():
            patch.setenv(name, value)
        started = local.own_server()
        api = started.__enter__()
        for name in ("PREFECT_API_URL", local.OWN_SERVER):
            patch.delenv(name)
    yield api
    started.__exit__(None, None, None)


@pytest.fixture
def prefect(prefect_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Flows of this test and of processes that it starts use that server; their files are in the test's folder."""
    from prefect.settings import temporary_settings

    from flows.service import local

    monkeypatch.setenv("ROOFTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ROOFTUNE_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("PREFECT_LOGGING_TO_CONSOLE", "false")
    for name, value in local.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    updates = {"PREFECT_API_URL": prefect_api, "PREFECT_HOME": str(tmp_path / "home" / "prefect")}
    with temporary_settings({**updates, "PREFECT_LOCAL_STORAGE_PATH": str(tmp_path / "home" / "results")}):
        yield prefect_api
