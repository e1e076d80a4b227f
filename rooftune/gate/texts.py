"""The gate's result for people and machines: Markdown for a pull request, JUnit XML for a CI server."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from rooftune.formatting import NONE, change, change_range, percent
from rooftune.gate.loss import Finding, GateVerdict
from rooftune.gate.result import GateResult, GateSide, value_words
from rooftune.report.markup import code, sentence, table
from rooftune.tuning.metrics import metric_name

MARKS: dict[GateVerdict, str] = {"no loss": "✅", "loss": "❌", "not enough evidence": "⚠️"}


def markdown(result: GateResult) -> str:
    """A comment for a pull request."""
    lines = [f"### {MARKS[result.verdict]} rooftune gate: {result.title}", "", result.sentence, ""]
    metric = result.metric
    rows = [_row(name, side, metric) for name, side in (("reference", result.reference), ("new", result.new)) if side]
    lines += table(["", metric_name(metric), "Trials", "vLLM", "Configuration", "Run"], rows)
    if result.reference is not None:
        changed = flag_changes(result.reference, result.new)
        lines += ["", f"Changed flags: {', '.join(map(code, changed)) if changed else 'none'}."]
    lines += ["", *[f"- {sentence(note)}" for note in result.notes]] if result.notes else []
    simulated = " All figures are simulated." if result.simulated else ""
    lines += ["", f"<sub>Workload {result.workload_hash[:8]}, {result.model}, {result.engine}.{simulated}</sub>", ""]
    return "\n".join(lines)


def _row(name: str, side: GateSide, metric: str) -> list[str]:
    trials = f"{side.trials}" + (f" (median of {side.runs} runs)" if side.runs > 1 else "")
    return [name, value_words(side, metric) or NONE, trials, side.engine_version, code(side.configuration), side.run]


def flag_changes(reference: GateSide, new: GateSide) -> list[str]:
    """Flags in which the sides differ: ``max_num_seqs: 64 → 32``."""
    names = sorted({*reference.flags, *new.flags})
    before, after = ({n: side.flags.get(n, "default") for n in names} for side in (reference, new))
    return [f"{n}: {before[n]} → {after[n]}" for n in names if before[n] != after[n]]


def junit(result: GateResult) -> str:
    """JUnit XML with one test case: passed, failed (a loss), or skipped (not enough evidence)."""
    skipped, failed = result.verdict == "not enough evidence", result.verdict == "loss"
    counts = {"tests": "1", "failures": str(int(failed)), "errors": "0", "skipped": str(int(skipped))}
    root = Xml.Element("testsuites", {"name": "rooftune", **counts})
    seconds = f"{result.seconds:.3f}"
    suite = Xml.SubElement(root, "testsuite", {"name": "rooftune gate", **counts, "time": seconds})
    name = f"{result.title}: {_bound_words(result.finding)}"
    case = Xml.SubElement(suite, "testcase", {"classname": f"rooftune.gate.{result.workload}", "name": name})
    case.set("time", seconds)
    _properties(case, result)
    if failed:
        Xml.SubElement(case, "failure", {"type": "loss", "message": result.sentence}).text = markdown(result)
    if skipped:
        Xml.SubElement(case, "skipped", {"message": result.sentence})
    Xml.SubElement(case, "system-out").text = markdown(result)
    return _xml(root)


def junit_error(workload: str, message: str) -> str:
    """JUnit XML of a gate that could not measure."""
    counts = {"tests": "1", "failures": "0", "errors": "1", "skipped": "0"}
    root = Xml.Element("testsuites", {"name": "rooftune", **counts})
    suite = Xml.SubElement(root, "testsuite", {"name": "rooftune gate", **counts})
    case = Xml.SubElement(suite, "testcase", {"classname": f"rooftune.gate.{workload}", "name": workload})
    Xml.SubElement(case, "error", {"type": "failed", "message": message})
    return _xml(root)


def _bound_words(finding: Finding | None) -> str:
    if finding is None:
        return "no earlier run"
    return f"{metric_name(finding.metric)} within {percent(finding.max_loss)}"


def _properties(case: Xml.Element, result: GateResult) -> None:
    found = {"verdict": result.verdict, "run": result.new.run}
    if result.reference is not None:
        found["reference"] = result.reference.run
    ratio = result.finding.ratio if result.finding is not None else None
    if ratio is not None:
        found |= {"change": change(ratio.estimate), "interval": change_range(ratio.estimate, ratio.low, ratio.high)}
    listed = Xml.SubElement(case, "properties")
    for name, value in found.items():
        Xml.SubElement(listed, "property", {"name": name, "value": value})


def _xml(root: Xml.Element) -> str:
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"
