"""How drafts fare, from what a user gives: numbers, recorded answers, or a trial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rooftune.errors import InputError

if TYPE_CHECKING:
    from rooftune.speculation.acceptance import AcceptanceLike, StepDrafts
    from rooftune.vllm_rules.config import EngineConfig

WAYS = (
    "give one probability (0.6), shares by position (0.8,0.6,0.4), an answers.parquet, or the folder of a trial or run "
    "with speculative decoding"
)


def acceptance_of(given: str, config: EngineConfig) -> AcceptanceLike:
    """The acceptance for the speculation that a configuration asks for.

    Raises:
        InputError: the configuration asks for none, or the text is neither numbers nor a file that says it.
    """
    from rooftune.vllm_rules.speculation import speculation

    spec = speculation(config)
    if spec is None:
        raise InputError("--acceptance needs speculative decoding; add --set speculative_config='{...}'.")
    path = Path(given).expanduser()
    if path.suffix == ".parquet":
        return _replayed(path, config, spec.method)
    if (path / "run.json").is_file():
        return _of_run(path, config)
    if path.is_dir() or path.name == "trial.json":
        return _of_trial(path.parent if path.name == "trial.json" else path)
    return _numbers(given, spec.kind, spec.tokens)


def _numbers(given: str, method: str, tokens: int) -> AcceptanceLike:
    from rooftune.speculation.acceptance import StepDrafts
    from rooftune.speculation.configured import REPLAYED

    try:
        shares = [float(word.removesuffix("%")) / (100 if "%" in word else 1) for word in given.split(",")]
    except ValueError:
        raise InputError(f"{given!r} is not an acceptance; {WAYS}.") from None
    if not all(0 <= share <= 1 for share in shares):
        raise InputError(f"an acceptance is between 0 and 1, and {given} is not; {WAYS}.")
    if len(shares) == 1:
        return shares[0]
    if method in REPLAYED:
        raise InputError(
            f"{method} does not draft in every step, so shares by position do not decide its gain; give answers to "
            "replay, or a trial."
        )
    return StepDrafts(tuple(shares), float(tokens))


def _replayed(path: Path, config: EngineConfig, method: str) -> StepDrafts:
    from rooftune.answers.answer import Answers
    from rooftune.speculation.configured import proposer_of
    from rooftune.speculation.replay import replay

    proposer = proposer_of(config)
    if proposer is None:
        raise InputError(f"drafts of {method} come from a model, so answers cannot be replayed; give a trial instead.")
    return replay(Answers.read(path), proposer, max_model_len=config.max_model_len).per_step


def _of_trial(folder: Path) -> StepDrafts:
    from rooftune.evidence.records.trial_files import read_trial
    from rooftune.runfolder import TrialFolder
    from rooftune.speculation.acceptance import from_counters
    from rooftune.vllm_rules.speculation import SCHEDULE

    trial = read_trial(TrialFolder(folder))
    if SCHEDULE in (trial.flags.get("speculative_config") or {}):
        raise InputError(
            f"the drafts of {folder} had lengths by batch size, so its counters do not say how often a position is "
            "accepted; give a trial without a schedule."
        )
    found = from_counters(trial.server)
    if found is None:
        raise InputError(f"the server of {folder} drafted no tokens; give a trial that ran with speculative decoding.")
    return found.per_step


def _of_run(folder: Path, config: EngineConfig) -> AcceptanceLike:
    """What the trials of a run showed of the same proposer, with drafts of the same length or another one."""
    from rooftune.evidence.records.trial_files import read_trials
    from rooftune.runfolder import RunFolder
    from rooftune.speculation.known import KnownDrafts
    from rooftune.tuning.drafts import measured_drafts

    measured = measured_drafts(read_trials(RunFolder.open(folder.resolve())))
    found = KnownDrafts(measured=tuple(measured)).of(config.flags())
    if found is None:
        have = "; ".join(str(known.speculation) for known in measured) or "none with speculative decoding"
        raise InputError(
            f"no trial of {folder} drafted with this method and model (it has {have}); name one of them in "
            "--set speculative_config, or give the acceptance as numbers."
        )
    return found
