"""rooftune: finds the vLLM configuration that serves a workload best, and proves it."""

__version__ = "0.1.0"
