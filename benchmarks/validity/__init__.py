"""Error rates of the comparison."""
