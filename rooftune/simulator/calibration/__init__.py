"""Fits the step-time model to your own engine."""
