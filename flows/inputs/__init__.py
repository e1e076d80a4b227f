"""From what a user names to checked, typed values: runs, targets, workloads, parameters."""
