"""Morpho Blue: one contract, many markets of one loan and one collateral each, no close factor.

One market of the table is the contract on one chain; a position is an address in one of its
markets, named `0x…:0x…` (address and market id). Each counts in units of its own loan token, at the
price of its market's own oracle. Interest is accrued to the block, as a liquidation does first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import msgspec

from chainwatch.chain import abi
from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.types import Block, Log, Reverted
from chainwatch.collect.source import Batch, Feed, source, verifier
from chainwatch.errors import ConfigError, NetworkError, UsageError
from chainwatch.lending.exposures import FIXED, Exposure, combine, convert_to_usd
from chainwatch.lending.integers import WAD
from chainwatch.lending.lender import FIX_MARKET, NO_ADDRESS, Opened, Stamp, Watch, scoped_name
from chainwatch.lending.liquidations import RawAmount, liquidation_row, record_liquidations
from chainwatch.lending.oracles import currency_exposure, resolve
from chainwatch.lending.parts import in_parts
from chainwatch.lending.price_sources import Quote, read_quotes
from chainwatch.lending.protocols.morpho_blue import arithmetic
from chainwatch.lending.protocols.morpho_blue.arithmetic import ORACLE_SCALE, BorrowTotals
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

PROTOCOL = "morpho-blue"

# Selectors; tests/chain/test_abi.py holds each against the ABI in abis/.
OWNER = "0x8da5cb5b"
IS_LLTV_ENABLED = "0xb485f3b8"
ID_TO_MARKET_PARAMS = "0x2c3c9157"
MARKET = "0x5c60e39a"
POSITION = "0x93c52062"
LIQUIDATE_CALL = "0xd8eabcb8"
BORROW_RATE_VIEW = "0x8c00bf6b"
PRICE = "0xa035b1fe"
BASE_FEED_1 = "0xf50a4718"
BASE_FEED_2 = "0xdc53858c"
QUOTE_FEED_1 = "0x56095e11"
QUOTE_FEED_2 = "0xacfbd39e"
BASE_VAULT = "0xeaa2d7b4"
QUOTE_VAULT = "0x2e6f20a6"
SYMBOL = "0x95d89b41"
DECIMALS = "0x313ce567"

SET_OWNER = "0x167d3e9c1016ab80e58802ca9da10ce5c6a0f4debc46a2e7a2cd9e56899a4fb5"
BORROW = "0x570954540bed6b1304a87dfe815a5eda4a648f7097a16240dcd85c9b5fd42a43"
LIQUIDATE = "0xa4946ede45d0c6f06a0f5ce92c9ad3b4751452d2fe0e25010783bcab57a67e41"
ACCOUNT_TOPICS: dict[str, tuple[int, ...]] = {
    BORROW: (2,),
    LIQUIDATE: (3,),
    # Repay, SupplyCollateral, WithdrawCollateral
    "0x52acb05cebbd3cd39715469f22afbf5a17496295ef3bc9bb5944056c63ccaa09": (3,),
    "0xa3b9472a1399e17e123f3c2e6586c23e504184d504de59cdaa2b375e880c6184": (3,),
    "0xe80ebd7cc9223d7382aab2e0d1d6155c65651f83d53c8b9b06901d167e321142": (2,),
}
ID_TOPIC = 1
ORACLE_GETTERS = (BASE_FEED_1, BASE_FEED_2, QUOTE_FEED_1, QUOTE_FEED_2, BASE_VAULT, QUOTE_VAULT)
PARAMS_WORDS = 5
MARKET_WORDS = 6
MAX_DECIMALS = 36
HEALTHY = b"position is healthy"
UINT_END = 2**256
SAME = 1e-9


class _MorphoPosition(msgspec.Struct, frozen=True):
    """One position: collateral in token units, and borrow shares."""

    collateral: int
    shares: int
    read_block: int


class _MarketToken(msgspec.Struct, frozen=True):
    """A token as it describes itself; `decimals` None where it does not say."""

    address: str
    symbol: str
    decimals: int | None

    def tokens(self, raw: int) -> float:
        return raw / int(10 ** (self.decimals or 0))


class _MorphoMarket(msgspec.Struct, frozen=True):
    """One market at a block, interest accrued; `failure` says why nothing can be valued."""

    market_id: str
    number: int
    params: tuple[int, ...]
    loan: _MarketToken
    collateral: _MarketToken
    oracle: str
    lltv: int
    totals: BorrowTotals
    price: int | None
    rate: int | None
    failure: str
    loan_usd: float | None
    moves: dict[str, tuple[Exposure, ...]]

    @property
    def loan_key(self) -> str:
        return scoped_name(self.loan.address, self.market_id)

    @property
    def collateral_key(self) -> str:
        return scoped_name(self.collateral.address, self.market_id)

    @property
    def bonus_bps(self) -> float:
        return (arithmetic.incentive_factor(self.lltv) - WAD) * 10_000 / WAD

    def usd(self, value: int) -> float | None:
        """USD of an amount of the loan token."""
        return None if self.loan_usd is None else self.loan.tokens(value) * self.loan_usd


class Morpho:
    """How the markets of a Morpho contract are read (chainwatch.lending.lender.Lender)."""

    protocol = PROTOCOL

    async def open(self, feed: Feed, rpc: Rpc, market: Market, at: Block) -> Opened:
        await _check(rpc, market, at)
        watch = Watch(
            lender=market.pool,
            contracts=(market.pool,),
            accounts=ACCOUNT_TOPICS,
            borrows=frozenset({BORROW}),
            part=ID_TOPIC,
        )
        return Opened(revision=0, watch=watch)

    async def stored_positions(self, feed: Feed, base: Snapshot) -> dict[str, _MorphoPosition]:
        held: dict[tuple[str, str], int] = {
            (leg.account, leg.side): leg.scaled
            for leg in await feed.stored(Leg, "snapshot = $s", s=base.snapshot)
        }
        return {
            a.account: _MorphoPosition(
                collateral=held.get((a.account, "collateral"), 0),
                shares=held.get((a.account, "debt"), 0),
                read_block=a.read_block,
            )
            for a in await feed.stored(Account, "snapshot = $s", s=base.snapshot)
        }

    async def read(
        self, feed: Feed, rpc: Rpc, opened: Opened, at: Block, accounts: Sequence[str]
    ) -> dict[str, _MorphoPosition]:
        market = feed.market()
        positions: dict[str, _MorphoPosition] = {}
        for done, part in in_parts(accounts):
            calls = []
            for account in part:
                address, market_id = account.split(":")
                calls.append((market.pool, abi.call(POSITION, market_id, address)))
            for account, answer in zip(part, await rpc.read(calls, at), strict=True):
                words = _answer(answer, "position")
                positions[account] = _MorphoPosition(
                    collateral=abi.word(words, 2), shares=abi.word(words, 1), read_block=at.number
                )
            feed.progress(f"{market.name}: positions read", done, len(accounts))
        return positions

    async def evidence_of_accounts(
        self, rpc: Rpc, market: Market, opened: Opened, first: int, at: Block
    ) -> str | None:
        # Only events name the markets. The constructor emits SetOwner, so that event must be there.
        async for part in rpc.logs([market.pool], [[SET_OWNER]], first, at.number):
            if part.logs:
                return None
        return "the SetOwner event of its constructor is missing, too"

    async def rows(
        self,
        feed: Feed,
        rpc: Rpc,
        opened: Opened,
        stamp: Stamp,
        accounts: Mapping[str, _MorphoPosition],
    ) -> list[Row]:
        market = feed.market()
        terms = await _read_markets(rpc, market, {a.split(":")[1] for a in accounts}, stamp.at)
        broken = [t for t in terms.values() if t.failure]
        if broken:
            feed.note(
                f"{market.name}: {len(broken)} of {len(terms)} markets cannot be valued "
                f"({broken[0].failure} in {broken[0].market_id}); their positions are n/a"
            )
        rows: list[Row] = [
            *(row for t in terms.values() for row in _reserve_rows(market, t, stamp)),
            *factor_rows(stamp, market, {k: e for t in terms.values() for k, e in t.moves.items()}),
        ]

        def value_account(account: str, position: _MorphoPosition) -> tuple[Account, list[Leg]]:
            return _account_rows(market, terms[account.split(":")[1]], stamp, account, position)

        rules = Rules(
            profile=PROTOCOL,
            hf_rule="weighted",
            close_rule="whole",
            base_decimals=0,
            quote="loan token",
            quote_usd=None,
        )
        rows += snapshot_rows(market, opened.revision, stamp, accounts, value_account, rules)
        return rows


@source(
    PROTOCOL,
    protocol=PROTOCOL,
    tables=(Scan, Touch, Snapshot, Reserve, Factor, Account, Leg, Orphan),
    docs="https://docs.morpho.org/learn/concepts/liquidation/",
)
def collect_positions(feed: Feed) -> AsyncIterator[Batch]:
    """Positions on Morpho Blue: collateral and debt of every address in each of its markets."""
    return take_snapshot(feed, Morpho())


# --- the markets --------------------------------------------------------------------------------


async def _check(rpc: Rpc, market: Market, at: Block) -> None:
    """Raise ConfigError where the contract does not answer as Morpho does for an unknown market."""
    pool = market.pool
    owner, enabled, params, totals = await rpc.read(
        [
            (pool, abi.call(OWNER)),
            (pool, abi.call(IS_LLTV_ENABLED, 0)),
            (pool, abi.call(ID_TO_MARKET_PARAMS, 0)),
            (pool, abi.call(MARKET, 0)),
        ],
        at,
    )
    fits = (
        _word(owner) is not None
        and _word(enabled) in (0, 1)
        and params == bytes(PARAMS_WORDS * abi.WORD)
        and totals == bytes(MARKET_WORDS * abi.WORD)
    )
    if not fits:
        raise ConfigError(
            f"{market.name}: the contract {pool} on chain {market.chain} is not a Morpho Blue at "
            f"block {at.number} (it has no idToMarketParams, market or isLltvEnabled); "
            f"{FIX_MARKET}"
        )


async def _read_markets(
    rpc: Rpc, market: Market, market_ids: Iterable[str], at: Block
) -> dict[str, _MorphoMarket]:
    """Markets by id, at a block."""
    ids = sorted(market_ids)
    answers = await rpc.read(
        [(market.pool, abi.call(g, i)) for i in ids for g in (ID_TO_MARKET_PARAMS, MARKET)], at
    )
    params = {i: _words(answers[2 * n], PARAMS_WORDS) for n, i in enumerate(ids)}
    states = {i: _words(answers[2 * n + 1], MARKET_WORDS) for n, i in enumerate(ids)}
    tokens = await _read_tokens(
        rpc, {abi.address(p[k]) for p in params.values() for k in (0, 1)}, at
    )
    prices, made_of = await _read_oracles(rpc, {abi.address(p[2]) for p in params.values()}, at)
    rates = await _read_rates(rpc, ids, params, states, at)
    feeds = sorted({f for parts in made_of.values() for f in parts[:4] if f != NO_ADDRESS})
    wanted = [*feeds, *([market.quote_feed] if market.quote_feed else [])]
    quotes = await read_quotes(rpc, wanted, at)
    resolved = await resolve(rpc, {f: f for f in feeds}, at)
    quote = market.quote_feed
    own = currency_exposure(quote, quotes[quote]) if quote else None
    markets = {}
    for number, market_id in enumerate(ids):
        loan, collateral = (tokens[abi.address(params[market_id][k])] for k in (0, 1))
        oracle = abi.address(params[market_id][2])
        state, rate, price = states[market_id], rates[market_id], prices[oracle]
        totals = BorrowTotals(assets=state[2], shares=state[3])
        if rate:
            totals = arithmetic.accrued(totals, rate, at.time - state[4])
        failure = "oracle reverted" if price is None else "" if rate is not None else "no rate"
        if loan.decimals is None or collateral.decimals is None:
            failure = failure or "a token without decimals"
        worth = None
        if price is not None and not failure:
            shift = int(10 ** (collateral.decimals or 0)) / int(10 ** (loan.decimals or 0))
            worth = price / ORACLE_SCALE * shift
        parts = made_of[oracle]
        is_explained = parts is not None and _explains(parts, quotes, worth)
        moves = (
            _moves(parts, collateral, resolved, quotes, worth)
            if is_explained
            else ((_unknown(oracle, worth),), (_fixed(oracle),))
        )
        unit = _unit(parts, quotes) if is_explained else None
        if own is not None and own.factor == unit:
            moves = (convert_to_usd(moves[0], own), convert_to_usd(moves[1], own))
        markets[market_id] = _MorphoMarket(
            market_id=market_id,
            number=number,
            params=params[market_id],
            loan=loan,
            collateral=collateral,
            oracle=oracle,
            lltv=params[market_id][4],
            totals=totals,
            price=price,
            rate=rate,
            failure=failure,
            loan_usd=_loan_usd(parts, quotes, unit, own) if is_explained and not failure else None,
            moves={
                scoped_name(token.address, market_id): exposures
                for token, exposures in zip((collateral, loan), moves, strict=True)
            },
        )
    return markets


async def _read_tokens(rpc: Rpc, addresses: Iterable[str], at: Block) -> dict[str, _MarketToken]:
    tokens = sorted(addresses)
    answers = await rpc.read([(t, abi.call(g)) for t in tokens for g in (SYMBOL, DECIMALS)], at)
    market_tokens = {}
    for i, token in enumerate(tokens):
        symbol, decimals = answers[2 * i], _word(answers[2 * i + 1])
        label = "" if isinstance(symbol, Reverted) else contract_text(symbol)
        fits = decimals is not None and decimals <= MAX_DECIMALS
        market_tokens[token] = _MarketToken(token, label or token[:10], decimals if fits else None)
    return market_tokens


async def _read_oracles(
    rpc: Rpc, addresses: Iterable[str], at: Block
) -> tuple[dict[str, int | None], dict[str, tuple[str, ...]]]:
    """Each oracle's price, and the feeds and vaults it names (empty where it has no getters)."""
    wanted = sorted(addresses)
    getters = (PRICE, *ORACLE_GETTERS)
    answers = await rpc.read([(o, abi.call(g)) for o in wanted for g in getters], at)
    prices, parts = {}, {}
    for i, oracle in enumerate(wanted):
        price, *rest = (_word(a) for a in answers[i * len(getters) : (i + 1) * len(getters)])
        prices[oracle] = price
        addresses_named = [word for word in rest if word is not None]
        parts[oracle] = (
            tuple(map(abi.address, addresses_named)) if len(addresses_named) == len(rest) else ()
        )
    return prices, parts


async def _read_rates(
    rpc: Rpc,
    ids: Sequence[str],
    params: Mapping[str, tuple[int, ...]],
    states: Mapping[str, tuple[int, ...]],
    at: Block,
) -> dict[str, int | None]:
    """The rate per second since each market's last update; None where its model fails."""
    with_model = [i for i in ids if params[i][3]]
    answers = await rpc.read(
        [
            (abi.address(params[i][3]), abi.call(BORROW_RATE_VIEW, *params[i], *states[i]))
            for i in with_model
        ],
        at,
    )
    rates: dict[str, int | None] = dict.fromkeys(ids, 0)
    rates |= {i: _word(answer) for i, answer in zip(with_model, answers, strict=True)}
    return rates


def _word(answer: bytes | Reverted) -> int | None:
    """The word of an answer of exactly one word, else None."""
    if isinstance(answer, Reverted) or len(answer) != abi.WORD:
        return None
    return abi.word(answer, 0)


def _words(answer: bytes | Reverted, count: int) -> tuple[int, ...]:
    data = _answer(answer, "a market")
    return tuple(abi.word(data, i) for i in range(count))


def _answer(answer: bytes | Reverted, what: str) -> bytes:
    if isinstance(answer, Reverted):
        raise NetworkError(f"{what} reverted: expected the answer of Morpho Blue")
    return answer


# --- an oracle and its feeds ------------------------------------------------------------------
# base feed 1 · base feed 2 / (quote feed 1 · quote feed 2), vaults' exchange rates beside them.


def _product(feeds: Iterable[str], quotes: Mapping[str, Quote]) -> float | None:
    """The product of feeds' answers, 1 for those that are left out; None if one has none."""
    product = 1.0
    for feed in feeds:
        if feed == NO_ADDRESS:
            continue
        answer = quotes[feed].answer
        if answer is None:
            return None
        product *= answer
    return product


def _explains(parts: Sequence[str], quotes: Mapping[str, Quote], worth: float | None) -> bool:
    """Whether the price is what the oracle's feeds give; a vault's rate may be anything."""
    if not parts or worth is None:
        return False
    base, quote = _product(parts[:2], quotes), _product(parts[2:4], quotes)
    if not base or not quote:
        return False
    has_vault = parts[4] != NO_ADDRESS or parts[5] != NO_ADDRESS
    return has_vault or abs(worth * quote / base - 1) < SAME


def _unit(parts: Sequence[str], quotes: Mapping[str, Quote]) -> str | None:
    """The unit of the oracle's price: that of its last base feed, else of its last quote feed."""
    ends = [f for f in parts[:2] if f != NO_ADDRESS] or [f for f in parts[2:4] if f != NO_ADDRESS]
    return quotes[ends[-1]].unit if ends else None


def _loan_usd(
    parts: Sequence[str], quotes: Mapping[str, Quote], unit: str | None, own: Exposure | None
) -> float | None:
    """USD per loan token by the oracle; the market table may name a feed for another unit."""
    value = _product(parts[2:4], quotes)
    if unit == "USD":
        return value
    if own and own.price and value and unit == own.factor:
        return value * own.price
    return None


def _moves(
    parts: Sequence[str],
    collateral: _MarketToken,
    resolved: Mapping[str, tuple[Exposure, ...]],
    quotes: Mapping[str, Quote],
    worth: float | None,
) -> tuple[tuple[Exposure, ...], tuple[Exposure, ...]]:
    """The factors of the collateral and of the loan token."""
    base, quote = _product(parts[:2], quotes), _product(parts[2:4], quotes)
    rate = worth * quote / base if worth and base and quote else None
    sides = []
    for feeds, vault, label in (
        (parts[:2], parts[4], collateral.symbol),
        (parts[2:4], parts[5], "loan"),
    ):
        exposures = [e for f in feeds if f != NO_ADDRESS for e in resolved[f]]
        if vault != NO_ADDRESS:
            alone = parts[4] == NO_ADDRESS or parts[5] == NO_ADDRESS
            exposures.append(
                Exposure(
                    factor=f"vault:{vault}",
                    beta=1.0,
                    kind="ratio",
                    feed=vault,
                    description=f"exchange rate of {label}",
                    price=rate if alone and vault == parts[4] else None,
                )
            )
        sides.append(combine(exposures) if exposures else (_fixed(NO_ADDRESS),))
    return sides[0], sides[1]


def _unknown(oracle: str, price: float | None) -> Exposure:
    return Exposure(f"feed:{oracle}", 1.0, "unknown", oracle, "", price)


def _fixed(feed: str) -> Exposure:
    return Exposure(FIXED, 0.0, "fixed", feed, "counted as its unit", 1.0)


# --- rows ---------------------------------------------------------------------------------------


def _reserve_rows(market: Market, terms: _MorphoMarket, stamp: Stamp) -> list[Reserve]:
    """The collateral, then the loan token; prices in loan tokens with 36 decimals."""
    status = f"n/a ({terms.failure})" if terms.failure else "ok"
    lltv_bps = terms.lltv * 10_000 / WAD
    unit = terms.loan.decimals or 0
    worth = None
    if terms.price is not None and terms.loan_usd is not None:
        scale = int(10 ** (terms.collateral.decimals or 0)) / int(10**unit)
        worth = terms.price / ORACLE_SCALE * scale * terms.loan_usd
    return [
        Reserve(
            snapshot=stamp.snapshot,
            market=market.name,
            block_number=stamp.at.number,
            asset=key,
            reserve_id=2 * terms.number + place,
            symbol=token.symbol,
            decimals=token.decimals or 0,
            price=price,
            price_usd=price_usd,
            price_status=status,
            oracle=terms.oracle,
            debt_index=index,
            ltv_bps=bps,
            lt_bps=bps,
            bonus_bps=bonus,
            borrowing=place == 1,
        )
        for place, (key, token, price, price_usd, index, bps, bonus) in enumerate(
            [
                (
                    terms.collateral_key,
                    terms.collateral,
                    terms.price,
                    worth,
                    None,
                    lltv_bps,
                    terms.bonus_bps,
                ),
                (
                    terms.loan_key,
                    terms.loan,
                    ORACLE_SCALE,
                    terms.loan_usd,
                    # Loan tokens per share, 1e36: shares have six decimals more.
                    arithmetic.assets_up(ORACLE_SCALE, terms.totals),
                    0.0,
                    0.0,
                ),
            ]
        )
    ]


def _account_rows(
    market: Market, terms: _MorphoMarket, stamp: Stamp, account: str, position: _MorphoPosition
) -> tuple[Account, list[Leg]]:
    failure = terms.failure
    debt = arithmetic.assets_up(position.shares, terms.totals) if position.shares else 0
    value = most = None
    if terms.price is not None:
        if position.collateral * terms.price >= UINT_END:
            failure = failure or "overflow"
        else:
            value = position.collateral * terms.price // ORACLE_SCALE
            most = arithmetic.max_borrow(position.collateral, terms.price, terms.lltv)
    if failure:
        value = most = None
    hf = most * WAD // debt if most is not None and debt else None
    status = f"n/a ({failure})" if failure else "ok" if debt else "no debt"
    row = Account(
        snapshot=stamp.snapshot,
        market=market.name,
        block_number=stamp.at.number,
        account=account,
        emode=0,
        status=status,
        collateral_base=value,
        debt_base=None if failure else debt,
        hf_wad=hf,
        liquidatable=None if most is None else debt > most,
        lt_bps=None,
        collateral_usd=None if value is None else terms.usd(value),
        debt_usd=None if failure else terms.usd(debt),
        hf=None if hf is None else hf / WAD,
        legs=bool(position.collateral) + bool(position.shares),
        read_block=position.read_block,
    )
    legs = [
        Leg(
            snapshot=stamp.snapshot,
            market=market.name,
            account=account,
            asset=key,
            side=side,
            scaled=scaled,
            raw=raw,
            value=None if failure else leg_value,
            amount=token.tokens(raw),
            usd=None if failure or leg_value is None else terms.usd(leg_value),
            lt_bps=terms.lltv * 10_000 / WAD if side == "collateral" else 0.0,
            bonus_bps=terms.bonus_bps if side == "collateral" else 0.0,
        )
        for side, key, token, scaled, raw, leg_value in (
            (
                "collateral",
                terms.collateral_key,
                terms.collateral,
                position.collateral,
                position.collateral,
                value,
            ),
            ("debt", terms.loan_key, terms.loan, position.shares, debt, debt),
        )
        if scaled
    ]
    return row, legs


# --- verification --------------------------------------------------------------------------------


@verifier(PROTOCOL)
async def verify(
    feed: Feed, sample: int | None, independent: bool
) -> tuple[Verification, list[Row]]:
    """Compare balances with `position`, and the verdict with a simulated liquidation.

    Morpho has no view of health. A simulated `liquidate` of one unit of collateral reverts with
    "position is healthy", or fails later because the caller has no loan token.
    """
    if independent:
        raise UsageError("--with-web3 compares Aave v2 and v3 and Spark markets only")
    snapshot_sample = await load_sample(feed, sample)
    market, rpc, at = snapshot_sample.market, snapshot_sample.rpc, snapshot_sample.at
    sampled = snapshot_sample.accounts
    lender = Morpho()
    held = await lender.stored_positions(feed, snapshot_sample.snapshot)
    names = sorted({a.split(":")[1] for a in sampled})
    answers = await rpc.read([(market.pool, abi.call(ID_TO_MARKET_PARAMS, i)) for i in names], at)
    params = {i: _words(a, PARAMS_WORDS) for i, a in zip(names, answers, strict=True)}
    nothing = Opened(0, Watch("", (), frozenset()))
    figures: list[Figure] = []
    for done, part in in_parts(sorted(sampled)):
        fresh = await lender.read(feed, rpc, nothing, at, part)
        calls = []
        for account in part:
            address, market_id = account.split(":")
            # One unit to seize, no shares, and the empty `data` at the end.
            rest = (address, 1, 0, (PARAMS_WORDS + 4) * abi.WORD, 0)
            calls.append((market.pool, abi.call(LIQUIDATE_CALL, *params[market_id], *rest)))
        for account, answer in zip(part, await rpc.read(calls, at), strict=True):
            row, own, theirs = sampled[account], held[account], fresh[account]
            healthy = isinstance(answer, Reverted) and HEALTHY in answer.data
            unsure = row.status.startswith("n/a")
            verdict = 0 if healthy else None if unsure else 1
            ours = None if row.liquidatable is None else int(row.liquidatable)
            figures += [
                Figure(account, "collateral", own.collateral, theirs.collateral),
                Figure(account, "borrow shares", own.shares, theirs.shares),
                Figure(account, "liquidatable", ours, verdict, row.status),
            ]
        feed.progress(f"{market.name}: positions verified", done, len(sampled))
    return compare_figures(feed, snapshot_sample, figures, "position, liquidate (simulated)")


# --- liquidations ------------------------------------------------------------------------


class MorphoLiquidations:
    """Liquidate (chainwatch.lending.liquidations.LiquidationEvents).

    One row for what was repaid and seized; a second row for the debt without collateral left.
    """

    topics = (LIQUIDATE,)

    async def rows(
        self, feed: Feed, rpc: Rpc, market: Market, logs: Sequence[Log], at: Block
    ) -> list[ChainLiquidation]:
        terms = await _read_markets(rpc, market, {log.topics[ID_TOPIC] for log in logs}, at)
        return [
            _priced(row, terms[log.topics[ID_TOPIC]])
            for log in logs
            for row in _events(market, log, at)
        ]

    def events(self, market: Market, log: Log, at: Block) -> list[ChainLiquidation]:
        return _events(market, log, at)


def _events(market: Market, log: Log, at: Block) -> list[ChainLiquidation]:
    data = bytes.fromhex(log.data[2:])
    repaid, _, seized, lost, _ = (abi.word(data, i) for i in range(5))
    market_id = log.topics[ID_TOPIC]
    row = liquidation_row(
        market,
        log,
        at,
        account=scoped_name(abi.topic_address(log.topics[3]), market_id),
        liquidator=abi.topic_address(log.topics[2]),
        repaid=RawAmount(repaid),
        seized=RawAmount(seized),
    )
    if not lost:
        return [row]
    written_off = msgspec.structs.replace(
        row, kind="deficit", liquidator="", debt_repaid_raw=lost, coll_seized_raw=None
    )
    return [row, written_off]


def _priced(row: ChainLiquidation, terms: _MorphoMarket) -> ChainLiquidation:
    repaid, seized = row.debt_repaid_raw or 0, row.coll_seized_raw
    worth = None
    if seized is not None and terms.price is not None and terms.loan_usd is not None:
        worth = terms.loan.tokens(1) * seized * terms.price / ORACLE_SCALE * terms.loan_usd
    has_collateral = seized is not None
    return msgspec.structs.replace(
        row,
        debt_asset=terms.loan.address,
        debt_symbol=terms.loan.symbol,
        debt_repaid=terms.loan.tokens(repaid),
        debt_repaid_usd=terms.usd(repaid),
        coll_asset=terms.collateral.address if has_collateral else None,
        coll_symbol=terms.collateral.symbol if has_collateral else None,
        coll_seized=None if seized is None else terms.collateral.tokens(seized),
        coll_seized_usd=worth,
        bonus_bps=terms.bonus_bps if has_collateral else None,
        protocol_fee_bps=0.0 if has_collateral else None,
        status="n/a (no USD price at the block)" if terms.loan_usd is None else "ok",
    )


@source(
    f"{PROTOCOL}-liquidations",
    protocol=PROTOCOL,
    tables=(ChainLiquidation, Retraction),
    docs="https://docs.morpho.org/learn/concepts/liquidation/",
)
def collect_liquidations(feed: Feed) -> AsyncIterator[Batch]:
    """Liquidations on Morpho Blue: debt repaid, collateral seized, and bad debt written off."""
    return record_liquidations(feed, MorphoLiquidations())
