"""``rooftune up`` and ``rooftune down``: Prefect's server, deployments and worker on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from flows.cli import terminal
from flows.inputs import options
from flows.inputs.home import home

if TYPE_CHECKING:
    from flows.service.up import Say

Port = Annotated[int, Option("--port", min=1, max=65535, help="Port of Prefect's server and UI.")]


def up(port: Port = 4200, as_json: options.Json = False) -> None:
    """Start Prefect's server with its UI, the work pool, the deployments of prefect.yaml, and a worker.

    They run until `rooftune down`. The deployments come from prefect.yaml in the current folder, else from the
    file that comes with rooftune. Runs are written to artifacts/ here. The first start takes about a minute.

    [bold]Example[/bold]

      rooftune up
      prefect deployment run optimize/chat-medium --watch
      prefect deployment run optimize/rag-medium -p gpu=L4 -p budget=10m --watch
    """
    from flows.service.up import up as start

    with _steps() as say:
        stack = start(port, say)
    if as_json:
        terminal.print_json(stack.model_dump(exclude_none=True))
        return
    print(f"Prefect UI   {stack.ui}")
    print(f"Deployments  {', '.join(stack.deployments)}")
    if _prefect_finds_the_server():
        print("Run one      prefect deployment run optimize/chat-medium --watch   (in this folder)")
        print(f"Elsewhere    export PREFECT_API_URL={stack.api}")
    else:
        print(f"Run one      export PREFECT_API_URL={stack.api}")
        print("             prefect deployment run optimize/chat-medium --watch")
    print(f"Logs         {home() / 'logs'}")
    print("Stop         rooftune down")


def _prefect_finds_the_server() -> bool:
    """Whether ``prefect`` in this folder reads the profile that ``up`` writes: pyproject.toml names it."""
    try:
        return "[tool.prefect]" in Path("pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return False


def down(as_json: options.Json = False) -> None:
    """Stop the worker and the server that `rooftune up` started, and every run that the worker executes.

    Measured trials are kept; `rooftune optimize WORKLOAD --resume latest` continues such a run.

    [bold]Example[/bold]

      rooftune down
    """
    from flows.service.up import down as stop

    with _steps() as say:
        found = stop(say)
    if as_json:
        terminal.print_json({"ended": found})
    else:
        print("Prefect's server and worker are stopped." if found else "Nothing was running.")


@contextlib.contextmanager
def _steps() -> Iterator[Say]:
    """The current step: with a spinner on a terminal, as a line in a pipe."""
    if not terminal.watched():
        yield terminal.note
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None)
        yield lambda sentence: shown.update(task, description=sentence)
