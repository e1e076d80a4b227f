"""The order of trials that cancels drift: palindromes, so that a steady change affects every arm equally."""

from __future__ import annotations

from collections.abc import Sequence


def balanced_order(arms: Sequence[str], rounds: int) -> list[str]:
    """Names in the order to run them, each ``rounds`` times.

    Rounds come in pairs, out and back (A B B A, A B C C B A), and the second pair starts from the other end
    (A B B A B A A B): the mean position of every arm is the same when ``rounds`` is even, so any linear drift cancels
    exactly. With two arms and rounds a multiple of four, a quadratic one does too (Thue-Morse order).

    >>> balanced_order("AB", 4)
    ['A', 'B', 'B', 'A', 'B', 'A', 'A', 'B']
    """
    forward = list(arms)
    backward = forward[::-1]
    return [name for n in range(rounds) for name in (backward if _odd(n) else forward)]


def _odd(number: int) -> bool:
    return bin(number).count("1") % 2 == 1


def imbalance(positions_a: Sequence[float], positions_b: Sequence[float]) -> float:
    """Distance of the arms' mean positions as a share of the whole span: 0 = linear drift cancels, 0.5 = A then B."""
    everything = [*positions_a, *positions_b]
    span = max(everything) - min(everything)
    if span == 0:
        return 0.0
    return abs(sum(positions_a) / len(positions_a) - sum(positions_b) / len(positions_b)) / span
