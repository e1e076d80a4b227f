"""The commands about workloads: list them, draw them, make them from logs."""
