"""Parquet schemas of what a trial records; they lie with the client that writes them."""

from rooftune.loadgen.schema import REQUESTS, STATUSES, TICKS, VERSION

__all__ = ["REQUESTS", "STATUSES", "TICKS", "VERSION"]
