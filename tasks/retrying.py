"""Which failures are retried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rooftune.errors import EngineError, RooftuneError

if TYPE_CHECKING:
    from prefect import Task
    from prefect.client.schemas.objects import State, TaskRun

TRANSIENT = ("http", "refused", "rate limit")
"""Kinds of engine failures that may be temporary, such as an endpoint that restarts."""


async def retry_unexpected(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Retry unexpected errors; an error that explains itself would only occur again."""
    return not isinstance(await _error(state), RooftuneError)


async def retry_transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Retry unexpected errors, and an endpoint that refused temporarily."""
    error = await _error(state)
    if isinstance(error, EngineError):
        return error.kind in TRANSIENT
    return not isinstance(error, RooftuneError)


async def _error(state: State[Any]) -> BaseException | None:
    try:
        await state.result()
    except BaseException as error:
        return error
    return None
