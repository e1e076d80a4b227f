"""The report of a run whose objective is the capacity."""
