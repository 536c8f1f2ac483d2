"""Aave v3 and pools built like it: reserves, flags per account, scaled balances.

`AaveLender` reads a pool in one dialect. Aave v2 and Spark have readers of their own, which give
their dialect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.types import Block, Call, Log, Reverted
from chainwatch.collect.source import Batch, Feed, source, verifier
from chainwatch.errors import ConfigError, NetworkError
from chainwatch.lending.exposures import UNIT
from chainwatch.lending.integers import ChainReverts
from chainwatch.lending.lender import FIX_MARKET, NO_ADDRESS, Opened, Stamp, Watch, any_above_zero
from chainwatch.lending.liquidations import RawAmount, liquidation_row, record_liquidations
from chainwatch.lending.oracles import exposures_in_usd, resolve
from chainwatch.lending.parts import in_parts, read_in_parts
from chainwatch.lending.price_sources import read_answer
from chainwatch.lending.protocols.aave_v3 import arithmetic
from chainwatch.lending.protocols.aave_v3.arithmetic import (
    EModeState,
    Profile,
    ReserveConfig,
    ReserveHolding,
    ReserveState,
    Stable,
)
from chainwatch.lending.survey import take_snapshot
from chainwatch.lending.valuation import Rules, factor_rows, snapshot_rows
from chainwatch.lending.verify import Figure, compare_figures, load_sample
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Retraction
from chainwatch.tables.lending import (
    Account,
    ChainLiquidation,
    EMode,
    Factor,
    Leg,
    Orphan,
    Reserve,
    Scan,
    Snapshot,
    Touch,
    Verification,
)
from chainwatch.text import contract_text

if TYPE_CHECKING:
    from chainwatch.chain.client import Rpc
    from chainwatch.chain.markets import Market

# Selectors; tests/chain/test_abi.py holds each against the ABI in abis/.
POOL_REVISION = "0x0148170e"
ADDRESSES_PROVIDER = "0x0542975c"
GET_PRICE_ORACLE = "0xfca513a8"
GET_RESERVES_LIST = "0xd1946dbc"
GET_RESERVE_DATA = "0x35ea6a75"
GET_NORMALIZED_INCOME = "0xd15e0053"
GET_NORMALIZED_DEBT = "0x386497fd"
GET_USER_CONFIGURATION = "0x4417a583"
GET_USER_EMODE = "0xeddf1b79"
GET_USER_ACCOUNT_DATA = "0xbf92857c"
GET_EMODE_CATEGORY_DATA = "0x6c6f6ae1"
GET_EMODE_CONFIG = "0xb286f467"  # getEModeCategoryCollateralConfig, from 3.2
GET_EMODE_BITMAP = "0xb0771dba"  # getEModeCategoryCollateralBitmap, from 3.2
GET_EMODE_LABEL = "0x2083e183"  # getEModeCategoryLabel, from 3.2
SCALED_BALANCE_OF = "0x1da24f3e"
GET_TOTAL_SUPPLY_LAST_UPDATED = "0xe7484890"
PRINCIPAL_BALANCE_OF = "0xc634dfaa"
GET_USER_STABLE_RATE = "0xe78c9b3b"
GET_USER_LAST_UPDATED = "0x79ce6b8c"
GET_ASSET_PRICE = "0xb3596f07"
GET_SOURCE_OF_ASSET = "0x92bf2be0"
BASE_CURRENCY = "0xe19f4700"
BASE_CURRENCY_UNIT = "0x8c89b64f"
TOTAL_SUPPLY = "0x18160ddd"
SYMBOL = "0x95d89b41"

BORROW = "0xb3d084820fb1a9decffb176436bd02558d15fac9b0ddfed8c465bc7359d7dce0"
LIQUIDATION_CALL = "0xe413a321e8681d831f4dbccbca790d2952b56f977908e45be37335533e005286"
DEFICIT_CREATED = "0x2bccfb3fad376d59d7accf970515eb77b2f27b082c90ed0fb15583dd5a942699"  # from 3.3
# Event → positions of the topics that name an account whose balances or flags changed.
ACCOUNT_TOPICS: dict[str, tuple[int, ...]] = {
    BORROW: (2,),
    # Mint and Burn of aTokens and variable debt tokens
    "0x458f5fa412d0f69b08dd84872b0215675cc67bc1d5b6fd93300a1c3878b86196": (2,),
    "0x4cf25bc1d991c17529c25213d3cc0cda295eeaad5f13f361969b12ea48015f90": (1,),
    # BalanceTransfer of aTokens
    "0x4beccb90f994c31aced7a23b5611020728a23d8ec5cddd1a3e9d97b96fda8666": (1, 2),
    # Mint and Burn of stable debt tokens
    "0xc16f4e4ca34d790de4c656c72fd015c667d688f20be64eea360618545c4c530f": (2,),
    "0x44bd20a79e993bdcc7cbedf54a3b4d19fb78490124b6b90d04fe3242eea579e8": (1,),
    # ReserveUsedAsCollateralEnabled and Disabled
    "0x00058a56ea94653cdf4f152d227ace22d4c00ad99e2a43f58cb7d9e3feb295f2": (2,),
    "0x44c58d81365b66dd4b1a7f36c25aa97b8c71c361ee4937adc1a00000227db5dd": (2,),
    # UserEModeSet
    "0xd728da875fc88944cbf17638bcbe4af0eedaef63becd1d1c57cc097eb4608d84": (1,),
    # SwapBorrowRateMode, RebalanceStableBorrowRate
    "0x7962b394d85a534033ba2efcf43cd36de57b7ebeb3de0ca4428965d9b3ddc481": (2,),
    "0x9f439ae0c81e41a04d3fdfe07aed54e6a179fb0db15be7702eb66fa8ef6f5300": (2,),
}

POSITION_TABLES = (Scan, Touch, Snapshot, Reserve, EMode, Factor, Account, Leg, Orphan)


class Dialect(msgspec.Struct, frozen=True):
    """How one family of pools differs from another.

    `words` are the positions of id, aToken, stable and variable debt token, supply rate and
    variable rate in the answer of getReserveData.
    """

    protocol: str
    name: str
    revision: str
    provider: str
    words: tuple[int, int, int, int, int, int]
    topics: Mapping[str, tuple[int, ...]]
    borrow: str
    profiles: Mapping[int, Profile]
    emodes: bool = True


V3 = Dialect(
    protocol="aave-v3",
    name="Aave v3",
    revision=POOL_REVISION,
    provider=ADDRESSES_PROVIDER,
    words=(7, 8, 9, 10, 2, 4),
    topics=ACCOUNT_TOPICS,
    borrow=BORROW,
    profiles=arithmetic.PROFILES,
)


class _PoolReserve(msgspec.Struct, frozen=True):
    """One reserve at the pinned block."""

    state: ReserveState
    symbol: str
    price_status: str
    oracle: str
    liquidity_rate: int
    variable_rate: int
    a_token: str
    stable_debt_token: str
    variable_debt_token: str


class _OpenedPool(msgspec.Struct, frozen=True):
    """A pool as opened: its rules, and its reserves as getReserveData returns them."""

    profile: Profile
    data: tuple[tuple[str, bytes], ...]


class _PoolState(msgspec.Struct, frozen=True):
    """The pool's own state at the pinned block, without accounts."""

    at: Block
    profile: Profile
    oracle: str
    base_unit: int
    quote: str
    quote_usd: float | None
    reserves: tuple[_PoolReserve, ...]
    emodes: dict[int, EModeState]
    emode_rows: tuple[EMode, ...]

    @property
    def states(self) -> dict[str, ReserveState]:
        return {r.state.asset: r.state for r in self.reserves}

    def usd(self, value: int | None) -> float | None:
        if value is None or self.quote_usd is None:
            return None
        return value / self.base_unit * self.quote_usd


class _PoolPosition(msgspec.Struct, frozen=True):
    """One account: its e-mode, its balances, and the block they were read at."""

    emode: int
    holdings: tuple[ReserveHolding, ...]
    read_block: int


class AaveLender:
    """How a pool is read (chainwatch.lending.lender.Lender)."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.protocol = dialect.protocol

    async def open(self, feed: Feed, rpc: Rpc, market: Market, at: Block) -> Opened:
        revision, profile = await _read_revision(self.dialect, rpc, market, at)
        data = await _read_reserve_data(rpc, market, at)
        tokens = [
            abi.address(abi.word(answer, position))
            for _, answer in data
            for position in self.dialect.words[1:4]
            if abi.word(answer, position)
        ]
        watch = Watch(
            lender=market.pool,
            contracts=(market.pool, *tokens),
            accounts=self.dialect.topics,
            borrows=frozenset({self.dialect.borrow}),
        )
        return Opened(revision, watch, _OpenedPool(profile, tuple(data)))

    async def stored_positions(self, feed: Feed, base: Snapshot) -> dict[str, _PoolPosition]:
        parts: dict[str, dict[str, ReserveHolding]] = {}
        for leg in await feed.stored(Leg, "snapshot = $s", s=base.snapshot):
            holdings = parts.setdefault(leg.account, {})
            before = holdings.get(leg.asset, ReserveHolding(asset=leg.asset))
            if leg.side != "debt":
                now = msgspec.structs.replace(before, collateral=leg.scaled)
            else:
                now = msgspec.structs.replace(before, debt=leg.scaled, stable=_stable_of(leg))
            holdings[leg.asset] = now
        return {
            a.account: _PoolPosition(
                emode=a.emode,
                holdings=tuple(parts.get(a.account, {}).values()),
                read_block=a.read_block,
            )
            for a in await feed.stored(Account, "snapshot = $s", s=base.snapshot)
        }

    async def read(
        self, feed: Feed, rpc: Rpc, opened: Opened, at: Block, accounts: Sequence[str]
    ) -> dict[str, _PoolPosition]:
        market = feed.market()
        tokens = await read_reserve_tokens(self.dialect, rpc, opened.context, at)
        positions: dict[str, _PoolPosition] = {}

        async def read(part: Sequence[str]) -> dict[str, _PoolPosition]:
            return await _read_accounts(self.dialect, rpc, market, tokens, part, at)

        async for done, part_positions in read_in_parts(accounts, read):
            positions |= part_positions
            feed.progress(f"{market.name}: accounts read", done, len(accounts))
        return positions

    async def evidence_of_accounts(
        self, rpc: Rpc, market: Market, opened: Opened, first: int, at: Block
    ) -> str | None:
        context: _OpenedPool = opened.context
        tokens = [
            abi.address(abi.word(answer, position))
            for _, answer in context.data
            for position in self.dialect.words[2:4]
            if abi.word(answer, position)
        ]
        calls = [(token, abi.call(TOTAL_SUPPLY)) for token in tokens]
        if await any_above_zero(rpc, calls, at):
            return "its debt tokens have a supply"
        return None

    async def rows(
        self,
        feed: Feed,
        rpc: Rpc,
        opened: Opened,
        stamp: Stamp,
        accounts: Mapping[str, _PoolPosition],
    ) -> list[Row]:
        market = feed.market()
        context: _OpenedPool = opened.context
        pool_state = await _read_pool_state(self.dialect, feed, rpc, market, context, stamp.at)
        pool_state = await _with_categories(rpc, market, pool_state, accounts.values())
        rows: list[Row] = [_reserve_row(stamp, market, pool_state, r) for r in pool_state.reserves]
        rows += [msgspec.structs.replace(r, snapshot=stamp.snapshot) for r in pool_state.emode_rows]
        labels = {r.oracle: r.symbol for r in pool_state.reserves if int(r.oracle, 16)}
        exposures = await resolve(rpc, labels, stamp.at)
        by_asset = {
            r.state.asset: exposures.get(r.oracle)
            # The base currency itself has no source: it is 1 by definition.
            or (UNIT,) * (pool_state.quote != "USD" and r.state.price == pool_state.base_unit)
            for r in pool_state.reserves
        }
        if pool_state.quote != "USD":
            by_asset = await exposures_in_usd(rpc, by_asset, market.quote_feed, stamp.at)
        rows += factor_rows(stamp, market, by_asset)
        states = pool_state.states

        def value_account(account: str, position: _PoolPosition) -> tuple[Account, list[Leg]]:
            return _account_rows(stamp, market, pool_state, states, account, position)

        rules = Rules(
            profile=pool_state.profile.version,
            close_rule=pool_state.profile.close_rule,
            truncates_lt=pool_state.profile.truncates_lt,
            base_decimals=len(str(pool_state.base_unit)) - 1,
            quote=pool_state.quote,
            quote_usd=pool_state.quote_usd,
        )
        rows += snapshot_rows(market, opened.revision, stamp, accounts, value_account, rules)
        return rows


@source(
    V3.protocol,
    protocol=V3.protocol,
    tables=POSITION_TABLES,
    docs="https://aave.com/docs/aave-v3/smart-contracts/pool",
)
def collect_positions(feed: Feed) -> AsyncIterator[Batch]:
    """Positions on Aave v3: collateral, debt and health factor of every account at one block."""
    return take_snapshot(feed, AaveLender(V3))


# --- the market itself --------------------------------------------------------------------------


async def _read_revision(
    dialect: Dialect, rpc: Rpc, market: Market, at: Block
) -> tuple[int, Profile]:
    (answer,) = await rpc.read([(market.pool, abi.call(dialect.revision))], at)
    if isinstance(answer, Reverted) or len(answer) != abi.WORD:
        raise ConfigError(
            f"{market.name}: the contract {market.pool} on chain {market.chain} is not a pool of "
            f"{dialect.name} at block {at.number} (it has no revision number); {FIX_MARKET}"
        )
    revision = abi.word(answer, 0)
    profile = dialect.profiles.get(revision)
    if profile is None:
        raise ConfigError(
            f"{market.name}: expected a pool revision of "
            f"{', '.join(str(r) for r in dialect.profiles)}, got {revision} at block {at.number}; "
            "its rounding rules are not known, so nothing was read"
        )
    return revision, profile


class ReserveTokens(msgspec.Struct, frozen=True):
    """The token contracts with the balances of one reserve."""

    asset: str
    a_token: str
    stable_debt_token: str
    variable_debt_token: str
    stable_debt_exists: bool


async def read_reserve_tokens(
    dialect: Dialect, rpc: Rpc, context: _OpenedPool, at: Block
) -> dict[int, ReserveTokens]:
    """The tokens of each reserve by its id."""
    _, a_word, s_word, v_word, _, _ = dialect.words
    stable = [abi.address(abi.word(answer, s_word)) for _, answer in context.data]
    # Not totalSupply: it grows at an average rate, and a repayment that exceeds it sets it to 0
    # while others still owe. The time of its last change is 0 only if nobody ever owed.
    changed: Sequence[bytes | Reverted] = [b""] * len(stable)
    if context.profile.stable_debt:
        changed = await rpc.read(
            [(token, abi.call(GET_TOTAL_SUPPLY_LAST_UPDATED)) for token in stable], at
        )
    return {
        abi.word(answer, dialect.words[0]): ReserveTokens(
            asset=asset,
            a_token=abi.address(abi.word(answer, a_word)),
            stable_debt_token=token,
            variable_debt_token=abi.address(abi.word(answer, v_word)),
            stable_debt_exists=isinstance(when, bytes)
            and len(when) == abi.WORD
            and abi.word(when, 0) > 0,
        )
        for (asset, answer), token, when in zip(context.data, stable, changed, strict=True)
    }


async def _read_reserve_data(rpc: Rpc, market: Market, at: Block) -> list[tuple[str, bytes]]:
    (listing,) = await rpc.read([(market.pool, abi.call(GET_RESERVES_LIST))], at)
    assets = abi.address_list(_answer(listing, "getReservesList"))
    calls: list[Call] = [(market.pool, abi.call(GET_RESERVE_DATA, asset)) for asset in assets]
    answers = await rpc.read(calls, at)
    return [(a, _answer(d, "getReserveData")) for a, d in zip(assets, answers, strict=True)]


async def _read_pool_state(
    dialect: Dialect, feed: Feed, rpc: Rpc, market: Market, context: _OpenedPool, at: Block
) -> _PoolState:
    pool = market.pool
    profile = context.profile
    (provider,) = await rpc.read([(pool, abi.call(dialect.provider))], at)
    provider_address = abi.address(abi.word(_answer(provider, "the addresses provider"), 0))
    (oracle_word,) = await rpc.read([(provider_address, abi.call(GET_PRICE_ORACLE))], at)
    oracle = abi.address(abi.word(_answer(oracle_word, "getPriceOracle"), 0))
    base_unit, quote, quote_usd = await _read_base(rpc, market, oracle, at)
    id_word, a_word, s_word, v_word, supply_rate, variable_rate = dialect.words
    calls: list[Call] = []
    for asset, _ in context.data:
        calls += [
            (pool, abi.call(GET_NORMALIZED_INCOME, asset)),
            (pool, abi.call(GET_NORMALIZED_DEBT, asset)),
            (oracle, abi.call(GET_ASSET_PRICE, asset)),
            (oracle, abi.call(GET_SOURCE_OF_ASSET, asset)),
            (asset, abi.call(SYMBOL)),
        ]
    answers = await rpc.read(calls, at)
    reserves = []
    for i, (asset, answer) in enumerate(context.data):
        income, debt, price, feed_word, symbol = answers[i * 5 : (i + 1) * 5]
        has_price = not isinstance(price, Reverted) and len(price) == abi.WORD
        reserves.append(
            _PoolReserve(
                state=ReserveState(
                    asset=asset,
                    reserve_id=abi.word(answer, id_word),
                    config=arithmetic.reserve_config(abi.word(answer, 0)),
                    liquidity_index=abi.word(_answer(income, "getReserveNormalizedIncome"), 0),
                    debt_index=abi.word(_answer(debt, "getReserveNormalizedVariableDebt"), 0),
                    price=abi.word(price, 0) if isinstance(price, bytes) and has_price else None,
                ),
                symbol=_label(symbol, asset),
                price_status="ok" if has_price else "n/a (oracle reverted)",
                oracle=abi.address(abi.word(_answer(feed_word, "getSourceOfAsset"), 0)),
                liquidity_rate=abi.word(answer, supply_rate),
                variable_rate=abi.word(answer, variable_rate),
                a_token=abi.address(abi.word(answer, a_word)),
                stable_debt_token=abi.address(abi.word(answer, s_word)),
                variable_debt_token=abi.address(abi.word(answer, v_word)),
            )
        )
    for reserve in reserves:
        if reserve.price_status != "ok":
            feed.note(
                f"{market.name}: the oracle gives no price for {reserve.symbol}; "
                "accounts that use it are n/a"
            )
    emodes, emode_rows = (
        await _read_emodes(rpc, market, at, oracle, profile, [r.state for r in reserves])
        if dialect.emodes
        else ({}, ())
    )
    return _PoolState(
        at=at,
        profile=profile,
        oracle=oracle,
        base_unit=base_unit,
        quote=quote,
        quote_usd=quote_usd,
        reserves=tuple(sorted(reserves, key=lambda r: r.state.reserve_id)),
        emodes=emodes,
        emode_rows=emode_rows,
    )


async def _read_base(
    rpc: Rpc, market: Market, oracle: str, at: Block
) -> tuple[int, str, float | None]:
    """The oracle's base currency: units per whole, its name, and USD per whole.

    Oracles from before v3 have no getter for it; they count in ETH with 18 decimals.
    """
    currency, unit = await rpc.read(
        [(oracle, abi.call(BASE_CURRENCY)), (oracle, abi.call(BASE_CURRENCY_UNIT))], at
    )
    if isinstance(currency, Reverted) or isinstance(unit, Reverted):
        return 10**18, "ETH", await read_answer(rpc, market.quote_feed, at)
    base_unit = abi.word(unit, 0)
    if str(base_unit).strip("0") != "1":
        raise ConfigError(
            f"{market.name}: expected a base currency unit that is a power of ten, got {base_unit}"
        )
    address = abi.address(abi.word(currency, 0))
    if address == NO_ADDRESS:
        return base_unit, "USD", 1.0
    return base_unit, address, await read_answer(rpc, market.quote_feed, at)


def _label(answer: bytes | Reverted, asset: str) -> str:
    return ("" if isinstance(answer, Reverted) else contract_text(answer)) or asset[:10]


async def _read_emodes(
    rpc: Rpc,
    market: Market,
    at: Block,
    oracle: str,
    profile: Profile,
    reserves: Iterable[ReserveState],
) -> tuple[dict[int, EModeState], tuple[EMode, ...]]:
    """The e-mode categories that can change an account's terms."""
    if profile.emode == "category":
        ids = sorted({r.config.emode for r in reserves} - {0})
        return await _read_categories(rpc, market, at, oracle, ids)
    return await _read_bitmap_categories(rpc, market, at)


async def _with_categories(
    rpc: Rpc, market: Market, pool_state: _PoolState, accounts: Iterable[_PoolPosition]
) -> _PoolState:
    """The pool's state with the categories that have accounts but no reserves any more.

    The pool still asks such a category's price source, and reverts for the account if that fails.
    """
    left = {a.emode for a in accounts} - {0} - pool_state.emodes.keys()
    if not left or pool_state.profile.emode != "category":
        return pool_state
    states, rows = await _read_categories(
        rpc, market, pool_state.at, pool_state.oracle, sorted(left)
    )
    return msgspec.structs.replace(
        pool_state, emodes=pool_state.emodes | states, emode_rows=pool_state.emode_rows + rows
    )


async def _read_categories(
    rpc: Rpc, market: Market, at: Block, oracle: str, ids: Sequence[int]
) -> tuple[dict[int, EModeState], tuple[EMode, ...]]:
    """Up to 3.1: an asset names its category, and a category may price its assets.

    Where a category's own price source fails, the chain reverts for the accounts in it.
    """
    answers = await rpc.read([(market.pool, abi.call(GET_EMODE_CATEGORY_DATA, c)) for c in ids], at)
    data = [_answer(a, "getEModeCategoryData") for a in answers]
    # The category's price source is looked up in the oracle like an asset (EModeLogic).
    sources = [abi.address(abi.word(d, 4)) for d in data]
    prices = await rpc.read([(oracle, abi.call(GET_ASSET_PRICE, s)) for s in sources], at)
    states, rows = {}, []
    for category, answer, price_source, price in zip(ids, data, sources, prices, strict=True):
        own_price: int | None = 0
        if int(price_source, 16):
            own_price = None if isinstance(price, Reverted) else abi.word(price, 0)
        bonus = abi.word(answer, 3)
        states[category] = EModeState(lt=abi.word(answer, 2), bonus=bonus, price=own_price)
        label = answer[abi.WORD * (1 + abi.word(answer, 5) // abi.WORD) :]
        rows.append(
            EMode(
                snapshot="",
                market=market.name,
                block_number=at.number,
                category=category,
                label=contract_text(abi.WORD.to_bytes(abi.WORD, "big") + label),
                ltv_bps=abi.word(answer, 1),
                lt_bps=abi.word(answer, 2),
                bonus_bps=_bonus(bonus),
                price_source=price_source,
                price=own_price or None,
            )
        )
    return states, tuple(rows)


async def _read_bitmap_categories(
    rpc: Rpc, market: Market, at: Block
) -> tuple[dict[int, EModeState], tuple[EMode, ...]]:
    """From 3.2: a category lists its collaterals. The pool has no list of categories."""
    calls: list[Call] = [
        (market.pool, abi.call(getter, category))
        for category in range(1, 256)
        for getter in (GET_EMODE_CONFIG, GET_EMODE_BITMAP, GET_EMODE_LABEL)
    ]
    answers = await rpc.read(calls, at)
    states, rows = {}, []
    for category in range(1, 256):
        config, bitmap_word, label = answers[3 * (category - 1) : 3 * category]
        terms = _answer(config, "getEModeCategoryCollateralConfig")
        if not abi.word(terms, 1):
            continue
        bitmap = abi.word(_answer(bitmap_word, "getEModeCategoryCollateralBitmap"), 0)
        bonus = abi.word(terms, 2)
        states[category] = EModeState(lt=abi.word(terms, 1), bonus=bonus, collateral_bitmap=bitmap)
        rows.append(
            EMode(
                snapshot="",
                market=market.name,
                block_number=at.number,
                category=category,
                label="" if isinstance(label, Reverted) else contract_text(label),
                ltv_bps=abi.word(terms, 0),
                lt_bps=abi.word(terms, 1),
                bonus_bps=_bonus(bonus),
                price_source=NO_ADDRESS,
                collateral_bitmap=bitmap,
            )
        )
    return states, tuple(rows)


def _bonus(stored: int) -> int:
    """Aave stores 10500 for a bonus of 5 %; 0 where the asset is no collateral."""
    return max(stored - 10_000, 0)


def _answer(answer: bytes | Reverted, what: str) -> bytes:
    if isinstance(answer, Reverted):
        raise NetworkError(f"{what} reverted: expected the answer of an Aave pool")
    return answer


# --- accounts -----------------------------------------------------------------------------------


async def _read_accounts(
    dialect: Dialect,
    rpc: Rpc,
    market: Market,
    tokens: Mapping[int, ReserveTokens],
    accounts: Sequence[str],
    at: Block,
) -> dict[str, _PoolPosition]:
    """Flags, e-mode and balances of accounts at the pinned block."""
    width = max(tokens, default=-1) + 1
    pool = market.pool
    argument = {account: abi.argument(account) for account in accounts}
    getters = [GET_USER_CONFIGURATION, *([GET_USER_EMODE] if dialect.emodes else [])]
    answers = await rpc.read(
        [(pool, abi.selector(get) + argument[a]) for get in getters for a in accounts], at
    )
    flags = _single(answers[: len(accounts)], "getUserConfiguration")
    emodes = _single(answers[len(accounts) :], "getUserEMode") or [0] * len(accounts)
    # The calls for a reserve by its two flags, encoded once and not for each account.
    calls_by_flags = {
        (reserve_id, pair): [
            (part, token, abi.selector(getter))
            for part, token, getter in balance_calls(reserve, bool(pair & 1), bool(pair & 2))
        ]
        for reserve_id, reserve in tokens.items()
        for pair in (1, 2, 3)
    }
    calls: list[Call] = []
    plan: list[list[tuple[str, list[tuple[str, str, bytes]]]]] = []
    for account, bits in zip(accounts, flags, strict=True):
        held = []
        for reserve_id, borrows, collateral in arithmetic.flagged(bits, width):
            reserve = tokens.get(reserve_id)
            if reserve is None:  # dropped from the list: the pool skips it too
                continue
            parts = calls_by_flags[reserve_id, borrows + 2 * collateral]
            held.append((reserve.asset, parts))
            calls += [(token, selector + argument[account]) for _, token, selector in parts]
        plan.append(held)
    balances = iter(_single(await rpc.read(calls, at), "a token's balance"))
    return {
        account: _PoolPosition(
            emode=emode,
            holdings=tuple(
                _holding(asset, {part: next(balances) for part, _, _ in parts})
                for asset, parts in held
            ),
            read_block=at.number,
        )
        for account, emode, held in zip(accounts, emodes, plan, strict=True)
    }


def _single(answers: Sequence[bytes | Reverted], what: str) -> list[int]:
    """Answers of one word each as integers."""
    return [
        int.from_bytes(answer) if len(answer) == abi.WORD else abi.word(answer, 0)
        for answer in (a if type(a) is bytes else _answer(a, what) for a in answers)
    ]


def balance_calls(
    reserve: ReserveTokens, borrows: bool, collateral: bool
) -> Iterator[tuple[str, str, str]]:
    """The calls for a reserve whose bits are set: (part, token, getter)."""
    if collateral:
        yield "collateral", reserve.a_token, SCALED_BALANCE_OF
    if borrows:
        yield "debt", reserve.variable_debt_token, SCALED_BALANCE_OF
    if borrows and reserve.stable_debt_exists:
        yield "principal", reserve.stable_debt_token, PRINCIPAL_BALANCE_OF
        yield "rate", reserve.stable_debt_token, GET_USER_STABLE_RATE
        yield "since", reserve.stable_debt_token, GET_USER_LAST_UPDATED


def _holding(asset: str, values: Mapping[str, int]) -> ReserveHolding:
    stable = None
    if values.get("principal"):
        stable = Stable(principal=values["principal"], rate=values["rate"], since=values["since"])
    return ReserveHolding(
        asset=asset,
        collateral=values.get("collateral"),
        debt=values.get("debt"),
        stable=stable,
    )


def _stable_of(leg: Leg) -> Stable | None:
    if leg.stable_principal is None:
        return None
    return Stable(leg.stable_principal, leg.stable_rate or 0, leg.stable_since or 0)


# --- rows ---------------------------------------------------------------------------------------


def _reserve_row(
    stamp: Stamp, market: Market, pool_state: _PoolState, reserve: _PoolReserve
) -> Reserve:
    state, config = reserve.state, reserve.state.config
    return Reserve(
        snapshot=stamp.snapshot,
        market=market.name,
        block_number=pool_state.at.number,
        asset=state.asset,
        reserve_id=state.reserve_id,
        symbol=reserve.symbol,
        decimals=config.decimals,
        price=state.price,
        price_usd=pool_state.usd(state.price),
        price_status=reserve.price_status,
        oracle=reserve.oracle,
        liquidity_index=state.liquidity_index,
        debt_index=state.debt_index,
        liquidity_rate=reserve.liquidity_rate,
        variable_rate=reserve.variable_rate,
        ltv_bps=config.ltv,
        lt_bps=config.lt,
        bonus_bps=_bonus(config.bonus),
        protocol_fee_bps=config.protocol_fee,
        emode=config.emode,
        active=config.active,
        frozen=config.frozen,
        paused=config.paused,
        borrowing=config.borrowing,
        a_token=reserve.a_token,
        stable_debt_token=reserve.stable_debt_token,
        variable_debt_token=reserve.variable_debt_token,
    )


def _account_rows(
    stamp: Stamp,
    market: Market,
    pool_state: _PoolState,
    states: Mapping[str, ReserveState],
    account: str,
    position: _PoolPosition,
) -> tuple[Account, list[Leg]]:
    status, state = "ok", None
    parts = arithmetic.legs(
        pool_state.profile,
        position.holdings,
        position.emode,
        states,
        pool_state.emodes,
        pool_state.at.time,
    )
    try:
        state = arithmetic.account(pool_state.profile, parts)
        if state.hf is None:
            status = "no debt"
    except ChainReverts as failure:
        status = f"n/a ({failure})"
    row = Account(
        snapshot=stamp.snapshot,
        market=market.name,
        block_number=pool_state.at.number,
        account=account,
        emode=position.emode,
        status=status,
        collateral_base=state.collateral if state else None,
        debt_base=state.debt if state else None,
        hf_wad=state.hf if state else None,
        liquidatable=(
            state.hf is not None and state.hf < arithmetic.LIQUIDATABLE_BELOW if state else None
        ),
        lt_bps=state.average_lt if state else None,
        collateral_usd=pool_state.usd(state.collateral) if state else None,
        debt_usd=pool_state.usd(state.debt) if state else None,
        hf=state.hf / 10**18 if state and state.hf is not None else None,
        legs=sum(leg.side != "idle" for leg in parts),
        read_block=position.read_block,
    )
    return row, [
        Leg(
            snapshot=stamp.snapshot,
            market=market.name,
            account=account,
            asset=leg.asset,
            side=leg.side,
            scaled=leg.scaled,
            stable_principal=leg.stable.principal if leg.stable else None,
            stable_rate=leg.stable.rate if leg.stable else None,
            stable_since=leg.stable.since if leg.stable else None,
            raw=leg.raw,
            value=leg.value,
            amount=leg.raw / 10 ** states[leg.asset].config.decimals,
            usd=pool_state.usd(leg.value),
            lt_bps=leg.lt,
            bonus_bps=_bonus(leg.bonus),
            category_priced=leg.category_priced,
        )
        for leg in parts
    ]


# --- verification --------------------------------------------------------------------------------


@verifier(V3.protocol)
async def verify(
    feed: Feed, sample: int | None, independent: bool
) -> tuple[Verification, list[Row]]:
    """Compare the newest snapshot with `getUserAccountData` at its block, integer by integer.

    `sample` limits the accounts: all with a health factor under 1.1, the rest sampled at random.
    `independent` reads through web3's own codecs and transport instead of ours.
    Raises UsageError without a snapshot, Reorged where its block is gone.
    """
    snapshot_sample = await load_sample(feed, sample)
    market, rpc, at = snapshot_sample.market, snapshot_sample.rpc, snapshot_sample.at
    accounts = snapshot_sample.accounts
    if independent:
        from chainwatch.chain.independent import read_account_data

        answers = await read_account_data(rpc.urls, market.pool, list(accounts), at, feed.progress)
    else:
        answers = await _read_account_data(feed, rpc, market, list(accounts), at)
    pairs = zip(accounts.values(), answers, strict=True)
    return compare_figures(
        feed,
        snapshot_sample,
        [figure for account, answer in pairs for figure in _figures(account, answer)],
        "getUserAccountData" + (" through web3" if independent else ""),
    )


# (collateral, debt, health factor) as getUserAccountData returns them; None where it reverts.
_ChainAnswer = tuple[int, int, int] | None


async def _read_account_data(
    feed: Feed, rpc: Rpc, market: Market, accounts: Sequence[str], at: Block
) -> list[_ChainAnswer]:
    data: list[_ChainAnswer] = []
    for done, part in in_parts(accounts):
        for answer in await rpc.read(
            [(market.pool, abi.call(GET_USER_ACCOUNT_DATA, account)) for account in part], at
        ):
            if isinstance(answer, Reverted):
                data.append(None)
            else:
                data.append((abi.word(answer, 0), abi.word(answer, 1), abi.word(answer, 5)))
        feed.progress(f"{market.name}: accounts verified", done, len(accounts))
    return data


def _figures(account: Account, answer: _ChainAnswer) -> Iterator[Figure]:
    """Collateral, debt and health factor, ours beside the chain's."""
    collateral, debt, hf = answer if answer is not None else (None, None, None)
    ours = arithmetic.hf_word(account.hf_wad) if account.collateral_base is not None else None
    for name, own, theirs in (
        ("collateral", account.collateral_base, collateral),
        ("debt", account.debt_base, debt),
        ("health factor", ours, hf),
    ):
        yield Figure(account.account, name, own, theirs, account.status)


# --- liquidations ------------------------------------------------------------------------


class _AssetTerms(msgspec.Struct, frozen=True):
    """An asset at a liquidation's block: label, decimals, price in USD, configuration."""

    symbol: str
    decimals: int
    price_usd: float | None
    config: ReserveConfig


class AaveLiquidations:
    """LiquidationCall and DeficitCreated (chainwatch.lending.liquidations.LiquidationEvents)."""

    topics = (LIQUIDATION_CALL, DEFICIT_CREATED)

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    async def rows(
        self, feed: Feed, rpc: Rpc, market: Market, logs: Sequence[Log], at: Block
    ) -> list[ChainLiquidation]:
        events = [_event(market, self.dialect, log, at) for log in logs]
        assets = sorted({a for e in events for a in (e.debt_asset, e.coll_asset) if a})
        terms = await _read_asset_terms(self.dialect, rpc, market, assets, at)
        bonuses = await self._bonuses(rpc, market, events, terms, at)
        return [_priced(event, terms, bonus) for event, bonus in zip(events, bonuses, strict=True)]

    def events(self, market: Market, log: Log, at: Block) -> list[ChainLiquidation]:
        return [_event(market, self.dialect, log, at)]

    async def _bonuses(
        self,
        rpc: Rpc,
        market: Market,
        events: Sequence[ChainLiquidation],
        terms: Mapping[str, _AssetTerms],
        at: Block,
    ) -> list[float | None]:
        """The bonus of each event's collateral, that of its account's e-mode where it has one."""
        users = [e.account for e in events]
        emodes = [0] * len(users)
        if self.dialect.emodes:
            answers = await rpc.read(
                [(market.pool, abi.call(GET_USER_EMODE, user)) for user in users], at
            )
            emodes = [0 if isinstance(a, Reverted) else abi.word(a, 0) for a in answers]
        bonuses: list[float | None] = []
        for event, emode in zip(events, emodes, strict=True):
            if event.coll_asset is None:
                bonuses.append(None)
                continue
            bonus = terms[event.coll_asset].config.bonus
            if emode:
                bonus = await _category_bonus(
                    rpc, market, emode, event.coll_asset, terms[event.coll_asset].config, at, bonus
                )
            bonuses.append(float(_bonus(bonus)))
        return bonuses


def _event(market: Market, dialect: Dialect, log: Log, at: Block) -> ChainLiquidation:
    data = bytes.fromhex(log.data[2:])
    deficit = log.topics[0] == DEFICIT_CREATED
    first, second, *rest = (abi.topic_address(t) for t in log.topics[1:])
    return liquidation_row(
        market,
        log,
        at,
        kind="deficit" if deficit else "liquidation",
        account=first if deficit else rest[0],
        liquidator="" if deficit else abi.address(abi.word(data, 2)),
        repaid=RawAmount(abi.word(data, 0), second),
        seized=RawAmount() if deficit else RawAmount(abi.word(data, 1), first),
    )


async def _read_asset_terms(
    dialect: Dialect, rpc: Rpc, market: Market, assets: Sequence[str], at: Block
) -> dict[str, _AssetTerms]:
    """The terms and prices of assets at a block, from the pool and its oracle."""
    pool = market.pool
    (provider,) = await rpc.read([(pool, abi.call(dialect.provider))], at)
    provider_address = abi.address(abi.word(_answer(provider, "the addresses provider"), 0))
    (oracle_word,) = await rpc.read([(provider_address, abi.call(GET_PRICE_ORACLE))], at)
    oracle = abi.address(abi.word(_answer(oracle_word, "getPriceOracle"), 0))
    base_unit, _, quote_usd = await _read_base(rpc, market, oracle, at)
    calls: list[Call] = []
    for asset in assets:
        calls += [
            (pool, abi.call(GET_RESERVE_DATA, asset)),
            (oracle, abi.call(GET_ASSET_PRICE, asset)),
            (asset, abi.call(SYMBOL)),
        ]
    answers = await rpc.read(calls, at)
    terms = {}
    for i, asset in enumerate(assets):
        data, price, symbol = answers[3 * i : 3 * i + 3]
        config = arithmetic.reserve_config(abi.word(_answer(data, "getReserveData"), 0))
        has_price = not isinstance(price, Reverted) and quote_usd is not None
        terms[asset] = _AssetTerms(
            symbol=_label(symbol, asset),
            decimals=config.decimals,
            price_usd=(
                abi.word(price, 0) / base_unit * quote_usd
                if has_price and isinstance(price, bytes) and quote_usd is not None
                else None
            ),
            config=config,
        )
    return terms


async def _category_bonus(
    rpc: Rpc,
    market: Market,
    emode: int,
    asset: str,
    config: ReserveConfig,
    at: Block,
    otherwise: int,
) -> int:
    """The bonus of an asset for an account in an e-mode category."""
    old, terms, bitmap, data = await rpc.read(
        [
            (market.pool, abi.call(GET_EMODE_CATEGORY_DATA, emode)),
            (market.pool, abi.call(GET_EMODE_CONFIG, emode)),
            (market.pool, abi.call(GET_EMODE_BITMAP, emode)),
            (market.pool, abi.call(GET_RESERVE_DATA, asset)),
        ],
        at,
    )
    if isinstance(terms, bytes) and isinstance(bitmap, bytes) and isinstance(data, bytes):
        inside = abi.word(bitmap, 0) >> abi.word(data, V3.words[0]) & 1
        return abi.word(terms, 2) if inside else otherwise
    if isinstance(old, bytes) and config.emode == emode:
        return abi.word(old, 3)
    return otherwise


def _priced(
    event: ChainLiquidation, terms: Mapping[str, _AssetTerms], bonus: float | None
) -> ChainLiquidation:
    def amount(raw: int | None, asset: str | None) -> tuple[str | None, float | None, float | None]:
        if raw is None or asset is None:
            return None, None, None
        asset_terms = terms[asset]
        tokens = raw / int(10**asset_terms.decimals)
        return (
            asset_terms.symbol,
            tokens,
            None if asset_terms.price_usd is None else tokens * asset_terms.price_usd,
        )

    debt_symbol, debt, debt_usd = amount(event.debt_repaid_raw, event.debt_asset)
    coll_symbol, seized, seized_usd = amount(event.coll_seized_raw, event.coll_asset)
    unpriced = debt_usd is None or (event.coll_asset is not None and seized_usd is None)
    fee = terms[event.coll_asset].config.protocol_fee if event.coll_asset else None
    return msgspec.structs.replace(
        event,
        debt_symbol=debt_symbol,
        debt_repaid=debt,
        debt_repaid_usd=debt_usd,
        coll_symbol=coll_symbol,
        coll_seized=seized,
        coll_seized_usd=seized_usd,
        bonus_bps=bonus,
        protocol_fee_bps=None if fee is None else float(fee),
        status="n/a (no oracle price at the block)" if unpriced else "ok",
    )


@source(
    f"{V3.protocol}-liquidations",
    protocol=V3.protocol,
    tables=(ChainLiquidation, Retraction),
    docs="https://aave.com/docs/aave-v3/smart-contracts/pool",
)
def collect_liquidations(feed: Feed) -> AsyncIterator[Batch]:
    """Liquidations on Aave v3: debt repaid and collateral seized, at the oracle's prices then."""
    return record_liquidations(feed, AaveLiquidations(V3))
