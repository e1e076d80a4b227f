"""The guard against simulated servers that answer from a toy distribution: files, verdicts, and what is not judged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import simulated_front

from rooftune.answers.answer import FILE as ANSWERS
from rooftune.answers.answer import Answers
from rooftune.errors import RooftuneError
from rooftune.evidence.records.quality import Floor, Quality
from rooftune.files import read_model
from rooftune.quality.baseline import Asked, chosen
from rooftune.quality.command import UserCommand
from rooftune.quality.guard import SIMULATED, WITH_ADAPTERS, Guarded, check, keep_floor
from rooftune.runfolder import TrialFolder
from rooftune.simulator.engine.core import Noise
from rooftune.simulator.front.__main__ import build
from rooftune.simulator.front.toy_answers import VARIABLE
from rooftune.vllm_rules.config import EngineConfig, FlagValue


@dataclass(frozen=True)
class Said:
    key: str
    text: str | None = None
    messages: tuple[dict[str, object], ...] | None = None
    max_tokens: int | None = None
    extra: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    temperature: float = 0.0

    def request_fields(self, own: Mapping[str, object] | None = None) -> dict[str, object]:
        return {"temperature": self.temperature, **(own or {})}


PROMPTS = [Said(f"{n:02}", f"tell me about number {n * n}") for n in range(30)]
GREEDY = Asked(PROMPTS, Drawn(), 40)
CONFIG = EngineConfig(model="m")


@asynccontextmanager
async def serving(**flags: FlagValue) -> AsyncIterator[str]:
    core = build("T4", "llama-2-7b", "0.15.1", {"quantization": "awq", **flags}, Noise())
    async with simulated_front.serving(core) as (_, port):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "toy;kv_cache_dtype=fp8:2.5;max_num_seqs=7:0.05")


async def floor_in(folder: TrialFolder, asked: Asked = GREEDY, command: UserCommand | None = None) -> Floor:
    async with serving() as url:
        return await keep_floor(Guarded(url, "m", asked, command, simulated=True), folder)


async def checked(tmp_path: Path, asked: Asked = GREEDY, *, speculates: bool = False, **flags: FlagValue) -> Quality:
    baseline, ours = TrialFolder(tmp_path / "baseline" / "1"), TrialFolder(tmp_path / "x" / "1")
    floor = await floor_in(baseline, asked)
    async with serving(**flags) as url:
        server = Guarded(url, "m", asked, None, simulated=True)
        found = await check(server, ours, floor, baseline, CONFIG, speculates=speculates)
    assert read_model(ours.quality_json, Quality) == found
    return found


async def test_the_baselines_answers_are_kept(toy: None, tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    floor = await floor_in(folder)
    assert floor == read_model(folder.floor_json, Floor)
    assert floor.prompts == len(PROMPTS)
    assert floor.simulated
    answers = Answers.read(tmp_path / "answers.parquet")
    assert len(answers) == len(PROMPTS)
    assert sum(len(a.output_ids) for a in answers) == floor.tokens
    assert {a.finish_reason for a in answers} == {"stop", "length"}
    assert 0 < floor.values["KL divergence"] < 0.01


async def test_the_same_configuration_is_equal(toy: None, tmp_path: Path) -> None:
    found = await checked(tmp_path)
    assert (found.verdict, found.simulated) == ("equal", True)
    assert found.words.startswith("simulated answers: equal: ")


async def test_noise_on_the_logits_is_spoilt(toy: None, tmp_path: Path) -> None:
    found = await checked(tmp_path, kv_cache_dtype="fp8")
    assert found.verdict == "spoilt"
    kl = found.measure("KL divergence")
    assert kl is not None
    assert kl.low > 0.05


async def test_a_little_noise_is_a_change_within_the_threshold(toy: None, tmp_path: Path) -> None:
    found = await checked(tmp_path, max_num_seqs=7)
    assert found.verdict == "changed within the threshold"


async def test_speculation_is_also_judged_by_its_own_answers(toy: None, tmp_path: Path) -> None:
    found = await checked(tmp_path, speculates=True)
    assert found.verdict == "equal"
    assert {m.name for m in found.measures} >= {"not greedy", "greedy difference"}


async def test_drawn_answers_have_greedy_ones_beside_them(toy: None, tmp_path: Path) -> None:
    asked = Asked(PROMPTS, Drawn(0.8), 40)
    found = await checked(tmp_path, asked, speculates=True)
    assert (tmp_path / "baseline" / "1" / "greedy.parquet").is_file()
    assert found.verdict in ("equal", "not judged")
    spoilt = await checked(tmp_path / "s", asked, kv_cache_dtype="fp8")
    assert spoilt.verdict == "spoilt"


async def test_chat_prompts_are_asked_as_chats(toy: None, tmp_path: Path) -> None:
    chats = [Said(p.key, messages=({"role": "user", "content": p.text or ""},)) for p in PROMPTS]
    assert (await floor_in(TrialFolder(tmp_path), Asked(chats, Drawn(), 24))).prompts == len(PROMPTS)


async def test_an_engine_without_weights_is_not_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    floor = await floor_in(TrialFolder(tmp_path / "b"))
    assert floor.reason == SIMULATED
    async with serving() as url:
        server = Guarded(url, "m", GREEDY, None, simulated=True)
        found = await check(server, TrialFolder(tmp_path / "x"), floor, TrialFolder(tmp_path / "b"), CONFIG)
    assert (found.verdict, found.reason) == ("not judged", SIMULATED)


async def test_a_server_that_died_is_not_judged(toy: None, tmp_path: Path) -> None:
    floor = await floor_in(TrialFolder(tmp_path / "b"))
    server = Guarded("http://127.0.0.1:9", "m", GREEDY, None, simulated=True)
    found = await check(server, TrialFolder(tmp_path / "x"), floor, TrialFolder(tmp_path / "b"), CONFIG)
    assert found.verdict == "not judged"
    assert "does not answer" in found.reason


async def test_cut_files_of_the_baseline_are_a_reason(toy: None, tmp_path: Path) -> None:
    floor = await floor_in(TrialFolder(tmp_path / "b"))
    (tmp_path / "b" / "scores.parquet").write_bytes(b"junk")
    async with serving() as url:
        server = Guarded(url, "m", GREEDY, None, simulated=True)
        found = await check(server, TrialFolder(tmp_path / "x"), floor, TrialFolder(tmp_path / "b"), CONFIG)
    assert found.verdict == "not judged"
    assert "score the answers again" in found.reason


async def test_the_users_own_evaluation_judges_where_there_are_no_texts(tmp_path: Path) -> None:
    baseline, ours = TrialFolder(tmp_path / "b"), TrialFolder(tmp_path / "x")
    count = tmp_path / "count"
    first, later = """'{"s": [1, 1, 0.9, 1]}'""", """'{"s": [0.7, 0.6, 0.7, 0.7]}'"""
    command = UserCommand(f"echo x >> {count}; [ $(wc -l < {count}) = 1 ] && echo {first} || echo {later}", "s")
    server = Guarded("http://127.0.0.1:9", "m", None, command)
    floor = await keep_floor(server, baseline)
    assert floor.evaluation is not None
    found = await check(server, ours, floor, baseline, CONFIG)
    assert found.verdict == "spoilt"
    assert found.reason.startswith("your evaluation gives 0.675 and 0.975 for the baseline, a loss of 31 %")


async def test_an_evaluation_that_fails_is_kept_with_its_reason(tmp_path: Path) -> None:
    server = Guarded("http://127.0.0.1:9", "m", None, UserCommand("exit 4", "s"))
    floor = await keep_floor(server, TrialFolder(tmp_path))
    assert "exit code 4" in floor.evaluation_error


async def test_long_answers_are_scored_only_to_fill_up(toy: None, tmp_path: Path) -> None:
    from rooftune.quality.baseline import ENOUGH, BaselineAnswers

    long = [Said(f"z{n}", "long words here " * 1200) for n in range(2)]
    many = [Said(f"{n:02}", f"number {n}") for n in range(ENOUGH)]
    floor = await floor_in(TrialFolder(tmp_path), Asked([*many, *long], Drawn(), 4))
    assert floor.prompts == ENOUGH
    kept = BaselineAnswers.read(tmp_path)
    assert {a.key for a in kept.answers} == {p.key for p in many}
    assert len(Answers.read(tmp_path / "answers.parquet")) == ENOUGH + 2, "a replay has all answers"


def test_prompts_are_taken_once_and_in_an_order_of_their_own() -> None:
    found = chosen([Said("b", "x"), Said("a", "y"), Said("b", "x"), Said("c", "z")], most=2)
    assert [p.key for p in found] == ["a", "b"]


def test_files_that_are_missing_are_one_sentence(tmp_path: Path) -> None:
    from rooftune.quality.baseline import BaselineAnswers

    with pytest.raises(RooftuneError, match="is missing"):
        BaselineAnswers.read(tmp_path)


async def test_a_server_with_adapters_is_not_asked(toy: None, tmp_path: Path) -> None:
    """vLLM may end on the probabilities of a prompt, and the trials after this one would have no server."""
    baseline = TrialFolder(tmp_path / "b")
    async with serving() as url:
        floor = await keep_floor(Guarded(url, "m", GREEDY, adapters=True), baseline)
        found = await check(
            Guarded(url, "m", GREEDY, adapters=True), TrialFolder(tmp_path / "x"), floor, baseline, CONFIG
        )
    assert floor.reason == found.reason == WITH_ADAPTERS
    assert not (baseline.path / ANSWERS).exists()
