"""Fits the constants that the trials decide and writes them into rooftune/simulator/steptime/data/kernels.yaml.

    python -m benchmarks.trials.fit_constants

Run ``python -m benchmarks.trials`` and ``python -m benchmarks.fidelity`` afterwards.
"""

from __future__ import annotations

import sys

from benchmarks.fidelity.fit_constants import KERNELS
from benchmarks.fidelity.public_fit import save
from benchmarks.trials.fitting import fit_table
from benchmarks.trials.records import measured


def main() -> int:
    """Fit and write."""
    of = measured()
    save(fit_table(of), KERNELS)
    print(f"fitted to {len(of)} trials; written to {KERNELS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
