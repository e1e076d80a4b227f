"""Prefect tasks: one unit of work each, with retries, time-outs and artifacts. They compute nothing."""
