"""What is written: golden files of every format, and text that cannot hurt whoever reads it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from chainwatch.errors import UsageError
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.reports import headers
from chainwatch.show import terminal, values
from chainwatch.show.document import Format, Report
from chainwatch.show.render import text_of
from chainwatch.show.table import BAR_WIDTH
from chainwatch.text import visible
from chainwatch.units import UNITS, OutputColumn

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "two\nlines\r\nand\ta tab",
    "\u202egnp.exe",
    "nul\0byte",
    '=HYPERLINK("http://x.example","y")',
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "＝1",
    'quote " comma, semicolon;',
    "| pipe | `code` <b>html</b> *bold* _it_ [l](u) \\ back",
    "",
)
# One row of everything that is hard to write, by DuckDB itself.
HARD = """
SELECT * FROM (VALUES
  (1, 'plain', 'WETH', 123456789012345678901234567890123456::DECIMAL(38,0),
   1234.5600::DECIMAL(18,4), 0.1::DOUBLE, 1234567.891::DOUBLE, 0.12345::DOUBLE,
   1.5::DOUBLE, 90000::DOUBLE, 170141183460469231731687303715884105727::HUGEINT, true,
   DATE '2026-01-29', TIMESTAMPTZ '2026-01-29 03:27:41.5+02', TIMESTAMP '2026-01-29 01:27:41',
   [1, NULL, 3], {'a': 'x', 'b': [TIMESTAMPTZ '2026-01-29 00:00:00+00']},
   '\\xDE\\xAD'::BLOB, INTERVAL 90 MINUTES, 61),
  (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
   NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (3, 'extremes', '日本語 ＷＩＤＥ 👍', -99999999999999999999999999999999999999::DECIMAL(38,0),
   -0.0001::DECIMAL(18,4), 'nan'::DOUBLE, 'inf'::DOUBLE, '-inf'::DOUBLE,
   'inf'::DOUBLE, 5e-324::DOUBLE, (-170141183460469231731687303715884105727)::HUGEINT, false,
   DATE '0001-01-01', TIMESTAMPTZ '0001-01-01 00:00:00+00',
   TIMESTAMP '1969-12-31 23:59:59.999999',
   [], {'a': NULL, 'b': []}, ''::BLOB, INTERVAL (-1) SECOND, 0)
) AS t(n, kind, symbol, raw, money, plain, debt_usd, top1_share, hf, price_usd, wei, flag, day,
       block_time, naive, items, pair, data, span, block_number)
"""


@pytest.fixture(scope="module")
def catalog() -> Iterator[Catalog]:
    with Catalog(duckdb.connect(), Path()) as opened:
        yield opened


@pytest.fixture(scope="module")
def hard(catalog: Catalog) -> Report:
    """Every type, then every hostile string."""
    result = catalog.run(HARD)
    kind = result.columns.index("kind")
    rows = list(result.rows)
    for text in HOSTILE:
        row: list[Any] = [None] * len(result.columns)
        row[0], row[kind] = len(rows) + 1, text
        rows.append(tuple(row))
    return Report(
        Result(result.columns, result.types, rows),
        name="hard",
        title="Everything that is hard \x1b[31m",
        header=["a header | with \n a line break"],
        meta={"markets": [{"market": "m\x1b", "age_seconds": 1, "raw": Decimal(10) ** 30}]},
        bar="n over kind",
        notes=["a note with _marks_ and \u202e"],
    )


class TextFile(SingleFileSnapshotExtension):
    """A golden file that can be read and compared as it is."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(TextFile)


@pytest.mark.parametrize("form", list(Format))
def test_each_format_writes_every_hard_value_as_its_golden_file(
    form: Format, hard: Report, golden: SnapshotAssertion
) -> None:
    assert text_of(hard, form) == golden


def test_a_coloured_table_is_as_its_golden_file(hard: Report, golden: SnapshotAssertion) -> None:
    colored = text_of(hard, Format.TABLE, color=True)
    assert colored == golden
    assert re.sub(r"\x1b\[\d*m", "", colored) == text_of(hard, Format.TABLE)


def test_a_table_on_a_narrow_terminal_is_as_its_golden_file(
    hard: Report, golden: SnapshotAssertion
) -> None:
    assert text_of(hard, Format.TABLE, width=80) == golden


# --- machines read it back ----------------------------------------------------------------------


def parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_csv_read_back_gives_the_values(hard: Report) -> None:
    head, *rows = parsed(text_of(hard, Format.CSV))
    assert tuple(head) == hard.result.columns
    assert len(rows) == len(hard.result.rows)
    for cells, row in zip(rows, hard.result.rows, strict=True):
        for cell, value in zip(cells, row, strict=True):
            if value is None:
                assert cell == ""
            elif isinstance(value, bool):
                assert cell == str(value).lower()
            elif isinstance(value, int):
                assert int(cell) == value
            elif isinstance(value, Decimal):
                assert Decimal(cell) == value
                assert "E" not in cell
            elif isinstance(value, float):
                assert float(cell) == value or (math.isnan(value) and math.isnan(float(cell)))
            elif isinstance(value, datetime):
                assert datetime.fromisoformat(cell) == value
            elif isinstance(value, date):
                assert date.fromisoformat(cell) == value
            elif isinstance(value, str):
                shown = visible(value)
                assert cell == (f"'{shown}" if shown.startswith(FORMULA) else shown)
            elif isinstance(value, list | dict):
                json.loads(cell)


def test_json_and_json_lines_say_the_same_and_parse(hard: Report) -> None:
    document = json.loads(text_of(hard, Format.JSON))
    lines = [json.loads(line) for line in text_of(hard, Format.JSONL).splitlines()]
    assert document["rows"] == lines
    assert document["report"] == "hard"
    assert document["markets"][0]["raw"] == "1" + "0" * 30
    first = lines[0]
    assert first["raw"] == "123456789012345678901234567890123456"  # exact integers are text
    assert first["wei"] == 2**127 - 1
    assert first["money"] == 1234.56
    assert first["block_time"] == "2026-01-29T01:27:41.500000Z"
    assert first["items"] == [1, None, 3]
    assert first["data"] == "0xdead"
    assert set(lines[1].values()) == {2, None}
    assert lines[2]["plain"] is None  # JSON has no NaN
    assert lines[2]["money"] == -0.0001


def test_a_decimal_that_a_double_cannot_hold_stays_text() -> None:
    digits = "0.1234567890123456789012345678901234567"
    result = Result(("a", "b"), ("DECIMAL(38,37)",) * 2, [(Decimal(digits), Decimal("0.50"))])
    (row,) = json.loads(text_of(Report(result), Format.JSON))["rows"]
    assert row == {"a": digits, "b": 0.5}


def test_columns_of_one_name_are_all_kept_in_json() -> None:
    result = Result(("a", "a", "a_1", "\x1b"), ("BIGINT",) * 4, [(1, 2, 3, 4)])
    (row,) = json.loads(text_of(Report(result), Format.JSON))["rows"]
    assert row == {"a": 1, "a_1": 2, "a_1_1": 3, "\\x1b": 4}


def test_a_result_without_rows_keeps_its_shape() -> None:
    empty = Report(Result(("a", "b"), ("BIGINT", "VARCHAR"), []), title="t")
    assert text_of(empty, Format.CSV) == "a,b\n"
    assert json.loads(text_of(empty, Format.JSON))["rows"] == []
    assert text_of(empty, Format.JSONL) == ""
    assert "no rows" in text_of(empty, Format.TABLE)
    assert "| a | b |" in text_of(empty, Format.MARKDOWN)


# --- nothing is executed or escaped -------------------------------------------------------------


def control(text: str) -> set[str]:
    """The control and invisible characters of a text, but for the ends of its lines."""
    return {c for c in text if unicodedata.category(c) in HIDDEN} - {"\n"}


@pytest.mark.parametrize("form", list(Format))
def test_no_format_lets_a_control_character_through(form: Format, hard: Report) -> None:
    assert control(text_of(hard, form)) == set()
    assert control(text_of(hard, form, width=60)) == set()


def test_no_cell_of_a_csv_starts_a_formula_unless_it_is_a_number(hard: Report) -> None:
    for row in parsed(text_of(hard, Format.CSV)):
        for cell in row:
            if cell.startswith(FORMULA):
                float(cell)


def test_markdown_keeps_each_row_on_one_line_with_its_cells(hard: Report) -> None:
    lines = [line for line in text_of(hard, Format.MARKDOWN).splitlines() if line.startswith("|")]
    assert len(lines) == len(hard.result.rows) + 2
    cells = [re.split(r"(?<!\\)(?:\\\\)*\|", line) for line in lines]
    assert {len(c) for c in cells} == {len(hard.result.columns) + 2}
    body = "\n".join(lines[2:])
    assert not re.search(r"(?<!\\)(?:\\\\)*[<`*\[]", body)


@given(st.text(), st.text(min_size=1))
@example("\r\n=1", "\x1b[2J")
@example("'=1", "=a")
def test_any_text_is_written_visibly_on_one_line_in_every_format(text: str, name: str) -> None:
    report = Report(Result((name, "n"), ("VARCHAR", "BIGINT"), [(text, 1)]))
    shown = visible(text)

    table = text_of(report, Format.TABLE)
    assert control(table) == set()
    assert table.count("\n") == 2
    assert table.splitlines()[1].startswith(shown)

    (head, row) = parsed(text_of(report, Format.CSV))
    assert control(text_of(report, Format.CSV)) == set()
    assert row[0].removeprefix("'") == shown.removeprefix("'")
    assert not row[0].startswith(FORMULA)
    assert not head[0].startswith(FORMULA)

    markdown = text_of(report, Format.MARKDOWN)
    assert control(markdown) == set()
    assert markdown.count("\n") == 3
    last = markdown.splitlines()[-1]
    assert re.sub(r"\\([\\|<`*_\[])", r"\1", last) == f"| {shown} | 1 |"

    for form in (Format.JSON, Format.JSONL):
        assert control(text_of(report, form)) == set()
    (line,) = [json.loads(line) for line in text_of(report, Format.JSONL).splitlines()]
    assert list(line.values()) == [shown, 1] or visible(name) == "n"


def test_long_text_is_written_in_full_without_a_screen() -> None:
    """Ten kilobytes of text, where the output is not a terminal."""
    long = "A" * 10_000
    report = Report(Result(("symbol", "n"), ("VARCHAR", "BIGINT"), [(long, 1)]))
    for form in Format:
        assert long in text_of(report, form)
    lines = text_of(report, Format.TABLE, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("A") for line in lines) == 10_000


# --- tables on a terminal -------------------------------------------------------------------------

cells = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False),
    st.none(),
)


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=1, max_size=5)
    ),
    st.integers(45, 200),
)
def test_a_table_fits_its_terminal_and_says_what_it_left_out(
    rows: list[list[Any]], width: int
) -> None:
    names = tuple(f"column_{chr(97 + i)}" for i in range(len(rows[0])))
    result = Result(names, ("VARCHAR",) * len(names), [tuple(row) for row in rows])
    lines = text_of(Report(result), Format.TABLE, width=width).splitlines()
    # An empty line ends the grid; a row of empty cells is one, too.
    is_narrow = "no room for" in " ".join(lines)
    grid = lines[: len(lines) - 1 - lines[::-1].index("")] if is_narrow else lines
    assert max(map(cell_len, lines)) <= width
    for i, name in enumerate(names):
        hidden = f"column {name[-1]}" in " ".join(" ".join(lines[len(grid) :]).split())
        assert hidden or name[-1] in " ".join(grid)
        if not hidden and i == 0:  # the first column starts each line, so that it can be read off
            for row in rows:
                first = values.cell_text(UNITS["text"], row[0]).split()
                assert not first or first[0][:10] in " ".join(grid)


def test_a_number_is_never_cut_or_folded() -> None:
    wide = 10**60
    columns = ("text", "a", "b")
    result = Result(columns, ("VARCHAR", "HUGEINT", "HUGEINT"), [("x" * 100, wide, wide)])
    text = text_of(Report(result), Format.TABLE, width=80)
    assert "no room for: a, b" in text
    alone = Report(Result(("a",), ("HUGEINT",), [(wide,)]))
    assert f"{wide:,}" in text_of(alone, Format.TABLE, width=40)


def test_a_bar_is_as_long_as_its_share_and_never_on_a_gap() -> None:
    rows = [(100.0, 1.0), (50.0, 1.0), (0.001, 1.0), (0.0, 1.0), (75.0, None), (None, 1.0)]
    report = Report(Result(("v", "axis"), ("DOUBLE",) * 2, rows), bar="v over axis")
    lines = text_of(report, Format.TABLE).splitlines()[1:]
    bars = [line.count("█") for line in lines]
    assert bars == [BAR_WIDTH, BAR_WIDTH // 2, 0, 0, 0, 0]
    assert lines[2].endswith("▏"), "what is there is seen, however small"
    assert not lines[3].endswith("▏")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -5.0])
def test_a_bar_of_what_is_no_length_is_none(value: float) -> None:
    report = Report(Result(("v",), ("DOUBLE",), [(value,), (1.0,)]), bar="v")
    first, second = text_of(report, Format.TABLE).splitlines()[1:]
    assert "█" not in first
    assert second.count("█") == BAR_WIDTH


@pytest.mark.parametrize("nothing", ["all", ""])
def test_a_column_that_says_nothing_is_left_out_of_tables_only(nothing: str) -> None:
    """It is left out where it is "all", or empty, in every row; one row that differs keeps it."""
    kept = Result(("market", "n"), ("VARCHAR", "BIGINT"), [(nothing, 1), ("m", 2)])
    report = Report(kept, shown=("market", "n=count"))
    assert text_of(report, Format.TABLE).splitlines()[0].split() == ["market", "count"]
    result = Result(("market", "n"), ("VARCHAR", "BIGINT"), [(nothing, 1), (nothing, 2)])
    report = Report(result, shown=("market", "n=count"))
    assert text_of(report, Format.TABLE).splitlines()[0] == "count"
    assert text_of(report, Format.CSV).splitlines()[0] == "market,n"


def test_a_column_may_be_shown_only_where_it_differs() -> None:
    """One that is listed against another is left out where both say the same."""
    for due, shown in ((2, True), (1, False)):
        result = Result(("due", "now"), ("INTEGER", "INTEGER"), [(1, 1), (due, 1)])
        table = text_of(Report(result, shown=("due<>now=owed", "now")), Format.TABLE)
        assert ("owed" in table) is shown


# --- numbers as people read them ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("debt_usd", 1234567.8, "1,234,568"),
        ("debt_usd", 12.345, "12.35"),
        ("debt_usd", 0.0, "0"),
        ("top1_share", 0.1234, "12.3 %"),
        ("hf", 1.00005, "1.0001"),
        ("hf", 12345.6, "1.23e+04"),
        ("price", 90000.0, "90,000.00"),
        ("price_usd", 0.99985, "0.99985"),
        ("price_usd", 0.00001234, "1.23e-05"),
        ("age_seconds", 59, "59 seconds"),
        ("age_seconds", 7200, "2 hours"),
        ("block_number", 23456789, "23456789"),
        ("accounts", 1234567, "1,234,567"),
        ("raw", Decimal(10**20), "100,000,000,000,000,000,000"),
        ("anything", None, "n/a"),
        ("anything", math.nan, "n/a"),
        ("anything", math.inf, "inf"),
        ("flag", True, "yes"),
    ],
)
def test_a_number_is_rounded_by_what_its_column_means(column: str, value: Any, shown: str) -> None:
    kind = "VARCHAR" if value is None else "DOUBLE"
    report = Report(Result((column,), (kind,), [(value,)]))
    assert text_of(report, Format.TABLE).splitlines()[1].strip() == shown


def test_a_described_column_is_written_in_its_unit() -> None:
    """The unit of its description counts, and not that of its name and type."""
    result = Result(
        ("move", "reach_share", "chain"),
        ("DOUBLE", "DOUBLE", "BIGINT"),
        [(0.123, 0.5, 42_161)],
    )
    columns = (
        OutputColumn("move", UNITS["share"], "fall of the price"),
        OutputColumn("chain", UNITS["code"], "EIP-155 chain id"),
    )
    report = Report(result, columns=columns, notes=["fell by {move}"])
    head, line = text_of(report, Format.TABLE).splitlines()[:2]
    assert head.split() == ["move", "reach", "chain"]
    assert line.split() == ["12.3", "%", "50.0", "%", "42161"]
    assert "| 12.3 % | 50.0 % | 42161 |" in text_of(report, Format.MARKDOWN)
    assert values.fill_notes(report.notes, result, columns) == ["fell by 12.3 %"]
    document = json.loads(text_of(report, Format.JSON))
    assert document["columns"] == {
        "move": {"unit": "share", "meaning": "fall of the price"},
        "chain": {"unit": "code", "meaning": "EIP-155 chain id"},
    }
    assert document["rows"] == [{"move": 0.123, "reach_share": 0.5, "chain": 42_161}]


def test_a_note_quotes_a_value_of_the_first_row() -> None:
    """It is left out where there is no row."""
    result = Result(("near_share",), ("DOUBLE",), [(0.383,)])
    notes = ["{near_share} is near", "plain", "{nosuch} stays"]
    assert values.fill_notes(notes, result) == ["38.3 % is near", "plain", "{nosuch} stays"]
    assert values.fill_notes(notes, Result(("near_share",), ("DOUBLE",), [])) == ["plain"]


# --- files ----------------------------------------------------------------------------------------


def test_a_file_is_written_whole_or_left_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    terminal.write("a\nb ≥ \ud800\n", target)
    assert target.read_bytes() == "a\nb ≥ \\ud800\n".encode()
    with pytest.raises(UsageError, match="cannot be written: Is a directory"):
        terminal.write("x", tmp_path)
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        terminal.write("x", tmp_path / "none" / "out.csv")
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        terminal.write("x", target / "out.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


# --- what a report stands on ----------------------------------------------------------------------


def market(**changes: Any) -> dict[str, Any]:
    return {
        "market": "m",
        "protocol": "aave-v3",
        "provenance": "chain",
        "block_number": 7,
        "block_time": datetime(2026, 1, 29, 1, 27, 41, tzinfo=UTC),
        "age_seconds": 30,
        "accounts": 1000,
        "accounts_failed": 0,
        "scope": "borrowers",
        "endpoint": "mine.csv",
        "checked": None,
        "mismatched": None,
        "wall_checked": None,
        "wall_mismatched": None,
        "wall_undecided": None,
        "wall_prices": None,
        "wall_factors": None,
        "wall_status": None,
        "measured_assets": None,
        "inferred_assets": None,
        "debt_coverage_share": None,
        "lowest_coverage_symbol": None,
        "lowest_debt_coverage": None,
    } | changes


PROVEN = {
    "wall_checked": 1_200,
    "wall_mismatched": 0,
    "wall_undecided": 0,
    "wall_prices": 5,
    "wall_factors": "BTC, ETH",
    "wall_status": "ok",
}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "m (aave-v3): block 7 of 2026-01-29 01:27:41Z, 30 seconds old; NOT VERIFIED; 1,000 "),
        ({"checked": 1000, "mismatched": 0}, "; verified 1,000/1,000 equal to the chain; 1,000"),
        ({"checked": 100, "mismatched": 0}, "verified 100/100 equal to the chain (sample)"),
        ({"checked": 1000, "mismatched": 3}, "WRONG: verified 997/1,000 equal to the chain"),
        ({"accounts_failed": 2}, "1,000 accounts that ever borrowed, 2 of them n/a"),
        ({"scope": "all"}, "1,000 accounts that ever held a balance"),
        (PROVEN, "; triggers 1,200/1,200 as the contracts at 5 prices (BTC, ETH); 1,000 accounts"),
        (PROVEN | {"wall_undecided": 7}, "at 5 prices (BTC, ETH), 7 undecided; 1,000 accounts"),
        (PROVEN | {"wall_status": "n/a (cut)"}, "(BTC, ETH); no more could be asked: n/a (cut); "),
        (PROVEN | {"wall_mismatched": 2}, "; WRONG: triggers 1,198/1,200 as the contracts"),
        (
            {"wall_prices": 0, "wall_checked": 0, "wall_status": "n/a (refused)"},
            "; triggers not proven: n/a (refused); ",
        ),
        ({"measured_assets": 5, "inferred_assets": 0}, "NOT VERIFIED; 1,000"),
        (
            {"measured_assets": 5, "inferred_assets": 1},
            "; what moves 1 of 6 prices is inferred; 1,000",
        ),
        (
            {"debt_coverage_share": 0.99999, "lowest_debt_coverage": 0.9995},
            "; 99.99 % of the debt found; 1,000",
        ),
        (
            {
                "debt_coverage_share": 0.95,
                "lowest_debt_coverage": 0.5,
                "lowest_coverage_symbol": "GHO",
            },
            "; INCOMPLETE: 95.00 % of the debt found, 50.00 % of GHO; ",
        ),
        ({"provenance": "demo"}, "m (aave-v3, DEMO DATA from a local chain)"),
        ({"provenance": "recording"}, "DEMO DATA from a recorded local chain"),
        ({"provenance": "imported"}, "IMPORTED DATA"),
        ({"age_seconds": -90}, "90 seconds ahead of this machine's clock"),
    ],
)
def test_the_header_says_what_the_figures_stand_on(changes: dict[str, Any], text: str) -> None:
    assert text in headers.market_line(market(**changes))


def test_only_a_real_chains_old_block_is_called_stale() -> None:
    old = int(timedelta(hours=5).total_seconds())
    empty = Result((), (), [])

    def lines(**changes: Any) -> list[str]:
        return headers.stale_lines(Report(empty, meta={"markets": [market(**changes)]}))

    assert lines(age_seconds=old) == [
        "m is 5 hours old: `chainwatch collect aave-v3 --market m` reads it again"
    ]
    assert lines(age_seconds=60) == []
    assert lines(age_seconds=old, provenance="demo") == []
