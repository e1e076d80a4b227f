"""Measured capacity: coverage of its intervals, its error, and the load that it takes."""
