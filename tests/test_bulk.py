"""Many objects at once: cycles are searched for before and after, not while they are made."""

from __future__ import annotations

import gc
import threading

import pytest

from chainwatch.bulk import bulk


def collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def make_many() -> list[list[int]]:
    return [[i] for i in range(100_000)]


def test_no_search_runs_while_many_objects_are_made() -> None:
    before = collections()
    with bulk():
        kept = make_many()
        assert collections() == before
    assert gc.isenabled()
    kept += make_many()
    assert collections() > before


def test_the_search_goes_on_after_the_last_block() -> None:
    """Also after an error, and where another thread's block ends first."""
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with bulk():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)

    def fail() -> None:
        with bulk():
            thread.start()
            inside.wait(10)
            with bulk():
                pass
            assert not gc.isenabled()
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_a_search_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with bulk():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
