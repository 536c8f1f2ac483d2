"""Tables of exchanges: instruments, liquidations, coverage, depth, open interest, candles."""

from datetime import datetime
from typing import Annotated

from chainwatch.tables.base import Row


class Depth(Row, frozen=True, kw_only=True):
    """Depth of one venue's order book, summed from the mid price of its order book outwards.

    One row per side and distance; distances beyond the reach of the book have no row.
    """

    table = "depths"
    key = ("venue", "symbol", "kind", "time", "side", "distance")

    factor: Annotated[str, "traded asset, as factors name it: BTC, or wstETH/ETH"]
    venue: Annotated[str, "exchange or pool"]
    symbol: Annotated[str, "the venue's pair, e.g. BTC/USDT"]
    kind: Annotated[str, "spot or swap (order books); room for pools on chain"]
    side: Annotated[str, "bid (takes sales) or ask (takes purchases)"]
    distance: Annotated[float, "distance from the mid price as a share of it, e.g. 0.01"]
    units: Annotated[float, "units of the factor on offer up to this distance"]
    quote_amount: Annotated[float, "the same in units of the quote currency"]
    mid_price: Annotated[float, "mean of best bid and best ask, in the quote currency"]
    best_bid: Annotated[float, "highest bid"]
    best_ask: Annotated[float, "lowest ask"]
    reach: Annotated[
        float,
        "greatest distance from the mid price that the venue showed on this side, at most 0.1",
    ]
    volume_24h: Annotated[
        float | None, "units traded there in the last 24 hours; null if not stated"
    ] = None
    time: Annotated[datetime, "the venue's own time of the book, else the time of arrival"]
    received_at: Annotated[datetime, "when it arrived"]
    provenance: Annotated[str, "live, or demo"] = "live"


class Retraction(Row, frozen=True, kw_only=True):
    """A block that left the chain after its events were stored: they no longer count."""

    table = "retractions"
    key = ("chain_id", "block_hash")

    chain_id: Annotated[int, "EIP-155 chain id"]
    block_number: Annotated[int, "height of the block"]
    block_hash: Annotated[str, "hash of the block that was replaced"]
    detected_at: Annotated[datetime, "when the replacement was noticed"]


# --- liquidations and coverage ----------------------------------------------------------------


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
        float | None, "one contract in base (linear) or quote (inverse); null if not stated"
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
        "with symbol and time its identity: the venue's own id, else its distinguishing fields "
        "and the number among equal ones",
    ]
    symbol: Annotated[str, "contract as the venue writes it"]
    base: Annotated[str | None, "coin that is priced; null if the contract is not listed"]
    quote: Annotated[str | None, "currency of the price; null if the contract is not listed"]
    settle: Annotated[str | None, "currency of margin; null if the contract is not listed"]
    kind: Annotated[
        str,
        "order, partial (of an order that goes on), fill, trigger (announces fills), adl (rids a "
        "liquidator), assignment, termination or unwind: see counted_liquidations",
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

    Every contract has one long and one short, so that either side has this size.
    """

    table = "open_interest"
    key = ("venue", "market", "symbol", "interval", "time")

    base: Annotated[str, "coin that is priced, e.g. BTC"]
    venue: Annotated[str, "exchange, as in exchange_liquidations"]
    market: Annotated[str, "market of the venue, as there: linear or inverse"]
    symbol: Annotated[str, "contract as the venue writes it, as there"]
    interval: Annotated[str, "length of the bar, e.g. 5m"]
    time: Annotated[datetime, "end of the bar, the time of the open interest"]
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
    """A span of time with the state of a feed. Outside `up`, no liquidation means nothing.

    Spans of one source adjoin and never overlap. `up` ends at the last heartbeat or message, so
    that a silence that was not noticed yet never counts as covered.
    """

    table = "coverage"
    key = ("source", "run", "from_time")

    source: Annotated[str, "source, e.g. binance-usdm"]
    venue: Annotated[str, "venue"]
    market: Annotated[str, "market of the venue"]
    run: Annotated[str, "id of the process that collected"]
    from_time: Annotated[datetime, "start of the span"]
    to_time: Annotated[datetime, "end of the span, not part of it"]
    state: Annotated[
        str,
        "up, partial (some connections), stale (alive but no event for long), rejecting (frames "
        "cannot be parsed), down or off",
    ]
    reason: Annotated[str, "why it is in that state, or why the span ended"]
    subscribed: Annotated[int | None, "contracts subscribed to; null if not counted"]
    listed: Annotated[int | None, "contracts that the venue lists; null if not stated"]
    connections: Annotated[int, "open connections"]
    frames: Annotated[int, "frames received"]
    rows: Annotated[int, "liquidations kept"]
    duplicates: Annotated[int, "liquidations received before in this run, not stored again"]
    rejects: Annotated[int, "frames or rows that cannot be parsed"]
    heartbeats: Annotated[int, "frames of the heartbeat: the stream that is never silent"]
    sampling_class: Annotated[str, "what the venue publishes: full, sampled, partial or unknown"]
    sampling_rule: Annotated[str, "the same in its own words, as in sampling_eras"]
    last_event: Annotated[datetime | None, "time of the newest liquidation so far in this run"]
    provenance: Annotated[str, "live, or demo"]


class SamplingEra(Row, frozen=True, kw_only=True):
    """What a venue publishes of its liquidations in a span of time, as its documents say.

    Sums of different eras cannot be compared. The eras of a market adjoin; the last one is open.
    The program states these rows, from the channels of its venues: no load brings them.
    """

    table = "sampling_eras"
    key = ("venue", "market", "from_time")
    stated_by = "chainwatch.exchanges.eras"

    venue: Annotated[str, "venue, as in coverage"]
    market: Annotated[str, "market of the venue, as in coverage; all where they do not differ"]
    from_time: Annotated[datetime, "latest date at which the rule began"]
    to_time: Annotated[datetime | None, "end of the rule, not part of it; null: still valid"]
    sampling_class: Annotated[
        str,
        "full (every liquidation is documented), sampled (some), partial (of one kind only) or "
        "unknown (no limit is documented, none was measured)",
    ]
    sampling_rule: Annotated[str, "what is published, in words"]
    selection: Annotated[
        str | None,
        "which order of a contract and second is published: latest, largest, or largest of each "
        "side; null: not stated, or more than one",
    ]
    cited: Annotated[str, "page that states the rule, and the date of the page or of its reading"]


class Candle(Row, frozen=True, kw_only=True):
    """One closed candle of an asset's price in USD or a dollar token."""

    table = "candles"
    key = ("asset", "venue", "interval", "time", "observed_at")
    identity = ("asset", "venue", "interval", "time")
    figures = ("open", "high", "low", "close", "volume")
    order = "time"

    asset: Annotated[str, "what is priced, e.g. BTC"]
    symbol: Annotated[str, "the venue's pair, e.g. BTC/USDT"]
    venue: Annotated[str, "exchange, or import"]
    interval: Annotated[str, "1h or 1d"]
    time: Annotated[datetime, "start of the candle"]
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
    known_at: Annotated[datetime, "time from which it counts as known"]
    observed_at: Annotated[datetime, "when this version was first observed here"]
