"""How long imports and the command line take to start: the median of five starts with cached byte code.

python -m benchmarks.startup
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

MODULES = (
    "rooftune",
    "rooftune.tuning.playbook",
    "rooftune.loadgen.client",
    "rooftune.simulator.virtual.predict",
    "rooftune.evidence.aggregate",
)
STARTS = 5


def median_s(*words: str) -> float:
    """Seconds of ``python WORDS``, median of some starts after one that caches the byte code."""
    found = []
    for _ in range(STARTS + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
        found.append(time.perf_counter() - began)
    return median(found[1:])


def main() -> None:
    """Print the table. An import is shown without the start of Python itself."""
    bare = median_s("-c", "pass")
    print("| what | s |\n|---|---:|")
    print(f"| Python alone | {bare:.2f} |")
    for module in MODULES:
        print(f"| `import {module}` | {median_s('-c', f'import {module}') - bare:.2f} |")
    print(f"| `rooftune --help` | {median_s('-m', 'flows.cli.app', '--help'):.2f} |")


if __name__ == "__main__":
    main()
