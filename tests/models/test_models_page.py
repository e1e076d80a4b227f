"""The table of ``docs/models.md`` says what the files say."""

from __future__ import annotations

from pathlib import Path

import pytest
from public_models import DATA, REFUSED

from rooftune.models import costs
from rooftune.models.config_json import from_config

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
SIZED = {row[0]: row for row in ROWS if (DATA / "configs" / f"{row[0]}.json").is_file()}
NOT_SIZED = {row[0]: row for row in ROWS if (DATA / "refused" / f"{row[0]}.json").is_file()}


def test_there_are_at_least_ten_models_with_figures_and_three_refusals() -> None:
    assert len(SIZED) >= 10
    assert len(NOT_SIZED) >= 3


@pytest.mark.parametrize("name", sorted(SIZED))
def test_a_row_agrees_with_its_file(name: str) -> None:
    facts, (_, parameters, weights, kv, *_) = from_config(DATA / "configs" / f"{name}.json"), SIZED[name]
    vision = f" + {facts.vision_parameters / 1e9:.2f}" if facts.vision_parameters else ""
    active = f" / {facts.active_parameters / 1e9:.1f}" if facts.experts > 1 else ""
    assert parameters == f"{facts.parameters / 1e9:.2f}{vision}{active}"
    assert weights == f"{costs.weight_bytes(facts) / 1024**3:.1f}"
    whole, growing = facts.kv_bytes_per_token(), facts.kv_bytes_at(1_000_001) - facts.kv_bytes_at(1_000_000)
    assert kv == f"{whole:,.0f}" + (f", growing {growing:,.0f}" if round(growing) != whole else "")


@pytest.mark.parametrize("name", sorted(NOT_SIZED))
def test_a_refusal_names_the_key_that_the_page_names(name: str) -> None:
    assert f"refused: `{REFUSED[name]}`" in NOT_SIZED[name]
