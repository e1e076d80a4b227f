"""The report of a capacity measurement: capacity.md with its figures."""

from __future__ import annotations

from pathlib import Path

from rooftune.capacity.result import CapacityResult
from rooftune.capacity.sentences import headline, method_lines, replica_lines
from rooftune.capacity.units import UNITS
from rooftune.files import write_text
from rooftune.formatting import NONE, number, percent
from rooftune.report.figures.capacity_run import ATTAINMENT, LATENCIES, draw_capacity

REPORT = "capacity.md"


def write_capacity_report(folder: Path, result: CapacityResult) -> Path:
    """Write capacity.md and its figures into the folder of a measurement; returns the report's path."""
    if result.steps:
        draw_capacity(result, folder / "figures")
    path = folder / REPORT
    write_text(path, capacity_markdown(result))
    return path


def capacity_markdown(result: CapacityResult) -> str:
    """The report as Markdown."""
    lines = [f"# Capacity of {result.workload.name}", "", headline(result), ""]
    needed = replica_lines(result)
    if needed:
        lines += ["## Servers for the asked load", "", *[f"- {line}" for line in needed], ""]
    if result.steps:
        lines += [
            f"![Requests within the SLO against the load](figures/{ATTAINMENT}.png)",
            "",
            f"![TTFT and TPOT against the load](figures/{LATENCIES}.png)",
            "",
            "## Steps",
            "",
            *_steps(result),
            "",
        ]
    lines += ["## How it was measured", "", *[f"- {line}" for line in method_lines(result)], ""]
    lines += [
        "| check | finding |",
        "|---|---|",
        *[f"| {c.id} | {c.status}: {c.sentence} |" for c in result.checks],
        "",
    ]
    return "\n".join(lines)


def _steps(result: CapacityResult) -> list[str]:
    heads = ["step", UNITS[result.per], "judged", "within the SLO", "TTFT p50 / p99, ms", "TPOT p50 / p99, ms", "queue", "speed"]  # fmt: skip
    rows = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for s in result.steps:
        times = [
            f"{_known(s.latencies, f'median_{k}')} / {_known(s.latencies, f'p99_{k}')}" for k in ("ttft_ms", "tpot_ms")
        ]
        cells = [
            str(s.number),
            number(s.load),
            f"{s.requests:,}",
            percent(s.attainment, 3),
            *times,
            "closed loop" if s.users is not None else "grew" if s.queue_grew else "steady",
            number(s.speed),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _known(latencies: dict[str, float], key: str) -> str:
    return number(latencies[key]) if key in latencies else NONE
