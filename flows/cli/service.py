"""``up`` and ``down``: Prefect's server, deployments and worker on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer

from flows.cli import options, terminal


def up(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of Prefect's server and UI.")] = 4200,
    as_json: options.Json = False,
) -> None:
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
        about = start(port, say)
    if as_json:
        terminal.print_json(about)
        return
    print(f"Prefect UI   {about['ui']}")
    print(f"Deployments  {', '.join(about['deployments'])}")
    print("Run one      prefect deployment run optimize/chat-medium --watch   (in this folder)")
    print(f"Elsewhere    export PREFECT_API_URL={about['api']}")
    print(f"Logs         {terminal.home() / 'logs'}")
    print("End it       make down   (or: rooftune down)")


def down(as_json: options.Json = False) -> None:
    """End the worker and the server that `rooftune up` started, and every run that the worker has in hand.

    What those runs have measured is kept; `rooftune optimize WORKLOAD --resume latest` goes on with it.

    [bold]Example[/bold]

      rooftune down
    """
    from flows.service.up import down as stop

    with _steps() as say:
        found = stop(say)
    if as_json:
        terminal.print_json({"ended": found})
    else:
        print("Prefect's server and worker are down." if found else "Nothing was up.")


@contextlib.contextmanager
def _steps() -> Iterator[terminal.Say]:
    """What is being done, with a spinner and the time it takes; nothing when nobody watches."""
    if not terminal.watched():
        yield lambda sentence: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None)
        yield lambda sentence: shown.update(task, description=sentence)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    panel = "Prefect on this machine"
    for command in (up, down):
        app.command(rich_help_panel=panel)(command)
