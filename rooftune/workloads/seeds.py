"""Independent random streams from one seed: one for each purpose, so that changing one does not shift the others."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The random stream of one purpose."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(purpose.encode())])))


def prompt_seeds(seed: int, n: int) -> npt.NDArray[np.int64]:
    """Distinct prompt seeds: a counter below the high bits of the run, so that two prompts never coincide."""
    base = np.random.SeedSequence([seed, zlib.crc32(b"prompts")]).generate_state(1)[0] % (1 << 30)
    return (np.int64(base) << np.int64(32)) + np.arange(n, dtype=np.int64)
