"""``report``, ``compare``, ``history``, ``audit``: what has been measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli import options, terminal
from flows.service import local


def report(
    run: options.RunPath,
    write: Annotated[
        bool, typer.Option("--write/--no-write", help="Write the report's files anew before showing it.")
    ] = True,
    artifacts: options.Artifacts = options.ARTIFACTS,
    as_json: options.Json = False,
) -> None:
    """Write the report of a run from its files, and show it. Works on a run that was cut short, too.

    [bold]Examples[/bold]

      rooftune report chat-medium/latest
      rooftune report artifacts/chat-medium/20260101-120000-ab12 --json
    """
    from rooftune.files import read_json
    from rooftune.run_names import find_run

    folder = find_run(run, artifacts)
    if write:
        local.settle()
        from rooftune.report.markdown import write_report
        from tasks.report import bring_up_to_date

        bring_up_to_date(folder)
        write_report(folder)
    if as_json:
        decision = read_json(folder.decision_json)
        figures = sorted(str(p.relative_to(folder.path)) for p in folder.figures.glob("*.png"))
        scripts = sorted(p.name for p in folder.path.glob("start_vllm*.sh"))
        files = {"report": folder.report.name, "figures": figures, "scripts": scripts}
        terminal.print_json({"run": str(folder.path), **decision, "files": files})
        return
    terminal.markdown(folder.report.read_text(encoding="utf-8"))


def compare(
    a: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or <workload>/latest.")],
    b: Annotated[str, typer.Argument(metavar="RUN", help="Another one.")],
    artifacts: options.Artifacts = options.ARTIFACTS,
    as_json: options.Json = False,
) -> None:
    """Compare two runs: their recommended configurations, and every configuration that both measured.

    [bold]Example[/bold]

      rooftune compare artifacts/chat-medium/20260101-120000-ab12 chat-medium/latest
    """
    from rooftune.report.compare import compare_runs, comparison_text
    from rooftune.run_names import find_run

    found = compare_runs(find_run(a, artifacts), find_run(b, artifacts))
    if as_json:
        terminal.print_json(found.model_dump(mode="json"))
    else:
        terminal.markdown(comparison_text(found))


def history(
    workload: Annotated[str, typer.Argument(metavar="WORKLOAD", help="Name of a workload, for example chat-medium.")],
    last: Annotated[int, typer.Option("--last", min=1, help="Show so many of the newest trials.")] = 40,
    artifacts: options.Artifacts = options.ARTIFACTS,
    as_json: options.Json = False,
) -> None:
    """Show the trials of a workload over time, from the dataset that every run appends to.

    [bold]Example[/bold]

      rooftune history chat-medium --last 20
    """
    from rooftune.errors import InputError, nearest
    from rooftune.evidence.history import read, unreadable
    from rooftune.report.history import history_text

    root = artifacts / "history"
    rows = read(root, workload)
    cut = unreadable(root, workload)
    for path in cut:
        terminal.note(f"rooftune: {path} cannot be read (cut or empty) and is left out; delete it if it is of no use.")
    if not rows:
        names = sorted(p.name.partition("=")[2] for p in root.glob("workload=*"))
        known = f"; it knows {', '.join(names)}" if names else ""
        raise InputError(f"the history under {root} has no trial of {workload!r}{nearest(workload, names)}{known}.")
    if as_json:
        terminal.print_json({"workload": workload, "trials": rows[-last:], "unreadable": [str(p) for p in cut]})
    else:
        terminal.markdown(history_text(workload, rows, last))


def audit(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="Run folder, trial folder, results of vllm bench serve, guidellm or aiperf, or a CSV of requests.",
        ),
    ],
    duration: Annotated[
        float | None,
        typer.Option("--duration", min=0.001, help="Length of the load in seconds, where the file does not say it."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="OURS=THEIRS", help="Name of a CSV's column: --map first_token_s=t_first. May be repeated."
        ),
    ] = None,
    as_json: options.Json = False,
) -> int:
    """Check whether measured figures may be believed, ours or another tool's. Exit code 1 when a check fails.

    [bold]Examples[/bold]

      rooftune audit chat-medium/latest
      rooftune audit requests.csv --duration 40
      rooftune audit openai-20qps.json
    """
    from rooftune.errors import InputError
    from rooftune.evidence.audit_path import audit_path
    from rooftune.run_names import find_run

    where = path
    if not path.exists():
        try:
            where = find_run(str(path)).path
        except InputError:
            raise InputError(f"there is no file or folder {path}.") from None
    checks = audit_path(where, duration_s=duration, map=_mapping(columns or []))
    failed = [c for c in checks if c.status == "fail"]
    if as_json:
        counts = {s: sum(1 for c in checks if c.status == s) for s in ("pass", "warn", "fail", "no data")}
        terminal.print_json(
            {"path": str(where), "believed": not failed, "counts": counts, "checks": [c.model_dump() for c in checks]}
        )
    else:
        _show_checks(where, checks)
    return 1 if failed else 0


def _mapping(pairs: list[str]) -> dict[str, str]:
    from rooftune.errors import InputError

    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, theirs = pair.partition("=")
        if not equals or not name or not theirs:
            raise InputError(f"--map {pair!r} is not understood; write OURS=THEIRS, for example first_token_s=t_first.")
        found[name] = theirs
    return found


def _show_checks(path: Path, checks: list[Any]) -> None:
    order = {"fail": 0, "warn": 1, "pass": 2, "no data": 3}
    print(f"Audit of {path}\n")
    for check in sorted(checks, key=lambda c: order[c.status]):
        print(f"{check.status.upper():8} {check.id}: {check.sentence}")
        if check.remedy and check.status in ("fail", "warn"):
            print(f"{'':8} {check.remedy}")
    failed = sum(1 for c in checks if c.status == "fail")
    blind = sum(1 for c in checks if c.status == "no data")
    looked = len(checks) - blind
    doubts = sum(1 for c in checks if c.status == "warn")
    verdict = f"{failed} of {looked} checks failed: do not believe these figures" if failed else "No check failed"
    told = [f"{looked - failed - doubts} passed", f"{doubts} with a warning" if doubts else "", f"{blind} had no data"]
    print(f"\n{verdict}; {', '.join(t for t in told if t)}.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    panel = "Look at what was measured"
    for command in (report, compare, history, audit):
        app.command(rich_help_panel=panel)(command)
