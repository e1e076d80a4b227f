"""Ceilings, points and the figure."""
