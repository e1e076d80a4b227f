"""Two runs side by side: the text of ``rooftune compare RUN RUN``."""

from __future__ import annotations

from typing import Any

from rooftune.evidence.records.trial import TrialResult
from rooftune.report.contents import Contents, read
from rooftune.report.text import change, code, number, sentence, table
from rooftune.runfolder import RunFolder
from rooftune.tuning.judge import SHOWN, WORDS, judge


def compare_runs(a: RunFolder, b: RunFolder) -> dict[str, Any]:
    """Compare the recommended configurations of two runs, and every configuration that both measured.

    Ratios are b / a. ``caveats`` says what else differs, so that nobody takes it for the effect of the configuration.

    Raises:
        RooftuneError: a run has not got as far as a decision, or its files cannot be read.
    """
    first, second = read(a), read(b)
    shared = [p.id for p in first.measured if second.of(p.id)] if _same_plan(first, second) else []
    pairs = [(first.decision.incumbent, second.decision.incumbent), *((n, n) for n in shared)]
    rows = [_pair(first, second, x, y) for x, y in dict.fromkeys(pairs)]
    return {
        "a": _side(first),
        "b": _side(second),
        "caveats": caveats(first, second),
        "pairs": rows,
    }


def _same_plan(a: Contents, b: Contents) -> bool:
    return a.plan.target.engine_version == b.plan.target.engine_version and a.plan.target.model == b.plan.target.model


def _side(c: Contents) -> dict[str, Any]:
    return {
        "run": str(c.run.path),
        "workload": c.plan.workload,
        "gpu": c.hardware.accelerator.name,
        "engine": c.plan.target.engine,
        "engine_version": c.plan.target.engine_version,
        "model": c.plan.target.model,
        "simulated": c.simulated,
        "incumbent": c.decision.incumbent,
        "first_sentence": c.decision.first_sentence,
    }


def caveats(a: Contents, b: Contents) -> list[str]:
    """What differs between two runs apart from flags."""
    found = []
    sides = {
        "engine": (a.plan.target.engine, b.plan.target.engine),
        "engine version": (a.plan.target.engine_version, b.plan.target.engine_version),
        "GPU": (a.hardware.accelerator.name, b.hardware.accelerator.name),
        "model": (a.plan.target.model, b.plan.target.model),
        "workload": (_hashes(a.trials), _hashes(b.trials)),
    }
    for what, (x, y) in sides.items():
        if x != y:
            found.append(f"the {what} differs ({x} and {y})")
    found.append("the runs were made one after the other, so whatever drifted between them counts as a difference")
    return found


def _hashes(trials: list[TrialResult]) -> str:
    return ", ".join(sorted({f"{t.workload} {t.workload_hash[:8]}" for t in trials}))


def _pair(a: Contents, b: Contents, x: str, y: str) -> dict[str, Any]:
    ours, theirs = b.of(y), a.of(x)
    row: dict[str, Any] = {"a": x, "b": y, "trials": [len(theirs), len(ours)]}
    row["metrics"] = {
        m: {"a": a.value(x, m), "b": b.value(y, m)}
        for m in SHOWN
        if a.value(x, m) is not None or b.value(y, m) is not None
    }
    if len(ours) < 2 or len(theirs) < 2:
        return {**row, "verdict": "not run", "reason": "each side needs two believed trials"}
    found = judge(ours, theirs, b.plan.objective, x, 1)
    names = {"applied": "better", "no gain": "worse"}
    row["verdict"] = names.get(found.verdict, found.verdict)
    row["reason"] = found.reason
    for metric, interval in found.ratios.items():
        row["metrics"].setdefault(metric, {})["ratio"] = interval.model_dump()
    return row


def text(found: dict[str, Any]) -> str:
    """The comparison as Markdown for the terminal."""
    a, b = found["a"], found["b"]
    lines = [f"# {a['workload']}: {a['run']} and {b['run']}", ""]
    for name, side in (("A", a), ("B", b)):
        simulated = " (simulated)" if side["simulated"] else ""
        lines.append(f"- {name}: {side['gpu']}{simulated}, vLLM {side['engine_version']}: {side['first_sentence']}")
    lines += ["", *[f"- Mind that {c}." for c in found["caveats"]], ""]
    for pair in found["pairs"]:
        lines += [
            f"## {code(pair['a'])} in A, {code(pair['b'])} in B",
            "",
            sentence(f"B is {pair['verdict']}: {pair['reason']}"),
            "",
        ]
        rows = [
            [WORDS.get(m, m), number(v.get("a")), number(v.get("b")), _ratio(v.get("ratio"))]
            for m, v in pair["metrics"].items()
        ]
        lines += [*table(["Metric", "A", "B", "B against A"], rows, right=1), ""]
    return "\n".join(lines)


def _ratio(value: dict[str, Any] | None) -> str:
    from rooftune.tuning.plan import Interval

    return change(Interval.model_validate(value)) if value else "–"
