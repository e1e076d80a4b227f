"""How much the talking model differs from itself, and the quality guard's verdicts on other servers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from benchmarks.talking_model.store import TalkingModels
from rooftune.engines.server import ServerInfo
from rooftune.evidence.records.quality import Floor, Quality
from rooftune.quality.baseline import Asked
from rooftune.quality.guard import Guarded, check, keep_floor
from rooftune.runfolder import TrialFolder
from rooftune.vllm_rules.config import EngineConfig
from rooftune.workloads.texts.read import read_prompts
from rooftune.workloads.texts.sampling import Sampling
from tests.real_vllm.talking_answers import MAX_TOKENS


@dataclass(frozen=True)
class TalkingFloor:
    """What the guard keeps of the baseline."""

    folder: TrialFolder
    asked: Asked
    floor: Floor

    def checked(self, server: ServerInfo, place: Path, *, speculates: bool = False) -> Quality:
        """The guard's verdict on a server."""
        candidate, config = Guarded(server.url, server.model, self.asked), EngineConfig(model=server.model)
        found = asyncio.run(
            check(candidate, TrialFolder(place), self.floor, self.folder, config, speculates=speculates)
        )
        print("\n".join([found.words, *(f"{m.name}: {m.value:.5f}, floor {m.floor:.5f}" for m in found.measures)]))
        return found


def measured_floor(server: ServerInfo, talking: TalkingModels, folder: Path) -> TalkingFloor:
    """Ask the baseline's server everything that the guard needs."""
    asked = Asked(prompts=read_prompts(talking.prompts), sampling=Sampling(), max_tokens=MAX_TOKENS)
    place = TrialFolder(folder)
    return TalkingFloor(place, asked, asyncio.run(keep_floor(Guarded(server.url, server.model, asked), place)))
