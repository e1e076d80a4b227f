"""Whether an engine would start, and what to change if not."""
