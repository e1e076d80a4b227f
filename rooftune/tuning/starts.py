"""Which configurations of a plan would start, before a server is started."""

from __future__ import annotations

from dataclasses import dataclass

from rooftune.engines.target import Target
from rooftune.errors import RooftuneError
from rooftune.hardware.accelerator import Accelerator
from rooftune.models.catalogue import model_facts
from rooftune.models.facts import ModelFacts
from rooftune.tuning.plan import Gate
from rooftune.vllm_rules.config import EngineConfig
from rooftune.vllm_rules.start.startup import Refusal, Startup, startup


@dataclass(frozen=True)
class Starts:
    """Asks for each configuration of a target whether it would start."""

    target: Target
    gpu: Accelerator
    facts: ModelFacts | None
    longest_request: int

    def of(self, config: EngineConfig) -> Startup | None:
        """The start of a configuration; None where rooftune does not know enough to say."""
        if self.target.engine == "endpoint" or self.facts is None:
            return None
        if self.gpu.kind == "cuda" and self.gpu.compute_capability is None:
            return None
        return startup(self.gpu, self._facts(config), config, self.target.engine_version, self.longest_request)

    def certain(self, refusal: Refusal) -> bool:
        """Whether the engine of this target would refuse as well: a real one may have more memory than estimated."""
        return self.target.simulated or not refusal.estimated

    def gates(self, config: EngineConfig, baseline: Refusal | None) -> list[Gate]:
        """Why a candidate would not start; what the baseline suffers from too is not repeated."""
        found = self.of(config)
        refusal = found.refusal if found is not None else None
        if refusal is None:
            return []
        same = baseline is not None and baseline.rule == refusal.rule
        reason = "it would not start, as the baseline" if same else f"it would not start: {refusal.sentence}"
        verdict = "not supported" if self.certain(refusal) else "trap"
        return [Gate.model_validate({"id": f"start-{refusal.rule}", "verdict": verdict, "reason": reason})]

    def _facts(self, config: EngineConfig) -> ModelFacts:
        assert self.facts is not None
        if config.quantization is None:
            return self.facts
        try:
            return model_facts(self.target.model, quantization=config.quantization)
        except RooftuneError:
            return self.facts
