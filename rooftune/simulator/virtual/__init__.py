"""Workloads in virtual time: predict, sweep, saturation."""
