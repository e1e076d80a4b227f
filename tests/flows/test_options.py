"""Each option is defined once, and the command line and the flow ``optimize`` offer the same ones."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
import typer
from typer import Option

from flows.inputs.flat import flat_command, flat_flow
from flows.inputs.parameters import OptimizeRequest, TargetOptions, TrialOptions


@dataclass(frozen=True)
class Drink:
    """A group of options."""

    kind: Annotated[Literal["tea", "coffee"], Option("--kind", help="What to drink.")] = "tea"
    cups: Annotated[int, Option("--cups", help="How many.")] = 1


def test_a_command_takes_the_fields_of_a_group_and_gets_an_instance() -> None:
    @flat_command
    def serve(drink: Drink, table: int = 1) -> tuple[Drink, int]:
        return drink, table

    assert list(inspect.signature(serve).parameters) == ["kind", "cups", "table"]
    assert serve(cups=2, table=3) == (Drink("tea", 2), 3)
    juice: Any = "juice"
    assert serve(kind=juice) == (Drink(juice), 1), "the command itself refuses an unknown choice"
    with pytest.raises(TypeError, match="milk"):
        serve(milk=True)


async def test_a_flow_takes_plain_types_and_describes_every_parameter() -> None:
    @flat_flow
    async def serve(drink: Drink) -> Drink:
        """Serve a drink."""
        return drink

    parameters = inspect.signature(serve).parameters
    assert parameters["kind"].annotation == Literal["tea", "coffee"]
    assert parameters["cups"].annotation is int
    assert inspect.getdoc(serve) == "Serve a drink.\n\nArgs:\n    kind: What to drink.\n    cups: How many."
    assert await serve(cups=2) == Drink("tea", 2)


def test_the_command_line_and_the_flow_offer_the_same_options() -> None:
    from flows.cli.app import command_line
    from flows.optimize import optimize

    command = typer.main.get_command(command_line()).commands["optimize"]  # type: ignore[attr-defined]
    offered = {p.name for p in command.params} - {"help", "as_json"}
    assert offered == set(inspect.signature(optimize.fn).parameters)


def test_a_request_becomes_the_flows_parameters() -> None:
    from flows.optimize import optimize

    request = OptimizeRequest("chat-low", TargetOptions(gpu="L4"), trials=TrialOptions(budget="10m"))
    found = request.parameters()
    assert set(found) == set(inspect.signature(optimize.fn).parameters)
    assert (found["workload"], found["gpu"], found["budget"]) == ("chat-low", "L4", "10m")
