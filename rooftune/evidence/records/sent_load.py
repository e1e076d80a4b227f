"""What a load that measures a capacity sent: the workload at its own rate and duration. Content of sent.json."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from rooftune.errors import RooftuneError
from rooftune.files import read_model
from rooftune.runfolder import TrialFolder
from rooftune.workloads.spec import Workload


class SentLoad(BaseModel):
    """One load, and how the server was just before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    workload: Workload = Field(description="as sent; drawing it again gives the same requests")
    reason: str = Field(description="why it has this rate")
    idle: bool | None = Field(default=None, description="no request was running or waiting; None = it does not say")
    present: float | None = Field(default=None, description="requests running and waiting")
    waited_s: float = Field(default=0.0, description="real seconds until the server was idle")
    last: bool = Field(default=False, description="no other load of this trial follows")


def sent_load(files: TrialFolder) -> SentLoad | None:
    """What the last load of a trial sent; None where it was the workload of the run, or where the file is cut."""
    if not files.sent_json.is_file():
        return None
    try:
        return read_model(files.sent_json, SentLoad)
    except RooftuneError:
        return None
