"""Accounts of a pool in columns have the rows of `arithmetic`, account by account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Block
from chainwatch.lake.store import Store
from chainwatch.lending.accounts import AccountRows
from chainwatch.lending.blocked_liquidations import blocked_liquidations
from chainwatch.lending.protocol import (
    Accounts,
    Currency,
    DebtTotal,
    MarketView,
    Rules,
    Stored,
)
from chainwatch.lending.protocols.aave_v2.arithmetic import PROFILES as V2_PROFILES
from chainwatch.lending.protocols.aave_v3.arithmetic import (
    PROFILES,
    EModeState,
    Profile,
    ReserveConfig,
    ReserveHolding,
    ReserveState,
    Stable,
)
from chainwatch.lending.protocols.aave_v3.balances import PoolPosition
from chainwatch.lending.protocols.aave_v3.book import PoolBook, PoolState
from chainwatch.lending.protocols.aave_v3.oracle import Oracle
from chainwatch.lending.protocols.aave_v3.pool import V3
from chainwatch.lending.protocols.aave_v3.reader import AavePool
from chainwatch.lending.snapshots import Stamp
from chainwatch.lending.valuation import snapshot_rows
from chainwatch.net.http import Http
from chainwatch.tables.base import Row
from chainwatch.tables.columns import WORD_LIMIT, Columns, words
from chainwatch.tables.lending import Account, AccountSlots, DebtCoverage, Leg, Reserve, SlotTerm
from tests.amounts import sample_size

RAY = 10**27
NOW = 1_800_000_000
ASSETS = [f"0x{n:02x}" + "a5" * 19 for n in range(7)]
LENDING = AavePool(V3)
MARKET = Market(
    protocol="aave-v3",
    chain="local",
    chain_id=31_337,
    pool="0x" + "00" * 20,
    name="m",
    rpc=("http://127.0.0.1:1",),
    deployment_block=0,
    lag=0,
    provenance="demo",
)
ALL_PROFILES: list[Profile] = [*V2_PROFILES.values(), *PROFILES.values()]

AMOUNTS = st.one_of(
    st.integers(0, 3),
    st.integers(1, 10**12),
    st.integers(10**15, 10**24),
    st.sampled_from([10**6, 10**18, 5 * 10**18, 2**64 - 1, 2**64, 2**96]),
    st.integers(2**100, 2**130),
)
INDICES = st.one_of(st.just(RAY), st.integers(RAY, 2 * RAY))


@st.composite
def reserves(draw: st.DrawFn) -> dict[str, ReserveState]:
    states = {}
    for n, asset in enumerate(draw(st.lists(st.sampled_from(ASSETS), min_size=1, unique=True))):
        config = ReserveConfig(
            ltv=0,
            lt=draw(st.sampled_from([0, 7_500, 8_000, 9_500])),
            bonus=draw(st.sampled_from([0, 10_500, 11_000])),
            decimals=draw(st.sampled_from([0, 6, 8, 18, 27, 60])),
            active=True,
            frozen=False,
            borrowing=True,
            paused=False,
            protocol_fee=0,
            emode=draw(st.integers(0, 2)),
        )
        price = draw(
            st.one_of(
                st.integers(1, 10**14),
                st.sampled_from([0, 10**8, 2_000 * 10**8, None, 2**200]),
                st.integers(10**7, 10**13),
            )
        )
        states[asset] = ReserveState(asset, n, config, draw(INDICES), draw(INDICES), price)
    return states


@st.composite
def positions(draw: st.DrawFn, assets: Sequence[str], stable_debt: bool) -> dict[str, PoolPosition]:
    accounts = {}
    for number in draw(st.lists(st.integers(0, 40), max_size=12, unique=True)):
        holdings = []
        for asset in sorted(draw(st.sets(st.sampled_from(assets))), key=assets.index):
            stable = None
            if stable_debt and draw(st.booleans()):
                principal, rate = draw(AMOUNTS), draw(st.integers(0, RAY))
                stable = Stable(principal, rate, NOW - draw(st.integers(0, 10**8)))
            holdings.append(
                ReserveHolding(
                    asset,
                    draw(st.one_of(st.none(), AMOUNTS)),
                    draw(st.one_of(st.none(), AMOUNTS)) if stable is None else draw(AMOUNTS),
                    stable if stable is not None and stable.principal else None,
                )
            )
        emode = draw(st.sampled_from([0, 0, 1, 2, 255]))
        accounts[f"0x{number:040x}"] = PoolPosition(emode, tuple(holdings))
    return accounts


@st.composite
def worlds(draw: st.DrawFn) -> tuple[MarketView, dict[str, PoolPosition]]:
    profile = draw(st.sampled_from(ALL_PROFILES))
    states = draw(reserves())
    emodes = {
        category: EModeState(
            draw(st.sampled_from([8_500, 9_700])),
            10_100,
            draw(st.sampled_from([0, 0, 3 * 10**8, None])) if profile.emode == "category" else 0,
            draw(st.integers(0, 255)),
        )
        for category in draw(st.sets(st.sampled_from([1, 2])))
    }
    unit = draw(st.sampled_from([10**8, 10**18]))
    usd = draw(st.sampled_from([None, 1.0, 1_987.654_321]))
    blocks = st.sampled_from([None, None, "paused"])
    view = MarketView(
        state=PoolState(Oracle("0x", "ETH", Currency(unit, usd)), profile, states, emodes, NOW),
        reserves=[
            Reserve(
                snapshot="",
                market="m",
                block_number=7,
                asset=asset,
                reserve_id=state.reserve_id,
                symbol="T",
                decimals=state.config.decimals,
                price=state.price,
                price_usd=None,
                price_status="ok",
                oracle="0x",
                ltv_bps=0,
                lt_bps=state.config.lt,
                bonus_bps=0,
                blocked_collateral=draw(blocks),
                blocked_debt=draw(blocks),
            )
            for asset, state in states.items()
        ],
        currency=Currency(unit, usd),
        rules=Rules(
            profile=profile.version,
            close_rule=profile.close_rule,
            base_decimals=len(str(unit)) - 1,
            quote="ETH",
            quote_usd=usd,
            blocked_reason=draw(st.sampled_from([None, None, "sequencer sentinel"])),
            blocked_above_hf=draw(st.sampled_from([None, 0.95])),
        ),
    )
    return view, draw(positions(list(states), profile.stable_debt))


def stamp(snapshot: str = "s") -> Stamp:
    rpc = Rpc(Http(), MARKET.rpc, chain="local", chain_id=31_337)
    reading = Reading(rpc, MARKET, Block(7, "0x" + "07" * 32, NOW))
    return Stamp(snapshot, reading, datetime(2026, 12, 1, tzinfo=UTC), "all", 0, None)


def made(
    view: MarketView, accounts: Accounts[PoolPosition], snapshot: str = "s"
) -> tuple[list[Row], list[Columns]]:
    """The rows of a snapshot, and those in columns."""
    blocked = blocked_liquidations(view)
    reason_for = blocked.reason_for if blocked.any else None
    values = accounts.value(LENDING, view.state, 7, reason_for)
    totals = [
        DebtTotal(r.asset, column, 1, 1, column)
        for r in view.reserves
        for column in ("scaled", "stable_principal")
    ]
    return snapshot_rows(stamp(snapshot), 1, view, {}, totals, values)


def counted(rows: Sequence[Row], *tables: type[Row]) -> Counter[Row]:
    return Counter(row for row in rows if not tables or isinstance(row, tables))


def listed(rows: Sequence[Row], columns: Sequence[Columns]) -> list[Row]:
    return [*rows, *(row for part in columns for row in part.rows())]


def size() -> int:
    return sample_size(quick=60, full=400, torture=4_000)


@pytest.mark.sampled("worlds")
@settings(max_examples=size(), deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds())
def test_columns_are_the_rows_of_single_accounts(
    world: tuple[MarketView, dict[str, PoolPosition]],
) -> None:
    """Whatever a pool's rules, prices and balances are: every row is the same to the last bit."""
    view, own = world
    reference, none = made(view, AccountRows({}, own))
    assert not none
    assert counted(listed(*made(view, PoolBook(None, {}, own)))) == counted(reference)


TABLES = (Account, Leg, AccountSlots, SlotTerm, DebtCoverage)


def carried(store: Store, snapshot: str) -> PoolBook:
    """The accounts of a stored snapshot as a refresh takes them over."""
    holdings = store.holdings(snapshot)
    legs: dict[str, list[Leg]] = {}
    for leg in store.rows(Leg, "snapshot = $s", {"s": snapshot}):
        legs.setdefault(leg.account, []).append(leg)
    rows = {
        row.account: Stored(
            row, own := legs.get(row.account, []), LENDING.stored_position(row, own)
        )
        for row in store.rows(Account, "snapshot = $s", {"s": snapshot})
        if row.account in holdings.large
    }
    return PoolBook(holdings, rows, {})


def stored_rows(store: Store, snapshot: str) -> Counter[Row]:
    return counted(
        [row for table in TABLES for row in store.rows(table, "snapshot = $s", {"s": snapshot})]
    )


@pytest.mark.sampled("worlds")
@settings(
    max_examples=sample_size(quick=8, full=60, torture=400),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(world=worlds(), again=st.data())
def test_stored_columns_are_carried_over(
    world: tuple[MarketView, dict[str, PoolPosition]], again: st.DataObject
) -> None:
    """What is stored in columns is read as rows; carried over it is valued as it was read."""
    view, own = world
    reference, _ = made(view, AccountRows({}, own))
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.create()
        rows, columns = made(view, PoolBook(None, {}, own))
        load = store.append(rows, source="s", columns=columns)
        assert load.rows == len(reference)
        assert stored_rows(store, "s") == counted(reference, *TABLES)
        book = carried(store, "s")
        assert {name: LENDING.balances(book.position(name)) for name in own} == {
            name: LENDING.balances(position) for name, position in own.items()
        }
        fresh = again.draw(positions(list(view.state.reserves), view.state.profile.stable_debt))
        book.replace(fresh)
        assert all(name in book for name in own | fresh)
        assert "0x" not in book
        later = listed(*made(view, book))
        expected, _ = made(view, AccountRows({}, own | fresh))
        assert counted(later, *TABLES) == counted(expected, *TABLES)


@pytest.mark.parametrize("value", [0, 2**64 - 1, 2**64, WORD_LIMIT - 1, WORD_LIMIT, 2**256 - 1])
def test_words_are_exact(tmp_path: Path, value: int) -> None:
    """An integer in halves, or beside one that does not fit into them, is stored as it is."""
    store = Store(tmp_path)
    store.create()
    numbers = [value, None, 1]
    values: dict[str, Any] = {
        "snapshot": "s",
        "market": "m",
        "block_number": 7,
        "asset": "0x",
        "reserve_id": 1,
        "symbol": "it's",
        "decimals": 18,
        "price": words(numbers),
        "price_usd": None,
        "price_status": "ok",
        "oracle": "0x",
        "liquidity_index": None,
        "debt_index": None,
        "liquidity_rate": None,
        "variable_rate": None,
        "ltv_bps": 0.1,
        "lt_bps": 1e-300,
        "bonus_bps": 5.0,
        "protocol_fee_bps": None,
        "emode": 0,
        "active": True,
        "frozen": False,
        "paused": False,
        "blocked_collateral": None,
        "blocked_debt": None,
        "borrowing": True,
        "a_token": None,
        "stable_debt_token": None,
        "variable_debt_token": None,
    }
    part = Columns(Reserve, len(numbers), values)
    store.append([], source="s", columns=[part])
    rows = store.rows(Reserve)
    assert Counter(row.price for row in rows) == Counter(numbers)
    assert counted(rows) == counted(list(part.rows()))
