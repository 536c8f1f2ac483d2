"""Accounts of a pool in columns: those of a stored snapshot, and those that were read anew.

The integers are those of `arithmetic`, for all balances of an asset, side and e-mode at once. What
occurs seldom (a price that reverts, an integer of more than 38 digits) is left to `arithmetic`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from chainwatch.chain.reading import Reading
from chainwatch.lending.integers import BPS, RAY, UINT_MAX, WAD, unit_of
from chainwatch.lending.protocol import (
    Accounts,
    AccountValues,
    LendingProtocol,
    Opened,
    Stored,
    Valued,
    ValuedColumns,
)
from chainwatch.lending.protocols.aave_v3 import arithmetic
from chainwatch.lending.protocols.aave_v3.arithmetic import (
    EModeState,
    Profile,
    ReserveHolding,
    ReserveState,
    Stable,
)
from chainwatch.lending.protocols.aave_v3.balances import PoolPosition
from chainwatch.lending.protocols.aave_v3.oracle import Oracle
from chainwatch.lending.protocols.aave_v3.pool import bonus_bps
from chainwatch.lending.slots import Terms
from chainwatch.tables.columns import SIDES, WORD_LIMIT, Holdings, Words, words

COLLATERAL, DEBT, EMPTY = range(3)  # sides of SIDES; an idle balance above 0 is collateral here
_EMODES = 256
# Integers of so many accounts are in memory at once.
ACCOUNTS_AT_ONCE = 50_000
# Values up to it, and what is computed of them, overflow nowhere.
_VALUE_LIMIT = 1 << 120


class Balances(msgspec.Struct, frozen=True):
    """Balances of accounts in columns: see `Holdings`. `names` are in the order of `numbers`."""

    names: Any
    emodes: Any
    read_blocks: Any
    assets: tuple[str, ...]
    numbers: Any
    asset_places: Any
    sides: Any
    scaled: Words
    stable: Mapping[int, tuple[int, int, int]]

    def part(self, accounts: Any) -> Balances:
        """Those of some accounts, which are places in ascending order."""
        import numpy as np

        kept = np.full(len(self.names), -1, dtype="int64")
        kept[accounts] = np.arange(len(accounts))
        numbers = kept[self.numbers]
        places = np.flatnonzero(numbers >= 0)
        stable: dict[int, tuple[int, int, int]] = {}
        if self.stable:
            old = np.fromiter(self.stable, dtype="int64")
            new = np.searchsorted(places, old)
            inside = new < len(places)
            inside[inside] = places[new[inside]] == old[inside]
            stable = {
                n: self.stable[o]
                for n, o in zip(new[inside].tolist(), old[inside].tolist(), strict=True)
            }
        return Balances(
            names=self.names[accounts],
            emodes=self.emodes[accounts],
            read_blocks=self.read_blocks[accounts],
            assets=self.assets,
            numbers=numbers[places],
            asset_places=self.asset_places[places],
            sides=self.sides[places],
            scaled=self.scaled.take(places),
            stable=stable,
        )


def stored_balances(holdings: Holdings) -> Balances:
    """The balances of a stored snapshot."""
    import numpy as np

    sides = holdings.sides
    if holdings.scaled.high is None:
        positive = holdings.scaled.low > 0
    else:
        positive = (holdings.scaled.low > 0) | (holdings.scaled.high > 0)
    sides = np.where(sides == DEBT, DEBT, np.where(positive, COLLATERAL, EMPTY))
    return Balances(
        names=holdings.accounts,
        emodes=holdings.emodes,
        read_blocks=holdings.read_blocks,
        assets=holdings.asset_names,
        numbers=holdings.numbers,
        asset_places=holdings.assets,
        sides=sides,
        scaled=holdings.scaled,
        stable=holdings.stable,
    )


def read_balances(positions: Mapping[str, PoolPosition], block: int) -> tuple[Balances, set[str]]:
    """The balances of positions read at a block, and the accounts that do not fit into them."""
    import numpy as np

    large: set[str] = set()
    names: list[str] = []
    emodes: list[int] = []
    numbers: list[int] = []
    asset_places: list[int] = []
    sides: list[int] = []
    scaled: list[int] = []
    assets: dict[str, int] = {}
    stable: dict[int, tuple[int, int, int]] = {}
    for name, position in positions.items():
        number, begin = len(names), len(numbers)
        for h in position.holdings:
            asset = assets.setdefault(h.asset, len(assets))
            if h.collateral:
                numbers.append(number)
                asset_places.append(asset)
                sides.append(COLLATERAL)
                scaled.append(h.collateral)
            if h.debt or h.stable:
                if h.stable:
                    stable[len(numbers)] = h.stable.principal, h.stable.rate, h.stable.since
                numbers.append(number)
                asset_places.append(asset)
                sides.append(DEBT)
                scaled.append(h.debt or 0)
            elif not h.collateral and (h.collateral, h.debt) != (None, None):
                numbers.append(number)
                asset_places.append(asset)
                sides.append(EMPTY)
                scaled.append(0)
        own = max(scaled[begin:], default=0)
        if own >= WORD_LIMIT or any(
            max(stable[i]) >= WORD_LIMIT for i in range(begin, len(numbers)) if i in stable
        ):
            large.add(name)
            for i in range(begin, len(numbers)):
                stable.pop(i, None)
            for column in (numbers, asset_places, sides, scaled):
                del column[begin:]
            continue
        names.append(name)
        emodes.append(position.emode)
    exact = words(scaled)
    assert isinstance(exact, Words)
    balances = Balances(
        names=np.array(names, dtype=object),
        emodes=np.array(emodes, dtype="int64"),
        read_blocks=np.full(len(names), block, dtype="int64"),
        assets=tuple(assets),
        numbers=np.array(numbers, dtype="int64"),
        asset_places=np.array(asset_places, dtype="int64"),
        sides=np.array(sides, dtype="int64"),
        scaled=exact,
        stable=stable,
    )
    return balances, large


class _Rule(msgspec.Struct, frozen=True):
    """What balances of one asset, side and e-mode have in common."""

    terms: Terms
    index: int
    index_rounding: int
    price: int
    unit: int
    up: bool

    def raws(self, scaled: Iterable[int]) -> list[int]:
        index, rounding = self.index, self.index_rounding
        return [(s * index + rounding) // RAY for s in scaled]

    def values(self, raws: Iterable[int]) -> list[int]:
        price, unit = self.price, self.unit
        rounding = unit - 1 if self.up else 0
        return [(raw * price + rounding) // unit for raw in raws]


class PoolState(msgspec.Struct, frozen=True):
    """What the accounts of a pool are valued by, at one block of a time in Unix seconds."""

    oracle: Oracle
    profile: Profile
    reserves: dict[str, ReserveState]
    emodes: dict[int, EModeState]
    time: int


def _rule(state: PoolState, asset: str, side: int, emode: int) -> _Rule | None:
    """The rule of balances; None where it takes `arithmetic`.

    It is taken from what `arithmetic.legs` says of a balance of its own.
    """
    profile = state.profile
    reserve = state.reserves.get(asset)
    if reserve is None:
        return None
    holding = ReserveHolding(
        asset,
        collateral={COLLATERAL: 1, EMPTY: 0}.get(side),
        debt=1 if side == DEBT else None,
    )
    (leg,) = arithmetic.legs(profile, [holding], emode, state.reserves, state.emodes, state.time)
    category = state.emodes.get(emode)
    price = reserve.price
    if leg.category_priced and category is not None:
        price = category.price
    if leg.problem or leg.value is None or price is None:
        return None
    directed = profile.rounding == "directed"
    is_debt = side == DEBT
    return _Rule(
        terms=(
            asset,
            leg.side,
            float(leg.lt),
            float(bonus_bps(leg.bonus)),
            leg.category_priced,
        ),
        index=reserve.debt_index if is_debt else reserve.liquidity_index,
        index_rounding=(RAY - 1 if is_debt else 0) if directed else RAY // 2,
        price=price,
        unit=unit_of(reserve.config.decimals),
        up=directed and is_debt,
    )


def value_balances(
    state: PoolState, balances: Balances
) -> tuple[ValuedColumns, dict[tuple[str, str], int], Any]:
    """The accounts in columns, the sums of what they owe, and the places of those that are left.

    Sums are by asset and column of Leg. Accounts are left out where `arithmetic` has to value them.
    """
    import numpy as np

    count = len(balances.names)
    key = (
        balances.asset_places.astype("int64") * len(SIDES) + balances.sides
    ) * _EMODES + balances.emodes[balances.numbers]
    keys, kinds = np.unique(key, return_inverse=True)
    rules: list[_Rule | None] = []
    for k in keys.tolist():
        rest, emode = divmod(k, _EMODES)
        asset, side = divmod(rest, len(SIDES))
        rules.append(_rule(state, balances.assets[asset], side, emode))
    if any(rule is None for rule in rules):
        return _without(state, balances, np.array([r is None for r in rules])[kinds])
    order = np.argsort(kinds, kind="stable")
    bounds = np.searchsorted(kinds[order], np.arange(len(keys) + 1)).tolist()
    size = len(kinds)
    amount, usd, worth = np.empty(size), np.empty(size), np.empty(size)
    collateral, debt, weighted = [0] * count, [0] * count, [0] * count
    owed: dict[tuple[str, str], int] = {}
    raw_low = np.empty(size, dtype=np.uint64)
    raw_high = np.zeros(size, dtype=np.uint64)
    value_low = np.empty(size, dtype=np.uint64)
    value_high = np.zeros(size, dtype=np.uint64)
    large: list[int] = []
    unit, rate = state.oracle.currency.unit, state.oracle.currency.usd
    divisor = 10.0 ** (len(str(unit)) - 1)
    stable_by_kind: dict[int, list[int]] = {}
    for place in balances.stable:
        stable_by_kind.setdefault(int(kinds[place]), []).append(place)
    for kind, rule in enumerate(rules):
        assert rule is not None
        places = order[bounds[kind] : bounds[kind + 1]]
        scaled = balances.scaled.take(places).integers()
        raws = rule.raws(scaled)
        asset, side = rule.terms[0], rule.terms[1]
        if side == "debt":
            owed[asset, "scaled"] = owed.get((asset, "scaled"), 0) + sum(scaled)
        for place in stable_by_kind.get(kind, ()):
            principal, annual, since = balances.stable[place]
            at = int(np.searchsorted(places, place))
            raws[at] += arithmetic.stable_balance(
                state.profile, Stable(principal, annual, since), state.time
            )
            column = asset, "stable_principal"
            owed[column] = owed.get(column, 0) + principal
        values = rule.values(raws)
        most = min(_VALUE_LIMIT, UINT_MAX // max(rule.price, 1))
        if max(raws) > most or max(values) > _VALUE_LIMIT:
            large += [
                place
                for place, raw, value in zip(places.tolist(), raws, values, strict=True)
                if raw > most or value > _VALUE_LIMIT
            ]
            continue
        for low, high, own in (
            (raw_low, raw_high, raws),
            (value_low, value_high, values),
        ):
            exact = words(own)
            assert isinstance(exact, Words)
            low[places] = exact.low
            if exact.high is not None:
                high[places] = exact.high
        token = rule.unit
        amount[places] = [raw / token for raw in raws]
        if rate is None:
            worth[places] = [value / divisor for value in values]
        else:
            usd[places] = [value / unit * rate for value in values]
        numbers = balances.numbers[places].tolist()
        if side == "collateral":
            lt = int(rule.terms[2])
            for n, value in zip(numbers, values, strict=True):
                collateral[n] += value
                weighted[n] += value * lt
        elif side == "debt":
            for n, value in zip(numbers, values, strict=True):
                debt[n] += value
    if large:
        return _without(state, balances, large)
    average = [w // c if c else 0 for w, c in zip(weighted, collateral, strict=True)]
    hf = _health_factors(state.profile, collateral, debt, weighted, average)
    below = arithmetic.LIQUIDATABLE_BELOW
    columns = ValuedColumns(
        accounts=balances.names,
        emodes=balances.emodes,
        read_blocks=balances.read_blocks,
        collateral=collateral,
        debt=debt,
        hf=hf,
        lt_bps=average,
        liquidatable=[h is not None and h < below for h in hf],
        terms=[rule.terms for rule in rules if rule is not None],
        numbers=balances.numbers,
        kinds=kinds,
        scaled=balances.scaled,
        raw=Words(raw_low, raw_high if raw_high.any() else None),
        value=Words(value_low, value_high if value_high.any() else None),
        amount=amount,
        usd=None if rate is None else usd,
        worth=worth if rate is None else usd,
        stable=balances.stable,
        blocked={},
    )
    return columns, owed, np.empty(0, dtype="int64")


def _without(
    state: PoolState, balances: Balances, left: Any
) -> tuple[ValuedColumns, dict[tuple[str, str], int], Any]:
    """The same of the accounts that have none of the balances that are left."""
    import numpy as np

    outside = np.zeros(len(balances.names), dtype=bool)
    outside[balances.numbers[left]] = True
    inside = np.flatnonzero(~outside)
    columns, owed, more = value_balances(state, balances.part(inside))
    return columns, owed, np.sort(np.r_[np.flatnonzero(outside), inside[more]])


def _health_factors(
    profile: Profile,
    collateral: Sequence[int],
    debt: Sequence[int],
    weighted: Sequence[int],
    average: Sequence[int],
) -> list[int | None]:
    """Health factors as `arithmetic.account` computes them."""
    if profile.truncates_lt:
        half = BPS // 2
        return [
            ((c * lt + half) // BPS * WAD + d // 2) // d if d else None
            for c, lt, d in zip(collateral, average, debt, strict=True)
        ]
    return [
        (w * WAD + d // 2) // d // BPS if d else None for w, d in zip(weighted, debt, strict=True)
    ]


class PoolBook(Accounts[PoolPosition]):
    """The accounts of a pool in columns; `rows` are those that do not fit into them."""

    def __init__(
        self,
        holdings: Holdings | None,
        rows: Mapping[str, Stored[PoolPosition]],
        fresh: Mapping[str, PoolPosition],
    ) -> None:
        import numpy as np

        super().__init__(fresh)
        self._balances = None if holdings is None else stored_balances(holdings)
        self._kept = np.ones(0 if holdings is None else len(holdings.accounts), dtype=bool)
        self._rows = dict(rows)
        for name in rows:
            self._drop(name)

    def __contains__(self, name: object) -> bool:
        return name in self.fresh or name in self._rows or self._place(name) is not None

    @property
    def carried(self) -> int:
        return int(self._kept.sum()) + len(self._rows)

    def replace(self, fresh: Mapping[str, PoolPosition]) -> None:
        self.fresh |= fresh
        for name in fresh:
            self._rows.pop(name, None)
            self._drop(name)

    def position(self, name: str) -> PoolPosition:
        if name in self.fresh:
            return self.fresh[name]
        if name in self._rows:
            return self._rows[name].position
        balances, place = self._balances, self._place(name)
        if balances is None or place is None:
            raise KeyError(name)
        begin, end = balances.numbers.searchsorted([place, place + 1]).tolist()
        holdings: dict[str, ReserveHolding] = {}
        for i in range(begin, end):
            asset = balances.assets[balances.asset_places[i]]
            scaled = balances.scaled.take(slice(i, i + 1)).integers()[0]
            before = holdings.get(asset, ReserveHolding(asset=asset))
            if balances.sides[i] == DEBT:
                stable = Stable(*balances.stable[i]) if i in balances.stable else None
                now = msgspec.structs.replace(before, debt=scaled, stable=stable)
            else:
                now = msgspec.structs.replace(before, collateral=scaled)
            holdings[asset] = now
        return PoolPosition(int(balances.emodes[place]), tuple(holdings.values()))

    def assets(self, name: str) -> set[str]:
        return {holding.asset for holding in self.position(name).holdings}

    def holders(self) -> Mapping[tuple[str, str], Sequence[str]]:
        import numpy as np

        holders: dict[tuple[str, str], list[str]] = {}
        if (balances := self._balances) is not None:
            places = np.flatnonzero(self._kept[balances.numbers])
            key = (
                balances.asset_places[places].astype("int64") * len(SIDES) + balances.sides[places]
            )
            for k in np.unique(key).tolist():
                asset, side = divmod(k, len(SIDES))
                names = balances.names[balances.numbers[places[key == k]]]
                holders[balances.assets[asset], SIDES[side]] = names.tolist()
        for name in sorted(self._rows):
            for leg in self._rows[name].legs:
                holders.setdefault((leg.asset, leg.side), []).append(name)
        return holders

    async def refresh(
        self, lending: LendingProtocol[PoolPosition], reading: Reading, opened: Opened
    ) -> None:
        """Nothing of a pool changes without an event but by its indices."""

    def positions(self) -> Mapping[str, PoolPosition]:
        return PoolPositions(self)

    def names(self) -> list[str]:
        """The names of all accounts."""
        names = [*self.fresh, *self._rows]
        if self._balances is not None:
            names += self._balances.names[self._kept].tolist()
        return names

    def emodes(self) -> set[int]:
        """The e-mode categories of all accounts."""
        emodes = {p.emode for p in self.fresh.values()}
        emodes |= {own.position.emode for own in self._rows.values()}
        if self._balances is not None:
            emodes |= set(self._balances.emodes[self._kept].tolist())
        return emodes

    def value(
        self,
        lending: LendingProtocol[PoolPosition],
        state: PoolState,
        block: int,
        reason_for: Callable[[Valued], str | None] | None,
    ) -> AccountValues:
        import numpy as np

        single = [
            (name, own.row.read_block, lending.value(state, name, own.position))
            for name, own in self._rows.items()
        ]
        parts: list[Balances] = []
        if self._balances is not None:
            kept = np.flatnonzero(self._kept)
            parts += [
                self._balances.part(kept[begin : begin + ACCOUNTS_AT_ONCE])
                for begin in range(0, len(kept), ACCOUNTS_AT_ONCE)
            ]
        if self.fresh:
            balances, large = read_balances(self.fresh, block)
            parts.append(balances)
            single += [
                (name, block, lending.value(state, name, self.fresh[name])) for name in large
            ]
        columns: list[ValuedColumns] = []
        owed: dict[tuple[str, str], int] = {}
        for part in parts:
            valued, sums, left = value_balances(state, part)
            for key, amount in sums.items():
                owed[key] = owed.get(key, 0) + amount
            for place in left.tolist():
                name = part.names[place]
                own = lending.value(state, name, self._ordered(state, name))
                single.append((name, int(part.read_blocks[place]), own))
            if reason_for is not None:
                why = {
                    place: reason_for(lending.value(state, name, self._ordered(state, name)))
                    for place, name in enumerate(valued.accounts)
                    if valued.liquidatable[place]
                }
                reasons = {place: reason for place, reason in why.items() if reason}
                valued = msgspec.structs.replace(valued, blocked=reasons)
            columns.append(valued)
        return AccountValues(single, columns, owed)

    def _ordered(self, state: PoolState, name: str) -> PoolPosition:
        """A position in the order of the pool's reserves: the first that reverts is the reason."""
        position = self.position(name)
        reserves = state.reserves
        order = sorted(position.holdings, key=lambda h: reserves[h.asset].reserve_id)
        return PoolPosition(position.emode, tuple(order))

    def _place(self, name: object) -> int | None:
        """The place of an account among the balances that are carried over."""
        if self._balances is None:
            return None
        names = self._balances.names
        place = bisect_left(names, str(name))
        if place == len(names) or names[place] != name or not self._kept[place]:
            return None
        return place

    def _drop(self, name: str) -> None:
        place = self._place(name)
        if place is not None:
            self._kept[place] = False


class PoolPositions(Mapping[str, PoolPosition]):
    """The positions of a book; each is made when it is looked at."""

    def __init__(self, book: PoolBook) -> None:
        self._book = book

    def __getitem__(self, name: str) -> PoolPosition:
        return self._book.position(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._book.names())

    def __len__(self) -> int:
        return self._book.carried + len(self._book.fresh)

    def emodes(self) -> set[int]:
        """The e-mode categories of all accounts."""
        return self._book.emodes()
