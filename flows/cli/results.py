"""``rooftune report``, ``compare`` and ``history``: what has been measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from flows.cli import terminal
from flows.inputs import options
from flows.service import local

if TYPE_CHECKING:
    from rooftune.report.figures.chart import Chart


def report(
    run: options.RunPath,
    write: Annotated[bool, Option("--write/--no-write", help="Rewrite the report's files before showing it.")] = True,
    full: Annotated[bool, Option("--full", help="Show the whole report.md instead of the summary.")] = False,
    artifacts: options.Artifacts = options.ARTIFACTS,
    as_json: options.Json = False,
) -> None:
    """Write the report of a run from its files, and show its summary. Also works on a run that was cut short.

    [bold]Examples[/bold]

      rooftune report chat-medium/latest
      rooftune report chat-medium/latest --full
      rooftune report artifacts/chat-medium/20260101-120000-ab12 --json
    """
    from rooftune.files import read_json
    from rooftune.report.writing import summary_page, write_report
    from rooftune.run_names import find_run

    folder = find_run(run, Path(artifacts))
    if write:
        local.settle()
        from tasks.report import bring_up_to_date

        with terminal.busy(f"Writing the report of {folder.path}"):
            bring_up_to_date(folder)
            write_report(folder)
    if as_json:
        decision = read_json(folder.decision_json)
        figures = sorted(str(p.relative_to(folder.path)) for p in folder.figures.glob("*.png"))
        scripts = sorted(p.name for p in folder.path.glob("start_vllm*.sh"))
        files = {"report": folder.report.name, "figures": figures, "scripts": scripts}
        terminal.print_json({"run": str(folder.path), **decision, "files": files})
        return
    if full:
        terminal.markdown(folder.report.read_text(encoding="utf-8"))
        return
    terminal.summary(summary_page(folder))
    print(f"\nReport: {folder.report} (also as report.html)")


def compare(
    a: Annotated[str, Argument(metavar="RUN", help="A run folder, or <workload>/latest.")],
    b: Annotated[str, Argument(metavar="RUN", help="The run to compare it with.")],
    figure: Annotated[
        Path | None, Option("--figure", help="Draw the changes with their intervals to this PNG, and an SVG beside it.")
    ] = None,
    save: Annotated[
        Path | None, Option("--save", metavar="FOLDER", help="Also write comparison.md and comparison.html there.")
    ] = None,
    artifacts: options.Artifacts = options.ARTIFACTS,
    as_json: options.Json = False,
) -> None:
    """Compare two runs: their recommended configurations, and every configuration that both measured.

    [bold]Example[/bold]

      rooftune compare artifacts/chat-medium/20260101-120000-ab12 chat-medium/latest --figure change.png
    """
    from rooftune.report.compare import compare_runs
    from rooftune.report.comparison_page import comparison_page, write_comparison
    from rooftune.run_names import find_run

    first, second = find_run(a, Path(artifacts)), find_run(b, Path(artifacts))
    with terminal.busy(f"Comparing {first.path} and {second.path}"):
        found = compare_runs(first, second)
    if figure is not None:
        from rooftune.report.figures.two_runs import two_runs

        _draw(two_runs(found), figure, "no pair of configurations has two trusted trials on each side")
    written = write_comparison(found, save) if save is not None else None
    if as_json:
        terminal.print_json(found.model_dump(mode="json"))
        return
    terminal.summary(comparison_page(found))
    if written is not None:
        print(f"\nComparison: {written} (also as comparison.html)")


def history(
    workload: Annotated[str, Argument(metavar="WORKLOAD", help="Name of a workload, for example chat-medium.")],
    last: Annotated[int, Option("--last", min=1, help="How many of the newest trials to show.")] = 40,
    figure: Annotated[
        Path | None, Option("--figure", help="Draw the trend from run to run to this PNG, and an SVG beside it.")
    ] = None,
    artifacts: options.Artifacts = options.ARTIFACTS,
    as_json: options.Json = False,
) -> None:
    """Show the trials of a workload over time, from the dataset that every run appends to.

    [bold]Example[/bold]

      rooftune history chat-medium --last 20 --figure trend.png
    """
    from rooftune.errors import InputError, nearest
    from rooftune.evidence.history import read, unreadable
    from rooftune.report.history import history_text

    root = Path(artifacts) / "history"
    rows = read(root, workload)
    cut = unreadable(root, workload)
    for path in cut:
        terminal.note(
            f"rooftune: {path} cannot be read (cut or empty) and is skipped; delete it to silence this message."
        )
    if not rows:
        names = sorted(p.name.partition("=")[2] for p in root.glob("workload=*"))
        known = f"; it has trials of {', '.join(names)}" if names else ""
        raise InputError(f"the history under {root} has no trial of {workload!r}{nearest(workload, names)}{known}.")
    if figure is not None:
        from rooftune.report.figures.trend import trend

        _draw(trend(workload, rows), figure, "no configuration has trusted trials in two runs yet")
    if as_json:
        terminal.print_json({"workload": workload, "trials": rows[-last:], "unreadable": [str(p) for p in cut]})
    else:
        terminal.markdown(history_text(workload, rows, last))


def _draw(chart: Chart | None, path: Path, missing: str) -> None:
    """Write a figure, or say why there is none."""
    if chart is None:
        terminal.note(f"rooftune: {path} is not drawn: {missing}.")
        return
    from rooftune.report.figures.saving import save

    save(chart, path)
    terminal.note(f"Figure: {path}")
