"""Which part of an answer the simulator takes for reasoning, because it has no text that decides."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

ASSUMPTION = "The first half of each answer is taken for reasoning."
"""What a prediction of the first token of the answer rests on."""
Count = TypeVar("Count", int, npt.NDArray[np.int64])


def assumed_reasoning(tokens: Count) -> Count:
    """Tokens of reasoning in answers of this many tokens: the first half."""
    return tokens // 2
