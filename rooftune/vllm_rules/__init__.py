"""What vLLM does: flags, defaults, kernels, exclusions and memory, by engine version and accelerator."""
