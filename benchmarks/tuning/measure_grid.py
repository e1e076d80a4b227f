"""Measures the grid of a real vLLM that ``replayed_grid`` searches: every configuration under the same load.

    python -m benchmarks.tuning.measure_grid FOLDER [--vllm-python PATH]

Starts a server for each data type and each setting of prefix caching, one under load at a time, and lowers its limits
from window to window (vLLM 0.32 and newer). FOLDER gets ``windows.jsonl``, a line for each window, and ``grid.csv``. A
second run continues where the first one ended. With ``--gpu`` and ``--model`` the simulated engine is measured, whose
servers are started anew for each configuration.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path

from benchmarks.tuning.grid_fit import Surface, Window
from benchmarks.tuning.grid_load import Under, Users
from benchmarks.tuning.vllm_grid import Cell
from rooftune.engines import switching
from rooftune.engines.interpreter import installed, vllm_python
from rooftune.engines.launch import start, stop
from rooftune.engines.server import ServerInfo
from rooftune.engines.target import Target
from rooftune.engines.tiny_model import SMALL, make_tiny_model
from rooftune.errors import EngineError, RooftuneError
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig

USERS, RAMP_S, READY_S = 20, 1.5, 400.0
CONTEXT = 1024
QUIET = 0.08
"""Largest share of the processors that others may use in a window that counts."""
WINDOW_S = {1: 3.0, 2: 3.0, 4: 4.0}
LONGEST_WINDOW_S = 5.5
"""Seconds of a window by the limit of sequences, and with more of them."""
VERSION = "0.32.0"


@dataclass(frozen=True)
class Space:
    """The values of each knob."""

    dtypes: tuple[str, ...] = ("bfloat16", "float32")
    caching: tuple[bool, ...] = (True, False)
    sequences: tuple[int, ...] = (1, 2, 4, 8, 16)
    tokens: tuple[int, ...] = (64, 128, 256, 1024)

    @property
    def cells(self) -> list[Cell]:
        """Every configuration."""
        return [Cell(*values) for values in product(self.dtypes, self.caching, self.sequences, self.tokens)]


@dataclass
class Servers:
    """The servers that run. One is kept for each data type and caching where its limits can be lowered."""

    target: Target
    space: Space
    folder: Path
    kept: dict[tuple[str, bool], tuple[ServerInfo, TrialFolder]] = field(default_factory=dict)
    started: int = 0

    @asynccontextmanager
    async def of(self, cell: Cell) -> AsyncIterator[ServerInfo]:
        """A server that runs the configuration.

        Raises:
            EngineError: it did not start, or did not take the limits.
        """
        if self.target.simulated:
            server, _ = await self._start(cell)
            try:
                yield server
            finally:
                await stop(server)
            return
        key = (cell.dtype, cell.prefix_caching)
        if key not in self.kept:
            highest = Cell(*key, max(self.space.sequences), max(self.space.tokens))
            self.kept[key] = await self._start(highest)
        server, folder = self.kept[key]
        limits = switching.stated_limits(cell.config)
        if server.switchable is None or limits is None:
            raise EngineError("this vLLM cannot lower its limits while it runs; it needs 0.32 or newer.")
        yield await switching.switch(server, folder, limits, cell.name)

    async def _start(self, cell: Cell) -> tuple[ServerInfo, TrialFolder]:
        self.started += 1
        folder = TrialFolder(self.folder / cell.name / str(self.started))
        config = cell.config.with_change({"enforce_eager": True, "max_model_len": CONTEXT})
        config = EngineConfig(model=self.target.model).with_change(config.flags())
        switchable = not self.target.simulated
        return await start(self.target, config, folder, ready_timeout_s=READY_S, switchable=switchable), folder

    @property
    def processes(self) -> list[int]:
        """Those whose work is the measurement's own."""
        return [pid for s, _ in self.kept.values() for pid in (s.server_pid, s.supervisor_pid) if pid is not None]

    async def close(self) -> None:
        """Stop all that run."""
        for server, _ in self.kept.values():
            await stop(server)
        self.kept.clear()


@dataclass(frozen=True)
class Measurement:
    """How a grid is measured."""

    space: Space
    windows: int = 1
    """Quiet windows of each configuration."""
    users: int = USERS
    quiet: float = QUIET
    shortened: float = 1.0
    """Factor on every time."""
    seed: int = 0

    async def window(self, server: ServerInfo, cell: Cell, own: list[int], number: int) -> Under:
        """One window of a configuration."""
        users = Users(server, self.users, random.Random(f"{self.seed} {cell.name} {number}"))
        seconds = WINDOW_S.get(cell.max_num_seqs, LONGEST_WINDOW_S)
        return await users.window(self.shortened * RAMP_S, self.shortened * seconds, own)

    def open(self, windows: Iterable[Window]) -> list[Cell]:
        """Configurations that lack quiet windows, in random order."""
        made = Counter(w.cell for w in windows if w.others <= self.quiet)
        found = [cell for cell in self.space.cells if made[cell] < self.windows]
        random.Random(self.seed + sum(made.values())).shuffle(found)
        return found


async def measure(servers: Servers, asked: Measurement, record: Path, say: Callable[[str], None]) -> list[Window]:
    """Measure what is open, a line in ``record`` for each window; one more round for windows that were not quiet."""
    windows = read_windows(record)
    try:
        for _ in range(asked.windows + 1):
            for cell in asked.open(windows):
                async with servers.of(cell) as server:
                    found = await asked.window(server, cell, servers.processes, len(windows))
                windows.append(Window(cell, found.tokens_per_s, found.others))
                with record.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(asdict(windows[-1])) + "\n")
                say(f"{cell.name}: {found.tokens_per_s:.1f} tokens/s, others used {found.others:.0%}")
    finally:
        await servers.close()
    return windows


def read_windows(record: Path) -> list[Window]:
    """The windows that were measured so far."""
    lines = record.read_text(encoding="utf-8").splitlines() if record.is_file() else []
    return [Window(**{**found, "cell": Cell(**found["cell"])}) for found in map(json.loads, lines)]


def described(target: Target, asked: Measurement, surface: Surface) -> str:
    """The comment at the head of the table."""
    what = f"simulated, {target.model} on {target.gpu}" if target.simulated else "a model of 82 million parameters"
    lines = (
        "Output tokens per second, measured by python -m benchmarks.tuning.measure_grid:",
        f"vLLM {target.engine_version}, {what}, eager mode, {asked.users} users in a closed loop,",
        "prompts of 160 to 224 tokens of which the first 96 are the same in all, outputs of 20 to 28 tokens.",
        f"Others used at most {asked.quiet:.0%} of the processors in each window. smoothed is a least-squares fit;",
        f"a window differs from it by {surface.scatter:.0%} (standard deviation).",
        "error is the standard error of ln(smoothed / the best smoothed).",
    )
    return "".join(f"# {line}\n" for line in lines)


def write_grid(folder: Path, target: Target, asked: Measurement, windows: list[Window]) -> Path:
    """Write grid.csv from the quiet windows.

    Raises:
        RooftuneError: no window was quiet.
    """
    quiet = [w for w in windows if w.others <= asked.quiet]
    if not quiet:
        raise RooftuneError(
            f"others used more than {asked.quiet:.0%} of the processors in every window; free the machine."
        )
    surface = Surface.through(quiet, asked.space.cells)
    path = folder / "grid.csv"
    path.write_text(described(target, asked, surface) + surface.table(quiet), encoding="utf-8")
    return path


def _target(given: argparse.Namespace, folder: Path) -> Target:
    if given.gpu:
        return Target(gpu=given.gpu, model=given.model, engine_version=VERSION, time_scale=given.time_scale)
    vllm = installed(vllm_python(given.vllm_python))
    model = make_tiny_model(folder / "model", vllm.python, SMALL)
    return Target(engine="vllm", model=str(model), engine_version=vllm.version, vllm_python=vllm.python)


def _numbers(words: str) -> tuple[int, ...]:
    return tuple(map(int, words.split(",")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="gets windows.jsonl and grid.csv")
    parser.add_argument("--vllm-python", help="interpreter that has vLLM; default: .venv-vllm")
    parser.add_argument("--gpu", help="measure the simulated engine on this GPU instead of a real vLLM")
    parser.add_argument("--model", default="llama-3.1-8b", help="of the simulated engine")
    parser.add_argument("--time-scale", type=float, default=10.0, help="of the simulated engine")
    parser.add_argument("--windows", type=int, default=1, help="quiet windows of each configuration")
    parser.add_argument(
        "--quiet", type=float, default=QUIET, help="largest share of the processors that others may use"
    )
    parser.add_argument("--shortened", type=float, default=1.0, help="factor on the time of ramp and window")
    parser.add_argument("--dtypes", default=",".join(Space.dtypes))
    parser.add_argument("--sequences", type=_numbers, default=Space.sequences, help="values of max_num_seqs")
    parser.add_argument("--tokens", type=_numbers, default=Space.tokens, help="values of max_num_batched_tokens")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the table; 2 where the input is wrong, 1 where a server failed."""
    given = _parser().parse_args(arguments)
    space = Space(tuple(given.dtypes.split(",")), sequences=given.sequences, tokens=given.tokens)
    asked = Measurement(space, given.windows, quiet=given.quiet, shortened=given.shortened)
    folder: Path = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        target = _target(given, folder)
        servers = Servers(target, space, folder / "servers")
        windows = asyncio.run(measure(servers, asked, folder / "windows.jsonl", lambda line: print(line, flush=True)))
        print(f"table: {write_grid(folder, target, asked, windows)}")
    except RooftuneError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if left := asked.open(windows):
        print(f"{len(left)} configurations lack quiet windows; run the command again to measure them", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
