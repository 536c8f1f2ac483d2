"""The engine in memory: one for a process, with connections that know nothing of each other."""

from __future__ import annotations

import os
import threading
import time

import duckdb
import pytest

from chainwatch.lake.engine import connect


def test_connections_share_an_engine_and_no_names() -> None:
    with connect() as first, connect() as second:
        assert first is not second
        first.execute("SET TimeZone = 'Asia/Tokyo'")
        assert second.execute("SELECT current_setting('TimeZone')").fetchone() == ("UTC",)
        first.execute("CREATE TEMP TABLE batch AS SELECT 1 AS n")
        with pytest.raises(duckdb.CatalogException):
            second.execute("SELECT * FROM batch")
        # What is no TEMP table is the engine's: both have the same.
        first.execute("CREATE TABLE of_the_engine AS SELECT 1 AS n")
        try:
            assert second.execute("SELECT n FROM of_the_engine").fetchone() == (1,)
        finally:
            first.execute("DROP TABLE of_the_engine")
    with connect() as later:
        assert later.execute("SELECT current_setting('TimeZone')").fetchone() == ("UTC",)


def test_connections_of_threads_work_side_by_side() -> None:
    sums: list[int] = []

    def add(n: int) -> None:
        with connect() as engine:
            sums.append(engine.execute(f"SELECT sum(i) FROM range({n}) t(i)").fetchall()[0][0])

    threads = [threading.Thread(target=add, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sums) == [n * (n - 1) // 2 for n in range(1, 9)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_process_has_an_engine_of_its_own() -> None:
    with connect() as engine:
        engine.execute("SELECT 1")
    child = os.fork()
    if not child:
        code = 1
        try:
            with connect() as engine:
                rows = engine.execute("SELECT sum(i) FROM range(1000000) t(i)").fetchall()
                code = 0 if rows == [(499999500000,)] else 2
        finally:
            os._exit(code)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.02)
    os.kill(child, 9)
    pytest.fail("the child hangs")
