"""What serves: the GPU or processor of this machine, or a named accelerator, with its host and measured ceilings.

What an engine can do with it is a rule of that engine: ``vllm_rules.capabilities.with_capabilities`` adds it.
"""

from __future__ import annotations

from functools import cache

from rooftune.errors import InputError
from rooftune.hardware import nvml
from rooftune.hardware.accelerator import Accelerator, Ceiling, Hardware
from rooftune.hardware.ceilings import cpu_ceilings, torch_ceilings
from rooftune.hardware.host import host_facts
from rooftune.hardware.named import accelerator
from rooftune.hardware.processor import cpu


def probe(
    *,
    engine: str,
    gpu: str | None,
    engine_version: str,
    vllm_python: str | None = None,
    measure: bool = True,
    count: int = 1,
) -> Hardware:
    """What serves under this engine.

    Args:
        engine: 'simulated' (the named GPU of the catalogue), 'vllm' (what is in this machine), or 'endpoint' (named
            or unknown).
        gpu: catalogue name; 'cpu' is the processor of this machine.
        measure: measure ceilings where the accelerator is here (about 2 s on a CPU).
        count: number of accelerators of a simulated engine or an endpoint; those of this machine are counted.

    Raises:
        InputError: the GPU is unknown, or named but not in this machine.
    """
    named_cpu = (gpu or "").strip().lower() == "cpu"
    if engine == "endpoint" and not named_cpu:
        chosen = accelerator(gpu) if gpu else unknown()
        return _hardware(chosen, engine_version, count, simulated=False)
    if engine == "simulated" and not named_cpu:
        if gpu is None:
            raise InputError("the simulated engine needs a GPU to emulate; name one, for example --gpu T4.")
        return _hardware(accelerator(gpu), engine_version, count, simulated=True)
    found = [] if named_cpu else nvml.gpus()
    if found:
        return _with_gpus(found, gpu, engine_version, vllm_python, measure)
    if gpu and not named_cpu:
        raise InputError(
            f"no NVIDIA GPU is visible here, so {accelerator(gpu).name} cannot serve; leave --gpu out to run on the "
            "CPU, or take --engine simulated."
        )
    return _with_cpu(engine_version, vllm_python, measure, simulated=engine == "simulated")


def present() -> Accelerator:
    """The accelerator of this machine: the first NVIDIA GPU matched to the catalogue, else the processor."""
    found = nvml.gpus()
    return nvml.matched(found[0]) if found else cpu(tuple(_measured(None)))


def unknown() -> Accelerator:
    """An accelerator that was not named: no rates, no memory."""
    return Accelerator(
        name="unknown",
        kind="cuda",
        compute_capability=None,
        memory_bytes=0,
        bandwidth_bytes_per_s=0.0,
        flops_per_s={},
        source="the endpoint's accelerator was not named; give --gpu to place it",
    )


@cache
def _measured(vllm_python: str | None) -> list[Ceiling]:
    return cpu_ceilings(vllm_python)


def _hardware(chosen: Accelerator, engine_version: str, count: int, *, simulated: bool) -> Hardware:
    return Hardware(
        accelerator=chosen,
        count=count,
        simulated=simulated,
        engine_version=engine_version,
        power_limit_watts=chosen.power_watts,
        host=host_facts(),
    )


def _with_gpus(
    found: list[nvml.Gpu], gpu: str | None, engine_version: str, vllm_python: str | None, measure: bool
) -> Hardware:
    first = found[0]
    chosen = nvml.matched(first)
    if gpu and accelerator(gpu).name != chosen.name:
        raise InputError(f"--gpu says {accelerator(gpu).name}, this machine has {first.name}; leave --gpu out.")
    count = sum(1 for other in found if other.name == first.name)
    host = host_facts()
    if first.mig:
        host["mig"] = "on: the accelerator is a slice of the GPU, and the rates of the whole GPU do not hold"
    if count < len(found):
        host["other_gpus"] = ", ".join(sorted({other.name for other in found if other.name != first.name}))
    return Hardware(
        accelerator=chosen,
        count=count,
        simulated=False,
        engine_version=engine_version,
        driver=nvml.driver_version(),
        power_limit_watts=first.power_limit_watts,
        max_sm_clock_mhz=first.max_sm_clock_mhz,
        max_memory_clock_mhz=first.max_memory_clock_mhz,
        host=host,
        ceilings=torch_ceilings(vllm_python, cuda=True) if measure else [],
    )


def _with_cpu(engine_version: str, vllm_python: str | None, measure: bool, *, simulated: bool) -> Hardware:
    ceilings = _measured(vllm_python) if measure else []
    chosen = cpu(tuple(ceilings))
    return Hardware(
        accelerator=chosen,
        simulated=simulated,
        engine_version=engine_version,
        host=host_facts(),
        ceilings=list(ceilings),
    )
