"""The server that trials of a search share: kept, given other limits, or stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from rooftune.engines import launch, switching
from rooftune.engines.server import EffectiveConfig, Limits, ServerInfo, Switched
from rooftune.errors import EngineError
from rooftune.files import read_model
from rooftune.runfolder import RunFolder, TrialFolder
from rooftune.trial_order import TrialOrder
from rooftune.vllm_rules.config import EngineConfig
from tasks import kept_server
from tasks.kept_server import KeptServer

BOUND = Limits(max_num_seqs=16, max_num_batched_tokens=512, long_prefill_token_threshold=0)


def order(candidate: str, *, shares: bool = True, **flags: int | str) -> TrialOrder:
    config = EngineConfig(model="m").with_change({"max_num_seqs": 16, **flags})
    place = {"candidate": candidate, "n": 1, "position": 0, "seed": 1, "phase": "baseline"}
    return TrialOrder(**place, config=config, shares_server=shares)


def server(*, switchable: bool = True) -> ServerInfo:
    return ServerInfo(
        engine="vllm", url="http://127.0.0.1:1", model="m", started_at=1.0, ready_after_s=60.0, simulated=False,
        effective=EffectiveConfig(max_model_len=1024), switchable=BOUND if switchable else None,
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path)
    for name in ("baseline", "seqs4", "float32"):
        folder.trial(name, 1).path.mkdir(parents=True)
    folder.trial("baseline", 1).server_log.write_text("start\nswitched\n")
    return folder


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[ServerInfo]:
    """The servers that were stopped."""
    found: list[ServerInfo] = []

    async def stop(server: ServerInfo) -> None:
        found.append(server)

    async def switch(server: ServerInfo, folder: TrialFolder, limits: Limits, name: str) -> ServerInfo:
        how = Switched(server_of=f"{folder.candidate}/{folder.n}", started=BOUND, limits=limits, log_from=6)
        return server.model_copy(update={"switched": how})

    monkeypatch.setattr(launch, "stop", stop)
    monkeypatch.setattr(switching, "switch", switch)
    return found


async def test_a_server_stays_for_the_next_trial_and_is_stopped_at_the_end(
    run: RunFolder, stopped: list[ServerInfo]
) -> None:
    async with kept_server.keeping():
        kept = kept_server.current()
        assert await kept.take(run, order("baseline")) is None
        await kept.leave(run, order("baseline"), server())
        for _ in range(2):
            found = await kept.take(run, order("seqs4", max_num_seqs=4))
            assert found is not None
            assert found.switched is not None
            assert (found.switched.server_of, found.switched.limits.max_num_seqs) == ("baseline/1", 4)
            files = run.trial("seqs4", 1)
            assert read_model(files.server_json, ServerInfo) == found
            await kept.leave(run, order("seqs4", max_num_seqs=4), found)
            assert files.server_log.read_text() == "switched\n"
        assert stopped == []
    assert stopped == [server()]
    assert kept_server.current() is not kept


async def test_it_is_stopped_when_the_block_fails(run: RunFolder, stopped: list[ServerInfo]) -> None:
    with pytest.raises(RuntimeError):
        async with kept_server.keeping():
            await kept_server.current().leave(run, order("baseline"), server())
            raise RuntimeError
    assert stopped == [server()]


@pytest.mark.parametrize(
    "following",
    [
        order("float32", dtype="float32"),
        order("seqs4", max_num_seqs=32),
        order("seqs4", max_num_seqs=4, shares=False),
    ],
    ids=["other flags", "higher limit", "confirmation"],
)
async def test_a_trial_that_needs_its_own_server_ends_the_one_before(
    following: TrialOrder, run: RunFolder, stopped: list[ServerInfo]
) -> None:
    kept = KeptServer(keeps=True)
    await kept.leave(run, order("baseline"), server())
    assert await kept.take(run, following) is None
    assert stopped == [server()]


async def test_a_server_that_does_not_switch_is_replaced(
    run: RunFolder, stopped: list[ServerInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> ServerInfo:
        raise EngineError("the limits of the running server could not be changed.", "switch")

    monkeypatch.setattr(switching, "switch", refuse)
    kept = KeptServer(keeps=True)
    await kept.leave(run, order("baseline"), server())
    assert await kept.take(run, order("seqs4", max_num_seqs=4)) is None
    assert stopped == [server()]


async def test_without_a_search_or_a_scheduler_of_ours_nothing_is_kept(
    run: RunFolder, stopped: list[ServerInfo]
) -> None:
    await kept_server.current().leave(run, order("baseline"), server())
    await KeptServer(keeps=True).leave(run, order("baseline"), server(switchable=False))
    assert stopped == [server(), server(switchable=False)]
