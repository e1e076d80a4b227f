"""The files of the run folder, and what exports the configuration."""

from __future__ import annotations

from pathlib import Path

from rooftune.report.markup import code
from rooftune.report.page.model import Section, section, table, text
from rooftune.report.run_data import RunData

FILES = {
    "start_vllm.sh": "starts the recommended configuration",
    "report.html": "this report in one file",
    "run.json": "the command and its options",
    "hardware.json": "the hardware and its capabilities",
    "plan.json": "every candidate with its gates and expected effect",
    "decision.json": "verdicts and recommendation",
    "curves.json": "the simulated response of baseline and recommendation to the rate",
    "steps.json": "where the time of a step goes",
    "levers.json": "the simulated gain of weights, KV cache type and speculation by load",
    "upgrade.json": "the predicted hardware upgrade path",
    "other_workloads.json": "the predicted capacity of the best configurations on other workloads",
    "roofline.json": "ceilings and points of the roofline",
    "metrics.parquet": "one row per trial",
}
EXPORT = (
    "`rooftune export RUN --to all` writes the recommended configuration for `vllm serve --config`, Docker Compose, "
    "Kubernetes, Helm and systemd, with alerts for Prometheus and a Grafana dashboard."
)


def _phase(script: str) -> str:
    """The phase of a start script: 'easy-wins' of start_vllm_easy_wins.sh."""
    return script.removeprefix("start_vllm_").removesuffix(".sh").replace("_", "-")


def _started(phase: str) -> str:
    """What the start script of a phase starts."""
    return "starts the baseline" if phase == "baseline" else f"starts the best configuration after {phase}"


def files(run: RunData, scripts: list[Path]) -> Section | None:
    """What is in the run folder. ``scripts`` were written with the report."""
    made = [path.name for path in scripts] + ["report.html"]
    present = [*made, *(name for name in FILES if name not in made and (run.folder.path / name).is_file())]
    rows = [[code(name), FILES.get(name) or _started(_phase(name))] for name in present]
    records = "server.json, server.log, requests.parquet, ticks.parquet, trial.json, result.json"
    rows.append([code("trials/<candidate>/<n>/"), records])
    export = EXPORT if run.plan.target.engine != "endpoint" else ""
    folder = section("What is in the run folder", table("Files of the run", ["File", "What it is"], rows), folded=True)
    return section("Files", text(export), folder)
