"""The machine code of the fast path: kept once per source, compiled by one process at a time."""

from __future__ import annotations

import threading
from pathlib import Path

from rooftune.simulator.fastpath import compilation
from rooftune.simulator.fastpath.compilation import COMPLETE, CompiledOnce

WAIT_S = 30


def test_who_comes_while_another_compiles_waits_and_then_finds_the_code(tmp_path: Path) -> None:
    compiling, may_end, order = threading.Event(), threading.Event(), []

    def first(state: object) -> None:
        compiling.set()
        assert may_end.wait(WAIT_S)
        order.append("compiled")

    def second(state: object) -> None:
        order.append("found" if (tmp_path / COMPLETE).exists() else "compiled twice")

    threads = [threading.Thread(target=CompiledOnce(f, tmp_path), args=(None,)) for f in (first, second)]
    threads[0].start()
    assert compiling.wait(WAIT_S)
    threads[1].start()
    threads[1].join(0.2)
    may_end.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert order == ["compiled", "found"]


def test_a_compilation_that_fails_leaves_no_mark(tmp_path: Path) -> None:
    def fails(state: object) -> None:
        raise MemoryError

    for _ in range(2):  # and lets the next one in
        try:
            CompiledOnce(fails, tmp_path)(None)
        except MemoryError:
            continue
    assert not (tmp_path / COMPLETE).exists()
    done: list[object] = []
    CompiledOnce(done.append, tmp_path)(None)
    assert done == [None]
    assert (tmp_path / COMPLETE).exists()


def test_a_folder_that_is_gone_does_not_stop_a_run(tmp_path: Path) -> None:
    done: list[object] = []
    CompiledOnce(done.append, tmp_path / "gone")(None)
    assert done == [None]


def test_the_cache_of_another_checkout_is_not_taken_for_this_one(tmp_path: Path, monkeypatch) -> None:
    before = compilation.cache_folder()
    copy = tmp_path / "fastpath"
    copy.mkdir()
    for file in Path(compilation.__file__).parent.glob("*.py"):
        (copy / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(compilation, "__file__", str(copy / "compilation.py"))
    compilation._digest.cache_clear()
    try:
        assert compilation.cache_folder() != before
    finally:
        compilation._digest.cache_clear()
