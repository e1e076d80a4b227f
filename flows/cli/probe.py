"""``rooftune probe``: what this machine, or a GPU of the catalogue, can and cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import terminal
from flows.inputs import options
from rooftune.formatting import number

if TYPE_CHECKING:
    from rooftune.hardware.accelerator import Hardware


def probe(
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="simulated, vllm or endpoint. Default: simulated with --gpu, else vllm."),
    ] = None,
    gpu: options.Gpu = None,
    engine_version: options.EngineVersion = None,
    vllm_python: options.VllmPython = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Measure bandwidth and matrix ceilings (a few seconds).")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Show the hardware and what it can and cannot do, each with its reason.

    [bold]Examples[/bold]

      rooftune probe                                  (this machine)
      rooftune probe --gpu H100 --engine-version 0.32.0  (from the catalogue)
    """
    from flows.inputs.targets import engine_kind
    from rooftune.hardware.probe import probe as look
    from rooftune.tuning.case import CURRENT_VERSION
    from rooftune.vllm_rules.capabilities import with_capabilities

    named = gpu is not None and gpu.strip().lower() != "cpu"
    kind = engine_kind(engine or ("simulated" if named else "vllm"))
    version = engine_version or _vllm_here(vllm_python) or CURRENT_VERSION
    interpreter = _interpreter_here(vllm_python) if kind == "vllm" else None
    with terminal.busy("Measuring what this machine reaches"):
        probed = look(engine=kind, gpu=gpu, engine_version=version, vllm_python=interpreter, measure=measure)
    found = with_capabilities(probed)
    if as_json:
        terminal.print_json(found.model_dump(mode="json"))
        return
    _show_hardware(found)


def _interpreter_here(named: str | None) -> str | None:
    """The interpreter that has vLLM, if there is one; its torch measures what numpy cannot."""
    from rooftune.engines.interpreter import installed, vllm_python
    from rooftune.errors import InputError

    try:
        return installed(vllm_python(named)).python
    except InputError:
        if named is not None:
            raise
        return None


def _vllm_here(named: str | None) -> str | None:
    """Version of the vLLM that is installed, if there is one."""
    from rooftune.engines.interpreter import installed

    python = _interpreter_here(named)
    return installed(python).version.split("+")[0] if python else None


def _show_hardware(found: Hardware) -> None:
    a = found.accelerator
    simulated = " (simulated: from the catalogue, not in this machine)" if found.simulated else ""
    print(f"{found.count} x {a.name}{simulated}, vLLM {found.engine_version}")
    print(f"memory {a.memory_bytes / 2**30:.1f} GiB, bandwidth {a.bandwidth_bytes_per_s / 1e9:,.0f} GB/s ({a.source})")
    rates = ", ".join(f"{kind} {number(rate / 1e12)}" for kind, rate in a.flops_per_s.items())
    print(f"TFLOP/s: {rates or 'not known'}")
    limits = [
        f"driver {found.driver}" if found.driver else "",
        f"power limit {found.power_limit_watts:g} W" if found.power_limit_watts else "",
        f"SM clock up to {found.max_sm_clock_mhz:g} MHz" if found.max_sm_clock_mhz else "",
        f"memory clock up to {found.max_memory_clock_mhz:g} MHz" if found.max_memory_clock_mhz else "",
    ]
    if any(limits):
        print(", ".join(word for word in limits if word))
    for ceiling in found.ceilings:
        unit = "GB/s" if ceiling.unit == "bytes/s" else f"G{ceiling.unit}"
        print(f"measured {ceiling.name}: {ceiling.value / 1e9:,.1f} {unit} ({ceiling.how})")
    for name, value in found.host.items():
        print(f"{name}: {value}")
    print()
    rows = [["yes" if c.available else "no", c.name, c.reason] for c in found.capabilities]
    terminal.table(["Can", "Feature", "Why"], rows)
