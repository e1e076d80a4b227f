"""The user's own evaluation of a server: a command, run in a shell, whose JSON has the value."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rooftune.errors import RooftuneError
from rooftune.evidence.records.quality import EvaluationRun
from rooftune.formatting import shortened
from rooftune.quality.json_value import FoundValue, value_in

TIMEOUT_S = 3600.0
"""Seconds that an evaluation may take."""
REPEATS = 2
"""Runs of a command that gives one number without a standard error, so that its noise is seen."""
LONGEST_LINE = 160
LOWER = ":lower"


class EvaluationFailed(RooftuneError):
    """The user's evaluation gives no value; the message says why."""


@dataclass(frozen=True)
class UserCommand:
    """An evaluation as the user gives it."""

    command: str
    """``{url}``, ``{model}`` and ``{output}`` are replaced; the environment has them too."""
    value: str
    """Path of the value in the JSON, such as ``results.gsm8k.exact_match``; ``:lower`` after it = lower is better."""
    timeout_s: float = TIMEOUT_S

    @property
    def path(self) -> str:
        """The path without the direction."""
        return self.value.removesuffix(LOWER)

    @property
    def lower_is_better(self) -> bool:
        """Whether lower values are better."""
        return self.value.endswith(LOWER)


async def evaluate(asked: UserCommand, url: str, model: str) -> EvaluationRun:
    """Run the evaluation against a server; twice where it gives one number without a standard error.

    Raises:
        EvaluationFailed: it failed, took too long, or its output has no such value.
    """
    found = await _run(asked, url, model)
    if found.items:
        return EvaluationRun(values=list(found.items), paired=True)
    values = [found.number]
    if found.standard_error is None:
        values += [(await _run(asked, url, model)).number for _ in range(REPEATS - 1)]
    return EvaluationRun(values=values, paired=False, standard_error=found.standard_error)


async def _run(asked: UserCommand, url: str, model: str) -> FoundValue:
    with tempfile.TemporaryDirectory(prefix="rooftune-quality-") as folder:
        output = Path(folder) / "output.json"
        text = await _output(asked, url, model, output)
        if output.is_file() and output.stat().st_size:
            text = output.read_text(encoding="utf-8", errors="replace")
        try:
            return value_in(text, asked.path)
        except ValueError as error:
            raise EvaluationFailed(f"the quality command's output has no value: {error}.") from None


async def _output(asked: UserCommand, url: str, model: str, output: Path) -> str:
    names = {"url": url, "model": model, "output": str(output)}
    command = asked.command
    for name, value in names.items():
        command = command.replace("{" + name + "}", value)
    environment = {**os.environ, **{f"ROOFTUNE_{name.upper()}": value for name, value in names.items()}}
    process = await asyncio.create_subprocess_shell(
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), asked.timeout_s)
    except asyncio.TimeoutError:
        raise EvaluationFailed(
            f"the quality command did not end within {asked.timeout_s:.0f} s; evaluate fewer items."
        ) from None
    finally:
        await _end(process)
    if process.returncode != 0:
        raise EvaluationFailed(
            f"the quality command ended with exit code {process.returncode}{_last_line(errors)}; run it by hand with "
            f"ROOFTUNE_URL and ROOFTUNE_MODEL set to see why."
        )
    return out.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the command and everything that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _last_line(errors: bytes) -> str:
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
    if not lines:
        return ""
    return f" ({shortened(lines[-1], LONGEST_LINE)})"
