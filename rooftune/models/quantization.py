"""How a checkpoint stores its weights, from ``quantization_config`` or ``hf_quant_config.json``, by vLLM's methods."""

from __future__ import annotations

from collections import defaultdict

from rooftune.models.costs import SCALE_BYTES, WEIGHT_BITS
from rooftune.models.facts import ModelFacts, StoredApart
from rooftune.models.keys import Json
from rooftune.models.module_names import matrices
from rooftune.models.quantization_schemes import Scheme, method_of, plan_of

SIXTEEN = 16.0


def with_quantization(facts: ModelFacts, q: Json | None) -> ModelFacts:
    """The facts with the storage that a quantisation configuration describes; None leaves 16 bits.

    Raises:
        InputError: a method whose weights rooftune cannot size, named.
    """
    if not q:
        return facts
    plan = plan_of(q, facts.name)
    if plan is None:
        return facts
    stored: dict[str, dict[Scheme | None, int]] = defaultdict(lambda: defaultdict(int))
    for matrix in matrices(facts):
        stored[matrix.part][plan.scheme_of(matrix)] += matrix.weights
    total: dict[Scheme, int] = defaultdict(int)
    for part, by_scheme in stored.items():
        for scheme, weights in by_scheme.items():
            if scheme is not None and part != "lm_head":
                total[scheme] += weights
    if not total:
        return facts
    main = max(total, key=lambda scheme: total[scheme])
    apart = [a for part, by_scheme in stored.items() for a in _apart(part, by_scheme, main, facts)]
    return facts.model_copy(
        update={
            "quantization": main.kind,
            "quantization_method": method_of(q),
            "fp8_block": main.block,
            "weight_bits": main.bits,
            "group_size": main.group,
            "stored_apart": tuple(apart),
            "kv_cache_dtype": plan.kv_cache_dtype,
        }
    )


def _apart(part: str, by_scheme: dict[Scheme | None, int], main: Scheme, facts: ModelFacts) -> list[StoredApart]:
    """What of a part is stored otherwise than the main scheme says; the LM head is in 16 bits by default."""
    whole = sum(by_scheme.values())
    usual = None if part == "lm_head" else main
    return [
        StoredApart.model_validate({"part": part, "share": n / whole, "bits": _bits(scheme, facts)})
        for scheme, n in by_scheme.items()
        if n and scheme != usual
    ]


def _bits(scheme: Scheme | None, facts: ModelFacts) -> float:
    """Bits of one weight with its share of scales."""
    if scheme is None:
        return SIXTEEN
    group = scheme.group if scheme.group > 0 else facts.hidden_size
    return (scheme.bits or WEIGHT_BITS[scheme.kind]) + 8 * SCALE_BYTES.get(scheme.kind, 0.0) / group
