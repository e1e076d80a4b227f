"""The command line and the start script."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from rooftune.engines.command_line import command_line, shell_script, shown
from rooftune.vllm_rules.config import EngineConfig

CONFIG = EngineConfig(
    model="/models/with space/it's $HOME",
    quantization="awq",
    enforce_eager=True,
    enable_prefix_caching=False,
    gpu_memory_utilization=0.9,
    max_num_seqs=8,
    speculative_config={"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4},
    other_flags={"cudagraph_capture_sizes": "1,2,4"},
)


def test_flags_have_the_form_that_vllm_reads() -> None:
    words = command_line(CONFIG, python="py", host="127.0.0.1", port=9)
    assert words[:3] == ["py", "-m", "vllm.entrypoints.openai.api_server"]
    assert words[words.index("--model") + 1] == CONFIG.model
    assert "--enforce-eager" in words
    assert "--no-enable-prefix-caching" in words
    assert words[words.index("--gpu-memory-utilization") + 1] == "0.9"
    assert json.loads(words[words.index("--speculative-config") + 1]) == CONFIG.speculative_config
    assert words[words.index("--cudagraph-capture-sizes") :][1:4] == ["1", "2", "4"]
    assert words[-4:] == ["--host", "127.0.0.1", "--port", "9"]


def test_the_script_runs_and_passes_on_what_it_is_given(tmp_path: Path) -> None:
    """Run with a fake interpreter that prints its arguments: nothing may be lost in quoting."""
    script = tmp_path / "start_vllm.sh"
    comments = ["one line", "two\n\nlines with $(date) and `ls`"]
    script.write_text(shell_script(CONFIG, comments, engine_version="0.15.1"), encoding="utf-8")
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\nfor a in "$@"; do printf "%s\\n" "$a"; done\n', encoding="utf-8")
    fake.chmod(0o755)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    done = subprocess.run(
        ["bash", str(script), "--seed", "7"],
        env={"PATH": "/usr/bin:/bin", "VLLM_PYTHON": str(fake), "PORT": "8123", "HOST": "::1"},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [*command_line(CONFIG, host="::1", port=8123)[1:], "--seed", "7"]
    assert done.stdout.splitlines() == expected


def test_one_flag_per_line() -> None:
    lines = shell_script(CONFIG, []).splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert sum(line.startswith("  --max-num-seqs 8") for line in lines) == 1
    assert "set -euo pipefail" in lines
    assert shown(CONFIG).count("\n") == len(CONFIG.flags()) + 2


def test_the_script_sets_variables_that_the_caller_has_not_set(tmp_path: Path) -> None:
    values = {"VLLM_NOTE": "it's $HOME 5%", "VLLM_OTHER": "1"}
    text = shell_script(EngineConfig(model="m"), [], environment=values)
    shown = text.replace("exec ", "env; exit # ")
    path = tmp_path / "start.sh"
    path.write_text(shown)
    done = subprocess.run(
        ["bash", str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={"VLLM_OTHER": "", "PATH": os.environ["PATH"]},
    )
    assert "VLLM_NOTE=it's $HOME 5%\n" in done.stdout
    assert "VLLM_OTHER=\n" in done.stdout
