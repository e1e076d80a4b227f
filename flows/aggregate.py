"""Flow of the aggregate phase: from the records of a trial to its figures and their audit."""

from __future__ import annotations

from prefect import flow

from rooftune.run_names import find_run
from rooftune.trial_order import TrialOrder
from tasks import run_listener
from tasks.aggregate import aggregate_trial, describe
from tasks.results import TrialSummary
from tasks.run_files import order_of


@flow(name="aggregate", flow_run_name="aggregate {candidate} {n}", timeout_seconds=1800)
async def aggregate(run: str, candidate: str = "baseline", n: int = 1, order: TrialOrder | None = None) -> TrialSummary:
    """Write trial.json and result.json of a trial, metrics.parquet of the run, and a row of the history.

    Args:
        run: Run folder, for example artifacts/chat-medium/latest.
        candidate: Candidate of the plan.
        n: Number of the trial, from 1.
        order: What exactly to measure. Default: the candidate as planned.
    """
    folder = find_run(run)
    found = await aggregate_trial(folder, order or order_of(folder, candidate, n))
    sentence = describe(found)
    run_listener.log(sentence)
    return TrialSummary(
        run=run, candidate=candidate, n=n, status=found.status, believed=found.believed, sentence=sentence
    )
