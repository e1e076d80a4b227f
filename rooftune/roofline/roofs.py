"""The ceilings that apply: bandwidth, and the rate of the data type that a configuration computes in."""

from __future__ import annotations

from rooftune.engines.server import EffectiveConfig
from rooftune.hardware.accelerator import Hardware
from rooftune.models.facts import ModelFacts
from rooftune.roofline.model import Ridge, Roof
from rooftune.vllm_rules.config import EngineConfig

DTYPES = {"half": "fp16", "float16": "fp16", "bfloat16": "bf16", "float": "fp32", "float32": "fp32"}
DTYPES |= {"torch.float16": "fp16", "torch.bfloat16": "bf16", "torch.float32": "fp32"}
MEASURED = {"matmul_fp32": "fp32", "matmul_fp16": "fp16", "matmul_bf16": "bf16"}


def compute_type(
    hardware: Hardware, facts: ModelFacts, config: EngineConfig, effective: EffectiveConfig | None = None
) -> str:
    """The data type of the products: that of the weights if the chip computes in it, else that of the activations."""
    rates = hardware.accelerator.flops_per_s
    if facts.quantization in ("fp8", "int8") and facts.quantization in rates:
        return facts.quantization
    said = (effective.dtype if effective else None) or config.dtype
    if said in (None, "auto"):
        said = "float16" if facts.dtype in ("float32", "float") and hardware.accelerator.kind == "cuda" else facts.dtype
    kind = DTYPES.get(str(said), "fp16")
    return next((k for k in (kind, "fp16", "bf16", "fp32") if k in rates), kind)


def roofs(hardware: Hardware, used: set[str], tensor_parallel: int = 1) -> list[Roof]:
    """The catalogue's ceilings for bandwidth and for the types in use, and every measured ceiling."""
    a, n = hardware.accelerator, tensor_parallel
    measured_here = a.kind == "cpu"
    found = []
    if a.bandwidth_bytes_per_s > 0 and not measured_here:
        how = a.source + (f", times {n} accelerators" if n > 1 else "")
        found.append(_roof("bandwidth", "memory bandwidth", n * a.bandwidth_bytes_per_s, False, how))
        found += [_roof("compute", k, n * a.flops_per_s[k], False, how) for k in sorted(used) if k in a.flops_per_s]
    for c in hardware.ceilings:
        if c.name == "memory_copy":
            found.append(_roof("bandwidth", "memory bandwidth", n * c.value, True, c.how))
        elif MEASURED[c.name] in used or measured_here:
            found.append(_roof("compute", MEASURED[c.name], n * c.value, True, c.how))
    if measured_here and not any(r.kind == "bandwidth" for r in found):
        found.append(_roof("bandwidth", "memory bandwidth", a.bandwidth_bytes_per_s, False, a.source))
        found += [_roof("compute", k, v, False, a.source) for k, v in a.flops_per_s.items()]
    return found


def _roof(kind: str, name: str, value: float, measured: bool, how: str) -> Roof:
    return Roof(
        kind="bandwidth" if kind == "bandwidth" else "compute", name=name, value=value, measured=measured, how=how
    )


def bandwidth(found: list[Roof]) -> Roof | None:
    """The bandwidth behind the shares: the catalogue's if it is known, else the measured one."""
    return _preferred([r for r in found if r.kind == "bandwidth"])


def compute(found: list[Roof], kind: str) -> Roof | None:
    """The rate of a data type behind the shares; the rate of another type if this one has none."""
    rates = [r for r in found if r.kind == "compute"]
    return _preferred([r for r in rates if r.name == kind] or rates)


def _preferred(found: list[Roof]) -> Roof | None:
    return next((r for r in found if not r.measured), found[0] if found else None)


def ridges(found: list[Roof]) -> list[Ridge]:
    """The intensity at which each rate meets the bandwidth, measured or from the catalogue."""
    made = []
    for measured in (False, True):
        flows = [r for r in found if r.kind == "bandwidth" and r.measured is measured]
        rates = [r for r in found if r.kind == "compute" and r.measured is measured]
        made += [
            Ridge(compute=r.name, measured=measured, flop_per_byte=r.value / flows[0].value) for r in rates if flows
        ]
    return made
