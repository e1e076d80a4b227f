"""Trials that were measured earlier, as points for ``rooftune calibrate --from``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rooftune.errors import InputError

if TYPE_CHECKING:
    from rooftune.evidence.trial_table import TrialRow
    from rooftune.simulator.calibration.fit import Observation, ServedTrial
    from rooftune.vllm_rules.config import EngineConfig

HISTORY = "history"
"""``--from history`` is all trials of ``artifacts/history``; ``--from history/chat-medium`` those of a workload."""
IDENTITY = ("gpu", "engine_version", "model")


@dataclass(frozen=True)
class Measured:
    """Points to fit to, and the server that they were measured on."""

    server: ServedTrial
    points: Sequence[Observation]


def from_runs(
    names: list[str],
    *,
    gpu: str | None,
    model: str | None,
    engine_version: str | None,
    flags: list[str] | None,
    artifacts: Path = Path("artifacts"),
) -> Measured:
    """Points from the trials of runs and of the history.

    Only believed trials of real engines are used. They must be of one GPU, version and model; ``gpu``, ``model`` and
    ``engine_version`` choose among several.

    Raises:
        InputError: no such run, no usable trial, or trials of different engines.
    """
    from rooftune.simulator.calibration.fit import from_trials
    from rooftune.vllm_rules.config import EngineConfig
    from rooftune.vllm_rules.flags import parse_set

    rows = [row for name in names for row in _rows(name, artifacts)]
    wanted = {"gpu": gpu, "model": model, "engine_version": engine_version}
    kept = [r for r in rows if r["believed"] and r["engine"] != "simulated" and _matches(r, wanted)]
    if not kept:
        raise InputError(
            f"{', '.join(names)}: none of the {len(rows)} trials is a believed trial of a real engine"
            f"{_named(wanted)}; measure with rooftune calibrate --url URL instead."
        )
    about = {name: {str(r[name]) for r in kept} for name in IDENTITY}
    for name, values in about.items():
        if len(values) > 1:
            option = name.replace("_", "-")
            raise InputError(f"these trials are of several ({', '.join(sorted(values))}); choose one with --{option}.")
    of = {name: values.pop() for name, values in about.items()}
    common = set.intersection(*(set(_items(r)) for r in kept))
    given = parse_set(flags or [], of["engine_version"])
    config = EngineConfig(model=of["model"]).with_change({**{k: json.loads(v) for k, v in common}, **given})
    return Measured(_served(of, config), from_trials([_figures(r) for r in kept]))


def _rows(name: str, artifacts: Path) -> list[TrialRow]:
    from rooftune.evidence import history
    from rooftune.evidence.records.trial_files import read_trials
    from rooftune.evidence.trial_table import row

    if name == HISTORY or name.startswith(f"{HISTORY}/"):
        workload = name.partition("/")[2] or None
        return history.read(artifacts / HISTORY, workload)
    from rooftune.run_names import find_run

    return [row(trial, name) for trial in read_trials(find_run(name, artifacts))]


def _matches(row: TrialRow, wanted: Mapping[str, str | None]) -> bool:
    from rooftune.hardware.catalogue import plain

    return all(v is None or plain(str(row.get(k))) == plain(v) for k, v in wanted.items())


def _named(wanted: Mapping[str, str | None]) -> str:
    return "".join(f", {k.replace('_', ' ')} {v}" for k, v in wanted.items() if v)


def _items(row: TrialRow) -> list[tuple[str, str]]:
    """Flags as pairs that can be compared: values as JSON."""
    flags = json.loads(str(row.get("flags") or "{}"))
    return [(name, json.dumps(value)) for name, value in flags.items()]


def _figures(row: TrialRow) -> dict[str, float]:
    """What the fit needs of a trial."""
    names = {"running": "server_running", "mean_tpot_ms": "mean_tpot_ms"}
    found = {name: _number(row, column) for name, column in names.items()}
    completed = _number(row, "completed")
    if completed:
        found["mean_input_len"] = _number(row, "total_input_tokens") / completed
        found["mean_output_len"] = _number(row, "total_output_tokens") / completed
    return {name: value for name, value in found.items() if value}


def _number(row: TrialRow, column: str) -> float:
    """A number of a row; 0 where there is none."""
    return float(row.get(column) or 0)


def _served(of: Mapping[str, str], config: EngineConfig) -> ServedTrial:
    from rooftune.hardware.named import accelerator
    from rooftune.hardware.probe import present
    from rooftune.models.catalogue import model_facts
    from rooftune.simulator.calibration.fit import ServedTrial

    gpu = present() if of["gpu"].lower() == "cpu" else accelerator(of["gpu"])
    return ServedTrial(gpu, model_facts(of["model"], quantization=config.quantization), config, of["engine_version"])
