"""One look at a running server: configuration, metrics for some seconds, log; and what to try, with the command."""

from __future__ import annotations

import asyncio
import shlex

from rooftune.doctor.configuration import configuration_findings, passed_flags
from rooftune.doctor.diagnosis import Diagnosis, DoctorFinding
from rooftune.doctor.graphs import graph_findings
from rooftune.doctor.load import Watch, load_findings
from rooftune.doctor.watch import Watched, watch
from rooftune.engines.http_client import api_error, request
from rooftune.engines.logs import read_effective
from rooftune.engines.server import EffectiveConfig
from rooftune.engines.target import EngineKind
from rooftune.engines.urls import server_root
from rooftune.formatting import quantity
from rooftune.vllm_rules.config import EngineConfig

SEVERITIES = ("problem", "advice", "not known", "fine")
NOT_TUNED = ("model", "served_model_name", "tokenizer", "seed", "other_flags")


async def examine(url: str, seconds: float, log_text: str, workload: str) -> Diagnosis:
    """Watch a server and say what is worth trying. It gets no request for an answer.

    Args:
        log_text: of the server; may be empty.
        workload: for the commands that measure whether a change helps.

    Raises:
        RooftuneError: the server does not answer, or is not vLLM.
    """
    root = server_root(url)
    models = await request(root, "/v1/models")
    error = api_error(models, root)
    if error:
        raise error
    seen = await watch(root, seconds)
    version, stated = await asyncio.gather(request(root, "/version"), request(root, "/server_info?config_format=json"))
    known = version.json() if version.status == 200 else None
    effective = read_effective(
        log_text,
        seen.page,
        models.json(),
        str(known["version"]) if isinstance(known, dict) and "version" in known else None,
        stated.json() if stated.status == 200 else None,
    )
    return diagnosis(root, seen, effective, log_text, workload)


def diagnosis(url: str, seen: Watched, effective: EffectiveConfig, log_text: str, workload: str) -> Diagnosis:
    """The findings in order of their weight, each with the command that measures its change."""
    found = [*configuration_findings(effective, log_text), *load_findings(Watch(seen, effective))]
    found += graph_findings(seen, effective, log_text)
    if not seen.busy:
        sentence = "The server was idle while it was watched, so its queue and its KV cache say nothing about its load."
        evidence = f"no token in {quantity(round(seen.seconds, 1), 'second')}"
        found.append(DoctorFinding(id="idle", severity="not known", sentence=sentence, evidence=evidence))
    simulated = "rooftune:simulated" in seen.page
    ordered = sorted(found, key=lambda f: SEVERITIES.index(f.severity))
    return Diagnosis(
        url=url,
        seconds=round(seen.seconds, 1),
        busy=seen.busy,
        simulated=simulated,
        effective=effective,
        findings=[_with_command(f, effective, workload, simulated) for f in ordered],
    )


def _with_command(finding: DoctorFinding, effective: EffectiveConfig, workload: str, simulated: bool) -> DoctorFinding:
    if not finding.flags and not finding.knob:
        return finding
    command = measuring_command(finding, effective, workload, "simulated" if simulated else "vllm")
    return finding.model_copy(update={"command": command})


def measuring_command(
    finding: DoctorFinding, effective: EffectiveConfig, workload: str, engine: EngineKind = "vllm"
) -> str:
    """The command that measures a change beside the server's own flags; without a change, the one that explains it."""
    if not finding.flags:
        return f"rooftune explain {finding.knob}"
    words = ["rooftune", "optimize", workload, "--engine", engine, "--model", effective.model or "MODEL"]
    passed = passed_flags(effective)
    for name in EngineConfig.model_fields:
        value = passed.get(name)
        if name not in NOT_TUNED and isinstance(value, (str, int, float)):
            words += ["--set", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
    return shlex.join([*words, "--candidate", f"{finding.id}={','.join(finding.flags)}"])
