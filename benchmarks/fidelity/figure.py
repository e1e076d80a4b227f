"""Measured against predicted for all public points, as one figure labelled directly."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rooftune.report.figures.chart import Panels, new_chart
from rooftune.report.figures.saving import save_png
from rooftune.report.figures.style import AMBER, BLUE, GREEN, GREY, OTHER, PURPLE, VERMILION, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.fidelity.judged import JudgedPoint

COLOURS = {
    "gemm_16bit": BLUE, "marlin": VERMILION, "awq_gemm": GREEN, "int8": PURPLE, "fp8": GREY, "machete": AMBER,
}  # fmt: skip
NAMES = {
    "gemm_16bit": "16 bits", "marlin": "Marlin (4 bits)", "awq_gemm": "old AWQ kernel", "int8": "INT8", "fp8": "FP8", "machete": "Machete (4 bits)",
}  # fmt: skip


@styled
def draw(judged: list[JudgedPoint], path: Path) -> None:
    """Two panels: all points on one scale, and the error of each GPU's points."""
    title = f"Step times and serving metrics of {len(judged)} public measurements and the simulator"
    chart, (left, right) = new_chart(title, 6.2, Panels(columns=2), width=11)
    chart.figure.suptitle(title, x=0.01, ha="left")
    _scatter(left, judged)
    _by_gpu(right, judged)
    save_png(chart, path)


def _milliseconds(j: JudgedPoint, value: float) -> float:
    """A value as a time, so that all fit on one axis: of a step, a prompt or a request, or per 1,000 tokens served."""
    p = j.point
    if p.metric == "tflops":
        return 2.0 * p.m * p.n * p.k / value / 1e12 * 1e3
    if p.metric.endswith("_ms"):
        return value
    return (
        1e3 * (p.batch * (p.prompt if p.kind == "prefill" else 1)) / value
        if p.kind in ("decode", "prefill")
        else 1e6 / value
    )


def _scatter(axis: Axes, judged: list[JudgedPoint]) -> None:
    by_kernel: dict[str, list[JudgedPoint]] = defaultdict(list)
    for j in judged:
        by_kernel[j.point.kernel].append(j)
    for kernel, rows in by_kernel.items():
        for use, face in (("hold", "none"), ("fit", COLOURS[kernel])):
            chosen = [j for j in rows if j.point.use == use]
            axis.scatter(
                [_milliseconds(j, j.point.value) for j in chosen], [_milliseconds(j, j.value) for j in chosen],
                s=22, facecolors=face, edgecolors=COLOURS[kernel], linewidths=1.1,
            )  # fmt: skip
    low, high = 0.02, 6e4
    line = np.array([low, high])
    axis.plot(line, line, color=OTHER, linewidth=1, zorder=0)
    axis.fill_between(line, line / 1.25, line * 1.25, color=OTHER, alpha=0.25, linewidth=0, zorder=0)
    axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axis.set_xlabel("measured, ms (a product, a step, a request; services: per 1,000 tokens)")
    axis.set_ylabel("simulated, ms")
    axis.text(60, 6, "shaded: within 25 %", color=GREY)
    for i, kernel in enumerate(k for k in COLOURS if k in by_kernel):
        axis.text(0.03, 0.96 - 0.05 * i, NAMES[kernel], color=COLOURS[kernel], transform=axis.transAxes)
    axis.text(
        0.03,
        0.96 - 0.05 * len(by_kernel) - 0.01,
        "filled: fitted to; open: held back",
        transform=axis.transAxes,
    )


def _by_gpu(axis: Axes, judged: list[JudgedPoint]) -> None:
    by_gpu: dict[str, list[JudgedPoint]] = defaultdict(list)
    for j in judged:
        by_gpu[j.point.gpu].append(j)
    order = sorted(by_gpu, key=lambda g: float(np.median([abs(j.error) for j in by_gpu[g]])))
    spread = np.random.default_rng(0)
    for row, gpu in enumerate(order):
        for j in by_gpu[gpu]:
            colour = COLOURS[j.point.kernel]
            axis.scatter(
                100 * j.error, row + spread.uniform(-0.22, 0.22), s=16, linewidths=1,
                facecolors=colour if j.point.use == "fit" else "none", edgecolors=colour,
            )  # fmt: skip
    axis.axvline(0, color=OTHER, linewidth=1, zorder=0)
    axis.axvspan(-25, 25, color=OTHER, alpha=0.25, linewidth=0, zorder=0)
    axis.set_yticks(range(len(order)), [f"{g} ({len(by_gpu[g])})" for g in order])
    axis.set_xlim(-32, 32)
    axis.set_xlabel("error of the simulated value, %")
    axis.set_title("by GPU (number of points)")
    axis.invert_yaxis()
    axis.grid(False)
