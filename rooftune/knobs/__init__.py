"""The configuration space: what can be set, to which values, why, and which configurations follow from it."""
