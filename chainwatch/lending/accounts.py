"""The accounts of a snapshot that is being made, by their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from chainwatch.chain.reading import Reading
from chainwatch.lending.protocol import (
    Accounts,
    AccountValues,
    LendingProtocol,
    Opened,
    Stored,
    Valued,
)

P = TypeVar("P")


class AccountRows(Accounts[P]):
    """Accounts by their rows."""

    def __init__(self, stored: Mapping[str, Stored[P]] = {}, fresh: Mapping[str, P] = {}) -> None:
        super().__init__(fresh)
        self._stored = dict(stored)
        self._held = {name: own.position for name, own in self._stored.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._held or name in self.fresh

    @property
    def carried(self) -> int:
        return len(self._held)

    def replace(self, fresh: Mapping[str, P]) -> None:
        self.fresh |= fresh
        for name in fresh:
            self._stored.pop(name, None)
            self._held.pop(name, None)

    def position(self, name: str) -> P:
        return self.fresh[name] if name in self.fresh else self._held[name]

    def assets(self, name: str) -> set[str]:
        return {leg.asset for leg in self._stored[name].legs}

    def holders(self) -> Mapping[tuple[str, str], Sequence[str]]:
        holders: dict[tuple[str, str], list[str]] = {}
        for name in sorted(self._stored):
            for leg in self._stored[name].legs:
                holders.setdefault((leg.asset, leg.side), []).append(name)
        return holders

    async def refresh(self, lending: LendingProtocol[P], reading: Reading, opened: Opened) -> None:
        if self._held:
            self._held |= await lending.refresh(reading, opened, self._held)

    def positions(self) -> Mapping[str, P]:
        return {**self._held, **self.fresh}

    def value(
        self,
        lending: LendingProtocol[P],
        state: Any,
        block: int,
        reason_for: Callable[[Valued], str | None] | None,
    ) -> AccountValues:
        del reason_for
        read_blocks = {name: own.row.read_block for name, own in self._stored.items()}
        positions = self.positions()
        return AccountValues(
            [
                (name, read_blocks.get(name, block), lending.value(state, name, positions[name]))
                for name in sorted(positions)
            ]
        )
