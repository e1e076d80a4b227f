"""A smooth surface through the measured windows of a grid, and the table that ``vllm_grid`` reads."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
import numpy.typing as npt

from benchmarks.tuning.vllm_grid import Cell

COLUMNS = (
    "dtype", "prefix_caching", "max_num_seqs", "max_num_batched_tokens", "tokens_per_s", "windows", "smoothed", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Window:
    """One window under load."""

    cell: Cell
    tokens_per_s: float
    others: float
    """Share of the processors that other programs used meanwhile."""


@dataclass(frozen=True)
class Surface:
    """ln(tokens/s) by cell: cubic in log2 of the sequences, quadratic in log2 of the tokens, with pairs of knobs."""

    cells: tuple[Cell, ...]
    logs: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]
    """Standard errors of the difference from the best cell."""
    scatter: float
    """Standard deviation of a window around the surface."""

    @classmethod
    def through(cls, windows: Sequence[Window], cells: Sequence[Cell]) -> Surface:
        """The least-squares fit; exact where there are no more windows than terms, and then without an error."""
        known = np.array([_terms(w.cell) for w in windows])
        logs = np.log([w.tokens_per_s for w in windows])
        terms, _, rank, _ = np.linalg.lstsq(known, logs, rcond=None)
        rest = logs - known @ terms
        variance = float(rest @ rest) / (len(logs) - rank) if len(logs) > rank else 0.0
        covariance = variance * np.linalg.pinv(known.T @ known)
        asked = np.array([_terms(cell) for cell in cells])
        found = asked @ terms
        apart = asked - asked[int(np.argmax(found))]
        errors = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", apart, covariance, apart), 0.0))
        return cls(tuple(cells), found, errors, math.sqrt(variance))

    def table(self, windows: Sequence[Window]) -> str:
        """One line for each cell, as CSV."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for cell, log, error in zip(self.cells, self.logs, self.errors, strict=True):
            own = [w.tokens_per_s for w in windows if w.cell == cell]
            writer.writerow([
                cell.dtype, str(cell.prefix_caching).lower(), cell.max_num_seqs, cell.max_num_batched_tokens,
                f"{mean(own):.1f}" if own else "nan", len(own), f"{math.exp(log):.1f}", f"{error:.3f}",
            ])  # fmt: skip
        return out.getvalue()


def _terms(cell: Cell) -> list[float]:
    half, cached = float(cell.dtype != "float32"), float(cell.prefix_caching)
    seqs, tokens = math.log2(cell.max_num_seqs), math.log2(cell.max_num_batched_tokens) - 6
    alone = [1.0, half, cached, seqs, seqs**2, seqs**3, tokens, tokens**2]
    pairs = [half * cached, half * seqs, half * seqs**2, half * tokens, cached * seqs, cached * tokens]
    return [*alone, *pairs, seqs * tokens, seqs**2 * tokens, seqs * tokens**2]
