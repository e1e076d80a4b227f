"""The metrics of one trial, from its records."""
