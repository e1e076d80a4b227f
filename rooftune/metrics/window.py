"""The stretch of time that metrics are taken over."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, model_validator


class Window(BaseModel):
    """The stretch of time that metrics are taken over, in workload seconds from the start of the load."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    start_s: float
    end_s: float

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Window:
        if not self.start_s < self.end_s:
            raise ValueError(f"the window ends at {self.end_s:g} s, not after its start at {self.start_s:g} s")
        return self

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end_s - self.start_s

    def holds(self, at_s: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which moments are in it: the start is, the end is not."""
        return (at_s >= self.start_s) & (at_s < self.end_s)
