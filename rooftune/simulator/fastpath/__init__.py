"""The scheduler over flat arrays, compiled where numba is installed."""
