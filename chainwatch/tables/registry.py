"""Every table by name: the classes of the modules beside this one."""

from __future__ import annotations

from chainwatch.tables import chain, disclosure, exchange, lending, log
from chainwatch.tables.base import Row

MODULES = (log, chain, lending, exchange, disclosure)


def tables() -> dict[str, type[Row]]:
    """All tables by name."""
    return {
        row.table: row
        for module in MODULES
        for row in vars(module).values()
        if isinstance(row, type) and issubclass(row, Row) and row is not Row
    }
