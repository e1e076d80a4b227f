"""From what a user names to checked, typed values: options, targets, workloads, calibrations."""
