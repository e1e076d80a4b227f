"""Files that start a configuration of a run anywhere, and watch it: one module per format."""
