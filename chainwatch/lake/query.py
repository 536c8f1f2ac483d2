"""Queries: one SQL file each in queries/, with a header that says what it returns and takes.

    -- name: walls
    -- title: Collateral that liquidates as a factor moves, per price bin
    -- needs: snapshots, factors(p_factor)
    -- param: p_factor TEXT = 'BTC'  which factor moves
    -- show: price_from price_to round_seizable_usd=seizable_USD
    -- bar: round_seizable_usd over price_from
    -- column: price_from price lower end of the bin
    -- columns of: axes() axis_market
    SELECT … WHERE factor = $p_factor …

A parameter has one of TYPES, and a literal as its default: '…', a number, true, false, DATE '…',
TIMESTAMPTZ '…' or NULL. `show` limits the columns of tables on a terminal and may give a short
heading (`a<>b`: a is shown if it differs from b in any row), `bar` names the column that is drawn
(over an axis: only where that has a value), `note` says what a figure means. `needs` says what the
figures stand on, which the heading of the report then names: see chainwatch.lake.needs. Names of
queries and parameters decide nothing.

`column` describes a column of the output, in their order: its name, its unit (chainwatch.units)
and what the figure is. `columns of` describes columns by those of a query `name()` or a table that
it reads, all of them or those named, so that one meaning stands once.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from chainwatch import numbers
from chainwatch.errors import UsageError
from chainwatch.lake import needs
from chainwatch.lake.catalog import Choice
from chainwatch.lake.engine import Result
from chainwatch.lake.header import Param, Passed, read_column, read_param, read_passed
from chainwatch.lake.needs import Need
from chainwatch.lake.relations import described_columns
from chainwatch.lake.store import Store
from chainwatch.shipped import folder
from chainwatch.tables.registry import tables
from chainwatch.text import suggest
from chainwatch.units import OutputColumn, derive

if TYPE_CHECKING:
    from chainwatch.lake.catalog import Catalog

_HEADER = re.compile(
    r"^--\s*(name|title|needs|param|show|bar|note|portable|each|ordered|columns of|column|once):"
    r"\s*(.*)$"
)
# Arguments that mean the same wherever they are pasted.
_ARGUMENT = r"p_\w+\s*:=\s*(?:\$p_\w+|'(?:[^']|'')*'|-?\d[\w.]*|true|false|NULL)"


@cache
def _columns_of(source: str) -> dict[str, OutputColumn]:
    """The columns of a query `name()` or of a table, by name; none where neither is called so.

    Those of a table have the units of the naming convention.
    """
    if source.endswith("()"):
        read_query = load_all().get(source.removesuffix("()"))
        return {column.name: column for column in read_query.columns} if read_query else {}
    row = tables().get(source)
    return {
        name: OutputColumn(name, derive(name, kind), meaning)
        for name, kind, meaning in (described_columns(row) if row else ())
    }


def _passed_columns(passed: Passed) -> list[OutputColumn]:
    """The columns that a query passes on; ValueError where there are none of a name."""
    columns = _columns_of(passed.source)
    names = passed.names or [
        name for name in columns if passed.source.endswith("()") or name not in ("load", "day")
    ]
    unknown = sorted(set(names) - set(columns))
    if unknown or not columns:
        raise ValueError(
            f"{passed.where}: expected columns of {passed.source} "
            f"({', '.join(columns) or 'none is described'}), got {', '.join(unknown) or 'all'}"
        )
    return [columns[name] for name in names]


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
    needs: tuple[Need, ...] = ()
    portable: bool = False
    described: tuple[OutputColumn | Passed, ...] = ()

    @property
    def columns(self) -> tuple[OutputColumn, ...]:
        """The columns that it returns, in their order, as its header describes them.

        Raises ValueError where they are said to be columns of another that has none of that name.
        """
        columns: list[OutputColumn] = []
        for part in self.described:
            columns += _passed_columns(part) if isinstance(part, Passed) else [part]
        return tuple(columns)

    @property
    def body(self) -> str:
        """The statement; what it reads with plain values is pasted, which is planned sooner."""
        return _body(self.text)

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
def _body(text: str) -> str:
    """A file's text without its header, with macros that take plain values as pasted ones."""
    statement = "\n".join(line for line in text.splitlines() if not _HEADER.match(line))
    plain = rf"\(\s*(?:{_ARGUMENT}\s*(?:,\s*{_ARGUMENT}\s*)*)?\)"
    return re.sub(rf"(?<![\w.])({'|'.join(load_all())})(?={plain})", r"unbound.\1", statement)


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
    params, needed = [], []
    described: list[OutputColumn | Passed] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _HEADER.match(line):
            words, where = match[2].strip(), f"{path} line {number}"
            head.setdefault(match[1], []).append(words)
            if match[1] == "param":
                params.append(read_param(words, where))
            elif match[1] == "column":
                described.append(read_column(words, where))
            elif match[1] == "columns of":
                described.append(read_passed(words, text, where))
            elif match[1] == "needs":
                needed.append((where, words))
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
        needs=needs.read(needed, {p.name: p.type for p in params}),
        portable="portable" in head,
        described=tuple(described),
    )


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


def require_described(definition: Query, shape: Sequence[tuple[str, str]]) -> None:
    """Refuse a header that does not describe the columns returned, each with its DuckDB type.

    ValueError names the lines to add, with the unit of the naming convention, or to take out.
    """
    described = [column.name for column in definition.columns]
    names = [name for name, _ in shape]
    if described == names:
        return
    missing = [
        f"`-- column: {name} {derive(name, kind).name} …`"
        for name, kind in shape
        if name not in described
    ]
    surplus = [name for name in described if name not in names]
    advice = (
        f"add {', '.join(missing)}"
        if missing
        else f"take out {', '.join(surplus)}"
        if surplus
        else "describe each once, in their order"
    )
    raise ValueError(
        f"{definition.path}: expected the header to describe {', '.join(names)}, got "
        f"{', '.join(described) or 'nothing'}; {advice}"
    )


def find(name: str) -> Query:
    """One query by name; UsageError with a suggestion where there is none."""
    queries = load_all()
    if name in queries:
        return queries[name]
    raise UsageError(
        f"no query is called {name!r}; {suggest(name, queries)}`chainwatch queries` lists them"
    )


@cache
def definitions() -> tuple[str, ...]:
    """The statements that publish every query as a macro.

    Its comment is its title, its parameters and the columns that it returns.
    """
    statements = ["CREATE SCHEMA unbound"]
    for query in load_all().values():
        statements += query.macros
        words = [query.title, *(f"{p.name} {p.type}: {p.meaning}" for p in query.params)]
        words += [f"{c.name} {c.unit.name}: {c.meaning}" for c in query.columns]
        comment = "; ".join(words).replace("'", "''")
        statements.append(f"COMMENT ON MACRO TABLE {query.name} IS '{comment}'")
    return tuple(statements)


def narrowed_macros(table: str, macro: str) -> Iterator[str]:
    """The pasted macros of queries with a p_factor that read a table, where they read instead what
    a macro of the schema `unbound` returns for that factor."""
    for query in load_all().values():
        pasted, _ = query.macros
        if any(p.name == "p_factor" for p in query.params):
            call = f"unbound.{macro}(p_factor := p_factor)"
            narrowed = re.sub(rf"\bmain\.{table}\b", call, pasted)
            if narrowed != pasted:
                yield narrowed


# Queries that read rows of those snapshots only that `snapshots_at` selects with the query's own
# p_market and p_as_of. Which they are follows from their texts: tests/lake/snapshot_reads.py.
BY_CHOICE = frozenset(
    {
        "accounts",
        "at_risk_near_price",
        "axes",
        "break_levels",
        "break_steps",
        "excluded_accounts",
        "factor_graph",
        "factors_at",
        "forced_sales",
        "health",
        "landing_by_depth",
        "landing_by_round",
        "landing_prices",
        "liquidation_distance",
        "mart_health",
        "moves",
        "nearest",
        "path",
        "path_legs",
        "path_steps",
        "path_totals",
        "positions",
        "price_level",
        "provenance",
        "sales_to_price",
        "snapshots_at",
        "triggers",
        "unvalued",
        "verification",
        "walls",
    }
)


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
    return catalog.run(query.body, bound, choice=_choice(query, bound))


def _choice(query: Query, bound: Mapping[str, object]) -> Choice | None:
    """The snapshots of which alone a query reads rows, with these parameters."""
    if query.name not in BY_CHOICE or load_all()[query.name].text != query.text:
        return None
    return Choice(bound["p_market"], bound["p_as_of"])


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
