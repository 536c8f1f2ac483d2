"""SQL at ease: a prompt, a time limit, plans, comments, and the same catalog in other tools."""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from chainwatch.commands import prompt
from chainwatch.errors import Exit
from chainwatch.lake import query
from chainwatch.lake.layout import CATALOG_NAME
from chainwatch.lake.store import Store
from chainwatch.tables.base import columns
from chainwatch.tables.registry import tables
from tests import shell, terminal


@pytest.fixture(scope="module")
def lake() -> Path:
    return shell.recorded_lake()


# --- the prompt ---------------------------------------------------------------------------------


def test_at_a_terminal_there_is_a_prompt(
    tmp_path: Path,
) -> None:
    """It has completion, output formats and a history."""
    home = shell.copied_lake(tmp_path)
    typed = (
        b"SELECT bucket,\n count(*) AS n FROM heal\t() GROUP BY ALL ORDER BY bucket LIMIT 1;\n"
        b".mode csv\nSELECT 'a' AS letter;\nSELEC 1;\n.schema emodes\n.nosuch\n.timeout 0.2\n"
        b"SELECT count(*) FROM range(10000000000) AS a, range(100);\n.open\n.help\n.quit\n"
    )
    code, out, _ = shell.on_terminal(
        "sql", home=home, columns=120, press=typed, when="chainwatch> ", env={"NO_COLOR": "1"}
    )
    assert code == Exit.OK, out
    lines = [line.rstrip() for line in out.splitlines()]
    assert any(re.match(r"^1 – 1.02\s+1$", line) for line in lines), out
    assert lines[lines.index("letter") + 1] == "a"
    assert any("syntax error" in line for line in lines)
    assert any(line.startswith("column,emodes,category,") for line in lines)
    assert ".nosuch is unknown: .help lists the commands" in lines
    assert any("stopped after 0.2 s" in line for line in lines)
    assert any("duckdb -readonly" in line for line in lines)
    history = (home / "sql_history").read_text()
    assert "SELECT 'a' AS letter;" in history


def test_ctrl_d_at_the_prompt_leaves(lake: Path) -> None:
    code, out, _ = shell.on_terminal(
        "sql", home=lake, columns=100, press=b"\x04", when="chainwatch> "
    )
    assert code == Exit.OK, out


def test_a_statement_ends_with_its_semicolon() -> None:
    assert prompt.ends("SELECT 1;")
    assert prompt.ends("SELECT 1; -- one")
    assert not prompt.ends("SELECT ';'")
    assert not prompt.ends("SELECT 1")


def test_a_word_completes_to_names_and_keywords() -> None:
    assert prompt.completions("wal", ["walls", "legs"]) == ["walls"]
    assert prompt.completions("SEL", ["walls"]) == ["SELECT"]
    assert prompt.completions("sel", ["walls"]) == ["select"]
    assert prompt.completions("", ["walls"]) == []


# --- limits and plans ---------------------------------------------------------------------------


@pytest.mark.full
def test_a_statement_that_takes_too_long_is_stopped(lake: Path) -> None:
    begun = time.monotonic()
    endless = "SELECT count(*) FROM range(10000000000) AS a, range(1000)"
    done = shell.run("sql", "--timeout", "1s", endless, home=lake)
    assert (done.code, len(done.lines)) == (Exit.USAGE, 1)
    assert "stopped after 1 s: ask for less, or raise --timeout" in done.err
    assert time.monotonic() - begun < 30
    assert shell.run("sql", "--timeout", "60s", "SELECT 1 AS a", "--csv", home=lake).out == "a\n1\n"


def test_explain_shows_the_plan_and_runs_nothing(lake: Path) -> None:
    endless = "SELECT count(*) FROM range(10000000000) AS a, range(1000)"
    done = shell.run("sql", "--explain", endless, home=lake)
    assert done.code == Exit.OK
    assert "plan" in done.out
    assert shell.run("sql", "--explain", "DROP VIEW legs", home=lake).code == Exit.USAGE


# --- what everything means ----------------------------------------------------------------------


def test_everything_in_the_catalog_carries_a_comment(lake: Path) -> None:
    """Every table, column and macro."""
    query.open_catalog(Store(lake)).close()
    with duckdb.connect(str(lake / CATALOG_NAME), read_only=True) as client:
        views = dict(
            client.execute(
                "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"
            ).fetchall()
        )
        parts = client.execute(
            "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
        macros = dict(
            client.execute(
                "SELECT function_name, comment FROM duckdb_functions() "
                "WHERE NOT internal AND function_type = 'table_macro' AND schema_name = 'main'"
            ).fetchall()
        )
    assert set(views) == set(tables())
    assert all(views.values())
    meant = {(table, column): comment for table, column, comment in parts}
    for name, row in tables().items():
        for column in columns(row):
            assert column.meaning in meant[name, column.name]
    assert set(macros) == set(query.load_all())
    for name, comment in macros.items():
        definition = query.find(name)
        assert comment.startswith(definition.title)
        assert all(p.name in comment for p in definition.params)
        assert all(f"{c.name} {c.unit.name}: {c.meaning}" in comment for c in definition.columns)


def test_schema_explains_one_table_one_query_or_all(lake: Path) -> None:
    rows = shell.rows_of(shell.run("schema", "--json").out, "--json")
    assert {r["name"] for r in rows} == set(tables()) | set(query.load_all())
    assert all(r["meaning"] for r in rows)
    definition = query.find("walls")
    (walls, *parts) = shell.rows_of(shell.run("schema", "walls", "--json").out, "--json")
    assert (walls["kind"], walls["meaning"]) == ("query", definition.title)
    params, outputs = ([p for p in parts if p["kind"] == kind] for kind in ("parameter", "output"))
    assert [p["part"] for p in params] == [p.name for p in definition.params]
    assert [(o["part"], o["unit"], o["meaning"]) for o in outputs] == [
        (c.name, c.unit.name, c.meaning) for c in definition.columns
    ]
    done = shell.run("schema", "lags")
    assert (done.code, len(done.lines)) == (Exit.USAGE, 1)
    assert "did you mean legs?" in done.err
    assert shell.run("schema", "--diagram").out.startswith("erDiagram\n")


# --- the same catalog elsewhere -----------------------------------------------------------------


def ways(lake: Path) -> dict[str, str]:
    rows = shell.rows_of(shell.run("sql", "--open", "--json", home=lake).out, "--json")
    return {row["tool"]: row["type"] for row in rows}


@pytest.mark.full
@pytest.mark.parametrize("tool", ["python", "pandas", "polars"])
def test_the_catalog_opens_in_python_as_printed(lake: Path, tool: str) -> None:
    script = ways(lake)[tool] + ("; print(len(frame))" if tool != "python" else "")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "bucket" in done.stdout or int(done.stdout) >= 10


def test_the_catalog_opens_in_the_duckdb_shell_as_printed(lake: Path) -> None:
    words = shlex.split(ways(lake)["duckdb"])
    assert words[0] == "duckdb"
    done = subprocess.run(
        [shell.duckdb_program(), *words[1:], "-json", "-c", "FROM health()"],
        capture_output=True,
        text=True,
        env=shell.environment(),
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) >= 10


@pytest.mark.full
def test_the_catalog_opens_in_harlequin_as_printed(lake: Path) -> None:
    """Harlequin pins its own click and textual, so it lives in an environment of its own."""
    words = shlex.split(ways(lake)["harlequin"])
    program = shutil.which(words[0])
    if program is None:
        pytest.skip("harlequin is not on the PATH: make everything")
    parent, child = terminal.opened(columns=160, lines=50)
    process = subprocess.Popen(
        [program, *words[1:]],
        stdin=child,
        stdout=child,
        stderr=child,
        env=shell.environment({"TERM": "xterm-256color", "COLUMNS": "160", "LINES": "50"}),
        start_new_session=True,
    )
    os.close(child)
    written, begun = b"", time.monotonic()
    try:
        while b"chainwatch" not in written and time.monotonic() - begun < 60:
            if select.select([parent], [], [], 0.2)[0]:
                written += os.read(parent, 65_536)
    finally:
        process.kill()
        process.wait()
        os.close(parent)
    assert b"chainwatch" in written
