"""What each quantisation method says of each matrix: its scheme, or 16 bits.

Methods and keys as vLLM 0.32 reads them (``model_executor/layers/quantization``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from rooftune.errors import InputError
from rooftune.models.keys import Json
from rooftune.models.module_names import Matrix, Patterns
from rooftune.models.refusals import WAY_OUT


@dataclass(frozen=True)
class Scheme:
    """How a matrix is stored."""

    kind: str
    """As in ``ModelFacts.quantization``."""
    bits: int | None = None
    """Where the kind leaves a choice."""
    group: int = 128
    """Weights that share a scale; -1 = a whole column."""
    block: int | None = None
    """Side of square blocks that share a scale; None = no blocks."""


@dataclass(frozen=True)
class Rule:
    """A scheme for the matrices that its patterns name; None = 16 bits."""

    patterns: Patterns
    scheme: Scheme | None


@dataclass(frozen=True)
class Plan:
    """The scheme of every matrix: the first rule that names it, else the rest."""

    rest: Scheme | None
    rules: tuple[Rule, ...] = ()
    experts_only: bool = False
    lm_head: bool = False
    """The LM head is quantised as the rest is."""
    kv_cache_dtype: str | None = None

    def scheme_of(self, matrix: Matrix) -> Scheme | None:
        """The scheme of a matrix; None = 16 bits."""
        for rule in self.rules:
            if rule.patterns.match(matrix):
                return rule.scheme
        if (self.experts_only and matrix.part != "experts") or (matrix.part == "lm_head" and not self.lm_head):
            return None
        return self.rest


def plan_of(q: Json, model: str) -> Plan | None:
    """The plan of a quantisation configuration; None where it leaves all weights in 16 bits.

    Raises:
        InputError: a method that rooftune cannot size, or one without its sizes.
    """
    method = method_of(q)
    reader = METHODS.get(method)
    if reader is None:
        known = ", ".join(sorted(METHODS))
        raise InputError(
            f"{model} is quantised with {method or 'an unnamed method'} (quantization_config.quant_method), whose "
            f"weights rooftune cannot size; known are {known}; {WAY_OUT}."
        )
    return reader(Source(q, model, method))


def method_of(q: Json) -> str:
    """The method of a quantisation configuration, with dashes; empty where it names none."""
    method = str(q.get("quant_method") or "").lower().replace("_", "-")
    if not method and ("quant_algo" in q or "quantization" in q or "producer" in q):
        return "modelopt"
    return method


@dataclass(frozen=True)
class Source:
    """A quantisation configuration of one model."""

    q: Json
    model: str
    method: str

    def number(self, *names: str, default: int | None = None) -> int | None:
        """A whole number.

        Raises:
            InputError: the key holds something else.
        """
        for name in names:
            value = self.q.get(name)
            if value is None:
                continue
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or value != int(value)
                or abs(value) > 2**20
            ):
                raise self.refusal(name, "is not a whole number")
            return int(value)
        return default

    def names(self, *keys: str) -> list[str]:
        """Patterns of modules, from the first of the keys that has some."""
        for key in keys:
            value = self.q.get(key)
            if isinstance(value, str):
                return value.split(",")
            if isinstance(value, list) and value:
                flat = [item for sub in value for item in (sub if isinstance(sub, list) else [sub])]
                return [str(item) for item in flat]
        return []

    def inner(self, key: str) -> Mapping[str, object]:
        """A mapping; empty where the key holds something else."""
        value = self.q.get(key)
        return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}

    def refusal(self, key: str, what: str) -> InputError:
        """The refusal that names a key."""
        return InputError(
            f"{self.model} is quantised with {self.method}, and quantization_config.{key} {what}; rooftune cannot size "
            f"its weights; {WAY_OUT}."
        )

    def under(self, key: str) -> Source:
        """The configuration inside a key."""
        return Source(self.inner(key), self.model, self.method)


def _skipping(source: Source, scheme: Scheme, *keys: str, lm_head: bool = False) -> Plan:
    """A plan for all matrices but those that a list leaves out."""
    return Plan(scheme, (Rule(Patterns(source.names(*keys)), None),), lm_head=lm_head)


def _awq(s: Source) -> Plan:
    scheme = Scheme("awq", s.number("bits", "w_bit"), s.number("group_size", "q_group_size", default=128) or 128)
    return _skipping(s, scheme, "modules_to_not_convert", lm_head=bool(s.q.get("lm_head")))


def _gptq(s: Source) -> Plan:
    scheme = Scheme("gptq", s.number("bits", default=4), s.number("group_size", default=128) or 128)
    rules = []
    for pattern, change in s.inner("dynamic").items():
        sign, expression = pattern[:1], pattern.removeprefix("+:").removeprefix("-:")
        own = Source(change if isinstance(change, dict) else {}, s.model, s.method)
        other = Scheme(
            "gptq", own.number("bits", default=scheme.bits), own.number("group_size", default=scheme.group) or -1
        )
        rules.append(Rule(Patterns([f"re:{expression}"]), None if sign == "-" else other))
    rules.append(Rule(Patterns(s.names("modules_to_not_convert")), None))
    only = s.names("modules_in_block_to_quantize")
    if only:
        return Plan(None, (*rules, Rule(Patterns(only), scheme)))
    return Plan(scheme, tuple(rules), lm_head=bool(s.q.get("lm_head")))


def _auto_round(s: Source) -> Plan:
    kind = str(s.q.get("data_type") or "int")
    kinds = {"int": "gptq", "nv_fp": "nvfp4", "nv_fp4": "nvfp4", "mx_fp": "mxfp4", "mx_fp4": "mxfp4", "fp8": "fp8"}
    if kind not in kinds:
        raise s.refusal("data_type", f"is {kind!r}")
    scheme = Scheme(kinds[kind], s.number("bits"), s.number("group_size", default=128) or 128)
    rules = []
    for name, change in s.inner("extra_config").items():
        own = Source(change if isinstance(change, dict) else {}, s.model, s.method)
        bits = own.number("bits", default=16) or 16
        pattern = name if not set(name) & set("^$|(\\") else f"re:{name}"
        rules.append(Rule(Patterns([pattern]), None if bits >= 16 else Scheme(scheme.kind, bits, scheme.group)))
    return Plan(scheme, tuple(rules))


def _fp8(s: Source) -> Plan:
    if s.q.get("store_dtype"):
        raise s.refusal("store_dtype", f"is {s.q['store_dtype']!r}")
    block = _side(s.q.get("weight_block_size"))
    return _skipping(s, Scheme("fp8", None, block or 128, block), "modules_to_not_convert", "ignored_layers")


def _side(block: object) -> int | None:
    """The side of a block such as [128, 128]; None where there is none."""
    return block[0] if isinstance(block, list) and block and isinstance(block[0], int) else None


def _int8_experts(s: Source) -> Plan:
    return Plan(Scheme("int8", None, -1), experts_only=True)


def _mxfp4(s: Source) -> Plan:
    """vLLM loads MXFP4 weights in the experts alone."""
    plan = _skipping(s, Scheme("mxfp4", None, 32), "modules_to_not_convert")
    return Plan(plan.rest, plan.rules, experts_only=True)


def _bitsandbytes(s: Source) -> Plan:
    eight = bool(s.q.get("load_in_8bit") or s.q.get("_load_in_8bit"))
    return _skipping(s, Scheme("bitsandbytes", 8 if eight else 4, 64), "llm_int8_skip_modules")


def _compressed_tensors(s: Source) -> Plan:
    sparsity = str(s.under("sparsity_config").q.get("format") or "dense")
    if sparsity != "dense":
        raise s.refusal("sparsity_config", f"has the format {sparsity!r}")
    groups = s.inner("config_groups")
    if not groups:
        raise s.refusal("config_groups", "is missing")
    rules, rest = [Rule(Patterns(s.names("ignore")), None)], None
    for name in groups:
        group = Source(s.inner("config_groups"), s.model, s.method).under(name)
        scheme = _compressed_scheme(group)
        targets = group.names("targets")
        by_class = [t for t in targets if "." not in t and not t.startswith("re:")]
        by_name = [t for t in targets if t not in by_class]
        if by_name:
            rules.append(Rule(Patterns(by_name), scheme))
        rest = scheme if by_class or not targets else rest
    kv = s.under("kv_cache_scheme")
    return Plan(rest, tuple(rules), kv_cache_dtype="fp8" if kv.number("num_bits") == 8 else None)


def _compressed_scheme(group: Source) -> Scheme | None:
    """The scheme of one group; None where only activations are quantised."""
    weights = group.under("weights")
    if not weights.q:
        return None
    bits, size = weights.number("num_bits", default=8) or 8, weights.number("group_size", default=-1) or -1
    if str(weights.q.get("type") or "int") == "float":
        if bits == 8:
            return Scheme("mxfp8", None, 32) if size == 32 else _fp8_scheme(weights, size)
        return Scheme("mxfp4" if size == 32 else "nvfp4", None, size if size > 0 else 16)
    if group.q.get("input_activations") and bits == 8:
        return Scheme("int8", None, size)
    return Scheme("gptq", bits, size)


def _fp8_scheme(weights: Source, size: int) -> Scheme:
    """FP8 with a scale per matrix, per column, or per block."""
    block = _side(weights.q.get("block_structure")) if weights.q.get("strategy") == "block" else None
    return Scheme("fp8", None, block or size, block)


ALGORITHMS = {
    "FP8": Scheme("fp8"),
    "FP8_PER_CHANNEL_PER_TOKEN": Scheme("fp8"),
    "FP8_PB_WO": Scheme("fp8", None, 128, 128),
    "FP8_BLOCK_SCALES": Scheme("fp8", None, 128, 128),
    "NVFP4": Scheme("nvfp4", None, 16),
    "W4A16_NVFP4": Scheme("nvfp4", None, 16),
    "W4A8_NVFP4_FP8": Scheme("nvfp4", None, 16),
    "MXFP8": Scheme("mxfp8", None, 32),
    "W4A8_MXFP4_FP8": Scheme("mxfp4", None, 32),
    "INT8_SQ": Scheme("int8", None, -1),
    "W4A16_AWQ": Scheme("awq", 4, 128),
    "W4A8_AWQ": Scheme("awq", 4, 128),
}
"""ModelOpt's names of schemes (``quant_algo``)."""


def _modelopt(s: Source) -> Plan | None:
    inner = s.under("quantization") if s.inner("quantization") else s
    kv = inner.q.get("kv_cache_quant_algo") or ("FP8" if inner.under("kv_cache_scheme").q else None)
    kv_dtype = "fp8" if str(kv).upper() == "FP8" else None
    rules = [Rule(Patterns(inner.names("exclude_modules", "ignore")), None)]
    algorithm = inner.q.get("quant_algo")
    if str(algorithm or "").upper() == "MIXED_PRECISION":
        for name, change in inner.inner("quantized_layers").items():
            own = change.get("quant_algo") if isinstance(change, dict) else None
            rules.append(Rule(Patterns([name]), _algorithm(inner, own)))
        if len(rules) == 1:
            raise inner.refusal("quantized_layers", "is missing although quant_algo is MIXED_PRECISION")
        return Plan(None, tuple(_merged(rules)), kv_cache_dtype=kv_dtype)
    if algorithm is None:
        return None
    return Plan(_algorithm(inner, algorithm), tuple(rules), lm_head=True, kv_cache_dtype=kv_dtype)


def _merged(rules: Iterable[Rule]) -> list[Rule]:
    """Rules with the same scheme as one, in the order of their first appearance."""
    merged: dict[Scheme | None, list[str]] = {}
    for rule in rules:
        merged.setdefault(rule.scheme, []).extend(rule.patterns.patterns)
    return [Rule(Patterns(patterns), scheme) for scheme, patterns in merged.items()]


def _algorithm(s: Source, name: object) -> Scheme:
    scheme = ALGORITHMS.get(str(name).upper())
    if scheme is None:
        raise s.refusal("quant_algo", f"is {name!r}")
    return scheme


QUARK = {
    "fp8_e4m3": Scheme("fp8"), "int8": Scheme("int8", None, -1), "int4": Scheme("gptq", 4), "uint4": Scheme("gptq", 4),
    "fp4": Scheme("mxfp4", None, 32),
}  # fmt: skip


def _quark(s: Source) -> Plan:
    rules = [Rule(Patterns(s.names("exclude")), None)]
    for name, change in s.inner("layer_quant_config").items():
        own = Source(change if isinstance(change, dict) else {}, s.model, s.method)
        rules.append(Rule(Patterns([name]), _quark_scheme(own)))
    if s.inner("layer_type_quant_config"):
        raise s.refusal("layer_type_quant_config", "gives schemes by class of layer")
    return Plan(_quark_scheme(s.under("global_quant_config")), tuple(rules))


def _quark_scheme(s: Source) -> Scheme | None:
    if s.q.get("weight") is None:
        return None
    dtype = str(s.under("weight").q.get("dtype"))
    if dtype not in QUARK:
        raise s.refusal("weight", f"has the type {dtype!r}")
    return QUARK[dtype]


TORCHAO = {"Int4": 4, "Int8DynamicActivationInt4": 4, "Float8DynamicActivationInt4": 4, "Int8": 8, "Float8": 8}
"""Bits by the start of the name of a torchao configuration, the longer names first."""


def _torchao(s: Source) -> Plan:
    default = s.under("quant_type").under("default")
    name = str(default.q.get("_type") or s.q.get("quant_type") or "")
    plain = "".join(word.capitalize() for word in name.split("_")) if "_" in name else name
    start = next((key for key in sorted(TORCHAO, key=len, reverse=True) if plain.startswith(key)), None)
    if start is None:
        raise s.refusal("quant_type", f"is {name!r}")
    group = default.under("_data").number("group_size", default=128) or 128
    return _skipping(s, Scheme("torchao", TORCHAO[start], group), "modules_to_not_convert")


def _fp_quant(s: Source) -> Plan:
    dtype = str(s.q.get("forward_dtype"))
    if dtype not in ("mxfp4", "nvfp4"):
        raise s.refusal("forward_dtype", f"is {dtype!r}")
    return _skipping(s, Scheme(dtype, None, 32 if dtype == "mxfp4" else 16), "modules_to_not_convert")


METHODS: dict[str, Callable[[Source], Plan | None]] = {
    "awq": _awq, "auto-awq": _awq, "awq-marlin": _awq,
    "gptq": _gptq, "auto-gptq": _gptq, "gptq-marlin": _gptq,
    "auto-round": _auto_round, "inc": _auto_round,
    "fp8": _fp8, "fbgemm-fp8": _fp8,
    "compressed-tensors": _compressed_tensors,
    "modelopt": _modelopt, "modelopt-fp4": _modelopt, "modelopt-mxfp8": _modelopt, "modelopt-mixed": _modelopt,
    "mxfp4": _mxfp4, "gpt-oss-mxfp4": _mxfp4,
    "experts-int8": _int8_experts,
    "bitsandbytes": _bitsandbytes,
    "quark": _quark, "torchao": _torchao, "fp-quant": _fp_quant,
}  # fmt: skip
