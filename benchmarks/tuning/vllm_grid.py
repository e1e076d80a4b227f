"""A measured grid of 80 configurations of a real vLLM: ``data/vllm_grid.csv``, whose first lines say how."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from rooftune.knobs.configuration import KnobValue
from rooftune.vllm_rules.config import EngineConfig

GRID = Path(__file__).parent / "data" / "vllm_grid.csv"


@dataclass(frozen=True)
class Cell:
    """One configuration of the grid."""

    dtype: str
    prefix_caching: bool
    max_num_seqs: int
    max_num_batched_tokens: int

    @classmethod
    def of(cls, config: EngineConfig) -> Cell:
        """The cell of a configuration that states all four."""
        assert config.dtype is not None
        assert config.max_num_seqs is not None
        assert config.max_num_batched_tokens is not None
        return cls(
            config.dtype,
            config.enable_prefix_caching is not False,
            config.max_num_seqs,
            config.max_num_batched_tokens,
        )

    @property
    def config(self) -> EngineConfig:
        """The configuration of the cell, apart from what is the same in all."""
        return EngineConfig(
            model="small",
            dtype=self.dtype,
            enable_prefix_caching=self.prefix_caching,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
        )

    @property
    def knobs(self) -> dict[str, KnobValue]:
        """Its knobs, as a search has them."""
        return dict(vars(self))

    @property
    def name(self) -> str:
        """Its id."""
        caching = "on" if self.prefix_caching else "off"
        return f"{self.dtype}+prefix-{caching}+seqs{self.max_num_seqs}+tokens{self.max_num_batched_tokens}"


@dataclass(frozen=True)
class Measured:
    """Output tokens per second, smoothed over the noise of single cells."""

    value: float
    error: float
    """Standard error of ln(value / the best of the grid)."""


def grid(path: Path = GRID) -> dict[Cell, Measured]:
    """Every configuration of a grid."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    found = {}
    for row in csv.DictReader(lines):
        cell = Cell(
            row["dtype"],
            row["prefix_caching"] == "true",
            int(row["max_num_seqs"]),
            int(row["max_num_batched_tokens"]),
        )
        found[cell] = Measured(float(row["smoothed"]), float(row["error"]))
    return found


def best_of_grid() -> float:
    """The highest throughput of the grid."""
    return max(cell.value for cell in grid().values())
