"""The comment at the head of every exported file."""

from __future__ import annotations

from rooftune.export.deployment import Deployment


def heading(deployment: Deployment, file: str, *, environment: bool = False) -> list[str]:
    """What the file is, from which run, and what was measured or simulated.

    Args:
        environment: the file sets environment variables; name those that are left out.
    """
    lines = [f"{file}: {deployment.what} for {deployment.workload} ({deployment.candidate}).", *deployment.comments]
    if environment:
        lines += deployment.environment.comments
    elif deployment.environment.values:
        words = " ".join(f"{k}={v}" for k, v in deployment.environment.values.items())
        lines.append(f"Measured with these environment variables, which this file cannot set: {words}")
    return lines
