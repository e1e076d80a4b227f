"""A systemd unit: one server on a host that has vLLM in a virtual environment."""

from __future__ import annotations

from rooftune.engines.command_line import MODULE
from rooftune.export.deployment import PORT, Deployment
from rooftune.export.heading import heading
from rooftune.export.words import flag_words
from rooftune.export.yaml_text import head


def systemd(deployment: Deployment) -> dict[str, str]:
    """The file, by name."""
    file = f"{deployment.name}.service"
    comments = [
        *heading(deployment, file, environment=True),
        f"Copy it to /etc/systemd/system and run `systemctl enable --now {file}`. Change the interpreter, the user and "
        "the address below. Models are cached in /var/cache.",
    ]
    title = f"vLLM for {deployment.workload} ({deployment.candidate})"
    unit = ["[Unit]", f"Description={title}", "Wants=network-online.target", "After=network-online.target"]
    install = ["[Install]", "WantedBy=multi-user.target"]
    parts = ["\n".join(part) + "\n" for part in (unit, _service(deployment), install)]
    return {file: head(comments) + "\n" + "\n".join(parts)}


def _service(deployment: Deployment) -> list[str]:
    lines = ["[Service]", "Type=exec", "User=vllm", f"CacheDirectory={deployment.name}"]
    lines.append(f"Environment=HF_HOME=%C/{deployment.name}")
    lines += [f"Environment={quoted(f'{k}={v}', dollars=False)}" for k, v in deployment.environment.values.items()]
    address = ["--host", "127.0.0.1", "--port", str(PORT)]
    first = " ".join([quoted(deployment.python), "-m", MODULE])
    words = ["--model", deployment.config.model, *flag_words(deployment.config), *address]
    lines.append(" \\\n  ".join([f"ExecStart={first}", *_by_flag(words)]))
    return [
        *lines,
        "Restart=on-failure",
        "RestartSec=10",
        f"TimeoutStopSec={deployment.drain_s}",
        "KillMode=mixed",
        "LimitNOFILE=65536",
    ]


def _by_flag(words: list[str]) -> list[str]:
    """One line for each flag with its values."""
    lines: list[list[str]] = []
    for word in words:
        if word.startswith("--") or not lines:
            lines.append([])
        lines[-1].append(quoted(word))
    return [" ".join(line) for line in lines]


def quoted(text: str, *, dollars: bool = True) -> str:
    """A word of a unit: systemd expands '%' everywhere and '$' in commands, and reads quotes and backslashes.

    Args:
        dollars: escape '$', which only commands expand.
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    escaped = escaped.replace("$", "$$") if dollars else escaped
    plain = escaped == text and text and not any(c in text for c in " \t';#")
    return escaped if plain else f'"{escaped}"'
