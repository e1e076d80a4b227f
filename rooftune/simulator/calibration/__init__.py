"""Fits the step-time model to an engine of one's own."""
