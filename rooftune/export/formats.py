"""The formats that a configuration is exported to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from rooftune.errors import InputError, nearest
from rooftune.export.compose import compose
from rooftune.export.deployment import Deployment
from rooftune.export.grafana import grafana
from rooftune.export.kubernetes import kubernetes
from rooftune.export.llm_d import llm_d
from rooftune.export.production_stack import production_stack
from rooftune.export.prometheus import prometheus
from rooftune.export.systemd import systemd
from rooftune.export.vllm_config import vllm_config
from rooftune.files import write_text

ALL = "all"


def helm(deployment: Deployment) -> dict[str, str]:
    """Values for both charts, by file name."""
    return {**production_stack(deployment), **llm_d(deployment)}


FORMATS: dict[str, Callable[[Deployment], dict[str, str]]] = {
    "vllm-config": vllm_config,
    "compose": compose,
    "k8s": kubernetes,
    "helm": helm,
    "systemd": systemd,
    "prometheus": prometheus,
    "grafana": grafana,
}
"""Name of the format -> its files, by name."""


def chosen_formats(names: Iterable[str]) -> list[str]:
    """The formats with these names; ``all`` means every one.

    Raises:
        InputError: a name is not a format.
    """
    wanted = list(names)
    for name in wanted:
        if name != ALL and name not in FORMATS:
            known = [*FORMATS, ALL]
            raise InputError(
                f"{name!r} is not a format to export{nearest(name, known)}; choose from {', '.join(known)}."
            )
    return list(FORMATS) if ALL in wanted else [name for name in FORMATS if name in wanted]


def exported(deployment: Deployment, formats: Iterable[str]) -> dict[str, str]:
    """The text of each file, by name."""
    return {file: text for name in formats for file, text in FORMATS[name](deployment).items()}


def write_exported(files: dict[str, str], folder: Path) -> list[Path]:
    """Write the files; returns their paths."""
    for name, text in files.items():
        write_text(folder / name, text)
    return [folder / name for name in files]
