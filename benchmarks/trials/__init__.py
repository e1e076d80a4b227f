"""The simulator against real trials of vLLM on rented GPUs."""
