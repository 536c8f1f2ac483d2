"""Aave v4: accounts are in a spoke, interest in the hubs behind it, terms with each account.

One market is one spoke. Values have 26 decimals of a dollar, debt is never rounded, and each
collateral counts by the factor that the account itself has on record (its dynamic config key). An
asset is named `0x…:id`, because several reserves of a spoke may have the same token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.types import Block, Call, Log, Reverted
from chainwatch.collect.source import Batch, Feed, source, verifier
from chainwatch.errors import ConfigError, NetworkError, UsageError
from chainwatch.lending.exposures import Exposure
from chainwatch.lending.integers import BPS, RAY, WAD, ceil_div, unit_of
from chainwatch.lending.lender import FIX_MARKET, Opened, Stamp, Watch, any_above_zero, scoped_name
from chainwatch.lending.liquidations import RawAmount, liquidation_row, record_liquidations
from chainwatch.lending.oracles import resolve
from chainwatch.lending.parts import in_parts
from chainwatch.lending.protocols.aave_v4 import arithmetic
from chainwatch.lending.protocols.aave_v4.arithmetic import Drawn, SpokeAccountState, Supplied
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

PROTOCOL = "aave-v4"

# Selectors; tests/chain/test_abi.py holds each against the ABI in abis/.
ORACLE = "0x38013f02"
GET_RESERVE_COUNT = "0x99806546"
GET_LIQUIDATION_CONFIG = "0xe0fd5c5c"
GET_RESERVE = "0x77778db3"
GET_DYNAMIC_CONFIG = "0xec17bb00"
GET_USER_STATUS = "0xa2a522f1"
GET_USER_POSITION = "0x869da9db"
GET_USER_ACCOUNT_DATA = "0xbf92857c"
GET_DRAWN_INDEX = "0xb5f460c8"
PREVIEW_REMOVE_BY_SHARES = "0xc04d164e"
GET_RESERVE_PRICE = "0xd45c35ff"
GET_RESERVE_SOURCE = "0xe4337e38"
DECIMALS = "0x313ce567"
GET_RESERVE_TOTAL_DEBT = "0x1cdc762c"
SYMBOL = "0x95d89b41"

BORROW = "0xef18174796a5d2f91d51dc5e907a4d7867bbd6e800f6225168e0453d581d0dcd"
LIQUIDATION_CALL = "0x2a1f12d996f530f89d8038aa293f9fde81cac44b6dfd6225e3358d09b78a4a37"
REPORT_DEFICIT = "0x59932f333b3a5e3fec86e662babe8dd767529ed207420e7468bd220cdfb3f076"
ACCOUNT_TOPICS: dict[str, tuple[int, ...]] = {
    BORROW: (3,),
    LIQUIDATION_CALL: (3,),
    REPORT_DEFICIT: (2,),
    # Supply, Withdraw, Repay, SetUsingAsCollateral
    "0xd986db228cb1fe8392c5f45ff5f2c639b7db6cbd9ca7d1fe70b2de90c2c8c961": (3,),
    "0xfe7813e2866053d5c3938554e517b554fce6666a6561bed9eaa7419b29fa9b68": (3,),
    "0xd765a0263e8a360da8dd4fdb8c0dc5553adec12a96f29a462cdb45e5bea407dd": (3,),
    "0x4763df430bc5274807f8ab4ce0734e7898513638418d6eec0c5285ef85f7f51f": (3,),
    # UpdateUserRiskPremium, RefreshPremiumDebt, RefreshAllUserDynamicConfig, …Single…
    "0x9a9082fd74a00ac52b567642a2d8fd3383cb2bd8690f6b2a3b7b37aaf489dac1": (1,),
    "0x4fd0c5440d5b8c1dd712c65f039f54384c59e81a139427b0a9155260d974a9a7": (2,),
    "0x837314749a8459031ad895d39a13552d1627fddc93d64b404bab0ae5f0798da7": (1,),
    "0x5790b5f096c9cfee6b98a4e2d4f54ff3fc4ca306df5bc2093d93a36496d917b8": (1,),
}
# A liquidator may be paid in supply shares.
ACCOUNT_WORDS: dict[str, tuple[int, ...]] = {LIQUIDATION_CALL: (0,)}
PRICE_DECIMALS = 8
MAX_RESERVES = 10_000
VALUE_UNIT: int = 10**arithmetic.VALUE_DECIMALS
PAUSED, FROZEN, BORROWABLE = 1, 2, 4
RESERVE_WORDS, CONFIG_WORDS, POSITION_WORDS, DATA_WORDS = 7, 3, 5, 7


class _ReservePosition(msgspec.Struct, frozen=True):
    """What an account has in one reserve: shares, whether it uses them, and its config key."""

    supplied: int = 0
    using: bool = False
    drawn: int = 0
    premium_shares: int = 0
    premium_offset: int = 0
    config: int = 0


class _SpokePosition(msgspec.Struct, frozen=True):
    """One account: its flagged reserves by number."""

    held: dict[int, _ReservePosition]
    read_block: int


class _SpokeReserve(msgspec.Struct, frozen=True):
    """One reserve at a block; `price` has 8 decimals, None where the oracle fails."""

    number: int
    asset: str
    hub: str
    asset_id: int
    decimals: int
    flags: int
    config: int
    symbol: str
    source: str
    price: int | None
    index: int

    @property
    def key(self) -> str:
        return scoped_name(self.asset, str(self.number))

    @property
    def price_usd(self) -> float | None:
        return None if self.price is None else self.price / int(10**PRICE_DECIMALS)


class _DynamicConfig(msgspec.Struct, frozen=True):
    """Terms that an account has on record for a reserve, basis points."""

    factor: int
    max_bonus: int
    fee: int


class _SpokeState(msgspec.Struct, frozen=True):
    """The spoke at a block: its reserves, its liquidation terms, and by (reserve, key) the terms of
    accounts; by (reserve, shares) what supply is worth."""

    reserves: dict[int, _SpokeReserve]
    target: int
    for_max_bonus: int
    bonus_factor: int
    configs: dict[tuple[int, int], _DynamicConfig]
    amounts: dict[tuple[int, int], int]

    def state(self, held: Mapping[int, _ReservePosition]) -> SpokeAccountState | None:
        """The account's figures; None where a price is missing."""
        if any(self.reserves[n].price is None for n in held):
            return None
        collaterals, debts = [], []
        for number, position in held.items():
            reserve = self.reserves[number]
            price, decimals = reserve.price or 0, reserve.decimals
            factor = self.configs[number, position.config].factor
            if position.using and position.supplied and factor:
                amount = self.amounts[number, position.supplied]
                collaterals.append(Supplied(amount, decimals, price, factor))
            if position.drawn:
                premium = self.premium(number, position)
                debts.append(Drawn(position.drawn, reserve.index, premium, decimals, price))
        return arithmetic.account(collaterals, debts)

    def premium(self, number: int, held: _ReservePosition) -> int:
        """Premium debt in token units and ray."""
        return held.premium_shares * self.reserves[number].index - held.premium_offset

    def bonus_bps(self, number: int, held: _ReservePosition, hf: int | None) -> float:
        """The bonus above the principal now, or at the health factor at which it begins."""
        config = self.configs[number, held.config]
        least = WAD if hf is None else min(hf, WAD)
        bonus = arithmetic.liquidation_bonus(
            least, self.for_max_bonus, self.bonus_factor, config.max_bonus
        )
        return float(bonus - BPS)


class Spoke:
    """How a spoke is read (chainwatch.lending.lender.Lender)."""

    protocol = PROTOCOL

    async def open(self, feed: Feed, rpc: Rpc, market: Market, at: Block) -> Opened:
        count, _, _ = await _read_spoke(rpc, market, at)
        watch = Watch(
            lender=market.pool,
            contracts=(market.pool,),
            accounts=ACCOUNT_TOPICS,
            words=ACCOUNT_WORDS,
            borrows=frozenset({BORROW}),
        )
        return Opened(revision=0, watch=watch, context=count)

    async def stored_positions(self, feed: Feed, base: Snapshot) -> dict[str, _SpokePosition]:
        held: dict[str, dict[int, _ReservePosition]] = {}
        for leg in await feed.stored(Leg, "snapshot = $s", s=base.snapshot):
            reserves, number = held.setdefault(leg.account, {}), int(leg.asset.split(":")[1])
            before = reserves.get(number, _ReservePosition(config=leg.config_key or 0))
            reserves[number] = (
                msgspec.structs.replace(
                    before,
                    drawn=leg.scaled,
                    premium_shares=leg.premium_shares or 0,
                    premium_offset=leg.premium_offset or 0,
                )
                if leg.side == "debt"
                else msgspec.structs.replace(before, supplied=leg.scaled, using=True)
            )
        return {
            a.account: _SpokePosition(held=held.get(a.account, {}), read_block=a.read_block)
            for a in await feed.stored(Account, "snapshot = $s", s=base.snapshot)
        }

    async def read(
        self, feed: Feed, rpc: Rpc, opened: Opened, at: Block, accounts: Sequence[str]
    ) -> dict[str, _SpokePosition]:
        market, count = feed.market(), int(opened.context)
        positions: dict[str, _SpokePosition] = {}
        for done, part in in_parts(accounts):
            pairs = [(account, number) for account in part for number in range(count)]
            statuses = await rpc.read(
                [(market.pool, abi.call(GET_USER_STATUS, n, a)) for a, n in pairs], at
            )
            flagged = {
                pair: (abi.word(_answer(s, "getUserReserveStatus"), 0), abi.word(_bytes(s), 1))
                for pair, s in zip(pairs, statuses, strict=True)
            }
            wanted = [pair for pair, (using, borrowing) in flagged.items() if using or borrowing]
            answers = await rpc.read(
                [(market.pool, abi.call(GET_USER_POSITION, n, a)) for a, n in wanted], at
            )
            held: dict[str, dict[int, _ReservePosition]] = {}
            for (account, number), answer in zip(wanted, answers, strict=True):
                words = _answer(answer, "getUserPosition")
                drawn, premium, offset, supplied, config = (
                    abi.word(words, i) for i in range(POSITION_WORDS)
                )
                using, borrowing = flagged[account, number]
                held.setdefault(account, {})[number] = _ReservePosition(
                    supplied=supplied if using else 0,
                    using=bool(using),
                    drawn=drawn if borrowing else 0,
                    premium_shares=premium,
                    premium_offset=abi.signed(offset),
                    config=config,
                )
            for account in part:
                positions[account] = _SpokePosition(
                    held=held.get(account, {}), read_block=at.number
                )
            feed.progress(f"{market.name}: accounts read", done, len(accounts))
        return positions

    async def evidence_of_accounts(
        self, rpc: Rpc, market: Market, opened: Opened, first: int, at: Block
    ) -> str | None:
        count: int = opened.context
        calls = [(market.pool, abi.call(GET_RESERVE_TOTAL_DEBT, i)) for i in range(count)]
        if await any_above_zero(rpc, calls, at):
            return "getReserveTotalDebt of its reserves is above 0"
        return None

    async def rows(
        self,
        feed: Feed,
        rpc: Rpc,
        opened: Opened,
        stamp: Stamp,
        accounts: Mapping[str, _SpokePosition],
    ) -> list[Row]:
        market = feed.market()
        held = [position.held for position in accounts.values()]
        spoke = await _read_spoke_state(rpc, market, stamp.at, held)
        for reserve in spoke.reserves.values():
            if reserve.price is None:
                feed.note(
                    f"{market.name}: the oracle gives no price for {reserve.symbol}; "
                    "accounts that use it are n/a"
                )
        sources = {r.source: r.symbol for r in spoke.reserves.values()}
        resolved = await resolve(rpc, sources, stamp.at)
        exposures: dict[str, tuple[Exposure, ...]] = {
            r.key: resolved[r.source] for r in spoke.reserves.values()
        }
        rows: list[Row] = [
            *_reserve_rows(market, spoke, stamp),
            *factor_rows(stamp, market, exposures),
        ]

        def value_account(account: str, position: _SpokePosition) -> tuple[Account, list[Leg]]:
            return _account_rows(market, spoke, stamp, account, position)

        rules = Rules(
            profile=PROTOCOL,
            hf_rule="weighted",
            close_rule=f"target {spoke.target / WAD!r}",
            base_decimals=arithmetic.VALUE_DECIMALS,
        )
        rows += snapshot_rows(market, opened.revision, stamp, accounts, value_account, rules)
        return rows


@source(
    PROTOCOL,
    protocol=PROTOCOL,
    tables=(Scan, Touch, Snapshot, Reserve, Factor, Account, Leg, Orphan),
    docs="https://aave.com/docs/aave-v4/positions",
)
def collect_positions(feed: Feed) -> AsyncIterator[Batch]:
    """Positions on Aave v4: collateral, debt and health factor of every account of a spoke."""
    return take_snapshot(feed, Spoke())


# --- the spoke ----------------------------------------------------------------------------------


async def _read_spoke(rpc: Rpc, market: Market, at: Block) -> tuple[int, str, tuple[int, int, int]]:
    """The number of reserves, the oracle, and the liquidation terms.

    Raises ConfigError where the contract does not answer as a spoke does.
    """
    pool = market.pool
    count, oracle, terms = await rpc.read(
        [(pool, abi.call(g)) for g in (GET_RESERVE_COUNT, ORACLE, GET_LIQUIDATION_CONFIG)], at
    )
    refusal = ConfigError(
        f"{market.name}: the contract {pool} on chain {market.chain} is not a spoke of Aave v4 at "
        f"block {at.number} (it has no getReserveCount, ORACLE or getLiquidationConfig); "
        f"{FIX_MARKET}"
    )
    if any(isinstance(a, Reverted) for a in (count, oracle, terms)):
        raise refusal
    sizes = (len(_bytes(count)), len(_bytes(oracle)), len(_bytes(terms)))
    if sizes != (abi.WORD, abi.WORD, CONFIG_WORDS * abi.WORD):
        raise refusal
    target, for_max_bonus, factor = (abi.word(_bytes(terms), i) for i in range(CONFIG_WORDS))
    number = abi.word(_bytes(count), 0)
    # The bonus is largest below some health factor under 1, the target is not under 1.
    if number > MAX_RESERVES or not for_max_bonus < WAD <= target:
        raise refusal
    return number, abi.address(abi.word(_bytes(oracle), 0)), (target, for_max_bonus, factor)


async def _read_spoke_state(
    rpc: Rpc, market: Market, at: Block, accounts: Iterable[Mapping[int, _ReservePosition]]
) -> _SpokeState:
    """The spoke at a block, with the terms and supply amounts that these accounts need."""
    count, oracle, (target, for_max_bonus, factor) = await _read_spoke(rpc, market, at)
    answers = await rpc.read(
        [
            call
            for n in range(count)
            for call in (
                (market.pool, abi.call(GET_RESERVE, n)),
                (oracle, abi.call(GET_RESERVE_PRICE, n)),
                (oracle, abi.call(GET_RESERVE_SOURCE, n)),
            )
        ],
        at,
    )
    infos = [_answer(a, "getReserve") for a in answers[::3]]
    hub_calls: list[Call] = []
    for info in infos:
        hub = abi.address(abi.word(info, 1))
        hub_calls.append((hub, abi.call(GET_DRAWN_INDEX, abi.word(info, 2))))
        hub_calls.append((abi.address(abi.word(info, 0)), abi.call(SYMBOL)))
    hub_answers = await rpc.read(hub_calls, at)
    reserves = {}
    for n, info in enumerate(infos):
        price, source_word, symbol = answers[3 * n + 1], answers[3 * n + 2], hub_answers[2 * n + 1]
        asset = abi.address(abi.word(info, 0))
        label = "" if isinstance(symbol, Reverted) else contract_text(symbol)
        reserves[n] = _SpokeReserve(
            number=n,
            asset=asset,
            hub=abi.address(abi.word(info, 1)),
            asset_id=abi.word(info, 2),
            decimals=abi.word(info, 3),
            flags=abi.word(info, 5),
            config=abi.word(info, 6),
            symbol=label or asset[:10],
            source=abi.address(abi.word(_answer(source_word, "getReserveSource"), 0)),
            price=None if isinstance(price, Reverted) else abi.word(price, 0) or None,
            index=abi.word(_answer(hub_answers[2 * n], "getAssetDrawnIndex"), 0),
        )
    held = [(n, position) for account in accounts for n, position in account.items()]
    keys = sorted(
        {(n, position.config) for n, position in held}
        | {(n, r.config) for n, r in reserves.items()}
    )
    terms = await rpc.read([(market.pool, abi.call(GET_DYNAMIC_CONFIG, n, k)) for n, k in keys], at)
    configs = {
        key: _DynamicConfig(*(abi.word(_answer(t, "getDynamicReserveConfig"), i) for i in range(3)))
        for key, t in zip(keys, terms, strict=True)
    }
    supplies = sorted({(n, position.supplied) for n, position in held if position.supplied})
    worth = await rpc.read(
        [
            (reserves[n].hub, abi.call(PREVIEW_REMOVE_BY_SHARES, reserves[n].asset_id, shares))
            for n, shares in supplies
        ],
        at,
    )
    return _SpokeState(
        reserves=reserves,
        target=target,
        for_max_bonus=for_max_bonus,
        bonus_factor=factor,
        configs=configs,
        amounts={
            key: abi.word(_answer(w, "previewRemoveByShares"), 0)
            for key, w in zip(supplies, worth, strict=True)
        },
    )


def _answer(answer: bytes | Reverted, what: str) -> bytes:
    if isinstance(answer, Reverted):
        raise NetworkError(f"{what} reverted: expected the answer of an Aave v4 spoke")
    return answer


def _bytes(answer: bytes | Reverted) -> bytes:
    """An answer that is known to be one."""
    return _answer(answer, "the spoke")


# --- rows ---------------------------------------------------------------------------------------


def _reserve_rows(market: Market, spoke: _SpokeState, stamp: Stamp) -> list[Reserve]:
    """Terms are those of the newest config; accounts may have others on record."""
    rows = []
    for n, reserve in spoke.reserves.items():
        config = spoke.configs[n, reserve.config]
        rows.append(
            Reserve(
                snapshot=stamp.snapshot,
                market=market.name,
                block_number=stamp.at.number,
                asset=reserve.key,
                reserve_id=n,
                symbol=reserve.symbol,
                decimals=reserve.decimals,
                price=reserve.price,
                price_usd=reserve.price_usd,
                price_status="ok" if reserve.price else "n/a (oracle reverted)",
                oracle=reserve.source,
                debt_index=reserve.index,
                ltv_bps=float(config.factor),
                lt_bps=float(config.factor),
                bonus_bps=float(config.max_bonus - BPS),
                protocol_fee_bps=float(config.fee),
                frozen=bool(reserve.flags & FROZEN),
                paused=bool(reserve.flags & PAUSED),
                borrowing=bool(reserve.flags & BORROWABLE),
            )
        )
    return rows


def _account_rows(
    market: Market, spoke: _SpokeState, stamp: Stamp, account: str, position: _SpokePosition
) -> tuple[Account, list[Leg]]:
    state = spoke.state(position.held)
    hf = state.hf if state else None
    legs = []
    for number, reserve_position in sorted(position.held.items()):
        if reserve_position.using:
            legs.append(_supply_leg(market, spoke, stamp, account, (number, reserve_position), hf))
        if reserve_position.drawn:
            legs.append(_debt_leg(market, spoke, stamp, account, (number, reserve_position)))
    debt = sum(leg.value or 0 for leg in legs if leg.side == "debt")
    row = Account(
        snapshot=stamp.snapshot,
        market=market.name,
        block_number=stamp.at.number,
        account=account,
        emode=0,
        status="n/a (oracle reverted)" if state is None else "no debt" if hf is None else "ok",
        collateral_base=state.collateral if state else None,
        debt_base=debt if state else None,
        hf_wad=hf,
        liquidatable=None if state is None else hf is not None and hf < WAD,
        lt_bps=None,
        collateral_usd=state.collateral / VALUE_UNIT if state else None,
        debt_usd=debt / VALUE_UNIT if state else None,
        hf=None if hf is None else hf / WAD,
        legs=sum(leg.side != "idle" for leg in legs),
        read_block=position.read_block,
    )
    return row, legs


def _supply_leg(
    market: Market,
    spoke: _SpokeState,
    stamp: Stamp,
    account: str,
    held: tuple[int, _ReservePosition],
    hf: int | None,
) -> Leg:
    number, position = held
    reserve, config = spoke.reserves[number], spoke.configs[number, position.config]
    amount = spoke.amounts[number, position.supplied] if position.supplied else 0
    value = _value(reserve, amount)
    return Leg(
        snapshot=stamp.snapshot,
        market=market.name,
        account=account,
        asset=reserve.key,
        # Collateral without a factor on record does not count.
        side="collateral" if position.supplied and config.factor else "idle",
        scaled=position.supplied,
        raw=amount,
        value=value,
        amount=amount / int(10**reserve.decimals),
        usd=None if value is None else value / VALUE_UNIT,
        lt_bps=float(config.factor),
        bonus_bps=spoke.bonus_bps(number, position, hf),
        config_key=position.config,
    )


def _debt_leg(
    market: Market,
    spoke: _SpokeState,
    stamp: Stamp,
    account: str,
    held: tuple[int, _ReservePosition],
) -> Leg:
    number, position = held
    reserve = spoke.reserves[number]
    ray = position.drawn * reserve.index + spoke.premium(number, position)
    raw = ceil_div(ray, RAY)
    value = None
    if reserve.price is not None:
        value = ceil_div(ray * unit_of(18 - reserve.decimals) * reserve.price, RAY)
    return Leg(
        snapshot=stamp.snapshot,
        market=market.name,
        account=account,
        asset=reserve.key,
        side="debt",
        scaled=position.drawn,
        premium_shares=position.premium_shares,
        premium_offset=position.premium_offset,
        raw=raw,
        value=value,
        amount=raw / int(10**reserve.decimals),
        usd=None if value is None else value / VALUE_UNIT,
        lt_bps=0.0,
        bonus_bps=0.0,
        config_key=position.config,
    )


def _value(reserve: _SpokeReserve, amount: int) -> int | None:
    """An amount's value with 26 decimals."""
    if reserve.price is None:
        return None
    return amount * unit_of(18 - reserve.decimals) * reserve.price


# --- verification --------------------------------------------------------------------------------


@verifier(PROTOCOL)
async def verify(
    feed: Feed, sample: int | None, independent: bool
) -> tuple[Verification, list[Row]]:
    """Compare collateral, debt in ray and health factor with getUserAccountData at the block.

    Collateral and debt are computed again from the stored shares, as debt is stored rounded up.
    """
    if independent:
        raise UsageError("--with-web3 compares Aave v2 and v3 and Spark markets only")
    snapshot_sample = await load_sample(feed, sample)
    market, rpc, at = snapshot_sample.market, snapshot_sample.rpc, snapshot_sample.at
    sampled = snapshot_sample.accounts
    held = {
        a: k.held
        for a, k in (await Spoke().stored_positions(feed, snapshot_sample.snapshot)).items()
        if a in sampled
    }
    spoke = await _read_spoke_state(rpc, market, at, held.values())
    figures: list[Figure] = []
    for done, part in in_parts(sorted(sampled)):
        calls = [(market.pool, abi.call(GET_USER_ACCOUNT_DATA, a)) for a in part]
        for account, answer in zip(part, await rpc.read(calls, at), strict=True):
            row, state = sampled[account], spoke.state(held[account])
            words = None if isinstance(answer, Reverted) else answer
            chain = [None if words is None else abi.word(words, i) for i in (3, 4, 2)]
            hf = row.hf_wad if row.status == "ok" else None
            ours: list[int | None] = [None, None, None]
            if state is not None:
                ours = [state.collateral, state.debt_ray, hf]
            if row.status == "no debt":
                ours[2] = 2**256 - 1
            figures += [
                Figure(account, name, own, theirs, row.status)
                for name, own, theirs in zip(
                    ("collateral", "debt", "health factor"), ours, chain, strict=True
                )
            ]
        feed.progress(f"{market.name}: accounts verified", done, len(sampled))
    return compare_figures(feed, snapshot_sample, figures, "getUserAccountData")


# --- liquidations ------------------------------------------------------------------------


class SpokeLiquidations:
    """LiquidationCall and ReportDeficit (chainwatch.lending.liquidations.LiquidationEvents).

    The bonus depends on the account's health factor at that moment, which is in no event: it is
    left out. A deficit is given in shares; the index of its block makes it an amount.
    """

    topics = (LIQUIDATION_CALL, REPORT_DEFICIT)

    async def rows(
        self, feed: Feed, rpc: Rpc, market: Market, logs: Sequence[Log], at: Block
    ) -> list[ChainLiquidation]:
        spoke = await _read_spoke_state(rpc, market, at, ())
        return [_priced(_event(market, log, at), log, spoke) for log in logs]

    def events(self, market: Market, log: Log, at: Block) -> list[ChainLiquidation]:
        return [_event(market, log, at)]


def _event(market: Market, log: Log, at: Block) -> ChainLiquidation:
    data = bytes.fromhex(log.data[2:])
    deficit = log.topics[0] == REPORT_DEFICIT
    return liquidation_row(
        market,
        log,
        at,
        kind="deficit" if deficit else "liquidation",
        account=abi.topic_address(log.topics[2 if deficit else 3]),
        liquidator="" if deficit else abi.address(abi.word(data, 0)),
        repaid=RawAmount() if deficit else RawAmount(abi.word(data, 2)),
        seized=RawAmount() if deficit else RawAmount(abi.word(data, 7)),
    )


def _priced(row: ChainLiquidation, log: Log, spoke: _SpokeState) -> ChainLiquidation:
    numbers = [int(topic, 16) for topic in log.topics[1:3]]
    deficit = row.kind == "deficit"
    debt = spoke.reserves[numbers[0] if deficit else numbers[1]]
    coll = None if deficit else spoke.reserves[numbers[0]]
    repaid = row.debt_repaid_raw
    if repaid is None:
        data = bytes.fromhex(log.data[2:])
        repaid = ceil_div(abi.word(data, 0) * debt.index + abi.word(data, 3), RAY)
    tokens = repaid / int(10**debt.decimals)
    seized = (row.coll_seized_raw or 0) / int(10**coll.decimals) if coll else None
    unpriced = debt.price_usd is None or (coll is not None and coll.price_usd is None)
    return msgspec.structs.replace(
        row,
        debt_asset=debt.asset,
        debt_symbol=debt.symbol,
        debt_repaid_raw=repaid,
        debt_repaid=tokens,
        debt_repaid_usd=None if debt.price_usd is None else tokens * debt.price_usd,
        coll_asset=coll.asset if coll else None,
        coll_symbol=coll.symbol if coll else None,
        coll_seized=seized,
        coll_seized_usd=(
            None
            if coll is None or coll.price_usd is None or seized is None
            else seized * coll.price_usd
        ),
        status="n/a (no oracle price at the block)" if unpriced else "ok",
    )


@source(
    f"{PROTOCOL}-liquidations",
    protocol=PROTOCOL,
    tables=(ChainLiquidation, Retraction),
    docs="https://aave.com/docs/aave-v4/liquidation",
)
def collect_liquidations(feed: Feed) -> AsyncIterator[Batch]:
    """Liquidations on Aave v4: debt repaid, collateral seized, and deficits reported to the hub."""
    return record_liquidations(feed, SpokeLiquidations())
