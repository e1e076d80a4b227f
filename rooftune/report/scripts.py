"""Start scripts: one for the recommended configuration, one for the state after each phase."""

from __future__ import annotations

import os
from pathlib import Path

from rooftune.engines.command_line import shell_script
from rooftune.files import write_text
from rooftune.report.contents import Contents
from rooftune.tuning.decision import place_of


def write_scripts(c: Contents) -> list[Path]:
    """Write ``start_vllm.sh`` and ``start_vllm_<phase>.sh`` into the run folder. Returns their paths; none for an endpoint."""
    if c.plan.target.engine == "endpoint":
        return []
    names = {"start_vllm.sh": c.decision.incumbent}
    names |= {f"start_vllm_{phase.replace('-', '_')}.sh": c.incumbent_after(phase) for phase in c.phases}
    paths = []
    for file, candidate in names.items():
        path = c.run.path / file
        write_text(
            path,
            shell_script(
                c.config(candidate), comments(c, candidate, file), engine_version=c.plan.target.engine_version
            ),
        )
        os.chmod(path, 0o755)
        paths.append(path)
    return paths


def comments(c: Contents, candidate: str, file: str) -> list[str]:
    """What stands at the top of a script: what it starts, for what, and on what evidence."""
    what = "the recommended configuration" if file == "start_vllm.sh" else "the state after this phase"
    rate = c.value(candidate, "output_throughput")
    where = place_of(c.plan, c.trials)
    lines = [
        f"{file}: {what} for {c.plan.workload} ({candidate}).",
        f"Found by rooftune on {where}, run {c.about.get('run_id', c.run.path.name)}.",
    ]
    if rate is not None:
        lines.append(f"Measured: {rate:,.0f} output tokens/s" + (" (simulated)." if c.simulated else "."))
    return lines
