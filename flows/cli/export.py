"""``rooftune export``: files that start a configuration of a run elsewhere, and watch it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from typer import Option

from flows.cli import terminal
from flows.inputs import options

FOLDER = "deploy"
STANDARD_OUTPUT = "-"


def export(
    run: options.RunPath,
    to: Annotated[
        list[str],
        Option("--to", help="vllm-config, compose, k8s, helm, systemd, prometheus, grafana, or all. Repeatable."),
    ],
    candidate: Annotated[
        str,
        Option(
            "--candidate",
            help="A measured configuration by its name in the report or its id; recommended; same-answers (the best "
            "one that leaves the answers as they are); or a phase, for the best configuration after it.",
        ),
    ] = "recommended",
    output: Annotated[
        str | None,
        Option("--output", "-o", help="Folder for the files (default: deploy in the run folder); - prints them."),
    ] = None,
    artifacts: options.Artifacts = options.ARTIFACTS,
    as_json: options.Json = False,
) -> None:
    """Write files that start a measured configuration with vLLM, Docker, Kubernetes, Helm or systemd, and that watch
    its SLO and its capacity with Prometheus and Grafana.

    [bold]Examples[/bold]

      rooftune export chat-medium/latest --to all
      rooftune export chat-medium/latest --to k8s --to prometheus --output deploy/
      rooftune export chat-medium/latest --to vllm-config --candidate baseline --output -
    """
    from rooftune.export.deployment import deployment_of
    from rooftune.export.formats import chosen_formats, exported, write_exported
    from rooftune.report.run_data import read_run
    from rooftune.run_names import find_run

    formats = chosen_formats(to)
    folder = find_run(run, Path(artifacts))
    data = read_run(folder)
    deployment = deployment_of(data, candidate)
    files = exported(deployment, formats)
    if output == STANDARD_OUTPUT:
        _print(files, as_json)
        return
    recommended = deployment.candidate == data.decision.incumbent
    place = folder.path / FOLDER / ("" if recommended else deployment.candidate)
    written = write_exported(files, Path(output) if output is not None else place)
    if as_json:
        paths = [str(path) for path in written]
        terminal.print_json({"run": str(folder.path), "candidate": deployment.candidate, "files": paths})
        return
    for path in written:
        sys.stdout.write(f"{path}\n")


def _print(files: dict[str, str], as_json: bool) -> None:
    """The files on standard output, one after another; a name is shown where there are several."""
    if as_json:
        terminal.print_json(files)
        return
    for name, text in files.items():
        if len(files) > 1:
            sys.stdout.write(f"==> {name} <==\n")
        sys.stdout.write(text)
