"""Tables of text: what separates their columns, and cells that are as long as prompts."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator

SEPARATORS = ",\t;"


def separator(header: str) -> str:
    """The separator that a header has most often; a comma where it has none."""
    return max(SEPARATORS, key=header.count)


@contextlib.contextmanager
def long_cells(most: int) -> Iterator[None]:
    """Read cells of up to ``most`` characters. The limit belongs to the process, so it is put back afterwards."""
    before = csv.field_size_limit(most)
    try:
        yield
    finally:
        csv.field_size_limit(before)
