"""The T4 experiment as one simulation: what its server generated, and what its client reported. Draws
docs/figures/t4.png.

python -m benchmarks.fidelity.t4 [--figure docs/figures/t4.png]
"""

from __future__ import annotations

import argparse
import csv
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.fidelity import t4_replay as t4
from rooftune.report.figures.chart import Panels, new_chart
from rooftune.report.figures.saving import save_png
from rooftune.report.figures.style import BLUE, VERMILION, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Line(NamedTuple):
    """How a run is drawn."""

    max_num_seqs: int | None
    colour: str
    name: str


LINES = (Line(None, BLUE, "default"), Line(8, VERMILION, "--max-num-seqs 8"))


def main(arguments: list[str] | None = None) -> int:
    """Draw the figure and print what it shows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/t4.png"))
    path = parser.parse_args(arguments).figure
    runs = {line.max_num_seqs: t4.run(line.max_num_seqs) for line in LINES}
    for line in LINES:
        run = runs[line.max_num_seqs]
        c, counted = run.claimed, run.claimed.throughput_tok_s * run.requests.sent_s[-1]
        print(
            f"{line.name}: {c.scheduled} requests scheduled and called successful, {c.begun} begun, "
            f"{c.finished} finished; the server generated {_generated(run):,.0f} tokens, "
            f"the client counted {counted:,.0f}"
        )
    draw(runs, path)
    print(f"figure: {path}")
    return 0


@styled
def draw(runs: dict[int | None, t4.T4Run], path: Path) -> None:
    """Left: tokens over time at the server. Right: what the client counted of them."""
    title = "One experiment on a Tesla T4. Lines: simulated. Dots: the experiment's own records"
    chart, (left, right) = new_chart(title, 4.8, Panels(columns=2, share_y=True), width=11)
    chart.figure.suptitle(title, x=0.01, ha="left")
    for line in LINES:
        _server(left, runs[line.max_num_seqs], line)
        _client(right, runs[line.max_num_seqs], line)
    left.set_title("What the server generated: the flag loses 45 %")
    right.set_title("What the client counted: finished answers, characters / 4")
    left.set_ylabel("tokens so far, thousands")
    for axis in (left, right):
        axis.set_xlabel("seconds from the first request")
        axis.set_xlim(0, 43)
        axis.set_ylim(0, 15)
    save_png(chart, path)


def _generated(run: t4.T4Run) -> float:
    """Tokens that the server generated up to the cut."""
    return float(_curve(run, np.array([run.requests.sent_s[-1] + t4.LINGER_S]))[0])


def _curve(run: t4.T4Run, at: t4.Floats) -> t4.Floats:
    """Tokens generated up to each moment; an answer grows evenly from its first token to its last."""
    o = run.simulated
    begun = ~np.isnan(o.first_s)
    first, last, tokens = o.first_s[begun], o.last_s[begun], o.generated[begun]
    share = (at[:, None] - first[None]) / np.maximum(last - first, 1e-9)[None]
    return np.asarray((np.clip(share, 0, 1) * (tokens - 1)[None] + (at[:, None] >= first[None])).sum(axis=1))


def _server(axis: Axes, run: t4.T4Run, line: Line) -> None:
    seqs, colour, name = line
    at = np.linspace(0, run.requests.sent_s[-1], 200)
    curve = _curve(run, at) / 1000
    axis.plot(at, curve, color=colour, linewidth=2)
    edges, rates = t4.WINDOWS[seqs]
    start = float(np.interp(edges[0], at, curve))
    measured = start + np.concatenate([[0.0], np.cumsum(np.array(rates) * np.diff(edges))]) / 1000
    axis.plot(edges, measured, "o", color=colour, markersize=5)
    at_s, above = (20.0, 1.3) if seqs is None else (33.0, -2.4)
    height = float(np.interp(at_s, at, curve)) + above
    axis.text(at_s, height, name, color=colour, ha="center")


def _client(axis: Axes, run: t4.T4Run, line: Line) -> None:
    seqs, colour, name = line
    o, load = run.simulated, run.requests
    ended = np.flatnonzero(o.ended & (o.last_s <= load.sent_s[-1] + t4.LINGER_S))
    order = ended[np.argsort(o.last_s[ended])]
    counted = np.cumsum(np.floor(load.characters(o.generated)[order] / t4.CHARS_PER_TOKEN)) / 1000
    axis.step([0, *o.last_s[order]], [0, *counted], where="post", color=colour, linewidth=2)
    real = _recorded("default" if seqs is None else "eight")
    axis.plot(real.at_s[3::4], real.tokens[3::4] / 1000, "o", color=colour, markersize=3.5)
    words = f"{name}: {run.claimed.finished} of {run.claimed.scheduled} finished"
    axis.text(42, 9.0 if seqs else 1.0, words, color=colour, ha="right")


class Recorded(NamedTuple):
    """Answers that finished in the real run, in order: when, and the client's token count by then."""

    at_s: t4.Floats
    tokens: t4.Ints


def _recorded(run: str) -> Recorded:
    text = files("benchmarks.fidelity").joinpath("data/t4_requests.csv").read_text(encoding="utf-8")
    rows = [
        (float(r[f"{run}_last_s"]), int(r[f"{run}_chars"]))
        for r in csv.DictReader(text.splitlines())
        if r[f"{run}_chars"]
    ]
    rows.sort()
    counted = np.cumsum([c // t4.CHARS_PER_TOKEN for _, c in rows])
    return Recorded(np.array([t for t, _ in rows]), counted)


if __name__ == "__main__":
    sys.exit(main())
