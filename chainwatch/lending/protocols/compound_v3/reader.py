"""Compound III (Comet): one base asset per market, collateral that earns nothing, whole-account
absorption.

`isLiquidatable` is a view on the indices as stored; `absorb` accrues interest first. Both verdicts
are stored. Comet has no health factor: it is derived from the liquidation factors.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.types import Block, Call, Log, Reverted
from chainwatch.collect.source import Batch, Feed, source, verifier
from chainwatch.errors import ConfigError, NetworkError, UsageError
from chainwatch.lending.exposures import Exposure
from chainwatch.lending.integers import ChainReverts
from chainwatch.lending.lender import FIX_MARKET, Opened, Stamp, Watch, any_above_zero
from chainwatch.lending.liquidations import RawAmount, liquidation_row, record_liquidations
from chainwatch.lending.oracles import exposures_in_usd, resolve
from chainwatch.lending.parts import in_parts
from chainwatch.lending.price_sources import read_answer
from chainwatch.lending.protocols.compound_v3 import arithmetic
from chainwatch.lending.protocols.compound_v3.arithmetic import Base, Collateral
from chainwatch.lending.survey import take_snapshot
from chainwatch.lending.valuation import Rules, factor_rows, snapshot_rows
from chainwatch.lending.verify import Figure, compare_figures, load_sample
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Retraction
from chainwatch.tables.lending import (
    Account,
    ChainLiquidation,
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

PROTOCOL = "compound-v3"
PROFILE = "comet"

# Selectors; tests/chain/test_abi.py holds each against the ABI in abis/.
NUM_ASSETS = "0xa46fe83b"
GET_ASSET_INFO = "0xc8c7fe6b"
BASE_TOKEN = "0xc55dae63"
BASE_TOKEN_PRICE_FEED = "0xe7dad6bd"
BASE_SCALE = "0x44c1e5eb"
TOTALS_BASIC = "0xb9f0baf7"
GET_UTILIZATION = "0x7eb71131"
GET_BORROW_RATE = "0x9fa83b5a"
GET_SUPPLY_RATE = "0xd955759d"
GET_PRICE = "0x41976e09"
GET_RESERVES = "0x0902f1ac"
TARGET_RESERVES = "0x32176c49"
USER_BASIC = "0xdc4abafd"
USER_COLLATERAL = "0x2b92a07d"
IS_LIQUIDATABLE = "0x042e02cf"
BORROW_BALANCE_OF = "0x374c49b4"
SYMBOL = "0x95d89b41"
DECIMALS = "0x313ce567"

WITHDRAW = "0x9b1bfa7fa9ee420a16e124f794c35ac9f90472acc99140eb2f6447c714cad8eb"
TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
SUPPLY_COLLATERAL = "0xfa56f7b24f17183d81894d3ac2ee654e3c26388d17a28dbd9549b8114304e1f4"
TRANSFER_COLLATERAL = "0x29db89d45e1a802b4d55e202984fce9faf1d30aedf86503ff1ea0ed9ebb64201"
ABSORB_DEBT = "0x1547a878dc89ad3c367b6338b4be6a65a5dd74fb77ae044da1e8747ef1f4f62f"
ABSORB_COLLATERAL = "0x9850ab1af75177e4a9201c65a2cf7976d5d28e40ef63494b44366f86b2f9412e"
BUY_COLLATERAL = "0xf891b2a411b0e66a5f0a6ff1368670fefa287a13f541eb633a386a1a9cc7046b"
ACCOUNT_TOPICS: dict[str, tuple[int, ...]] = {
    # Supply, Withdraw (a borrow is a withdrawal beyond the balance), Transfer
    "0xd1cf3d156d5f8f0d50f6c122ed609cec09d35c9b9fb3fff6ea0959134dae424e": (2,),
    WITHDRAW: (1,),
    TRANSFER: (1, 2),
    # SupplyCollateral, WithdrawCollateral, TransferCollateral
    SUPPLY_COLLATERAL: (2,),
    "0xd6d480d5b3068db003533b170d67561494d72e3bf9fa40a266471351ebba9e16": (1,),
    TRANSFER_COLLATERAL: (1, 2),
    ABSORB_DEBT: (2,),
    ABSORB_COLLATERAL: (2,),
}
PRICE_UNIT: int = 10**arithmetic.PRICE_DECIMALS
# Accounts beyond 16 assets have their flags in the reserved byte.
ASSETS_IN_WORD = 16
MAX_ASSETS = 24
ASSET_INFO_WORDS = 8
TOTAL_BORROW_WORD = 5  # of totalsBasic


class _CollateralAsset(msgspec.Struct, frozen=True):
    """One collateral of the market."""

    offset: int
    asset: str
    feed: str
    scale: int
    borrow_factor: int
    liquidate_factor: int
    liquidation_factor: int


class _CometConfig(msgspec.Struct, frozen=True):
    """The assets of a Comet at a block; `base_asset` with its feed and scale."""

    base_asset: str
    base_feed: str
    base_scale: int
    assets: tuple[_CollateralAsset, ...]


class _CometPosition(msgspec.Struct, frozen=True):
    """One account: signed principal, collateral balances by asset."""

    principal: int
    collaterals: dict[str, int]
    read_block: int


class _CometState(msgspec.Struct, frozen=True):
    """The market's state at a block: indices as stored and as accrued, prices in quote units.

    `reserves` and `target` in units of the base asset, None where the contract gives none.
    """

    shape: _CometConfig
    stored: Base
    accrued: Base
    borrow_rate: int
    supply_rate: int
    reserves: int | None
    target: int | None
    prices: dict[str, int | None]
    symbols: dict[str, str]
    exposures: dict[str, tuple[Exposure, ...]]
    quote: str
    quote_usd: float | None


class Comet:
    """How a Comet is read (chainwatch.lending.lender.Lender)."""

    protocol = PROTOCOL

    async def open(self, feed: Feed, rpc: Rpc, market: Market, at: Block) -> Opened:
        shape = await _read_comet_config(rpc, market, at)
        # Nobody owes without collateral, and a debt may begin without an event of its own.
        watch = Watch(
            lender=market.pool,
            contracts=(market.pool,),
            accounts=ACCOUNT_TOPICS,
            borrows=frozenset({SUPPLY_COLLATERAL, TRANSFER_COLLATERAL}),
        )
        return Opened(revision=0, watch=watch, context=shape)

    async def stored_positions(self, feed: Feed, base: Snapshot) -> dict[str, _CometPosition]:
        held: dict[str, dict[str, int]] = {}
        principal: dict[str, int] = {}
        for leg in await feed.stored(Leg, "snapshot = $s", s=base.snapshot):
            if leg.side == "debt":
                principal[leg.account] = -leg.scaled
            else:
                held.setdefault(leg.account, {})[leg.asset] = leg.scaled
        return {
            a.account: _CometPosition(
                principal=principal.get(a.account, 0),
                collaterals=held.get(a.account, {}),
                read_block=a.read_block,
            )
            for a in await feed.stored(Account, "snapshot = $s", s=base.snapshot)
        }

    async def read(
        self, feed: Feed, rpc: Rpc, opened: Opened, at: Block, accounts: Sequence[str]
    ) -> dict[str, _CometPosition]:
        market = feed.market()
        shape: _CometConfig = opened.context
        positions: dict[str, _CometPosition] = {}
        for done, part in in_parts(accounts):
            basics = await rpc.read([(market.pool, abi.call(USER_BASIC, a)) for a in part], at)
            principals: dict[str, int] = {}
            wanted: list[tuple[str, str]] = []
            for account, answer in zip(part, basics, strict=True):
                words = _answer(answer, "userBasic")
                principals[account] = abi.signed(abi.word(words, 0))
                flags = abi.word(words, 3) | abi.word(words, 4) << ASSETS_IN_WORD
                wanted += [(account, a.asset) for a in shape.assets if flags >> a.offset & 1]
            calls: list[Call] = [
                (market.pool, abi.call(USER_COLLATERAL, account, asset))
                for account, asset in wanted
            ]
            held: dict[str, dict[str, int]] = {}
            for (account, asset), answer in zip(wanted, await rpc.read(calls, at), strict=True):
                balance = abi.word(_answer(answer, "userCollateral"), 0)
                held.setdefault(account, {})[asset] = balance
            for account in part:
                positions[account] = _CometPosition(
                    principal=principals[account],
                    collaterals=held.get(account, {}),
                    read_block=at.number,
                )
            feed.progress(f"{market.name}: accounts read", done, len(accounts))
        return positions

    async def evidence_of_accounts(
        self, rpc: Rpc, market: Market, opened: Opened, first: int, at: Block
    ) -> str | None:
        calls = [(market.pool, abi.call(TOTALS_BASIC))]
        if await any_above_zero(rpc, calls, at, TOTAL_BORROW_WORD):
            return "its totalBorrowBase is above 0"
        return None

    async def rows(
        self,
        feed: Feed,
        rpc: Rpc,
        opened: Opened,
        stamp: Stamp,
        accounts: Mapping[str, _CometPosition],
    ) -> list[Row]:
        market = feed.market()
        comet = await _read_comet_state(feed, rpc, market, opened.context, stamp.at)
        accounts = await _with_principals(rpc, market, stamp.at, accounts)
        rows: list[Row] = [
            *_reserve_rows(market, comet, stamp),
            *factor_rows(stamp, market, comet.exposures),
        ]

        def value_account(account: str, position: _CometPosition) -> tuple[Account, list[Leg]]:
            return _account_rows(market, comet, stamp, account, position)

        rules = Rules(
            profile=PROFILE,
            hf_rule="weighted",
            close_rule="absorb",
            base_decimals=arithmetic.PRICE_DECIMALS,
            quote=comet.quote,
            quote_usd=comet.quote_usd,
            reserves_usd=_base_usd(comet, comet.reserves),
            target_reserves_usd=_base_usd(comet, comet.target),
        )
        rows += snapshot_rows(market, opened.revision, stamp, accounts, value_account, rules)
        return rows


@source(
    PROTOCOL,
    protocol=PROTOCOL,
    tables=(Scan, Touch, Snapshot, Reserve, Factor, Account, Leg, Orphan),
    docs="https://docs.compound.finance/collateral-and-borrowing/",
)
def collect_positions(feed: Feed) -> AsyncIterator[Batch]:
    """Positions on Compound III (Comet): debt, collateral and what is liquidatable at one block."""
    return take_snapshot(feed, Comet())


async def _with_principals(
    rpc: Rpc, market: Market, at: Block, accounts: Mapping[str, _CometPosition]
) -> dict[str, _CometPosition]:
    """The positions; those of an earlier snapshot get their principal at the block.

    Comet.transferBase between borrowers moves debt without an event that names them. Collateral
    never moves without one.
    """
    positions = dict(accounts)
    carried = sorted(a for a, position in accounts.items() if position.read_block != at.number)
    for _, part in in_parts(carried):
        basics = await rpc.read([(market.pool, abi.call(USER_BASIC, a)) for a in part], at)
        for account, answer in zip(part, basics, strict=True):
            principal = abi.signed(abi.word(_answer(answer, "userBasic"), 0))
            positions[account] = msgspec.structs.replace(positions[account], principal=principal)
    return positions


# --- the market itself --------------------------------------------------------------------------


async def _read_comet_config(rpc: Rpc, market: Market, at: Block) -> _CometConfig:
    getters = (NUM_ASSETS, BASE_TOKEN, BASE_TOKEN_PRICE_FEED, BASE_SCALE)
    answers = await rpc.read([(market.pool, abi.call(g)) for g in getters], at)
    count, token, price_feed, scale = (abi.word(_of_comet(market, at, a, 1), 0) for a in answers)
    if count > MAX_ASSETS:
        raise _no_comet(market, at)
    infos = await rpc.read([(market.pool, abi.call(GET_ASSET_INFO, i)) for i in range(count)], at)
    assets = []
    for info in infos:
        words = _of_comet(market, at, info, ASSET_INFO_WORDS)
        assets.append(
            _CollateralAsset(
                offset=abi.word(words, 0),
                asset=abi.address(abi.word(words, 1)),
                feed=abi.address(abi.word(words, 2)),
                scale=abi.word(words, 3),
                borrow_factor=abi.word(words, 4),
                liquidate_factor=abi.word(words, 5),
                liquidation_factor=abi.word(words, 6),
            )
        )
    return _CometConfig(
        base_asset=abi.address(token),
        base_feed=abi.address(price_feed),
        base_scale=scale,
        assets=tuple(assets),
    )


def _of_comet(market: Market, at: Block, answer: bytes | Reverted, words: int) -> bytes:
    """An answer of as many words as a Comet gives."""
    if isinstance(answer, Reverted) or len(answer) != words * abi.WORD:
        raise _no_comet(market, at)
    return answer


def _no_comet(market: Market, at: Block) -> ConfigError:
    return ConfigError(
        f"{market.name}: the contract {market.pool} on chain {market.chain} is not a Comet at "
        f"block {at.number} (it has no numAssets, baseToken or getAssetInfo); {FIX_MARKET}"
    )


async def _read_comet_state(
    feed: Feed, rpc: Rpc, market: Market, shape: _CometConfig, at: Block
) -> _CometState:
    pool = market.pool
    getters = (TOTALS_BASIC, GET_UTILIZATION, GET_RESERVES, TARGET_RESERVES)
    totals, utilization, reserves, target = await rpc.read(
        [(pool, abi.call(g)) for g in getters], at
    )
    words = _answer(totals, "totalsBasic")
    used = abi.word(_answer(utilization, "getUtilization"), 0)
    rates = await rpc.read(
        [(pool, abi.call(GET_SUPPLY_RATE, used)), (pool, abi.call(GET_BORROW_RATE, used))], at
    )
    supply_rate, borrow_rate = (abi.word(_answer(r, "a rate"), 0) for r in rates)
    feeds = [shape.base_feed, *(a.feed for a in shape.assets)]
    tokens = [shape.base_asset, *(a.asset for a in shape.assets)]
    answers = await rpc.read(
        [
            *((pool, abi.call(GET_PRICE, f)) for f in feeds),
            *((token, abi.call(SYMBOL)) for token in tokens),
        ],
        at,
    )
    prices = {
        token: None if isinstance(a, Reverted) else abi.word(a, 0)
        for token, a in zip(tokens, answers, strict=False)
    }
    symbols = {
        token: ("" if isinstance(a, Reverted) else contract_text(a)) or token[:10]
        for token, a in zip(tokens, answers[len(tokens) :], strict=True)
    }
    for token, price in prices.items():
        if price is None:
            feed.note(
                f"{market.name}: its feed gives no price for {symbols[token]}; "
                "accounts that use it are n/a"
            )
    labels = {f: symbols[token] for f, token in zip(feeds, tokens, strict=True)}
    resolved = await resolve(rpc, labels, at)
    exposures = {token: resolved[f] for f, token in zip(feeds, tokens, strict=True)}
    # With a base feed "… / USD" prices are in USD. With any other (a constant of 1) they are in the
    # base asset itself; the market table may name a feed for it.
    in_usd = any(e.kind == "feed" for e in exposures[shape.base_asset])
    quote = "USD" if in_usd else symbols[shape.base_asset]
    quote_usd = 1.0 if in_usd else await read_answer(rpc, market.quote_feed, at)
    if not in_usd:
        exposures = await exposures_in_usd(rpc, exposures, market.quote_feed, at)
    supply_index, borrow_index = abi.word(words, 0), abi.word(words, 1)
    elapsed = at.time - abi.word(words, 6)
    base_price = prices[shape.base_asset]
    stored = Base(
        borrow_index=borrow_index,
        supply_index=supply_index,
        price=base_price or 0,
        scale=shape.base_scale,
    )
    return _CometState(
        shape=shape,
        stored=stored,
        accrued=msgspec.structs.replace(
            stored,
            borrow_index=arithmetic.accrued(borrow_index, borrow_rate, elapsed),
            supply_index=arithmetic.accrued(supply_index, supply_rate, elapsed),
        ),
        borrow_rate=borrow_rate,
        supply_rate=supply_rate,
        reserves=None if (own := _optional(reserves)) is None else abi.signed(own),
        target=_optional(target),
        prices=prices,
        symbols=symbols,
        exposures=exposures,
        quote=quote,
        quote_usd=quote_usd,
    )


def _answer(answer: bytes | Reverted, what: str) -> bytes:
    if isinstance(answer, Reverted):
        raise NetworkError(f"{what} reverted: expected the answer of a Comet")
    return answer


def _optional(answer: bytes | Reverted) -> int | None:
    """A figure that the snapshot can do without."""
    return None if isinstance(answer, Reverted) or len(answer) < abi.WORD else abi.word(answer, 0)


# --- rows ---------------------------------------------------------------------------------------


def _reserve_rows(market: Market, comet: _CometState, stamp: Stamp) -> list[Reserve]:
    shape = comet.shape

    def usd(price: int | None) -> float | None:
        if price is None or comet.quote_usd is None:
            return None
        return price / PRICE_UNIT * comet.quote_usd

    common = {"snapshot": stamp.snapshot, "market": market.name, "block_number": stamp.at.number}
    base_price = comet.prices[shape.base_asset]
    rows = [
        Reserve(
            **common,  # type: ignore[arg-type]
            asset=shape.base_asset,
            reserve_id=len(shape.assets),
            symbol=comet.symbols[shape.base_asset],
            decimals=len(str(shape.base_scale)) - 1,
            price=base_price,
            price_usd=usd(base_price),
            price_status="ok" if base_price is not None else "n/a (oracle reverted)",
            oracle=shape.base_feed,
            liquidity_index=comet.accrued.supply_index,
            debt_index=comet.accrued.borrow_index,
            ltv_bps=0.0,
            lt_bps=0.0,
            bonus_bps=0.0,
        )
    ]
    for asset in shape.assets:
        price = comet.prices[asset.asset]
        rows.append(
            Reserve(
                **common,  # type: ignore[arg-type]
                asset=asset.asset,
                reserve_id=asset.offset,
                symbol=comet.symbols[asset.asset],
                decimals=len(str(asset.scale)) - 1,
                price=price,
                price_usd=usd(price),
                price_status="ok" if price is not None else "n/a (oracle reverted)",
                oracle=asset.feed,
                ltv_bps=_bps(asset.borrow_factor),
                lt_bps=_bps(asset.liquidate_factor),
                bonus_bps=_bonus_bps(asset.liquidation_factor),
                borrowing=False,
            )
        )
    return rows


def _base_usd(comet: _CometState, amount: int | None) -> float | None:
    """USD of an amount of the base asset; None where the amount or a price is None."""
    price = comet.prices[comet.shape.base_asset]
    if amount is None or price is None or comet.quote_usd is None:
        return None
    return amount / comet.shape.base_scale * (price / PRICE_UNIT) * comet.quote_usd


def _bps(factor: int) -> float:
    return factor * 10_000 / arithmetic.FACTOR


def _bonus_bps(liquidation_factor: int) -> float:
    """Collateral taken per debt covered, above 1: absorption credits value times the factor."""
    return (arithmetic.FACTOR / liquidation_factor - 1) * 10_000 if liquidation_factor else 0.0


def _verdict(principal: int, base: Base, parts: Sequence[Collateral]) -> bool | None:
    """isLiquidatable; None where it reverts (it does not ask every feed)."""
    try:
        return arithmetic.is_liquidatable(principal, base, parts)
    except ChainReverts:
        return None


def _account_rows(
    market: Market, comet: _CometState, stamp: Stamp, account: str, position: _CometPosition
) -> tuple[Account, list[Leg]]:
    shape = comet.shape
    held = [
        (a, position.collaterals[a.asset]) for a in shape.assets if a.asset in position.collaterals
    ]
    debt = max(-arithmetic.present_value(position.principal, comet.accrued), 0)
    unpriced = [a.asset for a, _ in held if comet.prices[a.asset] is None]
    if debt and comet.prices[shape.base_asset] is None:
        unpriced.append(shape.base_asset)
    parts = [
        Collateral(
            balance=balance,
            price=comet.prices[a.asset] or 0,
            scale=a.scale,
            borrow_factor=a.borrow_factor,
            liquidate_factor=a.liquidate_factor,
            liquidation_factor=a.liquidation_factor,
        )
        for a, balance in held
    ]
    known_state = not unpriced
    values = [arithmetic.mul_price(p.balance, p.price, p.scale) for p in parts]
    collateral = sum(values)
    debt_value = arithmetic.debt_value(position.principal, comet.accrued)
    weighted = sum(
        arithmetic.mul_factor(v, p.liquidate_factor) for v, p in zip(values, parts, strict=True)
    )
    hf = weighted * arithmetic.FACTOR // debt_value if debt_value else None

    def usd(value: int) -> float | None:
        if not known_state or comet.quote_usd is None:
            return None
        return value / PRICE_UNIT * comet.quote_usd

    status = "ok"
    if not known_state:
        status = "n/a (oracle reverted)"
    elif not debt_value:
        status = "no debt"
    row = Account(
        snapshot=stamp.snapshot,
        market=market.name,
        block_number=stamp.at.number,
        account=account,
        emode=0,
        status=status,
        collateral_base=collateral if known_state else None,
        debt_base=debt_value if known_state else None,
        hf_wad=hf if known_state else None,
        liquidatable=_verdict(position.principal, comet.stored, parts),
        liquidatable_accrued=_verdict(position.principal, comet.accrued, parts),
        lt_bps=None,
        collateral_usd=usd(collateral),
        debt_usd=usd(debt_value),
        hf=hf / arithmetic.FACTOR if known_state and hf is not None else None,
        legs=len(held) + bool(debt),
        read_block=position.read_block,
    )
    legs = [
        Leg(
            snapshot=stamp.snapshot,
            market=market.name,
            account=account,
            asset=a.asset,
            side="collateral",
            scaled=balance,
            raw=balance,
            value=value if known_state else None,
            amount=balance / a.scale,
            usd=usd(value),
            lt_bps=_bps(a.liquidate_factor),
            bonus_bps=_bonus_bps(a.liquidation_factor),
        )
        for (a, balance), value in zip(held, values, strict=True)
    ]
    if debt:
        legs.append(
            Leg(
                snapshot=stamp.snapshot,
                market=market.name,
                account=account,
                asset=shape.base_asset,
                side="debt",
                scaled=-position.principal,
                raw=debt,
                value=debt_value if known_state else None,
                amount=debt / shape.base_scale,
                usd=usd(debt_value),
                lt_bps=0.0,
                bonus_bps=0.0,
            )
        )
    return row, legs


# --- verification --------------------------------------------------------------------------------


@verifier(PROTOCOL)
async def verify(
    feed: Feed, sample: int | None, independent: bool
) -> tuple[Verification, list[Row]]:
    """Compare debts with `borrowBalanceOf` and the verdict with `isLiquidatable` at the block."""
    if independent:
        raise UsageError("--with-web3 compares Aave v2 and v3 and Spark markets only")
    snapshot_sample = await load_sample(feed, sample)
    market, rpc, at = snapshot_sample.market, snapshot_sample.rpc, snapshot_sample.at
    sampled = snapshot_sample.accounts
    owed = {
        leg.account: leg.raw
        for leg in await feed.stored(
            Leg, "snapshot = $s AND side = 'debt'", s=snapshot_sample.snapshot.snapshot
        )
    }
    figures: list[Figure] = []
    for done, part in in_parts(sorted(sampled)):
        answers = await rpc.read(
            [
                (market.pool, abi.call(getter, account))
                for account in part
                for getter in (BORROW_BALANCE_OF, IS_LIQUIDATABLE)
            ],
            at,
        )
        for i, account in enumerate(part):
            row = sampled[account]
            debt, verdict = (
                None if isinstance(a, Reverted) else abi.word(a, 0)
                for a in answers[2 * i : 2 * i + 2]
            )
            figures.append(Figure(account, "debt", owed.get(account, 0), debt))
            ours = None if row.liquidatable is None else int(row.liquidatable)
            figures.append(Figure(account, "liquidatable", ours, verdict, row.status))
        feed.progress(f"{market.name}: accounts verified", done, len(sampled))
    return compare_figures(feed, snapshot_sample, figures, "borrowBalanceOf, isLiquidatable")


# --- liquidations ------------------------------------------------------------------------


class CometLiquidations:
    """AbsorbDebt, AbsorbCollateral and BuyCollateral
    (chainwatch.lending.liquidations.LiquidationEvents).

    Absorption takes debt and collateral in separate events; the collateral is sold later, if at
    all. The absorb events carry their value in quote units; a sale is priced at its block.
    """

    topics = (ABSORB_DEBT, ABSORB_COLLATERAL, BUY_COLLATERAL)

    async def rows(
        self, feed: Feed, rpc: Rpc, market: Market, logs: Sequence[Log], at: Block
    ) -> list[ChainLiquidation]:
        shape = await _read_comet_config(rpc, market, at)
        comet = await _read_comet_state(feed, rpc, market, shape, at)
        return [_liquidation(market, log, at, comet) for log in logs]

    def events(self, market: Market, log: Log, at: Block) -> list[ChainLiquidation]:
        return [_liquidation(market, log, at, None)]


def _liquidation(
    market: Market, log: Log, at: Block, comet: _CometState | None
) -> ChainLiquidation:
    data = bytes.fromhex(log.data[2:])
    words = [abi.word(data, i) for i in range(len(data) // abi.WORD)]
    names = [abi.topic_address(t) for t in log.topics[1:]]
    kind = {
        ABSORB_DEBT: "absorb-debt",
        ABSORB_COLLATERAL: "absorb-collateral",
        BUY_COLLATERAL: "sale",
    }[log.topics[0]]
    debt_raw = words[0] if kind != "absorb-collateral" else None
    coll_raw = {"absorb-collateral": words[0], "sale": words[1]}.get(kind)
    coll_asset = {"absorb-collateral": names[-1], "sale": names[1]}.get(kind)
    row = liquidation_row(
        market,
        log,
        at,
        kind=kind,
        account="" if kind == "sale" else names[1],
        liquidator=names[0],
        repaid=RawAmount(debt_raw),
        seized=RawAmount(coll_raw, coll_asset),
    )
    return row if comet is None else _priced(row, comet, words, kind)


def _priced(
    row: ChainLiquidation, comet: _CometState, words: Sequence[int], kind: str
) -> ChainLiquidation:
    shape = comet.shape
    own = next((a for a in shape.assets if a.asset == row.coll_asset), None)

    def usd(value: int | None) -> float | None:
        if value is None or comet.quote_usd is None:
            return None
        return value / PRICE_UNIT * comet.quote_usd

    def worth(raw: int | None, asset: str, scale: int) -> int | None:
        price = comet.prices.get(asset)
        return None if raw is None or price is None else arithmetic.mul_price(raw, price, scale)

    debt_value = coll_value = None
    if kind == "absorb-debt":
        debt_value = words[1]
    elif kind == "absorb-collateral":
        coll_value = words[1]
    else:
        debt_value = worth(row.debt_repaid_raw, shape.base_asset, shape.base_scale)
        coll_value = worth(row.coll_seized_raw, row.coll_asset or "", own.scale) if own else None
    has_value = (debt_value if row.debt_repaid_raw is not None else coll_value) is not None
    return msgspec.structs.replace(
        row,
        debt_asset=shape.base_asset if row.debt_repaid_raw is not None else None,
        debt_symbol=comet.symbols[shape.base_asset] if row.debt_repaid_raw is not None else None,
        debt_repaid=(
            None if row.debt_repaid_raw is None else row.debt_repaid_raw / shape.base_scale
        ),
        debt_repaid_usd=usd(debt_value),
        coll_symbol=comet.symbols.get(row.coll_asset or ""),
        coll_seized=row.coll_seized_raw / own.scale if row.coll_seized_raw and own else None,
        coll_seized_usd=usd(coll_value),
        bonus_bps=_bonus_bps(own.liquidation_factor) if own else None,
        status="ok"
        if has_value and comet.quote_usd is not None
        else "n/a (no USD price at the block)",
    )


@source(
    f"{PROTOCOL}-liquidations",
    protocol=PROTOCOL,
    tables=(ChainLiquidation, Retraction),
    docs="https://docs.compound.finance/liquidation/",
)
def collect_liquidations(feed: Feed) -> AsyncIterator[Batch]:
    """Liquidations on Compound III: accounts absorbed, and the later sale of their collateral."""
    return record_liquidations(feed, CometLiquidations())
