"""What a server costs per hour: the price of its accelerators, times their number."""

from __future__ import annotations

from collections.abc import Mapping

from rooftune.engines.target import Target
from rooftune.errors import InputError
from rooftune.hardware.accelerator import Price
from rooftune.hardware.named import accelerator, name_or_here
from rooftune.vllm_rules.config import FlagValue

GIVEN = "given with --price"
PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def accelerators_of(flags: Mapping[str, FlagValue]) -> int:
    """Accelerators that a server with these flags occupies."""
    count = 1
    for name in PARALLEL:
        size = flags.get(name)
        count *= size if isinstance(size, int) and size > 0 else 1
    return count


def given_price(usd_per_gpu_hour: float) -> Price:
    """The price that a user pays for an accelerator."""
    return Price(usd_per_hour=usd_per_gpu_hour, offer=GIVEN, date="", source="the user")


def price_of(target: Target) -> Price | None:
    """The price of an accelerator of the target: the user's, else the catalogue's; None where it is not known."""
    if target.usd_per_gpu_hour is not None:
        return given_price(target.usd_per_gpu_hour)
    name = name_or_here(target.gpu, here=target.engine == "vllm")
    if name is None:
        return None
    try:
        return accelerator(name).price
    except InputError:
        return None


def usd_per_hour(price: Price | None, flags: Mapping[str, FlagValue]) -> float | None:
    """Price of one server with these flags; None where the price of its accelerator is not known."""
    return None if price is None else price.usd_per_hour * accelerators_of(flags)


def usd_per_million(usd_per_hour: float, output_tokens_per_s: float) -> float | None:
    """Price of a million output tokens."""
    return usd_per_hour * 1e6 / (3600 * output_tokens_per_s) if output_tokens_per_s > 0 else None
