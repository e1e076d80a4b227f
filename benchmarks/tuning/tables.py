"""The tables of all cases, stored in the repository so that a run of the benchmark takes minutes.

``--make-tables`` made them: every configuration of a case in virtual time, once with the model's constants and once
with the truth's, on samples of 1,000 requests and on 8,000 for what is near the best (truth.py). One case takes one to
two minutes on an idle core.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from benchmarks.tuning import truth
from benchmarks.tuning.cases import CASES, HELD_BACK, Case
from benchmarks.tuning.truth import Judgements, Table, judgements
from rooftune.files import replacing

STORED = Path(__file__).parent / "data" / "tables.npz"
ALL = (*CASES, *HELD_BACK)
PARTS = ("predicted", "truth", "slopes")


class StaleTable(Exception):
    """The stored table was made for another case, space or truth."""


def table(case: Case) -> Table:
    """The stored table of a case.

    Raises:
        StaleTable: it is missing or was made from other settings; ``--make-tables`` makes it again.
    """
    stored = _stored()
    key = _key(case)
    if not all(f"{key} {part}" in stored for part in PARTS):
        raise StaleTable(f"no table of {case.name} as it is now; run python -m benchmarks.tuning --make-tables.")
    predicted, truth, slopes = (stored[f"{key} {part}"].astype(np.float64) for part in PARTS)
    return Judgements(predicted, truth, slopes).table(case)


def make_tables(processes: int | None = None, *, only: str = "") -> None:
    """Make the tables that are missing, and drop those that no case uses."""
    stored = _stored()
    kept = {name: values for name, values in stored.items() if name.rsplit(" ", 1)[0] in {_key(c) for c in ALL}}
    for case in ALL:
        key = _key(case)
        if not all(f"{key} {part}" in kept for part in PARTS) and only in case.name:
            found = judgements(case, processes)
            for part in PARTS:
                kept[f"{key} {part}"] = getattr(found, part).astype(np.float32)
            with replacing(STORED) as path, path.open("wb") as out:
                np.savez_compressed(out, **kept)  # type: ignore[arg-type]
            print(f"made {case.name}", flush=True)


def _stored() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    if not STORED.exists():
        return {}
    with np.load(STORED) as found:
        return {name: found[name] for name in found.files}


def _key(case: Case) -> str:
    """The case with everything that its table depends on, except the simulator itself."""
    text = json.dumps([repr(case), case.configurations, dict(truth.SIZES), repr(truth.ROUNDS)])
    return f"{case.name} {hashlib.sha256(text.encode()).hexdigest()[:12]}"
