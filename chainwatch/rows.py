"""Every table of the lake as one frozen class: the class is the schema.

A field's annotation is its SQL type and its meaning; `key` names the columns that make a row
itself, so that a row stored twice counts once.

Integers of a contract are `Uint`: unbounded in Python, and in Parquet one DECIMAL(38,0) column
plus a `<name>_text` column that is filled only where 38 digits do not suffice. Nothing is ever
rounded on its way to disk and back. Money and token amounts of documents are `Decimal`: stored
with 18 decimals, refused where that would round.
"""

from __future__ import annotations

import types
from datetime import date, datetime
from decimal import Context, Decimal
from functools import cache
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin, get_type_hints

import msgspec


class SqlType(msgspec.Struct, frozen=True):
    """The DuckDB type a Python annotation is stored as."""

    name: str


Uint = Annotated[int, SqlType("UINT")]

UINT_DIGITS = 38
UINT_LIMIT = 10**UINT_DIGITS

DECIMAL_SCALE = 18
DECIMAL_TYPE = f"DECIMAL(38,{DECIMAL_SCALE})"
_DECIMAL_LIMIT = Decimal(10) ** (38 - DECIMAL_SCALE)
_WIDE = Context(prec=200)

_PYTHON_TYPES = {
    str: "VARCHAR",
    float: "DOUBLE",
    bool: "BOOLEAN",
    int: "BIGINT",
    date: "DATE",
    datetime: "TIMESTAMPTZ",
    Decimal: DECIMAL_TYPE,
}


def fits_decimal(value: Decimal) -> bool:
    """Whether a decimal can be stored without rounding."""
    exponent = value.normalize(_WIDE).as_tuple().exponent
    return (
        isinstance(exponent, int)
        and exponent >= -DECIMAL_SCALE
        and value.copy_abs() < _DECIMAL_LIMIT
    )


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all rows."""

    table: ClassVar[str] = ""
    key: ClassVar[tuple[str, ...]] = ()
    # False where a row can only ever be written once (everything that belongs to a snapshot):
    # reading then needs no de-duplication.
    repeats: ClassVar[bool] = True
    # Of what is published again and again: the columns that say which figure a row is a version
    # of, the columns that make it another version, and the column that orders the figures.
    subject: ClassVar[tuple[str, ...]] = ()
    figures: ClassVar[tuple[str, ...]] = ()
    order: ClassVar[str] = "as_of"


class Column(msgspec.Struct, frozen=True):
    """One column of a table."""

    name: str
    type: str
    nullable: bool
    meaning: str

    @property
    def stored(self) -> tuple[tuple[str, str], ...]:
        """The Parquet columns (name, type) that hold it."""
        if self.type == "UINT":
            return (
                (self.name, f"DECIMAL({UINT_DIGITS},0)"),
                (f"{self.name}_text", "VARCHAR"),
            )
        return ((self.name, self.type),)


@cache
def columns(row: type[Row]) -> tuple[Column, ...]:
    """The columns of a table in the order of its class.

    Raises TypeError where a field has no SQL type or no meaning: a table that cannot explain
    itself is a programming error.
    """
    found = []
    hints = get_type_hints(row, include_extras=True)
    for name in row.__struct_fields__:
        kind, meaning, nullable = _read_annotation(hints[name])
        if not kind or not meaning:
            raise TypeError(f"{row.__name__}.{name} needs a known type and a meaning")
        found.append(Column(name=name, type=kind, nullable=nullable, meaning=meaning))
    return tuple(found)


def _read_annotation(hint: Any) -> tuple[str, str, bool]:
    kind, meaning, nullable = "", "", False
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        for extra in extras:
            if isinstance(extra, SqlType):
                kind = extra.name
            elif isinstance(extra, str):
                meaning = extra
    if get_origin(hint) in (Union, types.UnionType):
        inner = [a for a in get_args(hint) if a is not type(None)]
        nullable = len(inner) < len(get_args(hint))
        hint = inner[0]
        if get_origin(hint) is Annotated:
            inner_kind, _, _ = _read_annotation(hint)
            kind = kind or inner_kind
            hint = get_args(hint)[0]
    if not kind:
        kind = _PYTHON_TYPES.get(hint, "")
    return kind, meaning, nullable


def tables() -> dict[str, type[Row]]:
    """All tables by name."""
    return {row.table: row for row in Row.__subclasses__()}


# --- the log of the lake itself -------------------------------------------------------------


class Load(Row, frozen=True, kw_only=True):
    """One batch that a source delivered: its rows count as stored once this row is there."""

    table = "loads"
    key = ("load",)

    source: Annotated[str, "source that delivered, e.g. aave-v3"]
    target: Annotated[str, "what of that source, e.g. a market name; empty if it has one only"]
    stored_at: Annotated[datetime, "when the batch was written"]
    tables: Annotated[str, "JSON object: table → rows in this batch"]
    rows: Annotated[int, "rows in this batch, all tables"]
    cursor: Annotated[str | None, "JSON: where the source continues after this batch"] = None
    merged: Annotated[int | None, "deliveries this load stands for; null: one"] = None
    replaces: Annotated[
        str | None, "loads whose rows this one holds as well, separated by spaces: they are hidden"
    ] = None


class Reject(Row, frozen=True, kw_only=True):
    """Something a source sent that could not be read; kept so that it can be looked at."""

    table = "rejects"
    key = ("source", "received_at", "reason", "raw")

    source: Annotated[str, "source that sent it"]
    target: Annotated[str, "what of that source"]
    received_at: Annotated[datetime, "when it arrived"]
    reason: Annotated[str, "why it was not accepted"]
    raw: Annotated[str, "what arrived, cut to 10,000 characters"]


# --- what was read of a chain ---------------------------------------------------------------


class Scan(Row, frozen=True, kw_only=True):
    """One range of blocks whose event logs were read completely."""

    table = "scans"
    key = ("market", "scope", "from_block", "to_block", "to_hash")

    market: Annotated[str, "market the events belong to"]
    scope: Annotated[str, "events read: borrowers (Borrow only) or all (every balance change)"]
    from_block: Annotated[int, "first block of the range"]
    to_block: Annotated[int, "last block of the range"]
    to_hash: Annotated[str, "hash of the last block when it was read"]
    events: Annotated[int, "logs found"]


class Touch(Row, frozen=True, kw_only=True):
    """An account that events of one range of blocks name: known from then on, and to be re-read."""

    table = "touches"
    key = ("market", "account", "block_number", "to_hash")

    market: Annotated[str, "market the events belong to"]
    account: Annotated[str, "account address, lower case"]
    block_number: Annotated[int, "last block of the range in which an event names the account"]
    to_hash: Annotated[str, "hash of the range's last block, as in scans"]
    borrowed: Annotated[bool, "one of the events is a Borrow on the account's behalf"]


class Snapshot(Row, frozen=True, kw_only=True):
    """One market read at one block; what belongs to it counts only if this row is there."""

    table = "snapshots"
    key = ("snapshot",)
    repeats = False

    snapshot: Annotated[str, "id: market, block, hash and reading time"]
    market: Annotated[str, "market, e.g. ethereum"]
    protocol: Annotated[str, "protocol family, e.g. aave-v3"]
    provenance: Annotated[str, "chain, demo, recording or imported"]
    chain_id: Annotated[int, "EIP-155 chain id"]
    block_number: Annotated[int, "block everything was read at"]
    block_hash: Annotated[str, "hash of that block"]
    block_time: Annotated[datetime, "time stamp of that block"]
    read_at: Annotated[datetime, "when reading ended"]
    revision: Annotated[int, "POOL_REVISION() of the pool at that block; 0 where there is none"]
    profile: Annotated[str, "rule set used for the integers, e.g. aave 3.0"]
    hf_rule: Annotated[str, "avg-lt: average threshold truncated to 1 bp; weighted: exact sum"]
    close_rule: Annotated[
        str,
        "what one liquidation may take: half (of a debt), reserve-half (that, all below health "
        "factor 0.95), position-half (half of all debt, all of a small position or below 0.95), "
        "whole (all debt), absorb (the whole account), target N (up to health factor N)",
    ]
    base_decimals: Annotated[
        int,
        "decimals of the base currency that values are counted in; Morpho Blue: 0, each position "
        "counts in units of its own loan token",
    ]
    quote: Annotated[str, "base currency: USD, or the asset whose units the oracle counts in"] = (
        "USD"
    )
    quote_usd: Annotated[
        float | None, "USD per unit of the base currency; null if no feed for it is known"
    ] = 1.0
    scope: Annotated[str, "accounts known: borrowers (who ever borrowed) or all"]
    accounts: Annotated[int, "accounts in the snapshot"]
    accounts_read: Annotated[int, "accounts whose balances were read for it; others were carried"]
    accounts_failed: Annotated[int, "accounts whose health factor is n/a"]
    reserves_usd: Annotated[
        float | None, "Compound III: the protocol's own reserves; null if unknown or not used"
    ] = None
    target_reserves_usd: Annotated[
        float | None, "Compound III: reserves from which on absorbed collateral is not sold"
    ] = None
    based_on: Annotated[str | None, "snapshot from which unchanged balances were taken"] = None
    endpoint: Annotated[str, "host that answered, keys removed"]


class Orphan(Row, frozen=True, kw_only=True):
    """A snapshot whose block left the chain in a reorganisation: excluded from every report."""

    table = "orphans"
    key = ("snapshot",)

    snapshot: Annotated[str, "snapshot that no longer counts"]
    market: Annotated[str, "its market"]
    found_at: Annotated[datetime, "when the replacement was noticed"]


class Reserve(Row, frozen=True, kw_only=True):
    """One asset of a market: price, indices and parameters at the snapshot's block."""

    table = "reserves"
    key = ("snapshot", "asset")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block of the snapshot"]
    asset: Annotated[str, "address of the underlying token, lower case; Compound v2: of the cToken"]
    reserve_id: Annotated[int, "bit position in the user configuration"]
    symbol: Annotated[str, "token symbol, control characters made visible; a label, never a key"]
    decimals: Annotated[int, "token decimals"]
    price: Annotated[Uint | None, "oracle price in base units; null if the oracle fails"]
    price_usd: Annotated[float | None, "oracle price of one whole token in USD"]
    price_status: Annotated[str, "ok, or why there is no usable price"]
    oracle: Annotated[str, "address of the price source"]
    liquidity_index: Annotated[
        Uint | None, "supply index accrued to the block, as the protocol scales it (Aave: ray)"
    ] = None
    debt_index: Annotated[
        Uint | None, "debt index accrued to the block, as the protocol scales it (Aave: ray)"
    ] = None
    liquidity_rate: Annotated[Uint | None, "supply rate, ray per year"] = None
    variable_rate: Annotated[Uint | None, "variable borrow rate, ray per year"] = None
    ltv_bps: Annotated[float, "loan to value (borrow factor), basis points"]
    lt_bps: Annotated[float, "liquidation threshold (liquidate factor), basis points"]
    bonus_bps: Annotated[float, "liquidation bonus above the principal, basis points (500 = 5 %)"]
    protocol_fee_bps: Annotated[float | None, "protocol's share of the bonus, basis points"] = None
    emode: Annotated[int, "e-mode category of the asset (Aave up to 3.1), 0 = none"] = 0
    active: Annotated[bool, "reserve is active"] = True
    frozen: Annotated[bool, "reserve takes no new supply or borrow"] = False
    paused: Annotated[bool, "reserve is paused: no liquidation either"] = False
    borrowing: Annotated[bool, "borrowing is enabled"] = True
    a_token: Annotated[str | None, "address of the aToken (Aave)"] = None
    stable_debt_token: Annotated[str | None, "address of the stable debt token (Aave)"] = None
    variable_debt_token: Annotated[str | None, "address of the variable debt token (Aave)"] = None


class EMode(Row, frozen=True, kw_only=True):
    """One e-mode category of a market at the snapshot's block."""

    table = "emodes"
    key = ("snapshot", "category")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block of the snapshot"]
    category: Annotated[int, "category id, 1 … 255"]
    label: Annotated[str, "name of the category, control characters made visible"]
    ltv_bps: Annotated[int, "loan to value in the category, basis points"]
    lt_bps: Annotated[int, "liquidation threshold in the category, basis points"]
    bonus_bps: Annotated[int, "liquidation bonus in the category above the principal, basis points"]
    price_source: Annotated[str, "price source for the category's assets, zero address = none"]
    price: Annotated[Uint | None, "price from that source in base units; null if none"] = None
    collateral_bitmap: Annotated[
        Uint | None, "bit per reserve id: collateral in the category (revisions from 3.2)"
    ] = None


class Factor(Row, frozen=True, kw_only=True):
    """How an asset's oracle price depends on a factor: price(x) = price · (1 - beta + beta x).

    An inverse factor divides: price(x) = price / x.
    """

    table = "factors"
    key = ("snapshot", "asset", "factor")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block of the snapshot"]
    asset: Annotated[str, "address of the underlying token"]
    factor: Annotated[str, "what moves: BTC, ETH, USDC, a ratio such as wstETH/ETH, feed:0x… "]
    beta: Annotated[float, "move of the price per move of the factor, 1 = one to one"]
    kind: Annotated[str, "feed, ratio, inverse, fixed or unknown: how the oracle was resolved"]
    feed: Annotated[str, "address of the contract that carries the factor"]
    description: Annotated[str, "what that contract says of itself"]
    factor_price: Annotated[float | None, "the factor's value now: USD for a feed, else the ratio"]
    cap_x: Annotated[
        float | None, "multiple of the factor's value above which the price stops following it"
    ] = None


class Account(Row, frozen=True, kw_only=True):
    """One account of a market at the snapshot's block, integers as the contract returns them."""

    table = "account_health"
    key = ("snapshot", "account")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block of the snapshot"]
    account: Annotated[
        str, "account address, lower case; Morpho Blue: with the market's id, 0x…:0x…"
    ]
    emode: Annotated[int, "e-mode category chosen by the account, 0 = none"]
    status: Annotated[str, "ok, no debt, or n/a (reason)"]
    collateral_base: Annotated[Uint | None, "collateral in base units; null if status is n/a"]
    debt_base: Annotated[Uint | None, "debt in base units; null if status is n/a"]
    hf_wad: Annotated[
        Uint | None, "health factor, 1e18 = 1; null without debt or if n/a; derived for Compound"
    ]
    liquidatable: Annotated[
        bool | None, "may be liquidated, exactly as the contract says at the block; null if n/a"
    ] = None
    liquidatable_accrued: Annotated[
        bool | None, "Compound: the same once interest is accrued, as a liquidation does first"
    ] = None
    lt_bps: Annotated[int | None, "average liquidation threshold as the contract truncates it"]
    collateral_usd: Annotated[float | None, "collateral in USD"]
    debt_usd: Annotated[float | None, "debt in USD"]
    hf: Annotated[float | None, "health factor; null without debt or if n/a"]
    legs: Annotated[int, "balances that count: flagged collateral and debts"]
    read_block: Annotated[int, "block at which the balances were last read from the chain"]


class Leg(Row, frozen=True, kw_only=True):
    """One balance of one account: collateral that counts, or debt, in one asset."""

    table = "legs"
    key = ("snapshot", "account", "asset", "side")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    account: Annotated[str, "account address, lower case"]
    asset: Annotated[str, "address of the underlying token, lower case"]
    side: Annotated[str, "collateral or debt"]
    scaled: Annotated[Uint, "scaled balance (variable debt or aToken), as stored on chain"]
    stable_principal: Annotated[Uint | None, "stable debt: principal at its last update"] = None
    stable_rate: Annotated[Uint | None, "stable debt: the account's rate, ray per year"] = None
    stable_since: Annotated[int | None, "stable debt: time of its last update, Unix seconds"] = None
    premium_shares: Annotated[Uint | None, "Aave v4 debt: premium shares"] = None
    premium_offset: Annotated[
        Uint | None, "Aave v4 debt: what of the premium shares is not owed, token units and ray"
    ] = None
    config_key: Annotated[int | None, "Aave v4: key of the terms the account has on record"] = None
    raw: Annotated[Uint, "balance at the block in token units, interest included"]
    value: Annotated[Uint | None, "balance in base units as the contract counts it; null if n/a"]
    amount: Annotated[float, "balance in whole tokens"]
    usd: Annotated[float | None, "balance in USD"]
    lt_bps: Annotated[float, "liquidation threshold that applies to this account; 0 for debt"]
    bonus_bps: Annotated[float, "liquidation bonus that applies to this account; 0 for debt"]
    category_priced: Annotated[
        bool, "valued at its e-mode category's own price: the asset's oracle does not move it"
    ] = False


class ChainLiquidation(Row, frozen=True, kw_only=True):
    """One liquidation event of a lending protocol: what was repaid and what was seized.

    Compound III has the two sides in separate events (absorb-debt, absorb-collateral) and sells
    the collateral later (sale); a deficit is debt that no collateral was left for. Morpho Blue
    tells of both in one event, which makes two rows.
    """

    table = "chain_liquidations"
    key = ("chain_id", "block_hash", "log_index", "kind")

    market: Annotated[str, "market"]
    protocol: Annotated[str, "protocol family"]
    chain_id: Annotated[int, "EIP-155 chain id"]
    block_number: Annotated[int, "block of the event"]
    block_hash: Annotated[str, "hash of that block"]
    block_time: Annotated[datetime, "time stamp of that block"]
    tx_hash: Annotated[str, "transaction"]
    log_index: Annotated[int, "position of the log in its block"]
    kind: Annotated[str, "liquidation, absorb-debt, absorb-collateral, sale or deficit"]
    account: Annotated[str, "account that was liquidated; empty for a sale"]
    liquidator: Annotated[str, "who repaid, absorbed or bought; empty if the event does not say"]
    debt_asset: Annotated[str | None, "asset that was repaid"] = None
    debt_symbol: Annotated[str | None, "its symbol, a label"] = None
    debt_repaid_raw: Annotated[Uint | None, "debt repaid (deficit: debt written off), token units"]
    debt_repaid: Annotated[float | None, "the same in whole tokens"] = None
    debt_repaid_usd: Annotated[float | None, "the same at the oracle price of that block"] = None
    coll_asset: Annotated[str | None, "asset that was seized or sold"] = None
    coll_symbol: Annotated[str | None, "its symbol, a label"] = None
    coll_seized_raw: Annotated[Uint | None, "collateral seized, token units"]
    coll_seized: Annotated[float | None, "the same in whole tokens"] = None
    coll_seized_usd: Annotated[float | None, "the same at the oracle price of that block"] = None
    bonus_bps: Annotated[float | None, "bonus the protocol allowed, basis points"] = None
    protocol_fee_bps: Annotated[
        float | None, "protocol's share of the bonus, which is not in what the liquidator got"
    ] = None
    status: Annotated[str, "ok, or why a figure is n/a"] = "ok"


class Depth(Row, frozen=True, kw_only=True):
    """What one venue would take at once, added up from the middle of its order book outwards.

    One row per side and distance; distances beyond what the venue showed have no row.
    """

    table = "depths"
    key = ("venue", "symbol", "kind", "time", "side", "distance")

    factor: Annotated[str, "what is bought and sold, as factors name it: BTC, or wstETH/ETH"]
    venue: Annotated[str, "exchange or pool"]
    symbol: Annotated[str, "the venue's pair, e.g. BTC/USDT"]
    kind: Annotated[str, "spot or swap (order books); room for pools on chain"]
    side: Annotated[str, "bid (what takes sales) or ask"]
    distance: Annotated[float, "distance from mid as a share of it, e.g. 0.01"]
    units: Annotated[float, "units of the factor on offer up to that distance"]
    quote_amount: Annotated[float, "the same in units of the quote currency"]
    mid: Annotated[float, "middle of best bid and best ask, in the quote currency"]
    best_bid: Annotated[float, "highest bid"]
    best_ask: Annotated[float, "lowest ask"]
    reach: Annotated[float, "how far from mid the venue showed this side, at most 0.1"]
    volume_24h: Annotated[
        float | None, "units traded there in the last 24 hours; null if not stated"
    ] = None
    time: Annotated[datetime, "the venue's own time of the book, else when it arrived"]
    received_at: Annotated[datetime, "when it arrived"]
    provenance: Annotated[str, "live, or demo"] = "live"


class Retraction(Row, frozen=True, kw_only=True):
    """A block that left the chain after its events were stored: they no longer count."""

    table = "retractions"
    key = ("chain_id", "block_hash")

    chain_id: Annotated[int, "EIP-155 chain id"]
    block_number: Annotated[int, "height of the block"]
    block_hash: Annotated[str, "hash of the block that was replaced"]
    found_at: Annotated[datetime, "when the replacement was noticed"]


# --- what exchanges said --------------------------------------------------------------------


class Instrument(Row, frozen=True, kw_only=True):
    """One contract as its venue lists it; a changed specification is a new row."""

    table = "instruments"
    key = ("source", "symbol", "valid_from")

    source: Annotated[str, "source that read the list, e.g. okx"]
    venue: Annotated[str, "venue, e.g. okx"]
    market: Annotated[str, "market of the venue, e.g. usdm, inverse, swap"]
    symbol: Annotated[str, "contract as the venue writes it"]
    base: Annotated[str, "coin that is priced"]
    quote: Annotated[str, "currency of the price"]
    settle: Annotated[str, "currency of margin and profit"]
    kind: Annotated[str, "linear (size in base), inverse (size in quote) or quanto (neither)"]
    contract_size: Annotated[
        float | None, "one contract in base (linear) or quote (inverse); null if not told"
    ]
    valid_from: Annotated[datetime, "when this specification was first read"]


class ExchangeLiquidation(Row, frozen=True, kw_only=True):
    """One liquidation order, fill or trigger that a venue published.

    Venues publish samples, so that every sum over this table is a lower bound.
    """

    table = "exchange_liquidations"
    key = ("venue", "market", "symbol", "time", "event")

    venue: Annotated[str, "venue, e.g. binance"]
    market: Annotated[str, "market of the venue, e.g. usdm, inverse, swap"]
    event: Annotated[
        str,
        "with symbol and time its identity: the venue's own id, else what tells it from others, "
        "with its twin's number",
    ]
    symbol: Annotated[str, "contract as the venue writes it"]
    base: Annotated[str | None, "coin that is priced; null if the contract is not listed"]
    quote: Annotated[str | None, "currency of the price; null if the contract is not listed"]
    settle: Annotated[str | None, "currency of margin; null if the contract is not listed"]
    kind: Annotated[
        str,
        "order, fill, trigger (announces fills) or adl (rids a liquidator of what it took over); "
        "sums are of orders and fills",
    ]
    time: Annotated[datetime, "when it happened, as the venue says"]
    sent_at: Annotated[datetime | None, "when the venue sent it, as the venue says"]
    received_at: Annotated[datetime, "when it arrived here"]
    side: Annotated[str, "position that was liquidated: long or short"]
    raw_side: Annotated[str, "side as the venue writes it, which may mean order or position"]
    contracts: Annotated[float | None, "contracts; null if their size is unknown"]
    quantity_base: Annotated[float | None, "in base; null if the contract size is unknown"]
    price: Annotated[float, "quote per base"]
    price_kind: Annotated[str, "fill (average), bankruptcy, order, entry, trade, or unknown"]
    notional_quote: Annotated[float | None, "value in quote; null if the size is unknown"]
    notional_usd: Annotated[float | None, "value in USD; null if quote is neither USD nor pegged"]
    usd_rule: Annotated[str, "how USD came about: USD, USDT = 1 USD, or n/a (reason)"]
    source: Annotated[str, "source that read it, e.g. binance-usdm"]
    delivery: Annotated[str, "stream, history or replay"]
    provenance: Annotated[str, "live, or demo"]
    raw: Annotated[str, "frame as received; of one with several rows, its envelope with this row"]


class OpenInterest(Row, frozen=True, kw_only=True):
    """One contract's open interest at the end of a bar, with the bar's prices.

    Every contract has a long and a short, so that it counts either side once.
    """

    table = "open_interest"
    key = ("venue", "market", "symbol", "interval", "time")

    base: Annotated[str, "coin that is priced, e.g. BTC"]
    venue: Annotated[str, "exchange, as in exchange_liquidations"]
    market: Annotated[str, "market of the venue, as there: linear or inverse"]
    symbol: Annotated[str, "contract as the venue writes it, as there"]
    interval: Annotated[str, "length of the bar, e.g. 5m"]
    time: Annotated[datetime, "end of the bar, when the open interest was that"]
    contracts: Annotated[float, "as the venue counts: Bybit linear in base, inverse in USD"]
    units: Annotated[float, "the same in base; of an inverse contract at the close"]
    usd: Annotated[float, "the same in USD at the close, a dollar token for 1 USD"]
    open: Annotated[float, "the bar's first price, quote per base"]
    high: Annotated[float, "highest price"]
    low: Annotated[float, "lowest price"]
    close: Annotated[float, "last price"]
    volume: Annotated[float | None, "traded in the bar as the venue counts; null if not stated"]
    received_at: Annotated[datetime, "when it arrived"]
    provenance: Annotated[str, "live, or demo"] = "live"


class Coverage(Row, frozen=True, kw_only=True):
    """A span of time and what a feed was in it: without `up`, no liquidation means nothing.

    Spans of one source adjoin and never overlap. `up` ends at the last sign of life, so that a
    silence that was not noticed yet is never claimed as covered.
    """

    table = "coverage"
    key = ("source", "run", "from_time")

    source: Annotated[str, "source, e.g. binance-usdm"]
    venue: Annotated[str, "venue"]
    market: Annotated[str, "market of the venue"]
    run: Annotated[str, "id of the process run that watched"]
    from_time: Annotated[datetime, "start of the span"]
    to_time: Annotated[datetime, "end of the span, not part of it"]
    state: Annotated[
        str,
        "up, partial (some connections), stale (alive but no event for long), rejecting (frames "
        "cannot be read), down or off",
    ]
    reason: Annotated[str, "why it is in that state, or why the span ended"]
    subscribed: Annotated[int | None, "contracts whose feed was alive; null if not counted"]
    listed: Annotated[int | None, "contracts the venue lists; null if it did not say"]
    connections: Annotated[int, "connections alive"]
    frames: Annotated[int, "frames received"]
    rows: Annotated[int, "liquidations kept"]
    duplicates: Annotated[int, "liquidations seen before in this run, not kept again"]
    rejects: Annotated[int, "frames or rows that could not be read"]
    canaries: Annotated[int, "frames of the stream that is never silent"]
    sampling: Annotated[
        str, "what the venue publishes: full, sampled, partial or unknown, with its rule"
    ]
    last_event: Annotated[datetime | None, "time of the newest liquidation so far in this run"]
    provenance: Annotated[str, "live, or demo"]


# --- what was checked -----------------------------------------------------------------------


class Verification(Row, frozen=True, kw_only=True):
    """One comparison of a snapshot with the chain's own answer at the same block."""

    table = "verifications"
    key = ("snapshot", "verified_at")

    snapshot: Annotated[str, "snapshot that was checked"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block at which the chain was asked"]
    verified_at: Annotated[datetime, "when the check ended"]
    method: Annotated[str, "the chain's function, and the codec that read it"]
    accounts: Annotated[int, "accounts in the snapshot"]
    checked: Annotated[int, "accounts compared: collateral, debt and health factor as integers"]
    mismatched: Annotated[int, "accounts in which any of the three differs"]
    max_abs_error: Annotated[Uint, "largest difference of any of the three, in its own unit"]
    endpoint: Annotated[str, "host that answered, keys removed"]


class Mismatch(Row, frozen=True, kw_only=True):
    """One figure in which a snapshot and the chain differ."""

    table = "mismatches"
    key = ("snapshot", "verified_at", "account", "figure")

    snapshot: Annotated[str, "snapshot that was checked"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block at which the chain was asked"]
    verified_at: Annotated[datetime, "when the check ended"]
    account: Annotated[str, "account address"]
    figure: Annotated[str, "collateral, debt or health factor"]
    ours: Annotated[str, "our integer, or n/a (reason)"]
    chain: Annotated[str, "the chain's integer, or what its call failed with"]


# --- what others publish --------------------------------------------------------------------


class Document(Row, frozen=True, kw_only=True):
    """One attempt to read a document, and what became of it; the bytes are kept before parsing."""

    table = "documents"
    key = ("source", "name", "fetched_at")

    source: Annotated[str, "source that reads it, e.g. fred"]
    name: Annotated[str, "which of the source's documents, e.g. SOFR or a file name"]
    url: Annotated[str, "where it was asked for; a file name for an import"]
    fetched_at: Annotated[datetime, "when the answer was complete, or the attempt failed"]
    status: Annotated[int | None, "HTTP status; null without an answer and for files"] = None
    media_type: Annotated[str | None, "what the server says it is"] = None
    bytes: Annotated[int | None, "size, decompressed; null where nothing came"] = None
    sha256: Annotated[str | None, "hash of the bytes, kept as <home>/documents/<2>/<hash>"] = None
    etag: Annotated[str | None, "the server's mark of this version"] = None
    parser: Annotated[int, "version of the code that read it"]
    outcome: Annotated[
        str,
        "ok, unchanged, stale, unavailable, schema changed, reconcile failed or skipped; only ok "
        "and stale bring rows",
    ]
    detail: Annotated[str, "why, in words; empty if there is nothing to say"]
    as_of: Annotated[date | None, "newest day it has a figure for"] = None
    rows: Annotated[int, "rows that are new because of it"]
    provenance: Annotated[str, "live, imported, reference (as shipped) or sample (invented)"]


class Statement(Row, frozen=True, kw_only=True):
    """One disclosure of what backs a token: totals as stated, by one issuer, as of one day."""

    table = "statements"
    key = ("statement", "observed_at")
    subject = ("token", "kind", "source", "as_of")
    figures = ("statement",)

    statement: Annotated[str, "id: token, kind, day and hash of the figures"]
    token: Annotated[str, "token, e.g. USDT"]
    issuer: Annotated[str, "who issues it"]
    kind: Annotated[str, "transparency page, protocol page, fund file or report: one sequence each"]
    evidence: Annotated[
        str, "issuer page, fund file, attestation (signed) or on chain: never mixed"
    ]
    as_of: Annotated[date, "day the figures describe"]
    unit: Annotated[str, "USD, or XAU oz (troy ounces)"]
    assets: Annotated[Decimal | None, "total reserves as stated"]
    liabilities: Annotated[Decimal | None, "total liabilities as stated"] = None
    equity: Annotated[Decimal | None, "excess of reserves over liabilities as stated"] = None
    gate: Annotated[str, "identity that held when it was accepted, in words"]
    citation: Annotated[str, "document and place in it"]
    source: Annotated[str, "source that read it"]
    document: Annotated[str, "sha256 of the document"]
    provenance: Annotated[str, "live, imported, reference or sample"]
    published_at: Annotated[datetime | None, "when it was published, if known"] = None
    published_basis: Annotated[str, "source (stated), rule (usual lag) or observed"]
    known_at: Annotated[datetime, "from when on it counts as known: published, else observed"]
    observed_at: Annotated[datetime, "when this version was first seen here"]


class ReserveItem(Row, frozen=True, kw_only=True):
    """One line of a statement's composition."""

    table = "reserve_items"
    key = ("statement", "line")

    statement: Annotated[str, "statement it belongs to"]
    line: Annotated[int, "position in the statement, from 1"]
    token: Annotated[str, "token"]
    as_of: Annotated[date, "day of the statement"]
    label: Annotated[str, "label as stated"]
    asset_class: Annotated[str, "class of ours that the label stands for"]
    usd: Annotated[Decimal, "amount in USD as stated"]
    quantity: Annotated[Decimal | None, "usd / unit_price, where a price is stated"] = None
    quantity_unit: Annotated[str | None, "BTC or XAU oz"] = None
    unit_price: Annotated[Decimal | None, "price used by the issuer, USD per unit"] = None


class Supply(Row, frozen=True, kw_only=True):
    """Tokens of one chain, or of all: what exists, and what of it is not in circulation."""

    table = "supplies"
    key = ("token", "chain", "kind", "source", "as_of", "observed_at")
    subject = ("token", "chain", "kind", "source", "as_of")
    figures = ("authorized", "not_issued", "quarantined", "held", "other", "circulating", "listed")

    token: Annotated[str, "token"]
    chain: Annotated[str, "chain as the source calls it; all: the sum stated"]
    kind: Annotated[str, "as in statements, or contract"]
    evidence: Annotated[str, "issuer page, fund file, attestation (signed) or on chain"]
    as_of: Annotated[date, "day the figures describe"]
    unit: Annotated[str, "tokens, or USD at redemption"]
    authorized: Annotated[Decimal | None, "all tokens that exist (totalSupply)"] = None
    not_issued: Annotated[Decimal | None, "of these: in the treasury, authorised, not issued"] = (
        None
    )
    quarantined: Annotated[Decimal | None, "of these: frozen for good, not redeemable"] = None
    held: Annotated[Decimal | None, "of these: held by the issuer outside its treasury"] = None
    other: Annotated[Decimal | None, "of these: other deductions stated, e.g. pending burns"] = None
    circulating: Annotated[Decimal | None, "what remains"]
    listed: Annotated[bool, "false for a chain that the issuer's own list leaves out"] = True
    block_number: Annotated[int | None, "on chain: block"] = None
    block_hash: Annotated[str | None, "on chain: its hash"] = None
    block_time: Annotated[datetime | None, "on chain: its time stamp"] = None
    source: Annotated[str, "source that read it"]
    document: Annotated[str, "sha256 of the document; empty on chain"]
    provenance: Annotated[str, "live, imported, reference, sample, demo or recording"]
    published_at: Annotated[datetime | None, "when it was published, if known"] = None
    published_basis: Annotated[str, "source, rule or observed"]
    known_at: Annotated[datetime, "from when on it counts as known"]
    observed_at: Annotated[datetime, "when this version was first seen here"]


class IndicatorValue(Row, frozen=True, kw_only=True):
    """One value of a market indicator for one day, from one source; a revision is a new row."""

    table = "indicator_values"
    key = ("series", "source", "as_of", "observed_at")
    subject = ("series", "source", "as_of")
    figures = ("value",)

    series: Annotated[str, "indicator, see query series"]
    source: Annotated[str, "source that read it"]
    as_of: Annotated[date, "day the value describes, in the publisher's own calendar"]
    value: Annotated[float, "value in the unit of the series"]
    document: Annotated[str, "sha256 of the document"]
    provenance: Annotated[str, "live, imported or sample"]
    published_at: Annotated[datetime | None, "when it was published, if known"] = None
    published_basis: Annotated[str, "source, rule or observed"]
    known_at: Annotated[datetime, "from when on it counts as known"]
    observed_at: Annotated[datetime, "when this version was first seen here"]


class Candle(Row, frozen=True, kw_only=True):
    """One closed candle of an asset's price in USD or a dollar token."""

    table = "candles"
    key = ("asset", "venue", "interval", "time", "observed_at")
    subject = ("asset", "venue", "interval", "time")
    figures = ("open", "high", "low", "close", "volume")
    order = "time"

    asset: Annotated[str, "what is priced, e.g. BTC"]
    symbol: Annotated[str, "the venue's pair, e.g. BTC/USDT"]
    venue: Annotated[str, "exchange, or import"]
    interval: Annotated[str, "1h or 1d"]
    time: Annotated[datetime, "begin of the candle"]
    open: Annotated[float, "first price"]
    high: Annotated[float, "highest price"]
    low: Annotated[float, "lowest price"]
    close: Annotated[float, "last price"]
    volume: Annotated[float | None, "units of the asset traded; null if not stated"] = None
    source: Annotated[str, "source that read it"]
    document: Annotated[str, "sha256 of the document"]
    provenance: Annotated[str, "live, imported or sample"]
    published_at: Annotated[datetime | None, "end of the candle"] = None
    published_basis: Annotated[str, "rule, or observed for a revision"]
    known_at: Annotated[datetime, "from when on it counts as known"]
    observed_at: Annotated[datetime, "when this version was first seen here"]


# --- what was told ----------------------------------------------------------------------------


class Notice(Row, frozen=True, kw_only=True):
    """One alert that was raised or cleared; what is raised and not cleared is active."""

    table = "notices"
    key = ("notice",)

    notice: Annotated[str, "id: a hash of rule, matter, kind and time"]
    rule: Annotated[str, "rule that was run"]
    about: Annotated[str, "what it is about: a market, a feed, a factor …"]
    kind: Annotated[str, "raised or cleared"]
    told_at: Annotated[datetime, "when the rule found it; later than in any run before"]
    message: Annotated[str, "what it says"]
    value: Annotated[float | None, "the figure behind it, if it has one"] = None


class Delivery(Row, frozen=True, kw_only=True):
    """A notice that reached a channel; a notice without one is sent again."""

    table = "deliveries"
    key = ("notice", "channel")

    notice: Annotated[str, "notice that was sent; empty: the channel is known from then on"]
    channel: Annotated[str, "channel: stdout, or its host and a hash of its address"]
    delivered_at: Annotated[datetime, "when it was taken"]
