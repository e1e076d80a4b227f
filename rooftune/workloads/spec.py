"""What a workload file may contain: strict, documented, and the source of the JSON Schema that editors use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rooftune.workloads.adapters import LoraAdapter
from rooftune.workloads.slo import Slo
from rooftune.workloads.strict import MOST_TOKENS, Count, Strict, Tokens
from rooftune.workloads.texts.prompts_file import Prompts
from rooftune.workloads.texts.sampling import Sampling


class Bounded(Strict):
    """A distribution that is cut to low..high."""

    low: Tokens = Field(default=1, description="shorter draws become this")
    high: Tokens = Field(default=1_000_000, description="longer draws become this")

    @model_validator(mode="after")
    def _ordered(self) -> Bounded:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self


class Fixed(Strict):
    """Always the same length."""

    distribution: Literal["fixed"] = "fixed"
    value: Tokens


class Uniform(Bounded):
    """Every length from low to high equally often."""

    distribution: Literal["uniform"]
    low: Tokens
    high: Tokens


class Normal(Bounded):
    """Normal, cut to low..high."""

    distribution: Literal["normal"]
    mean: float = Field(gt=0, description="mean before cutting, tokens")
    stddev: float = Field(ge=0, description="standard deviation, tokens")


class Lognormal(Bounded):
    """Lognormal by its mean and its shape sigma, cut to low..high. Chat lengths look like this."""

    distribution: Literal["lognormal"]
    mean: float = Field(gt=0, description="arithmetic mean before cutting, tokens")
    sigma: float = Field(gt=0, le=3, description="standard deviation of the logarithm")


class Empirical(Strict):
    """Drawn from observed values, each as often as it is listed here or in a file."""

    distribution: Literal["empirical"]
    values: list[Tokens] = Field(default_factory=list, description="the lengths")
    file: str | None = Field(
        default=None, description="one length per line, beside the workload file; instead of values"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Empirical:
        if bool(self.values) == (self.file is not None):
            raise ValueError("give either values, at least one, or a file")
        return self


Lengths = Annotated[Fixed | Uniform | Normal | Lognormal | Empirical, Field(discriminator="distribution")]


class Poisson(Strict):
    """Independent arrivals at a mean rate."""

    process: Literal["poisson"]
    rate_per_s: float = Field(gt=0, description="requests per second")


class Constant(Strict):
    """One arrival every 1 / rate seconds."""

    process: Literal["constant"]
    rate_per_s: float = Field(gt=0, description="requests per second")


class Gamma(Strict):
    """Gamma-distributed gaps: burstiness 1 is Poisson, below 1 burstier, above 1 smoother."""

    process: Literal["gamma"]
    rate_per_s: float = Field(gt=0, description="requests per second")
    burstiness: float = Field(ge=0.001, description="shape of the gaps")


class Ramp(Strict):
    """Poisson arrivals whose rate grows from one value to another over warm-up and measured time: finds the knee."""

    process: Literal["ramp"]
    from_rate_per_s: float = Field(gt=0, description="requests per second at the start of the load")
    to_rate_per_s: float = Field(gt=0, description="requests per second at its end")


class Burst(Strict):
    """Poisson arrivals at a base rate, and bursts of ``burst_size`` requests at once every ``burst_every_s``."""

    process: Literal["burst"]
    rate_per_s: float = Field(gt=0, description="requests per second between the bursts")
    burst_size: Count = Field(description="requests of one burst")
    burst_every_s: float = Field(gt=0, description="seconds from burst to burst")


TimeUnit = Literal["s", "ms", "us", "ns"]
TraceColumn = Literal[
    "arrival", "prompt_tokens", "output_tokens", "prefix_id", "prefix_tokens", "conversation", "think_s", "hash_ids",
    "adapter",
]  # fmt: skip


class Trace(Strict):
    """Arrivals and lengths from a file."""

    process: Literal["trace"]
    file: str = Field(description="path, relative to the workload file")
    format: Literal[
        "auto",
        "csv",
        "mooncake",
        "bailian",
        "azure",
        "burstgpt",
        "vidur",
        "llmservingsim",
        "aiperf",
        "guidellm",
        "sharegpt",
        "openai",
    ] = Field(default="auto", description="where the file is from; auto recognises it by its content")
    time_unit: TimeUnit | None = Field(
        default=None, description="unit of its times; by default what its format defines"
    )
    block_tokens: int | None = Field(
        default=None, ge=1, le=MOST_TOKENS, description="tokens per hash block; by default what its format defines"
    )
    columns: dict[TraceColumn, str] = Field(
        default_factory=dict, description="our name of a column and the file's, where they differ"
    )
    speed: float = Field(default=1.0, gt=0, description="2 sends the trace twice as fast")
    rate_per_s: float | None = Field(
        default=None, gt=0, description="Poisson at this rate, in place of the file's times or where it has none"
    )


class Closed(Strict):
    """A closed loop: each user sends a request when the last one is answered, and the server sets the rate."""

    process: Literal["closed"]
    concurrency: Count = Field(description="users; without think time, as many requests are kept in flight")
    think_s: float = Field(
        default=0.0, ge=0, description="mean of the exponential pause from an answer to the user's next request"
    )


Arrivals = Annotated[Poisson | Constant | Gamma | Ramp | Burst | Trace | Closed, Field(discriminator="process")]


class SharedPrefix(Strict):
    """A share of the prompts begins with one of ``groups`` common prefixes."""

    share: float = Field(ge=0, le=1, description="share of the prompts that begin with one")
    tokens: Tokens = Field(description="length of each prefix")
    groups: Count = Field(default=1, description="different prefixes, each used equally often")


class Conversations(Strict):
    """Multi-turn: the next turn waits for the answer and a think time, and carries the whole history."""

    turns: Lengths = Field(description="turns of one conversation")
    think_s: float = Field(default=2.0, ge=0, description="mean of the exponential think time")


class Part(Strict):
    """One component of a mixed workload."""

    weight: float = Field(gt=0, description="share of the requests, relative to the other parts")
    prompt_tokens: Lengths = Field(description="length of the whole prompt, shared prefix included")
    output_tokens: Lengths = Field(description="length of the answer")
    shared_prefix: SharedPrefix | None = None


CAPACITY = "capacity"
"""The objective that decides where there is an SLO and a rate: requests/s of one server within the SLO."""
COST = "cost_per_million_output_tokens_usd"
"""Price of a million output tokens: of a server at its capacity where there is one, else at the load of the trial."""
ENERGY = "energy_per_output_token_j"
"""Energy that the accelerators take for one output token, at the load of the trial."""
MetricName = Literal[
    "capacity",
    "output_throughput",
    "request_throughput",
    "request_goodput",
    "total_token_throughput",
    "median_ttft_ms",
    "p99_ttft_ms",
    "median_tpot_ms",
    "p99_tpot_ms",
    "median_e2el_ms",
    "p99_e2el_ms",
    "cost_per_million_output_tokens_usd",
    "energy_per_output_token_j",
]


def lower_is_better(metric: str) -> bool:
    """True for times, cost and energy, False for rates and shares."""
    return metric.endswith("_ms") or metric in (COST, ENERGY)


class Constraint(Strict):
    """A bound on a metric, which a winning configuration must keep."""

    metric: MetricName
    at_most: float | None = Field(default=None, gt=0, description="upper bound; either this or at_least")
    at_least: float | None = Field(default=None, gt=0, description="lower bound")

    @model_validator(mode="after")
    def _one_bound(self) -> Constraint:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give either at_most or at_least")
        return self

    def allows(self, value: float) -> bool:
        """Whether a value is within the bound."""
        if self.at_most is not None:
            return value <= self.at_most
        return self.at_least is not None and value >= self.at_least


class ObjectiveMetric(Strict):
    """The metric that decides between configurations."""

    metric: MetricName | None = Field(
        default=None,
        description="default: capacity where there is an SLO and the arrivals have one rate, else output_throughput",
    )
    constraints: list[Constraint] = Field(default_factory=list, description="bounds on other metrics")


class Workload(Strict):
    """What users send. Times in seconds, lengths in tokens."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="small letters, digits and dashes")
    description: str = Field(default="", description="one line for lists and reports")
    endpoint: Literal["completions", "chat"] = Field(default="completions", description="API that gets the requests")
    arrivals: Arrivals = Field(description="when requests arrive")
    prompt_tokens: Lengths | None = Field(
        default=None, description="length of the whole prompt, shared prefix included"
    )
    output_tokens: Lengths | None = Field(default=None, description="length of the answer")
    shared_prefix: SharedPrefix | None = Field(default=None, description="beginnings that prompts have in common")
    conversations: Conversations | None = Field(default=None, description="requests with the history of earlier ones")
    parts: list[Part] = Field(default_factory=list, description="a mix of kinds of requests, by weight")
    prompts: Prompts | None = Field(default=None, description="real texts from a file, in place of drawn prompts")
    sampling: Sampling | None = Field(default=None, description="how answers are drawn; default: greedy")
    max_tokens: Tokens | None = Field(
        default=None, description="longest answer that the server may give; default: the file's, else 1024"
    )
    lora: list[LoraAdapter] = Field(
        default_factory=list, description="LoRA adapters that a share of the requests asks for"
    )
    duration_s: float = Field(gt=0, description="length of the measured window")
    warmup_s: float = Field(default=0, ge=0, description="load before the window; not measured")
    drain_s: float = Field(default=30, ge=0, description="longest wait for answers after the last arrival")
    seed: int = Field(default=0, ge=0, lt=2**63, description="the same seed draws the same requests")
    ignore_eos: bool = Field(
        default=True,
        description="every answer has exactly the drawn or recorded length; false lets answers end by themselves; "
        "default with prompts: false",
    )
    slo: Slo = Field(default=Slo(), description="what a request must meet")
    objective: ObjectiveMetric = Field(default=ObjectiveMetric(), description="what decides between configurations")

    @model_validator(mode="before")
    @classmethod
    def _natural_ends(cls, given: object) -> object:
        """Answers to real texts end by themselves unless the file says otherwise."""
        if isinstance(given, dict) and given.get("prompts") is not None and "ignore_eos" not in given:
            return {**given, "ignore_eos": False}
        return given

    @field_validator("lora")
    @classmethod
    def _shares(cls, lora: list[LoraAdapter]) -> list[LoraAdapter]:
        names = [a.name for a in lora]
        if len(set(names)) < len(names):
            raise ValueError("two adapters have the same name")
        if sum(a.share for a in lora) > 1 + 1e-9:
            raise ValueError(f"the shares add up to {sum(a.share for a in lora):g}, which is more than 1")
        return lora

    @model_validator(mode="after")
    def _reasoning_is_separate(self) -> Workload:
        by_its_texts = self.prompts is not None and "endpoint" not in self.model_fields_set
        self.slo.check_api(chat=self.chat or by_its_texts)
        return self

    @model_validator(mode="after")
    def _complete(self) -> Workload:
        if self.prompts is not None:
            self._check_texts()
            return self
        if self.max_tokens is not None:
            raise ValueError("max_tokens belongs to prompts; without them output_tokens is the length of every answer")
        own = self.prompt_tokens is not None and self.output_tokens is not None
        if self.parts and (self.prompt_tokens or self.output_tokens or self.shared_prefix):
            raise ValueError(
                "parts and prompt_tokens/output_tokens/shared_prefix exclude each other; put the lengths into the parts"
            )
        if not own and not self.parts and not isinstance(self.arrivals, Trace):
            raise ValueError("prompt_tokens and output_tokens are missing (or parts, or a trace that has lengths)")
        if self.conversations and (self.parts or isinstance(self.arrivals, Trace)):
            raise ValueError("conversations cannot be combined with a trace or with parts")
        return self

    def _check_texts(self) -> None:
        """What cannot be combined with texts, which have their own lengths, turns and beginnings."""
        own = ("prompt_tokens", "shared_prefix", "conversations", "parts")
        named = [name for name in own if getattr(self, name)]
        if named:
            raise ValueError(f"prompts and {', '.join(named)} exclude each other; the texts decide these")

    @property
    def has_capacity(self) -> bool:
        """Whether there is a highest rate within the SLO: it has limits, and arrivals whose rate can vary."""
        varies = isinstance(self.arrivals, (Poisson, Constant, Gamma, Burst))
        at_rate = isinstance(self.arrivals, Trace) and self.arrivals.rate_per_s is not None
        return bool(self.slo.limits_ms()) and (varies or at_rate)

    @property
    def requests_sampling(self) -> Sampling:
        """Sampling of all requests."""
        return self.sampling or Sampling()

    def with_part(self, part: Literal["all", "search", "confirm"], lengths: str | None = None) -> Workload:
        """The workload with one part of its texts; itself where it has none.

        Args:
            part: of the split.
            lengths: file with the lengths of all prompts; None keeps the one that is named.
        """
        if self.prompts is None:
            return self
        update = {"part": part, **({"lengths": lengths} if lengths else {})}
        return self.model_copy(update={"prompts": self.prompts.model_copy(update=update)})

    @property
    def may_have_turns(self) -> bool:
        """Whether some requests may follow others in a conversation."""
        return self.conversations is not None or self.prompts is not None

    @property
    def natural_ends(self) -> bool:
        """Whether answers to real texts end by themselves on a real server, so that their lengths are not set."""
        return self.prompts is not None and not self.ignore_eos

    @property
    def chat(self) -> bool:
        """Whether requests have messages."""
        return self.endpoint == "chat"

    @property
    def decides(self) -> str:
        """The metric that decides: the one that is named, or its default."""
        return self.objective.metric or (CAPACITY if self.has_capacity else "output_throughput")

    @property
    def measures_capacity(self) -> bool:
        """Whether trials measure the capacity: it decides, or the cost of a token of a server at its capacity does."""
        return self.decides == CAPACITY or (self.decides == COST and self.has_capacity)

    def whole(self) -> Part:
        """The lengths of a workload without parts."""
        assert self.prompt_tokens is not None
        assert self.output_tokens is not None
        return Part(
            weight=1,
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
            shared_prefix=self.shared_prefix,
        )

    @property
    def total_s(self) -> float:
        """Warm-up and measured window."""
        return self.warmup_s + self.duration_s
