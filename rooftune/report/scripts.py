"""Start scripts: one for the recommended configuration, one for the state after each phase."""

from __future__ import annotations

import os
from pathlib import Path

from rooftune.engines.command_line import shell_script
from rooftune.engines.deployed_environment import Environment, environment_of
from rooftune.engines.server import ServerInfo
from rooftune.files import read_model, write_text
from rooftune.formatting import rate
from rooftune.report.markup import sentence
from rooftune.report.run.answer_quality import known_answers
from rooftune.report.run_data import RunData
from rooftune.tuning.capacity_figures import interval_words
from rooftune.tuning.decision import place_of

NOT_MEASURED = "No trial of this configuration was measured."


def write_scripts(run: RunData) -> list[Path]:
    """Write ``start_vllm.sh`` and ``start_vllm_<phase>.sh`` into the run folder; nothing for an endpoint."""
    if run.plan.target.engine == "endpoint":
        return []
    names = {"start_vllm.sh": run.decision.incumbent}
    names |= {f"start_vllm_{phase.replace('-', '_')}.sh": run.incumbent_after(phase) for phase in run.phases}
    paths = []
    for file, candidate in names.items():
        path = run.folder.path / file
        environment = measured_environment(run, candidate)
        text = shell_script(
            run.config_of(candidate),
            [*comments(run, candidate, file), *environment.comments],
            engine_version=run.plan.target.engine_version,
            environment=environment.values,
        )
        write_text(path, text)
        os.chmod(path, 0o755)
        paths.append(path)
    return paths


def measured_servers(run: RunData, candidate: str) -> list[ServerInfo]:
    """The real servers that were started with the flags of a configuration, in the order of its trials."""
    trials = [t for t in run.of(candidate) if not t.simulated and t.switched is None]
    files = [run.folder.trial(candidate, t.n).server_json for t in trials]
    return [read_model(path, ServerInfo) for path in files if path.is_file()]


def measured_environment(run: RunData, candidate: str) -> Environment:
    """The variables that a configuration was measured with."""
    servers = measured_servers(run, candidate)
    return environment_of(servers[-1].environment if servers else {})


def comments(run: RunData, candidate: str, file: str) -> list[str]:
    """The header of a script: what it starts, for which workload, and on what evidence."""
    what = "the recommended configuration" if file == "start_vllm.sh" else "the best configuration after this phase"
    unmeasured = [] if run.of(candidate) else [NOT_MEASURED]
    first = f"{file}: {what} for {run.plan.workload} ({candidate})."
    return [first, *evidence(run, candidate), *unmeasured, *_answers(run, candidate)]


def _answers(run: RunData, candidate: str) -> list[str]:
    words = known_answers(run, candidate)
    return [f"Answers {words[0].lower()}{words[1:]}"] if words else []


def evidence(run: RunData, candidate: str) -> list[str]:
    """From which run a configuration is, and what was measured or simulated of it."""
    throughput = None if run.by_capacity else run.value(candidate, "output_throughput")
    where = place_of(run.plan, run.trials)
    lines = [f"Found by rooftune on {where}, run {run.about.get('run_id', run.folder.path.name)}."]
    if run.plan.context is not None:
        lines.append(f"{sentence(run.plan.context.sentence)} Raise it where longer requests have to be served.")
    carried = run.capacity_if_measured(candidate)
    if carried is not None:
        simulated = " (simulated)" if run.simulated else ""
        lines.append(f"One server carries {interval_words(carried)} within the SLO{simulated}.")
    if throughput is not None:
        lines.append(f"Measured: {rate(throughput, 'output token')}" + (" (simulated)." if run.simulated else "."))
    return lines
