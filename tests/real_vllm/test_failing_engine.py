"""A real vLLM that cannot start, and one whose owner is killed: a clear error, and no process left."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from rooftune.engines.launch import died_or_dying, start, stop
from rooftune.engines.target import Target
from rooftune.errors import EngineError
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig
from tests.real_vllm.flow_process import LEFT_S, alive


@pytest.mark.parametrize(
    ("flags", "kind", "words"),
    [
        ({"quantization": "awq"}, "quantization", "not quantized as awq"),
        ({"max_model_len": 100_000}, "max_model_len", "4096 positions"),
    ],
)
async def test_a_start_that_fails_is_explained(
    target: Target, tmp_path: Path, flags: dict[str, str | int], kind: str, words: str
) -> None:
    config = EngineConfig(model=target.model, enforce_eager=True).with_change(flags)
    with pytest.raises(EngineError, match=words) as caught:
        await start(target, config, TrialFolder(tmp_path), ready_timeout_s=400)
    assert caught.value.kind == kind
    assert not psutil.Process().children()


async def test_a_core_that_is_killed_is_noticed_and_reported(target: Target, tmp_path: Path) -> None:
    """The kernel kills the core when memory runs out. vLLM's front end ends seconds later with exit code 0."""
    folder = TrialFolder(tmp_path)
    server = await start(target, EngineConfig(model=target.model, enforce_eager=True, max_model_len=1024), folder)
    assert await died_or_dying(server, folder) is None
    family = psutil.Process(server.supervisor_pid).children(recursive=True)
    next(p for p in family if "EngineCore" in p.name()).kill()
    deadline, found = time.monotonic() + 120, None
    while found is None and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
        found = await died_or_dying(server, folder)
    await stop(server)
    assert found is not None
    assert "one of its processes died" in str(found)
    assert alive(family) == []


OWNER = textwrap.dedent(
    """
    import asyncio, sys, time
    from pathlib import Path
    from rooftune.vllm_rules.config import EngineConfig
    from rooftune.engines.launch import died_or_dying, start, stop
    from rooftune.engines.target import Target
    from rooftune.runfolder import TrialFolder

    async def main():
        target = Target.model_validate_json(sys.argv[1])
        config = EngineConfig(model=target.model, enforce_eager=True, max_model_len=1024)
        server = await start(target, config, TrialFolder(Path(sys.argv[2])))
        print(server.supervisor_pid, flush=True)
        time.sleep(600)

    asyncio.run(main())
    """
)


def test_nothing_is_left_after_kill_9(target: Target, tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, target.model_dump_json(), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    supervisor = psutil.Process(int(owner.stdout.readline()))
    family = [supervisor, *supervisor.children(recursive=True)]
    assert len(family) >= 3
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    deadline = time.monotonic() + LEFT_S
    while time.monotonic() < deadline and alive(family):
        time.sleep(0.05)
    assert alive(family) == []
