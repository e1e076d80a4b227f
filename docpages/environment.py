"""The page of environment variables: every one that the code names, with its meaning or as internal."""

from __future__ import annotations

import re
from pathlib import Path

from docpages.markdown import cell, code, head, sentence_case, table, text_of

PACKAGES = ("rooftune", "flows", "tasks")
NAMED = re.compile(r"[\"'](ROOFTUNE_[A-Z_]+[A-Z])[\"']")
OWN = {
    "ROOFTUNE_CALIBRATION": "file of constants for the simulator, as `--calibration`",
    "ROOFTUNE_DEBUG": "`1` shows the traceback of an unexpected error",
    "ROOFTUNE_HOME": "folder of state: Prefect's database, calibrations, logs; `.rooftune` by default",
    "ROOFTUNE_LOCKS": "folder of the locks that keep two runs off one GPU; by default one that all users share",
    "ROOFTUNE_NO_NUMBA": "`1` switches off the compilation of the simulator and of the replay of suffix decoding",
    "ROOFTUNE_VLLM_PYTHON": "interpreter that has vLLM, as `--vllm-python`",
}
INTERNAL = {
    "ROOFTUNE_CONTROL_FILE": "where the scheduler inside of vLLM finds its limits",
    "ROOFTUNE_OWN_SERVER": "marks a Prefect server that a command started for itself",
    "ROOFTUNE_SIM_ANSWERS": "answers of the simulated engine, for tests of the quality guard",
    "ROOFTUNE_SIM_FAULT": "faults of the simulated engine, for tests",
}
"""Variables that rooftune sets for its own processes."""
OTHERS = {
    "OPENAI_API_KEY": "key that is sent to an endpoint",
    "CUDA_VISIBLE_DEVICES": "GPUs that a run may use",
    "PREFECT_API_URL": "Prefect server to use, instead of one that a command starts for itself",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "where spans of runs, phases and trials are sent",
    "VLLM_*, HF_*, NCCL_*, OMP_*": "reach the vLLM that is started; `server.json` records them, without keys",
}


def page() -> str:
    """The page as Markdown."""
    lines = head("Environment variables", "Options of the command line take precedence.", "## Of rooftune")
    rows = [[code(name), cell(sentence_case(OWN[name]))] for name in named() if name not in INTERNAL]
    lines += table(["Variable", "Meaning"], rows)
    lines += [
        "## Of others",
        "",
        *table(["Variable", "Meaning"], [[code(n), cell(sentence_case(t))] for n, t in OTHERS.items()]),
    ]
    return text_of(lines)


def named() -> list[str]:
    """The variables of rooftune that its code names."""
    root = Path(__file__).parents[1]
    texts = [path.read_text(encoding="utf-8") for package in PACKAGES for path in (root / package).rglob("*.py")]
    return sorted({name for text in texts for name in NAMED.findall(text)})
