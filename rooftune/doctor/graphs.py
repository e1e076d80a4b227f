"""CUDA graphs: how many rows of a step are padding, and whether the batch is above the largest captured size.

A step replays the graph of the next captured size, so a batch of 9 costs what one of 16 costs. vLLM prints the sizes in
its resolved configuration. With ``--cudagraph-metrics`` it also prints how often each size ran (``compilation/
cuda_graph.py``, since 0.15); without it, the running requests of the samples say what decode steps were padded to.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from rooftune.doctor.diagnosis import DoctorFinding
from rooftune.doctor.watch import Watched
from rooftune.engines.server import EffectiveConfig
from rooftune.formatting import number, percent, quantity
from rooftune.vllm_rules.versions import Releases, version

PADDED = 0.15
"""Share of the rows of a step that are padding, from which it is worth a try."""
BEYOND = 0.5
"""Share of the samples with more running requests than the largest graph has."""
AT_LIMIT = 0.95
"""Running requests as a share of max_num_seqs."""
HAS_INTERACTIVITY = Releases(since="0.19")
"""``performance_mode=interactivity`` captures every size up to :data:`EVERY_SIZE`."""
HAS_LARGEST_SIZE = Releases(since="0.15")
"""``max_cudagraph_capture_size`` is a flag."""
EVERY_SIZE = 32
_SIZES = re.compile(r"'cudagraph_capture_sizes': \[([\d, ]+)\]|- Capture sizes: \[([\d, ]+)\]")
_ROW = re.compile(r"\|\s*(\d+)\s*\|\s*(\d+)\s*\|\s*(\d+)\s*\|\s*([\w.]+)\s*\|\s*(\d+)\s*\|")
"""A row of the table of ``--cudagraph-metrics``: unpadded tokens, padded tokens, paddings, mode, count."""


@dataclass(frozen=True)
class Padding:
    """What steps with a graph were padded by."""

    rows: float
    """Sequences or tokens of a step, on average."""
    added: float
    """Rows of padding of a step, on average."""
    words: str
    """Where that was seen."""

    @property
    def share(self) -> float:
        """Of all rows of a step."""
        return self.added / (self.rows + self.added) if self.rows + self.added else 0.0


@dataclass(frozen=True)
class WayOut:
    """What may save the padding."""

    knob: str
    flags: tuple[str, ...] = ()
    why: str = ""
    """The end of the sentence: what it rests on."""


def capture_sizes(log_text: str) -> list[int]:
    """The captured batch sizes that a log names, ascending; empty where it names none."""
    found = _SIZES.search(log_text)
    return sorted({int(n) for n in (found[1] or found[2]).split(",") if n.strip()}) if found else []


def graph_findings(seen: Watched, effective: EffectiveConfig, log_text: str) -> list[DoctorFinding]:
    """Padding and batches without a graph; nothing without graphs or without a log, which another finding says."""
    if effective.cuda_graphs is False or effective.enforce_eager or not log_text:
        return []
    sizes = capture_sizes(log_text)
    if not sizes:
        if effective.cuda_graphs is None:
            return []
        return [_not_known("The log does not name the captured sizes, so padding is not known.", "no capture sizes")]
    running = [] if _several_engines(seen.page) else [s["running"] for s in seen.samples if s.get("running")]
    found = [_beyond(running, sizes, effective)] if running and _above(running, sizes[-1]) >= BEYOND else []
    padding = _logged(log_text) or _sampled(running, sizes, effective)
    if padding is None:
        if not found:
            found.append(_not_known("No decode step was seen, so padding is not known.", _listed(sizes)))
        return found
    return [*found, _padding(padding, running, sizes, effective)]


def _beyond(running: Sequence[float], sizes: Sequence[int], effective: EffectiveConfig) -> DoctorFinding:
    most = max([*running, effective.max_num_seqs or 0])
    flag = HAS_LARGEST_SIZE.has(version(effective.engine_version or ""))
    return DoctorFinding(
        id="graph-sizes",
        severity="advice",
        sentence=f"Steps with more than {sizes[-1]} sequences run without a CUDA graph, so their kernels are launched "
        "one by one.",
        evidence=f"{number(sum(running) / len(running))} running on average, above {sizes[-1]} in "
        f"{percent(_above(running, sizes[-1]))} of samples; {_listed(sizes)}",
        knob="cuda_graph_sizes",
        flags=[f"max_cudagraph_capture_size={-(-int(most) // 16) * 16}"] if flag else [],
    )


def _padding(
    padding: Padding, running: Sequence[float], sizes: Sequence[int], effective: EffectiveConfig
) -> DoctorFinding:
    evidence = f"{padding.words}: {number(padding.rows)} rows and {number(padding.added)} of padding on average"
    evidence += f"; {_listed(sizes)}"
    if padding.share < PADDED:
        sentence = f"{percent(padding.share)} of the rows of a step are padding for its CUDA graph."
        return DoctorFinding(id="graph-padding", severity="fine", sentence=sentence, evidence=evidence)
    way_out = _way_out(running, sizes, effective)
    return DoctorFinding(
        id="graph-padding",
        severity="advice",
        sentence=f"{percent(padding.share)} of the rows of a step are padding for its CUDA graph{way_out.why}.",
        evidence=evidence,
        knob=way_out.knob,
        flags=list(way_out.flags),
    )


def _way_out(running: Sequence[float], sizes: Sequence[int], effective: EffectiveConfig) -> WayOut:
    limit = effective.max_num_seqs
    if limit and running and sum(running) / len(running) >= AT_LIMIT * limit and _next(sizes, limit) > limit:
        size = _next(sizes, limit)
        more = quantity(size - limit, "more sequence")
        why = f", so {more} than max_num_seqs={limit} would run in the same steps"
        return WayOut("max_num_seqs", (f"max_num_seqs={size}",), why)
    if running and max(running) <= EVERY_SIZE and HAS_INTERACTIVITY.has(version(effective.engine_version or "")):
        return WayOut("performance_mode", ("performance_mode=interactivity",))
    return WayOut("cuda_graph_sizes")


def _logged(log_text: str) -> Padding | None:
    """Padding by the table that ``--cudagraph-metrics`` prints; None without one."""
    steps = rows = added = 0
    for found in _ROW.finditer(log_text):
        unpadded, _, paddings, mode, count = found.groups()
        if "NONE" not in mode:
            steps += int(count)
            rows += int(unpadded) * int(count)
            added += int(paddings) * int(count)
    return Padding(rows / steps, added / steps, f"{quantity(steps, 'step')} in the log") if steps else None


def _sampled(running: Sequence[float], sizes: Sequence[int], effective: EffectiveConfig) -> Padding | None:
    """Padding of decode steps by the running requests; None where a sequence may have more than one row."""
    replayed = [int(n) for n in running if n <= sizes[-1]]
    if not replayed or effective.speculative:
        return None
    added = [_next(sizes, n) - n for n in replayed]
    words = f"decode steps of {quantity(len(replayed), 'sample')}"
    return Padding(sum(replayed) / len(replayed), sum(added) / len(added), words)


def _next(sizes: Sequence[int], rows: int) -> int:
    """The size that a step of this many rows is padded to; itself above the largest."""
    place = bisect_left(sizes, rows)
    return sizes[place] if place < len(sizes) else rows


def _above(running: Sequence[float], largest: int) -> float:
    return sum(n > largest for n in running) / len(running)


def _several_engines(page: str) -> bool:
    """Whether the gauges of several engines would be added up."""
    return 'engine="1"' in page


def _listed(sizes: Sequence[int]) -> str:
    shown = ", ".join(map(str, sizes[:6]))
    return f"graphs for {shown}{f' … {sizes[-1]}' if len(sizes) > 6 else ''}"


def _not_known(sentence: str, evidence: str) -> DoctorFinding:
    return DoctorFinding(id="graph-padding", severity="not known", sentence=sentence, evidence=evidence)
