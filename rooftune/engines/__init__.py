"""How a server comes to be: configuration, command line, launch, readiness, stop, logs, metrics."""
