"""Decorators of the fast path's functions. They do nothing until numba loads the modules a second time
(``compilation.py``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])
_compiling = False
INSIDE = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of functions that only compiled code calls. The code with which Python and C call them would unpack the whole
state, and take about 40 % of the compilation."""


def compiled(function: F) -> F:
    """Compile this function with numba while the compiled copies are being loaded."""
    return _compile(function, INSIDE)


def inlined(function: F) -> F:
    """Like ``compiled``, and put the code wherever the function is called.

    A call passes the whole state, about a hundred words, which takes longer than most of these functions do: without
    inlining a run takes three times as long (``docs/benchmarks.md``).
    """
    return _compile(function, {**INSIDE, "forceinline": True})


def entry(function: F) -> F:
    """Like ``compiled``, for the one function that Python calls. Its machine code holds that of all others and is kept
    for later processes."""
    return _compile(function, {"cache": True})


@contextmanager
def compiling() -> Iterator[None]:
    """Inside this context the decorators compile. The caller makes sure that only one thread is in it."""
    global _compiling
    _compiling = True
    try:
        yield
    finally:
        _compiling = False


def _compile(function: F, options: dict[str, bool]) -> F:
    if not _compiling:
        return function
    from numba import njit

    # _nrt=False: nothing is allocated here, and numba's runtime would count references to the arrays at every access,
    # which takes a quarter of the time.
    return cast(F, cast(Any, njit)(nogil=True, error_model="numpy", _nrt=False, **options)(function))
