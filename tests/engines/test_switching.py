"""Limits of a running server: what its scheduler takes over, what it refuses, and when it stays as vLLM made it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rooftune.engines import switching
from rooftune.engines.server import EffectiveConfig, Limits, ServerInfo
from rooftune.errors import EngineError
from rooftune.files import write_json
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig, FlagValue
from tests.engines import fake_scheduler
from tests.engines.fake_scheduler import Scheduler, SchedulerConfig, VllmConfig

FILE = switching.FOLDER / "rooftune_scheduler.py"
BOUND = Limits(max_num_seqs=16, max_num_batched_tokens=512, long_prefill_token_threshold=0)


@pytest.fixture
def in_engine() -> ModuleType:
    """The module as vLLM imports it: by its file, outside of the package."""
    spec = importlib.util.spec_from_file_location("rooftune_scheduler", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(switching.CONTROL_FILE, str(tmp_path / "control.json"))
    return tmp_path / "control.json"


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    lines = capsys.readouterr().out.splitlines()
    return [json.loads(line.removeprefix("rooftune scheduler: ")) for line in lines]


def test_the_scheduler_needs_nothing_but_the_standard_library() -> None:
    words = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(FILE.parent)!r})"]
    words[-1] += "; import rooftune_scheduler; assert 'rooftune' not in sys.modules"
    assert subprocess.run(words, check=False, capture_output=True, text=True).stderr == ""


def test_limits_change_at_a_steps_edge_and_running_requests_are_finished(
    in_engine: ModuleType, control: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: Scheduler = in_engine.scheduler(vllm_config=VllmConfig(), block_size=16)
    made.waiting = list(range(40))
    assert made.schedule() == 16
    write_json(control, {"id": "a", "max_num_seqs": 4, "max_num_batched_tokens": 128})
    for _ in range(in_engine.BUSY_STEPS):
        assert made.schedule() == 16, "nothing that runs is taken away"
    made.running = made.running[:3]
    assert made.schedule(throttle_prefills=True) == 4
    write_json(control, {"id": "b", "long_prefill_token_threshold": 64})
    made.running = []
    assert made.schedule() == 16
    assert made.steps[0] == (16, 512, 0)
    assert made.steps[in_engine.BUSY_STEPS :] == [(16, 128, 0), (4, 128, 0), (16, 512, 64)]
    assert made.max_num_running_reqs == 16, "the number of slots stays"
    started, busy, idle = said(capsys)
    assert started == {"switchable": True, "scheduler": "Scheduler", "limits": BOUND.model_dump()}
    assert (busy["switched"], busy["prefix_cache_empty"]) == ("a", False)
    assert (idle["switched"], idle["prefix_cache_empty"]) == ("b", True)


def test_an_unchanged_file_is_not_read_again(in_engine: ModuleType, control: Path) -> None:
    made: Scheduler = in_engine.scheduler(vllm_config=VllmConfig(), block_size=16)
    write_json(control, {"id": "a", "max_num_seqs": 4})
    made.schedule()
    made.max_num_active_reqs = 7
    made.schedule()
    assert (made.max_num_active_reqs, made.resets) == (7, 1)


def test_busy_steps_leave_the_file_system_alone(
    in_engine: ModuleType, control: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call lets go of the interpreter's lock, and waiting to have it back took a tenth of a step."""
    made: Scheduler = in_engine.scheduler(vllm_config=VllmConfig(), block_size=16)
    made.running = [object()]
    looks: list[str] = []
    monkeypatch.setattr(in_engine.Control, "changed", lambda self: looks.append(self.path))
    for _ in range(10 * in_engine.BUSY_STEPS):
        made.schedule()
    assert looks == [str(control)] * 10
    made.running = []
    made.schedule()
    assert len(looks) == 11, "an idle step looks at once"
    assert in_engine.BUSY_STEPS == switching.BUSY_STEPS


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"max_num_seqs": 17}, "limits can only be lowered"),
        ({"max_num_batched_tokens": 1024}, "limits can only be lowered"),
        ({"max_num_seqs": 0}, "a step needs a token for each request"),
        ({"max_num_batched_tokens": 8}, "a step needs a token for each request"),
        ({"max_num_seqs": "4"}, "max_num_seqs is not a whole number"),
        ({"max_num_seqs": None}, "max_num_seqs is not a whole number"),
        ({"long_prefill_token_threshold": -1}, "the cut of long prompts can only be lowered"),
    ],
)
def test_a_refused_change_leaves_every_limit(
    wanted: dict[str, object],
    reason: str,
    in_engine: ModuleType,
    control: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made: Scheduler = in_engine.scheduler(vllm_config=VllmConfig(), block_size=16)
    write_json(control, {"id": "a", **wanted})
    made.schedule()
    assert in_engine.limits_of(made) == BOUND.model_dump()
    assert said(capsys)[1:] == [{"refused": "a", "reason": reason}]


def test_the_cut_of_long_prompts_is_highest_at_zero(in_engine: ModuleType) -> None:
    started = {**BOUND.model_dump(), "long_prefill_token_threshold": 128}
    limits = in_engine.Control("", started).limits
    assert limits({"long_prefill_token_threshold": 64})[1] == ""
    assert limits({"long_prefill_token_threshold": 0})[1] != ""
    assert limits({"long_prefill_token_threshold": 256})[1] != ""


def test_asynchronous_scheduling_stays_on(in_engine: ModuleType, control: Path) -> None:
    config = VllmConfig(SchedulerConfig(async_scheduling=True))
    made = in_engine.scheduler(vllm_config=config, block_size=16)
    assert isinstance(made, fake_scheduler.AsyncScheduler)
    assert type(made) is not fake_scheduler.AsyncScheduler
    assert config.scheduler_config.scheduler_cls == "rooftune_scheduler.scheduler"


def aside(name: str, monkeypatch: pytest.MonkeyPatch) -> VllmConfig:
    """A server whose scheduler must stay as it is."""
    config = VllmConfig()
    if name == "older":
        monkeypatch.setattr(SchedulerConfig, "get_scheduler_cls", lambda self: fake_scheduler.OlderScheduler)
    elif name == "speculative":
        config.speculative_config = object()
    elif name == "data parallel":
        config.parallel_config.data_parallel_size = 2
    elif name == "no file":
        monkeypatch.delenv(switching.CONTROL_FILE)
    elif name == "another budget":
        monkeypatch.setattr(Scheduler, "schedule", Scheduler.schedule)
        begin = Scheduler.__init__

        def with_half_the_tokens(self: Scheduler, vllm_config: VllmConfig, block_size: int) -> None:
            begin(self, vllm_config, block_size)
            self.max_num_scheduled_tokens //= 2

        monkeypatch.setattr(Scheduler, "__init__", with_half_the_tokens)
    return config


@pytest.mark.parametrize("name", ["older", "speculative", "data parallel", "no file", "another budget"])
def test_a_scheduler_that_looks_different_stays_as_vllm_made_it(
    name: str,
    in_engine: ModuleType,
    control: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = in_engine.scheduler(vllm_config=aside(name, monkeypatch), block_size=16)
    assert type(made) in (Scheduler, fake_scheduler.OlderScheduler)
    write_json(control, {"id": "a", "max_num_seqs": 4})
    made.schedule()
    assert made.max_num_active_reqs == 16
    (line,) = said(capsys)
    assert line["switchable"] is False
    assert line["reason"]
    assert switching.started_limits(f"rooftune scheduler: {json.dumps(line)}") is None


def configured(**flags: FlagValue) -> EngineConfig:
    return EngineConfig(model="m").with_change(flags)


@pytest.mark.parametrize(
    ("started", "wanted", "expected"),
    [
        ({}, {"max_num_seqs": 4}, (4, 512, 0)),
        ({"max_num_seqs": 16}, {"max_num_seqs": 8, "max_num_batched_tokens": 128}, (8, 128, 0)),
        ({"max_num_seqs": 16}, {"max_num_seqs": 16, "long_prefill_token_threshold": 64}, (16, 512, 64)),
        ({}, {"max_num_seqs": 1}, (1, 256, 0)),  # the default budget is at most one context for each request
        ({}, {"max_num_batched_tokens": 8}, (8, 8, 0)),  # the default batch is at most the budget
        ({}, {"max_num_seqs": 32}, None),
        ({}, {"max_num_seqs": 16, "max_num_batched_tokens": 8}, None),
        ({"max_num_seqs": 16}, {}, None),
        ({}, {"max_num_seqs": 4, "dtype": "float32"}, None),
        ({"enforce_eager": True}, {"max_num_seqs": 4}, None),
        ({"enforce_eager": True}, {"enforce_eager": True, "max_num_seqs": 4}, (4, 512, 0)),
    ],
)
def test_what_a_running_server_can_become(
    started: dict[str, FlagValue], wanted: dict[str, FlagValue], expected: tuple[int, int, int] | None
) -> None:
    found = switching.lowered(BOUND, 256, configured(**started), configured(**wanted))
    assert (None if found is None else tuple(found.model_dump().values())) == expected


def test_a_threshold_is_not_raised() -> None:
    bound = BOUND.model_copy(update={"long_prefill_token_threshold": 64})
    started = configured(long_prefill_token_threshold=64)
    assert switching.lowered(bound, 256, started, configured(long_prefill_token_threshold=128)) is None
    assert switching.lowered(bound, 256, started, configured(long_prefill_token_threshold=32)) is not None


@pytest.mark.parametrize(
    ("version", "flags", "expected"),
    [
        ("0.32.0", {}, True),
        ("0.31.2", {}, False),
        ("0.15.1", {}, False),
        ("0.32.0", {"scheduler_cls": "theirs.Scheduler"}, False),
        ("0.32.0", {"data_parallel_size": 2}, False),
        ("0.32.0", {"speculative_config": {"method": "ngram"}}, False),
    ],
)
def test_where_it_is_tried(version: str, flags: dict[str, FlagValue], expected: bool) -> None:
    assert switching.supported(configured(**flags), version) is expected


class Engine:
    """A server that takes a step for each request, and writes what its scheduler says into its log."""

    def __init__(self, folder: TrialFolder, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.busy_for = folder, 0
        folder.path.mkdir(parents=True)
        folder.server_log.write_text("")
        monkeypatch.setattr(module, "say", self.log)
        monkeypatch.setattr(switching, "warm_up_completion", self.complete)
        monkeypatch.setattr(switching, "PAUSE_S", 0.0)
        monkeypatch.setenv(switching.CONTROL_FILE, str(folder.control_json))
        self.scheduler: Scheduler = module.scheduler(vllm_config=VllmConfig(), block_size=16)

    def log(self, what: dict[str, object]) -> None:
        with self.folder.server_log.open("a") as log:
            log.write(f"(EngineCore pid=7) rooftune scheduler: {json.dumps(what)}\n")

    async def complete(self, url: str, model: str, *, timeout_s: float, tokens: int) -> None:
        self.scheduler.running = ["a request that is not quite gone"] if self.busy_for > 0 else []
        self.busy_for -= 1
        for _ in range(tokens):
            self.scheduler.schedule()

    @property
    def info(self) -> ServerInfo:
        return ServerInfo(
            engine="vllm",
            url="http://127.0.0.1:1",
            model="m",
            started_at=1.0,
            ready_after_s=60.0,
            simulated=False,
            effective=EffectiveConfig(max_num_seqs=16, max_num_batched_tokens=512, dtype="float32"),
            switchable=switching.started_limits(self.folder.server_log.read_text()),
        )


FOUR = Limits(max_num_seqs=4, max_num_batched_tokens=256, long_prefill_token_threshold=0)


async def test_a_switched_server_reports_its_limits_and_its_origin(
    in_engine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(TrialFolder(tmp_path / "baseline" / "1"), in_engine, monkeypatch)
    engine.busy_for = 2
    engine.log({"before": True})
    found = await switching.switch(engine.info, engine.folder, FOUR, "seqs4/1")
    assert found.switched is not None
    assert (found.switched.server_of, found.switched.started, found.switched.limits) == ("baseline/1", BOUND, FOUR)
    assert found.effective == engine.info.effective.model_copy(
        update={"max_num_seqs": 4, "max_num_batched_tokens": 256}
    )
    assert found.ready_after_s < 60.0
    other = TrialFolder(tmp_path)
    switching.copy_log(found, engine.folder, other)
    assert "before" not in other.server_log.read_text()
    assert '"switched": "seqs4/1' in other.server_log.read_text()


async def test_a_server_that_does_not_answer_needs_a_restart(
    in_engine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(TrialFolder(tmp_path / "baseline" / "1"), in_engine, monkeypatch)
    monkeypatch.setattr(switching, "ANSWER_S", 0.1)
    engine.busy_for = 99
    with pytest.raises(EngineError, match="its prefix cache stayed in use"):
        await switching.switch(engine.info, engine.folder, FOUR, "seqs4/1")
    with pytest.raises(EngineError, match="limits can only be lowered"):
        high = FOUR.model_copy(update={"max_num_seqs": 17})
        await switching.switch(engine.info, engine.folder, high, "seqs17/1")

    async def silent(url: str, model: str, *, timeout_s: float, tokens: int) -> None:
        return None

    monkeypatch.setattr(switching, "warm_up_completion", silent)
    with pytest.raises(EngineError, match="its scheduler did not answer"):
        await switching.switch(engine.info, engine.folder, FOUR, "seqs4/2")
