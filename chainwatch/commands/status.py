"""`status` and `checks`: what the lake holds, and whether its invariants hold."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from chainwatch.commands.app import app, get_session
from chainwatch.commands.options import Output, listing
from chainwatch.commands.running import on_catalog
from chainwatch.errors import CheckFailed

if TYPE_CHECKING:
    from chainwatch.lake.catalog import Catalog


@app.command(epilog="Example: chainwatch status")
@listing
def status(*, output: Output) -> None:
    """How old everything is, and what was verified."""
    from chainwatch.lake import query
    from chainwatch.show.document import Report

    home = get_session().store.home
    freshness = query.find("freshness")
    result, catalog = on_catalog(lambda catalog: (query.run(catalog, freshness), catalog.path))
    output.emit(
        Report(
            result,
            name="status",
            title=freshness.title,
            header=[f"lake: {home}", f"catalog: duckdb -readonly {shlex.quote(str(catalog))}"],
            meta={"home": str(home), "catalog": str(catalog)},
            notes=freshness.notes,
        )
    )


@app.command(epilog="Example: chainwatch checks")
@listing
def checks(*, output: Output) -> None:
    """Run the invariants in queries/checks.

    Segments are compared with the SHA-256 that their loads stored, too.
    """
    from chainwatch.lake import query
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    def run_all(catalog: Catalog) -> list[tuple[object, ...]]:
        states: list[tuple[object, ...]] = []
        for check in query.load_all().values():
            if check.group == "checks":
                wrong = len(query.run(catalog, check).rows)
                states.append((check.name, wrong, "wrong" if wrong else "ok", check.title))
        return states

    rows = on_catalog(run_all)
    segments = get_session().store.require_unchanged()
    output.emit(
        Report(
            Result(
                ("check", "rows", "state", "finds"),
                ("VARCHAR", "BIGINT", "VARCHAR", "VARCHAR"),
                rows,
            ),
            name="checks",
            meta={"segments": segments},
            notes=["every segment has the SHA-256 in its load's receipt, where that has one"],
        )
    )
    failed = [str(name) for name, wrong, *_ in rows if wrong]
    if failed:
        raise CheckFailed(
            f"{', '.join(failed)} found rows: `chainwatch query {failed[0]}` shows them"
        )
