"""Measured capacity: coverage of its intervals, error and load time."""
