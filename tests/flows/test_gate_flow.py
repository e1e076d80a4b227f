"""The gate through Prefect on the simulated engine: a first run, a second one against it, and a loss side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from live_run import write_tiny

from rooftune.errors import InputError
from rooftune.evidence.records.trial_files import read_trials
from rooftune.files import read_json
from rooftune.gate.next_trial import REFERENCE
from rooftune.runfolder import RunFolder

pytestmark = [pytest.mark.usefixtures("prefect", "patient_audit"), pytest.mark.slow]
TINY: dict[str, Any] = {"workload": "tiny.yaml", "most_trials": 2, "max_loss": "50%", "time_scale": 2.0}
RATE_PER_S = 20
"""One sequence at a time carries a quarter of it."""


async def test_history_then_a_loss_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.gate import gate

    monkeypatch.chdir(tmp_path)
    path = write_tiny(tmp_path)
    path.write_text(path.read_text().replace("rate_per_s: 5", f"rate_per_s: {RATE_PER_S}"))
    first = await gate(**TINY, history=True)
    assert (first.exit_code, first.finding, first.new.trials) == (3, None, 2)
    again = await gate(**TINY, history=True)
    assert again.exit_code == 0, again.sentence
    assert again.reference is not None
    assert again.reference.run.endswith(Path(first.run).name)
    saved = read_json(Path(again.run) / "gate.json")
    assert saved["verdict"] == "no loss"
    assert {t.seed for t in read_trials(RunFolder(Path(again.run)))} == {
        t.seed for t in read_trials(RunFolder(Path(first.run)))
    }, "both sides send the same requests"

    lost = await gate(**TINY, against=first.run, beside=True, flags=["max_num_seqs=1"])
    assert lost.exit_code == 1, lost.sentence
    order = [t.candidate for t in sorted(read_trials(RunFolder(Path(lost.run))), key=lambda t: t.position)]
    assert order == [REFERENCE, "baseline", "baseline", REFERENCE]

    with pytest.raises(InputError, match="compare it with itself"):
        await gate(**TINY, against=first.run, beside=True)
