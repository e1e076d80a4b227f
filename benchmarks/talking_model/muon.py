"""The optimiser Muon in the type that the processor multiplies fastest.

``torch.optim.Muon`` always works in bfloat16. A processor without products in bfloat16 emulates them: one step of the
model's 28 matrices took 4.4 s on two AMD processors with AVX2, four times as long as the forward and backward pass.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the quintic iteration, from https://github.com/KellerJordan/Muon and ``torch.optim.Muon``."""
ITERATIONS = 5
SMALLEST_NORM = 1e-7
FAST = torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


class Muon:
    """Moves each matrix along its orthogonalised momentum, by about as much as AdamW would with the same rate.

    It does what ``torch.optim.Muon`` does with ``weight_decay=0.0`` and ``adjust_lr_fn="match_rms_adamw"``.
    """

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        self._moving = {weight: torch.zeros_like(weight) for weight in weights}

    def step(self, rate: float) -> None:
        """Move every matrix, and forget its gradient."""
        with torch.no_grad():
            for weight, momentum in self._moving.items():
                momentum.lerp_(weight.grad, 1 - MOMENTUM)
                direction = orthogonal(weight.grad.lerp(momentum, MOMENTUM))
                weight.add_(direction, alpha=-0.2 * max(weight.shape) ** 0.5 * rate)
                weight.grad = None


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix with the singular vectors of ``matrix`` and singular values near 1, in its type."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    found = wide.to(FAST)
    found = found / found.norm().clamp(min=SMALLEST_NORM)
    linear, cubic, quintic = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = found @ found.T
        found = torch.addmm(found, torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic), found, beta=linear)
    return (found.T if matrix.shape[0] > matrix.shape[1] else found).to(matrix.dtype)
