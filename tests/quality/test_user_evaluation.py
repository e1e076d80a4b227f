"""The user's own evaluation: a real command in a shell."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from rooftune.evidence.records.quality import EvaluationRun
from rooftune.quality.command import EvaluationFailed, UserCommand, evaluate
from rooftune.quality.evaluation import compared

URL, MODEL = "http://127.0.0.1:1", "m"


async def run(command: str, value: str = "acc", timeout_s: float = 20.0) -> EvaluationRun:
    return await evaluate(UserCommand(command, value, timeout_s), URL, MODEL)


async def test_address_and_model_are_in_the_command_and_in_the_environment() -> None:
    command = """printf '{"acc": [1, %s]}' $([ "{url} {model}" = "$ROOFTUNE_URL $ROOFTUNE_MODEL" ] && echo 7)"""
    assert (await run(command)).values == [1, 7]


async def test_a_file_comes_before_what_is_printed() -> None:
    found = await run("""echo '{"acc": 1}'; echo '{"acc": [2, 3]}' > {output}""")
    assert found == EvaluationRun(values=[2, 3], paired=True)


async def test_one_number_is_measured_twice(tmp_path: Path) -> None:
    count = tmp_path / "count"
    found = await run(f"""echo x >> {count}; echo "{{\\"acc\\": $(wc -l < {count})}}" """)
    assert found == EvaluationRun(values=[1, 2], paired=False)


async def test_a_standard_error_saves_the_second_run(tmp_path: Path) -> None:
    count = tmp_path / "count"
    found = await run(f"""echo x >> {count}; echo '{{"acc": 0.5, "acc_stderr": 0.01}}'""")
    assert found == EvaluationRun(values=[0.5], paired=False, standard_error=0.01)
    assert count.read_text() == "x\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo no such task >&2; exit 3", r"ended with exit code 3 \(no such task\); run it by hand"),
        ("exit 1", "ended with exit code 1; run it by hand"),
        ("rooftune-no-such-command", "exit code 127"),
        ("echo hello", "has no value: it prints no JSON"),
        ("true", "has no value: it prints nothing"),
        ("""echo '{"other": 1}'""", "acc is missing"),
    ],
)
async def test_what_goes_wrong_is_one_sentence(command: str, message: str) -> None:
    with pytest.raises(EvaluationFailed, match=message) as failed:
        await run(command)
    assert "\n" not in str(failed.value)


async def test_a_command_that_takes_too_long_is_ended_with_all_its_processes(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(EvaluationFailed, match="did not end within 1 s"):
        await run(f"sleep 600 & echo $! > {pid}; wait", timeout_s=1.0)
    deadline = time.monotonic() + 120
    while _alive(int(pid.read_text())) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert not _alive(int(pid.read_text()))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"
    except OSError:
        return False


def items(*values: float) -> EvaluationRun:
    return EvaluationRun(values=list(values), paired=True)


def test_items_are_compared_in_pairs() -> None:
    asked = UserCommand("x", "acc")
    found = compared(asked, items(0.8, 0.3, 0.55, 0.1), items(0.9, 0.4, 0.65, 0.2))
    assert found.loss == pytest.approx(0.1 / 0.5375)
    assert found.low == pytest.approx(found.high) == pytest.approx(found.loss)
    assert found.items == 4


def test_lower_may_be_better() -> None:
    asked = UserCommand("x", "perplexity:lower")
    assert asked.path == "perplexity"
    found = compared(asked, items(11, 11, 11), items(10, 10, 10))
    assert found.loss == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1)


def test_standard_errors_give_an_interval() -> None:
    def run(value: float) -> EvaluationRun:
        return EvaluationRun(values=[value], paired=False, standard_error=0.03)

    found = compared(UserCommand("x", "acc"), run(0.4), run(0.5))
    assert found.loss == pytest.approx(0.2)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.03 * 2**0.5 / 0.5, rel=0.01)


def test_repeated_numbers_give_an_interval_by_their_noise() -> None:
    def run(*values: float) -> EvaluationRun:
        return EvaluationRun(values=list(values), paired=False)

    exact = compared(UserCommand("x", "acc"), run(0.4, 0.4), run(0.5, 0.5))
    noisy = compared(UserCommand("x", "acc"), run(0.38, 0.42), run(0.47, 0.53))
    assert exact.low == pytest.approx(exact.high)
    assert noisy.low < 0 < noisy.high


def test_other_items_cannot_be_compared() -> None:
    with pytest.raises(EvaluationFailed, match="gives 2 items for this configuration and 3 items for the baseline"):
        compared(UserCommand("x", "acc"), items(1, 2), items(1, 2, 3))
