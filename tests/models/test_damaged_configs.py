"""Damaged files: whatever a config.json holds, it is sized or refused with one sentence."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from public_models import DATA

from rooftune.errors import InputError
from rooftune.models import costs
from rooftune.models.config_json import from_mapping

FILES = sorted(DATA.glob("configs/*.json")) + sorted(DATA.glob("refused/*.json"))
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 7.5, 1e308, float("nan"), float("inf"), 10**30, "", "x", "128", [], [1], ["x"],
    [None], {}, {"a": 1}, [[1]], [{}], "re:(", ["re:(", "*", "[", "."], {"group_0": None}, {"weights": 3},
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all keys and of a few list items."""
    found = [path] if path else []
    if isinstance(value, dict):
        found += [p for key in value for p in places(value[key], (*path, key))]
    elif isinstance(value, list):
        found += [(*path, i) for i in range(min(len(value), 2))]
    return found


def mutated(config: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The configuration with one to three keys removed, replaced or renamed."""
    changed = copy.deepcopy(config)
    for _ in range(draw.randint(1, 3)):
        path = draw.choice(places(changed))
        holder = changed
        for step in path[:-1]:
            holder = holder[step]
        kind = draw.random()
        if kind < 0.2 and isinstance(holder, dict):
            del holder[path[-1]]
        elif kind < 0.3 and isinstance(holder, dict):
            holder[f"{path[-1]}_layers"] = holder.pop(path[-1])
        else:
            holder[path[-1]] = draw.choice(ODD)
    return changed


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_sized_or_refused(seed: int) -> None:
    draw, refused = random.Random(seed), 0
    for _ in range(250):
        config = mutated(json.loads(draw.choice(FILES).read_text()), draw)
        try:
            facts = from_mapping(config, "m")
        except InputError:
            refused += 1
            continue
        assert costs.weight_bytes(facts) > 0
        assert facts.kv_bytes_at(1000) > 0
    assert 0 < refused < 250
