"""Rows of a table as columns: many at once, without an object for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import msgspec

from chainwatch.tables.base import Row

HALF_BITS = 64
# Integers below it fit into halves, and into the table's integers of 38 digits.
WORD_LIMIT = 1 << 126
_LOW = (1 << HALF_BITS) - 1


class Words(msgspec.Struct, frozen=True):
    """Exact integers from 0 to below WORD_LIMIT, as two halves of 64 bits.

    `high` is None where all are below 2^64. `missing` marks nulls, None: there are none.
    """

    low: Any
    high: Any = None
    missing: Any = None

    def __len__(self) -> int:
        return len(self.low)

    def take(self, indices: Any) -> Words:
        """Those at some indices."""
        high = None if self.high is None else self.high[indices]
        missing = None if self.missing is None else self.missing[indices]
        return Words(self.low[indices], high, missing)

    def integers(self) -> list[int]:
        """The integers; where one is missing it is 0."""
        low: list[int] = self.low.tolist()
        if self.high is None:
            return low
        return [h << HALF_BITS | w for h, w in zip(self.high.tolist(), low, strict=True)]


def words(values: Sequence[int | None]) -> Words | list[int | None]:
    """Exact integers as halves; the list itself where one of them is too large for that."""
    import numpy as np

    missing = None
    numbers: Any = values
    if None in values:
        missing = np.array([v is None for v in values])
        numbers = [v or 0 for v in values]
    largest = max(numbers, default=0)
    if largest <= _LOW:
        return Words(np.array(numbers, dtype=np.uint64), None, missing)
    if largest >= WORD_LIMIT:
        return list(values)
    low = np.array([v & _LOW for v in numbers], dtype=np.uint64)
    high = np.array([v >> HALF_BITS for v in numbers], dtype=np.uint64)
    return Words(low, high, missing)


class Columns(msgspec.Struct, frozen=True):
    """So many rows of a table, by column.

    The values of a column are a NumPy array (text: of objects; with nulls: masked), Words, a list
    as rows have them, or the one value that all rows have. No column of the table is left out.
    """

    row: type[Row]
    count: int
    values: Mapping[str, Any]

    def rows(self) -> Iterator[Row]:
        """The same as objects."""
        import numpy as np

        lists = []
        for name in self.row.__struct_fields__:
            value = self.values[name]
            if isinstance(value, Words):
                own: Any = value.integers()
                if value.missing is not None:
                    own = [None if m else v for v, m in zip(own, value.missing, strict=True)]
            elif isinstance(value, np.ndarray):
                own = value.tolist()
            else:
                own = value if isinstance(value, list) else repeat(value, self.count)
            lists.append(own)
        names = self.row.__struct_fields__
        for line in zip(*lists, strict=False):
            yield self.row(**dict(zip(names, line, strict=True)))


SIDES = ("collateral", "debt", "idle")


class Holdings(msgspec.Struct, frozen=True):
    """What the accounts of a stored snapshot hold, as columns.

    `accounts` are their addresses in ascending order, with `emodes` and `read_blocks`. Balances lie
    in the order of their accounts: `numbers` are the places of these, `assets` places in
    `asset_names`, `sides` places in SIDES. `stable` are the stable debts by place of the balance:
    principal, rate and time. `large` are accounts with an integer that is not below WORD_LIMIT.
    """

    accounts: Any
    emodes: Any
    read_blocks: Any
    asset_names: tuple[str, ...]
    numbers: Any
    assets: Any
    sides: Any
    scaled: Words
    stable: Mapping[int, tuple[int, int, int]]
    large: frozenset[str]
