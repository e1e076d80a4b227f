"""Prefect tasks: one unit of work each; retries, time-outs, caching, artifacts. They compute nothing."""
