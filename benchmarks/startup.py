"""Processor time that imports and the command line take to start: the median of five starts with cached byte code.

python -m benchmarks.startup
"""

from __future__ import annotations

import resource
import subprocess
import sys
from statistics import median

MODULES = (
    "rooftune",
    "rooftune.tuning.playbook",
    "rooftune.loadgen.client",
    "rooftune.simulator.virtual.predict",
    "rooftune.evidence.aggregate",
)
STARTS = 5


def children_s() -> float:
    """Processor time of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def median_s(*words: str) -> float:
    """Processor time of ``python WORDS``, median of some starts after one that caches the byte code."""
    found = []
    for _ in range(STARTS + 1):
        before = children_s()
        subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
        found.append(children_s() - before)
    return median(found[1:])


def main() -> None:
    """Print the table. An import is shown without the start of Python itself."""
    bare = median_s("-c", "pass")
    print("| what | processor time, s |\n|---|---:|")
    print(f"| Python alone | {bare:.2f} |")
    for module in MODULES:
        print(f"| `import {module}` | {median_s('-c', f'import {module}') - bare:.2f} |")
    print(f"| `rooftune --help` | {median_s('-m', 'flows.cli.app', '--help'):.2f} |")


if __name__ == "__main__":
    main()
