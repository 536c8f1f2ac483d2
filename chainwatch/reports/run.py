"""A query run as a report, in one line: needs read → query run → heading → report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.engine import Result
from chainwatch.lake.query import Query
from chainwatch.reports import needs
from chainwatch.reports.needs import Heading
from chainwatch.show.document import Report
from chainwatch.show.values import fill_notes

ATTEMPTS = 20  # to read header and rows of one snapshot while snapshots are being stored

# Computes the rows of a query where the catalog does not.
Runner = Callable[[Query, Mapping[str, object]], Result]


def make(
    catalog: Catalog, name: str, values: Mapping[str, object], runner: Runner | None = None
) -> Report:
    """Run the query of that name as a report, see `report`."""
    return report(catalog, query.find(name), values, runner)


def report(
    catalog: Catalog,
    definition: Query,
    values: Mapping[str, object],
    runner: Runner | None = None,
) -> Report:
    """Run a query and state what its figures are based on, as its needs say.

    `runner` may compute the rows elsewhere. Raises UsageError where a value does not fit what is
    stored, and where what the query needs is not stored yet.
    """
    rows_of = runner or partial(query.run, catalog)
    call = needs.read_call(definition, values)
    for _ in range(ATTEMPTS):
        headings = needs.read(catalog, call)
        result = rows_of(definition, call.values)
        if runner is not None:
            catalog.refresh()  # another engine lists the loads itself, later
        again = needs.call_again(catalog, call, headings)
        if again is None:
            break
        call = again
    return described(definition, result, needs.heading(definition, headings, result))


def described(definition: Query, result: Result, heading: Heading) -> Report:
    """The rows of a query with their heading, and what the query's header says of them."""
    return Report(
        result=result,
        name=definition.name,
        title=definition.title,
        header=heading.lines,
        meta=heading.meta,
        shown=definition.shown,
        bar=definition.bar,
        notes=fill_notes(definition.notes, result, definition.columns),
        columns=definition.columns,
    )
