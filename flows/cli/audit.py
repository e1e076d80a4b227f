"""``rooftune audit``: can these figures be trusted?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from flows.cli import terminal
from flows.inputs import options

NOTHING_JUDGED = 3
"""Exit code when no check has data."""

if TYPE_CHECKING:
    from rooftune.evidence.records.trial import Check


def audit(
    path: Annotated[
        Path,
        Argument(
            metavar="PATH",
            help="Run folder, trial folder, results of vllm bench serve, sglang.bench_serving, guidellm, aiperf, "
            "genai-perf, inference-perf, llmperf or evalscope, or a CSV of requests.",
        ),
    ],
    duration: Annotated[
        float | None,
        Option("--duration", min=0.001, help="Length of the load in seconds, if the file does not contain it."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        Option("--map", metavar="OURS=THEIRS", help="Name of a CSV column: --map first_token_s=t_first. Repeatable."),
    ] = None,
    as_json: options.Json = False,
) -> int:
    """Check whether measured figures can be trusted, from rooftune or another tool.

    The exit code is 1 if a check fails, and 3 if the file has too little for any check.

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
    judged = [c for c in checks if c.status != "no data"]
    if as_json:
        counts = {s: sum(1 for c in checks if c.status == s) for s in ("pass", "warn", "fail", "no data")}
        terminal.print_json(
            {
                "path": str(where),
                "believed": bool(judged) and not failed,
                "counts": counts,
                "checks": [c.model_dump() for c in checks],
            }
        )
    else:
        _show_checks(where, checks)
    if not judged:
        return NOTHING_JUDGED
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


def _show_checks(path: Path, checks: list[Check]) -> None:
    order = {"fail": 0, "warn": 1, "pass": 2, "no data": 3}
    print(f"Audit of {path}\n")
    for check in sorted(checks, key=lambda c: order[c.status]):
        print(f"{check.status.upper():8} {check.id}: {check.sentence}")
        if check.remedy and check.status in ("fail", "warn"):
            print(f"{'':8} {check.remedy}")
    failed = sum(1 for c in checks if c.status == "fail")
    without_data = sum(1 for c in checks if c.status == "no data")
    checked = len(checks) - without_data
    warnings = sum(1 for c in checks if c.status == "warn")
    verdict = f"{failed} of {checked} checks failed: do not trust these figures" if failed else "No check failed"
    if not checked:
        print(
            f"Nothing could be judged: the file has too little for any of the {len(checks)} checks. "
            "Save single requests (vllm bench serve --save-result --save-detailed) and audit those."
        )
        return
    parts = [
        f"{checked - failed - warnings} passed",
        f"{warnings} with a warning" if warnings else "",
        f"{without_data} had no data",
    ]
    print(f"\n{verdict}; {', '.join(p for p in parts if p)}.")
