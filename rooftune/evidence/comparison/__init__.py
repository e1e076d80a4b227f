"""Comparison of trials: ratios, intervals, error rates, order."""
