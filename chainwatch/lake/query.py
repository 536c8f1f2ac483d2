"""Queries: one SQL file each in queries/, with a header that says what it returns and takes.

    -- name: walls
    -- title: Collateral that liquidates as a factor moves, per price bin
    -- param: p_factor TEXT = 'BTC'  which factor moves
    -- show: price_from price_to max_seizable_usd=seizable_USD
    -- bar: max_seizable_usd over price_from
    SELECT … WHERE factor = $p_factor …

A parameter has one of TYPES, and a literal as its default: '…', a number, true, false, DATE '…',
TIMESTAMPTZ '…' or NULL. `show` limits the columns of tables on a terminal and may give a short
heading, `bar` names the column that is drawn (over an axis: only where that has a value), `note`
says what a figure means, and `on: feeds` that its figures stand on exchange feeds, whose coverage
goes into the header; `on: closes` that they stand on daily closes, whose source and days go there.

A file is used in three ways: `run` binds it, the catalog publishes it as a table macro
(`FROM walls(p_factor := 'ETH')`), and other clients may run its text with bound parameters.
A macro of DuckDB pastes its arguments as text, where inner aliases, columns and CTEs would capture
the caller's names. So each query is two macros: that of the schema `unbound` is pasted, and only
ours call it, with values or parameters; the published one binds its arguments once, in a CTE
`<name>_parameters` that stands before anything else, and hands those on. Texts inside macros name
tables with their schema, which no CTE of a caller can hide.
Files in queries/views are building blocks (macros too), files in queries/checks return the rows
that are wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from chainwatch import numbers
from chainwatch.errors import UsageError
from chainwatch.lake.engine import Result
from chainwatch.lake.store import Store
from chainwatch.shipped import folder
from chainwatch.tables.registry import tables
from chainwatch.text import suggest

if TYPE_CHECKING:
    from chainwatch.lake.catalog import Catalog

_HEADER = re.compile(
    r"^--\s*(name|title|param|show|bar|note|on|portable|each|column|once):\s*(.*)$"
)
# Arguments that mean the same wherever they are pasted.
_ARGUMENT = r"p_\w+\s*:=\s*(?:\$p_\w+|'(?:[^']|'')*'|-?\d[\w.]*|true|false|NULL)"
_PARAM = re.compile(
    r"^(p_\w+)\s+(\S+)\s*=\s*((?:(?:DATE|TIMESTAMPTZ)\s+)?'(?:[^']|'')*'|[^\s']+)(?:\s+(.*))?$"
)
_TEXT = re.compile(r"(?:(DATE|TIMESTAMPTZ)\s+)?'((?:[^']|'')*)'")


class Param(msgspec.Struct, frozen=True):
    """One parameter of a query: name with its p_, one of TYPES, default as a literal, meaning."""

    name: str
    type: str
    default: str
    meaning: str

    @property
    def value(self) -> object:
        """The default as a value; NotReadable where it is no literal of the type."""
        if self.default.upper() == "NULL":
            return None
        return _DEFAULTS[self.type](self.default)


def _text(literal: str, kind: str = "") -> str:
    """What stands between the quotes of a literal, which may name its kind before them."""
    match = _TEXT.fullmatch(literal)
    if match is None or (match[1] or kind) != kind:
        raise numbers.NotReadable(f"not a literal: write {f'{kind} ' * bool(kind)}'…' or NULL")
    return match[2].replace("''", "'")


def _flag(literal: str) -> bool:
    if literal.lower() not in ("true", "false"):
        raise numbers.NotReadable("not true, false or NULL")
    return literal.lower() == "true"


def _time(literal: str) -> datetime:
    """A time with any year, as an end of all times is written so."""
    try:
        time = datetime.fromisoformat(_text(literal, "TIMESTAMPTZ"))
    except ValueError as failure:
        if isinstance(failure, numbers.NotReadable):
            raise
        raise numbers.NotReadable("not a time written like '2026-01-29T02:00Z'") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


_DEFAULTS: dict[str, Callable[[str], object]] = {
    "TEXT": _text,
    "DOUBLE": numbers.real,
    "BIGINT": numbers.integer,
    "BOOLEAN": _flag,
    "DATE": lambda literal: numbers.day(_text(literal, "DATE")),
    "TIMESTAMPTZ": _time,
}
TYPES = tuple(_DEFAULTS)


class Query(msgspec.Struct, frozen=True):
    """One SQL file with its header."""

    name: str
    title: str
    params: tuple[Param, ...]
    text: str
    path: Path
    group: str
    shown: tuple[str, ...] = ()
    bar: str = ""
    notes: tuple[str, ...] = ()
    on: str = ""
    portable: bool = False

    @property
    def body(self) -> str:
        """The text; what it reads with plain values is pasted, which is planned sooner."""
        plain = rf"\(\s*(?:{_ARGUMENT}\s*(?:,\s*{_ARGUMENT}\s*)*)?\)"
        return re.sub(rf"(?<![\w.])({'|'.join(load_all())})(?={plain})", r"unbound.\1", self.text)

    @property
    def macros(self) -> tuple[str, str]:
        """The statements that publish it: the one that is pasted and the one that binds."""
        # `::` binds before a sign, so a default is cast with its parentheses.
        heads = ", ".join(f"{p.name} := CAST({p.default} AS {p.type})" for p in self.params)
        body = re.sub(rf"\b(FROM|JOIN)(\s+)({'|'.join(tables())})\b", r"\1\2main.\3", self.body)
        body = re.sub(r"\$(p_\w+)", r"\1", body)
        own = f"{self.name}_parameters"
        bound = ", ".join(f"CAST({p.name} AS {p.type}) AS {p.name}" for p in self.params)
        given = ", ".join(f"{p.name} := (SELECT {own}.{p.name} FROM {own})" for p in self.params)
        leading = f"WITH {own} AS (SELECT {bound})\n" if bound else ""
        return (
            f"CREATE MACRO unbound.{self.name}({heads}) AS TABLE\n{body}",
            f"CREATE MACRO {self.name}({heads}) AS TABLE\n"
            f"{leading}FROM unbound.{self.name}({given})",
        )


@cache
def load_all() -> dict[str, Query]:
    """Every query by name, in an order in which each stands after those it reads."""
    queries: dict[str, Query] = {}
    base = folder("queries")
    for path in sorted(base.rglob("*.sql")):
        query = read(path, group=path.parent.name if path.parent != base else "")
        if query.name in queries:
            raise ValueError(f"{path} and {queries[query.name].path} are both called {query.name}")
        queries[query.name] = query
    return {q.name: q for q in _by_dependency(queries)}


def read(path: Path, group: str = "") -> Query:
    """Parse one file; ValueError names the line that does not fit."""
    text = path.read_text(encoding="utf-8")
    head: dict[str, list[str]] = {}
    params = []
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _HEADER.match(line):
            head.setdefault(match[1], []).append(match[2].strip())
            if match[1] == "param":
                params.append(_param(match[2].strip(), f"{path} line {number}"))
        elif line.startswith("-- ") and re.match(r"^--\s*\w+:", line) and number < 4:
            raise ValueError(f"{path} line {number}: unknown header {line!r}")
    name = (head.get("name") or [""])[0]
    if name != path.stem:
        raise ValueError(f"{path}: `-- name: {path.stem}` is missing")
    if not head.get("title"):
        raise ValueError(f"{path}: `-- title:` is missing")
    used = set(re.findall(r"\$(p_\w+)", text))
    declared = {p.name for p in params}
    if used != declared:
        raise ValueError(f"{path}: parameters used {sorted(used)}, declared {sorted(declared)}")
    return Query(
        name=name,
        title=head["title"][0],
        params=tuple(params),
        text=text.strip().rstrip(";"),
        path=path,
        group=group,
        shown=tuple(" ".join(head.get("show", [])).split()),
        bar=(head.get("bar") or [""])[0],
        notes=tuple(head.get("note", [])),
        on=(head.get("on") or [""])[0],
        portable="portable" in head,
    )


def _param(line: str, where: str) -> Param:
    """One parameter; ValueError says where its type or default is none.

    A default becomes part of a macro's text, so it is a literal and nothing else.
    """
    match = _PARAM.match(line)
    if not match:
        raise ValueError(f"{where}: not `p_name TYPE = literal  meaning`: {line}")
    param = Param(match[1], match[2], match[3], match[4] or "")
    if param.type not in TYPES:
        raise ValueError(f"{where}: {param.name} has the type {param.type}: use {', '.join(TYPES)}")
    try:
        _ = param.value
    except numbers.NotReadable as refusal:
        raise ValueError(
            f"{where}: the default of {param.name} {param.type} is {param.default[:40]}, {refusal}"
        ) from None
    return param


def _by_dependency(queries: Mapping[str, Query]) -> list[Query]:
    done: dict[str, Query] = {}

    def visit(query: Query, above: tuple[str, ...]) -> None:
        if query.name in above:
            raise ValueError(
                f"queries read each other in a circle: {' → '.join((*above, query.name))}"
            )
        if query.name in done:
            return
        for word in re.findall(r"\b(\w+)\(", query.text):
            if word in queries and word != query.name:
                visit(queries[word], (*above, query.name))
        done[query.name] = query

    for query in queries.values():
        visit(query, ())
    return list(done.values())


def find(name: str) -> Query:
    """One query by name; UsageError with a suggestion where there is none."""
    queries = load_all()
    if name in queries:
        return queries[name]
    raise UsageError(
        f"no query is called {name!r}; {suggest(name, queries)}`chainwatch queries` lists them"
    )


def definitions() -> list[str]:
    """The statements that publish every query as a macro; its comment is title and parameters."""
    statements = ["CREATE SCHEMA unbound"]
    for query in load_all().values():
        statements += query.macros
        words = [query.title, *(f"{p.name} {p.type}: {p.meaning}" for p in query.params)]
        comment = "; ".join(words).replace("'", "''")
        statements.append(f"COMMENT ON MACRO TABLE {query.name} IS '{comment}'")
    return statements


def open_catalog(store: Store) -> Catalog:
    """The catalog with every query as a macro."""
    return store.catalog(definitions())


def run(catalog: Catalog, query: Query, values: Mapping[str, object] | None = None) -> Result:
    """Run a query's text with its parameters bound, defaults where no value is given.

    Raises UsageError for a parameter it does not have.
    """
    values = dict(values or {})
    unknown = values.keys() - {p.name for p in query.params}
    if unknown:
        raise UsageError(
            f"{query.name} has no parameter {', '.join(sorted(unknown))}; it has "
            f"{', '.join(p.name for p in query.params) or 'none'}"
        )
    bound = bind(catalog, query.params, values)
    return catalog.run(query.body, bound)


_READERS: dict[str, Callable[[str], object]] = {
    "DOUBLE": numbers.real,
    "BIGINT": numbers.integer,
    "TIMESTAMPTZ": lambda text: numbers.moment(text, datetime.now(UTC)),
    "DATE": numbers.day,
}


def _read(param: Param, value: object) -> object:
    """A value given as text as its parameter's type; UsageError where it is none of those."""
    if not isinstance(value, str) or param.type not in _READERS:
        return value
    try:
        return _READERS[param.type](value)
    except numbers.NotReadable as refusal:
        raise UsageError(
            f"a parameter has a wrong value: {param.name} is {value[:40]!r}, {refusal}"
        ) from None


def bind(
    catalog: Catalog, params: Sequence[Param], values: Mapping[str, object]
) -> dict[str, object]:
    """A value of its declared type for each parameter, so that binding needs no guess."""
    if not params:
        return {}
    given = {p.name: _read(p, values[p.name]) if p.name in values else p.value for p in params}
    selected = ", ".join(f"CAST(${p.name} AS {p.type}) AS {p.name}" for p in params)
    try:
        bound = catalog.run(f"SELECT {selected}", given)
    except UsageError as failure:
        raise UsageError(f"a parameter has a wrong value: {failure}") from None
    return dict(zip(bound.columns, bound.rows[0], strict=True))
