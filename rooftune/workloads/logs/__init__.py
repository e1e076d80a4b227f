"""Workloads from what servers and gateways logged: read, put into order, written as a workload with its trace."""
