"""Every table by name."""

from __future__ import annotations

from chainwatch.tables.base import Row


def tables() -> dict[str, type[Row]]:
    """All tables by name."""
    return {row.table: row for row in Row.__subclasses__()}
