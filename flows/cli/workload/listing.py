"""``rooftune workloads``: which workloads there are."""

from __future__ import annotations

from flows.cli import terminal
from flows.inputs import options


def workloads(as_json: options.Json = False) -> None:
    """List the workloads: those in ./workloads, and those that come with rooftune.

    [bold]Example[/bold]

      rooftune workloads

    A file in ./workloads takes precedence over a workload of the same name that comes with rooftune.
    """
    from rooftune.workloads.load import load_workload, workload_files

    found = [(name, path, load_workload(str(path))) for name, path in sorted(workload_files().items())]
    if as_json:
        rows = [{"name": name, "description": spec.description, "file": str(path)} for name, path, spec in found]
        terminal.print_json({"workloads": rows})
        return
    terminal.table(
        ["Workload", "Description", "File"], [[name, spec.description, str(path)] for name, path, spec in found]
    )
