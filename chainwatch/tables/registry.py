"""Every table by name: the classes of the modules beside this one."""

from __future__ import annotations

from chainwatch.tables import chain, disclosure, exchange, lending, log
from chainwatch.tables.base import Row

MODULES = (log, chain, lending, exchange, disclosure)


def snapshot_tables() -> frozenset[str]:
    """The tables whose rows belong to one snapshot each, and are written once."""
    return frozenset(
        name for name, row in tables().items() if "snapshot" in row.key and not row.repeats
    )


def tables() -> dict[str, type[Row]]:
    """All tables by name."""
    return {
        row.table: row
        for module in MODULES
        for row in vars(module).values()
        if isinstance(row, type) and issubclass(row, Row) and row is not Row
    }
