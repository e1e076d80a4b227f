"""Functions whose parameters are groups of options, shown to typer and Prefect with one parameter for each option."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R")


@dataclass(frozen=True)
class _Groups:
    """A function's parameters, and which of them are dataclasses of options."""

    parameters: list[inspect.Parameter]
    types: dict[str, type[DataclassInstance]]

    def gathered(self, arguments: dict[str, object]) -> dict[str, object]:
        """Flat arguments with those of each group replaced by an instance of it."""
        found = dict(arguments)
        for name, kind in self.types.items():
            found[name] = kind(**{f.name: found.pop(f.name) for f in fields(kind)})
        return found


def flat_command(function: Callable[..., R]) -> Callable[..., R]:
    """For typer: each field of a group becomes an option.

    A choice is taken as text, because rooftune's own error suggests the nearest name.
    """
    groups = _groups(function)
    parameters = [p.replace(annotation=_as_text(p.annotation)) for p in groups.parameters]

    @wraps(function)
    def call(*args: object, **kwargs: object) -> R:
        return function(**groups.gathered(_bound(parameters, args, kwargs)))

    return _shown_as(call, parameters, call.__doc__)


def flat_flow(function: Callable[..., Coroutine[Any, Any, R]]) -> Callable[..., Coroutine[Any, Any, R]]:
    """For Prefect: each field of a group becomes a parameter of the flow, with its help as description."""
    groups = _groups(function)
    parameters = [p.replace(annotation=_plain(p.annotation)) for p in groups.parameters]

    @wraps(function)
    async def call(*args: object, **kwargs: object) -> R:
        return await function(**groups.gathered(_bound(parameters, args, kwargs)))

    helps = "\n".join(f"    {p.name}: {_help(p.annotation)}" for p in groups.parameters)
    return _shown_as(call, parameters, f"{inspect.getdoc(function)}\n\nArgs:\n{helps}")


def _groups(function: Callable[..., object]) -> _Groups:
    hints = get_type_hints(function, include_extras=True)
    parameters: list[inspect.Parameter] = []
    types: dict[str, type[DataclassInstance]] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        if isinstance(hint, type) and is_dataclass(hint):
            types[parameter.name] = hint
            inside = get_type_hints(hint, include_extras=True)
            parameters += [
                inspect.Parameter(f.name, parameter.kind, default=f.default, annotation=inside[f.name])
                for f in fields(hint)
            ]
        else:
            parameters.append(parameter.replace(annotation=hint))
    return _Groups(parameters, types)


def _bound(
    parameters: list[inspect.Parameter], args: tuple[object, ...], kwargs: dict[str, object]
) -> dict[str, object]:
    bound = inspect.Signature(parameters).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def _shown_as(call: Callable[..., R], parameters: list[inspect.Parameter], doc: str | None) -> Callable[..., R]:
    """``call`` with the signature that typer and Prefect read."""
    del call.__dict__["__wrapped__"]  # typer would read the hints of what is wrapped
    call.__dict__["__signature__"] = inspect.Signature(parameters)
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    call.__doc__ = doc
    return call


def _plain(annotation: object) -> object:
    """The type without typer's words."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _as_text(annotation: object) -> object:
    if get_origin(_plain(annotation)) is not Literal:
        return annotation
    return Annotated[(str, *get_args(annotation)[1:])]


def _help(annotation: object) -> str:
    found = [word.help for word in get_args(annotation)[1:] if getattr(word, "help", None)]
    return found[0] if found else ""
