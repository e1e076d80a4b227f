"""Which simulated server a measurement compares the real one with: the server's own twin, or a stand-in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field

from rooftune.capacity.reference import Reference
from rooftune.capacity.units import per_of
from rooftune.capacity.users import UsersReference
from rooftune.engines.price import given_price
from rooftune.engines.target import CalibrationFile, Target
from rooftune.errors import RooftuneError
from rooftune.hardware.accelerator import Price
from rooftune.hardware.named import accelerator
from rooftune.simulator.calibration.files import opened
from rooftune.simulator.virtual.predict import EmulatedEngine, engine_of, too_long
from rooftune.speculation.known import KnownDraft, KnownDrafts
from rooftune.vllm_rules.config import FlagValue
from rooftune.workloads.draw import draw
from rooftune.workloads.spec import Workload

BATCH_LIMIT = "max_num_seqs"


class ReferenceServer(BaseModel):
    """The simulated server whose response gives a measurement its shape. Only its shape matters, not its speed."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    gpu: str
    model: str
    engine_version: str
    flags: dict[str, FlagValue] = Field(default_factory=dict)
    calibration: CalibrationFile | None = None
    stand_in: bool = Field(default=False, description="the server's own GPU or model is not known")
    flags_known: bool = Field(default=True, description="the flags are those of the server, not assumed")
    gpu_known: bool = Field(default=True, description="the accelerator is the server's own")
    usd_per_gpu_hour: float | None = Field(default=None, description="price of an accelerator, from the user")
    drafts: list[KnownDraft] = Field(default_factory=list, description="how drafts of speculative decoding fare")
    exact: bool = Field(
        default=False, description="the server is this very simulation: its shape is right, and nothing warms up"
    )

    @property
    def words(self) -> str:
        """What it is, in a few words."""
        kind = "a stand-in, " if self.stand_in else ""
        return f"{kind}simulated {self.gpu} with {self.model}, vLLM {self.engine_version}"

    @property
    def price(self) -> Price | None:
        """Price of the server's accelerator; None where it is not known."""
        if self.usd_per_gpu_hour is not None:
            return given_price(self.usd_per_gpu_hour)
        return accelerator(self.gpu).price if self.gpu_known else None

    def with_batch_limit(self, sequences: int) -> ReferenceServer:
        """The same with the limit of sequences that the server was seen to have."""
        return self.model_copy(update={"flags": {**self.flags, BATCH_LIMIT: sequences}})

    def engine(self) -> EmulatedEngine:
        """The emulated engine.

        Raises:
            InputError: an unknown GPU or model.
            EngineError: vLLM would refuse these flags on this GPU.
        """
        acceptance = KnownDrafts(tuple(self.drafts)).acceptance(self.flags)
        return engine_of(
            self.gpu, self.model, self.engine_version, self.flags, acceptance, calibration=opened(self.calibration)
        )

    def reference(self, workload: Workload) -> Reference:
        """The reference for a workload: of its rate, or of its users.

        A trial asks for it after its load and again for its figures. The capacities that it holds take seconds to
        compute and depend on nothing else, so both get the same one.
        """
        return _reference(self.model_dump_json(), workload.model_dump_json())


@lru_cache(maxsize=2)
def _reference(server_json: str, workload_json: str) -> Reference:
    server, workload = ReferenceServer.model_validate_json(server_json), Workload.model_validate_json(workload_json)
    kind = UsersReference if per_of(workload) == "users" else Reference
    return kind(server.engine(), workload, exact=server.exact)


def reference_server(target: Target, flags: Mapping[str, FlagValue], gpu: str) -> ReferenceServer:
    """The twin of a server whose GPU, model and flags are known."""
    return ReferenceServer(
        gpu=gpu,
        model=target.model,
        engine_version=target.engine_version,
        flags=dict(flags),
        calibration=target.calibration,
        drafts=target.drafts,
        exact=target.engine == "simulated",
    )


def usable(server: ReferenceServer, workload: Workload) -> str:
    """Why the workload cannot be simulated on this server; empty where it can."""
    try:
        engine = server.engine()
    except RooftuneError as error:
        return str(error)
    if too_long(draw(workload), engine.limits.max_model_len).any():
        return f"some requests are longer than max_model_len={engine.limits.max_model_len}"
    return ""
