"""Files of the user, read as text."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from chainwatch.errors import UsageError
from chainwatch.lake.engine import Result, connect
from chainwatch.lake.segments import one_line, quoted


def read_file(path: Path) -> Result:
    """A CSV (every value as text) or Parquet file from outside.

    The n-th row of a CSV is its line n + 1, without fields where that line is empty. Raises
    UsageError where it is missing or not what its ending says.
    """
    import duckdb

    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise UsageError(f"expected a .csv or .parquet file, got {path}")
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    if kind == ".csv":
        return _read_csv(path)
    if set("*?[]") & set(str(path)):
        raise UsageError(f"{path} contains one of * ? [ ] in its name: rename it")
    with connect() as engine:
        try:
            cursor = engine.execute(f"SELECT * FROM read_parquet({quoted(str(path))})")
            rows = cursor.fetchall()
        except duckdb.Error as failure:
            raise UsageError(f"{path} cannot be read: {one_line(str(failure))}") from None
        header = cursor.description or []
    return Result(tuple(c[0] for c in header), tuple(str(c[1]) for c in header), rows)


def _read_csv(path: Path) -> Result:
    # Not DuckDB's reader: it passes over lines that do not fit what it guessed.
    rows: list[tuple[Any, ...]] = []
    at = 1
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
            delimiter = max(",;\t|", key=re.sub(r'"[^"]*"', "", header).count)
            names = [name.strip() for name in _fields(header, delimiter)]
            for at, line in enumerate(file, start=2):
                fields = _fields(line, delimiter)
                if fields and len(fields) != len(names):
                    raise UsageError(
                        f"{path}: line {at} has {len(fields)} fields, the header {len(names)}: "
                        "give each line as many as line 1"
                    )
                rows.append(fields)
    except csv.Error as failure:
        raise UsageError(
            f"{path}: line {at} is not CSV ({failure}): put quotes around a whole field, "
            "and double one within it"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except OSError as failure:
        raise UsageError(f"{path} cannot be read: {failure.strerror}") from None
    return Result(tuple(names), ("VARCHAR",) * len(names), rows)


def _fields(line: str, delimiter: str) -> tuple[str, ...]:
    """The fields of one line of CSV, none where it is blank; csv.Error where its quotes do not
    fit, so that none can swallow the lines after it."""
    if not line.strip():
        return ()
    if '"' not in line:
        return tuple(line.rstrip("\n").split(delimiter))
    if line.count('"') % 2:
        raise csv.Error("a quote is left open")
    return tuple(next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True)))
