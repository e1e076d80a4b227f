"""Fits the constants of the step-time model to the public measurements and writes them into ``kernels.yaml``.

    python -m benchmarks.fidelity.fit_constants

Run ``python -m benchmarks.fidelity`` afterwards: it prints the errors on the points that were held back.
"""

from __future__ import annotations

import sys
from pathlib import Path

import rooftune.simulator
from benchmarks.fidelity.public_fit import fit_table, fitted_points, save

KERNELS = Path(rooftune.simulator.__file__).parent / "steptime" / "data" / "kernels.yaml"


def main() -> int:
    """Fit and write."""
    points = fitted_points()
    save(fit_table(points), KERNELS)
    print(f"fitted to {len(points)} points; written to {KERNELS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
