"""Writes the pages of ``docs/reference`` from the code that they describe; ``python -m docpages`` writes them again."""
