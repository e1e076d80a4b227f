"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rooftune.errors import EngineError, InputError, RooftuneError, nearest
from rooftune.files import finite, read_json, replacing, write_json, write_text


def test_json_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "a.json", {"x": [1, 2.5, "ü", None]})
    assert read_json(tmp_path / "deep" / "a.json") == {"x": [1, 2.5, "ü", None]}


def test_not_a_number_becomes_null_and_numpy_becomes_plain(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"nan": math.nan, "inf": [math.inf], "np": np.float64(2.0), "i": np.int64(3)})
    assert read_json(tmp_path / "a.json") == {"nan": None, "inf": [None], "np": 2.0, "i": 3}
    assert finite({"a": (1, 2)}) == {"a": [1, 2]}


def test_an_error_while_writing_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    with pytest.raises(ValueError, match="boom"), replacing(path) as temporary:
        temporary.write_text("half")
        raise ValueError("boom")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(full_disk: Path) -> None:
    path = full_disk / "a.json"
    write_text(path, "old")
    with pytest.raises(RooftuneError, match="disk is full"):
        write_text(path, "x" * 200_000)
    assert path.read_text() == "old"
    assert [p.name for p in full_disk.iterdir()] == ["a.json"]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"n": -1})
    script = (
        "import sys, pathlib\nfrom rooftune.files import write_json\n"
        "n = 0\nwhile True:\n    n += 1\n    write_json(pathlib.Path(sys.argv[1]), {'n': n, 'pad': 'x' * 200000})\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)])
    deadline = time.monotonic() + 120
    while read_json(path)["n"] < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert read_json(path)["n"] >= 3


def test_missing_and_cut_json_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RooftuneError, match="is missing"):
        read_json(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text(json.dumps({"a": 1})[:-2])
    with pytest.raises(RooftuneError, match="not valid JSON"):
        read_json(tmp_path / "cut.json")


def test_errors_carry_exit_codes_and_survive_pickling() -> None:
    import pickle

    assert (RooftuneError.exit_code, InputError.exit_code) == (1, 2)
    error = pickle.loads(pickle.dumps(EngineError("no memory", "oom", ("line",))))
    assert (str(error), error.kind, error.evidence) == ("no memory", "oom", ("line",))
    assert nearest("chat-medum", ["chat-medium", "mixed"]) == " (did you mean 'chat-medium'?)"
    assert nearest("zzz", ["chat-medium"]) == ""
