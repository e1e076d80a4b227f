"""Where each figure belongs on the page. A figure that was not drawn leaves no gap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rooftune.report.figures.saving import Drawing
from rooftune.report.page.model import Picture, Section, section
from rooftune.report.run.naming import names_of
from rooftune.report.run_data import RunData

FIRST = ("front", "attainment", "progression")
"""The figure of the first screen is the first of these that was drawn."""
LOAD, PROGRESSION, TRADE_OFFS, LIMITS, EVIDENCE = "load", "progression", "trade-offs", "limits", "evidence"
PLACES = {
    "progression": PROGRESSION,
    "front": TRADE_OFFS,
    "attainment": LOAD,
    "latencies": LOAD,
    "distribution": TRADE_OFFS,
    "roofline": LIMITS,
    "step_time": LIMITS,
    "timeline": EVIDENCE,
    "predictions": EVIDENCE,
}
"""Sections by the name of a figure. Others are with the evidence."""
SHOWN = ("front", "attainment", "progression", "roofline")
"""Figures that are seen without unfolding anything."""
FOLDED = {
    LOAD: "latencies against the load",
    PROGRESSION: "more on the progression",
    TRADE_OFFS: "distribution of the latencies",
    LIMITS: "where the time of a step goes",
    EVIDENCE: "trials over time and predictions",
}
LONG_RUN = (
    "A load lasts a few minutes and the curve is the long run, so a dot may be above or below its curve, especially "
    "beyond the capacity, where the queue has not had time to grow."
)


@dataclass(frozen=True)
class Pictures:
    """The figures of a report, by place."""

    first: Picture | None = None
    placed: dict[str, list[Picture]] = field(default_factory=dict)

    def of(self, place: str) -> list[Picture | Section]:
        """The figures of a section; those for the details are folded."""
        found = self.placed.get(place, [])
        shown: list[Picture | Section] = [p for p in found if Path(p.stem).name in SHOWN]
        details = [p for p in found if p not in shown]
        folded = section(f"{'Figures' if len(details) > 1 else 'Figure'}: {FOLDED[place]}", *details, folded=True)
        return [*shown, folded] if folded is not None else shown


def placed(run: RunData, drawings: Sequence[Drawing]) -> Pictures:
    """Every figure in its place, one of them on the first screen."""
    found = {drawing.name: drawing for drawing in drawings}
    first = next((name for name in FIRST if name in found), None)
    places: dict[str, list[Picture]] = {}
    for name, drawing in found.items():
        if name != first:
            places.setdefault(PLACES.get(name, EVIDENCE), []).append(_picture(run, drawing))
    return Pictures(_picture(run, found[first]) if first is not None else None, places)


def _picture(run: RunData, drawing: Drawing) -> Picture:
    alt = names_of(run).shorten(drawing.alt or drawing.title)
    stem = drawing.path.relative_to(run.folder.path).with_suffix("").as_posix()
    more = f" {LONG_RUN}" if drawing.name == "attainment" else ""
    return Picture(stem, alt, f"{drawing.caption}.{more}")
