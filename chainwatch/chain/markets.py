"""Markets: which contracts a lending source reads, on which chain, through which endpoint.

The built-in table is chainwatch/chain/markets.toml; a TOML file of your own adds to it or replaces
entries of the same name:

    [markets.mine]
    protocol = "aave-v3"
    chain = "ethereum"
    chain_id = 1
    pool = "0x87870Bca3F3fD6335C3F4ce8392D69350B4fA4E2"
    rpc = ["https://…"]        # optional: CHAINWATCH_RPC_<CHAIN> goes first
    deployment_block = 0       # optional: found by bisection where it is missing
    lag = 4                    # optional: blocks behind the newest, against reorganisations
    quote_feed = "0x…"         # optional: USD feed of the asset the market's prices are in

    [feeds.ethereum]           # optional: when the price feeds of a chain answer anew, by factor
    ETH = { deviation = 0.005, heartbeat = 3600 }
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from chainwatch.errors import ChainwatchError, ConfigError, UsageError
from chainwatch.settings import Settings
from chainwatch.text import suggest, visible
from chainwatch.urls import mask, scrub

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# In place of a market's name: every market.
ALL = "all"


class FeedRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a price feed answers anew: once its price has moved by `deviation`, a share of the last
    answer, and after `heartbeat` seconds at the latest. Stated by who runs the feed, not on chain.
    """

    deviation: float
    heartbeat: int


class Market(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One lending market.

    `wall_factors` are those by which its walls are proven; without any, those of most weight.
    `feeds` are the rules of its chain's price feeds, by factor.
    """

    protocol: str
    chain: str
    chain_id: int
    pool: str
    name: str = ""
    rpc: tuple[str, ...] = ()
    deployment_block: int | None = None
    quote_feed: str | None = None
    lag: int = 2
    provenance: Literal["chain", "demo", "recording"] = "chain"
    wall_factors: tuple[str, ...] = ()
    feeds: Mapping[str, FeedRule] = {}


def load_markets(settings: Settings) -> dict[str, Market]:
    """All markets by name: the built-in table, then the user's file.

    Raises ConfigError naming the file and the entry that does not fit.
    """
    markets, feeds = _read(Path(__file__).with_name("markets.toml"))
    own = settings.markets
    if own.is_dir():
        raise ConfigError(f"the market file {own} is a folder: put a file in its place")
    if own.is_file():
        own_markets, own_feeds = _read(own)
        markets |= own_markets
        feeds |= {chain: feeds.get(chain, {}) | rules for chain, rules in own_feeds.items()}
    elif settings.get("markets"):
        raise ConfigError(f"the market file {own} does not exist")
    return {
        name: msgspec.structs.replace(
            market, feeds=feeds.get(market.chain, {}) | dict(market.feeds)
        )
        for name, market in markets.items()
    }


def markets_of(settings: Settings, protocol: str) -> dict[str, Market]:
    """The markets of one protocol by name."""
    return {n: m for n, m in load_markets(settings).items() if m.protocol == protocol}


def find_market(settings: Settings, protocol: str, name: str) -> Market:
    """One market of a protocol; UsageError with a suggestion where there is none."""
    markets = markets_of(settings, protocol)
    if name in markets:
        return markets[name]
    raise UsageError(
        f"no {protocol} market is called {name!r}; {suggest(name, markets)}"
        f"known: {', '.join(markets) or 'none'}"
    )


def market_names(text: str) -> list[str]:
    """The names in a list with commas, each once; ["all"] where all is among them."""
    names = [name.strip() for name in text.split(",")]
    return [ALL] if ALL in names else list(dict.fromkeys(names))


def endpoints(settings: Settings, market: Market) -> tuple[str, ...]:
    """The JSON-RPC URLs for a market: those set for its chain, else its own."""
    value = settings.rpc_urls(market.chain)
    urls = tuple(u.strip() for u in value.value.split(",") if u.strip()) if value else market.rpc
    if not urls:
        raise ConfigError(
            f"no endpoint is known for chain {market.chain}: set "
            f"CHAINWATCH_RPC_{market.chain.upper().replace('-', '_')}"
        )
    for url in urls:
        if not re.match(r"https?://[^/\s]+", url) or mask(url) == "…":
            raise ConfigError(
                f"expected an http(s) URL for each endpoint of chain {market.chain} "
                f"(set by {value.origin if value else 'the market table'})"
            )
    return urls


def scrubbed(text: str, settings: Settings) -> str:
    """A text without the secret parts of any endpoint that is set."""
    urls: list[str] = []
    for chain in settings.rpc_chains():
        with contextlib.suppress(ChainwatchError):
            value = settings.rpc_urls(chain)
            urls += [u.strip() for u in value.value.split(",")] if value else []
    with contextlib.suppress(ChainwatchError):
        urls += [u for market in load_markets(settings).values() for u in market.rpc]
    return scrub(text, filter(None, urls))


_Feeds = dict[str, dict[str, FeedRule]]


def _read(path: Path) -> tuple[dict[str, Market], _Feeds]:
    """The markets of a file by name, and its rules of feeds by chain and factor."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as failure:
        raise ConfigError(f"{path} is not valid TOML: {failure}") from None
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigError(f"{path} cannot be read: {failure}") from None
    for key in (key for key in tables if key not in ("markets", "feeds")):
        name = visible(key, 64)
        raise ConfigError(
            f"{path}: expected tables [markets.NAME], got `{name}`: write [markets.{name}]"
        )
    entries = tables.get("markets", {})
    if not isinstance(entries, dict):
        raise ConfigError(f"{path}: expected tables such as [markets.mine] below `markets`")
    markets = {name: _market(path, name, entry) for name, entry in entries.items()}
    return markets, _feeds(path, tables.get("feeds", {}))


def _feeds(path: Path, entries: Any) -> _Feeds:
    try:
        feeds = msgspec.convert(entries, _Feeds)
    except msgspec.ValidationError as failure:
        raise ConfigError(f"{path}: feeds: {failure}") from None
    for chain, rules in feeds.items():
        for factor, rule in rules.items():
            if not (0 < rule.deviation < 1 and rule.heartbeat > 0):
                raise ConfigError(
                    f"{path}: feeds.{visible(chain, 64)}: {visible(factor, 64)}: expected a "
                    "deviation above 0 and below 1, 0.005 for 0.5 %, and a heartbeat in seconds"
                )
    return feeds


def _market(path: Path, name: str, entry: Any) -> Market:
    where = f"{path}: market {name!r}"
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where}: expected a name of a-z, 0-9, dot, dash and underscore")
    if name == ALL:
        raise ConfigError(f"{where}: the name all stands for every market: give it another name")
    try:
        market = msgspec.convert({"name": name, **entry}, Market)
    except (msgspec.ValidationError, TypeError) as failure:
        raise ConfigError(f"{where}: {failure}") from None
    if not _ADDRESS.fullmatch(market.pool):
        raise ConfigError(f"{where}: pool: expected an address of 0x and 40 hex digits")
    if market.chain_id <= 0 or market.lag < 0:
        raise ConfigError(f"{where}: expected a chain_id above 0 and a lag of 0 or more")
    if not NAME.fullmatch(market.chain):
        raise ConfigError(f"{where}: chain: expected a name of a-z, 0-9, dot, dash and underscore")
    if market.quote_feed is not None and not _ADDRESS.fullmatch(market.quote_feed):
        raise ConfigError(f"{where}: quote_feed: expected an address of 0x and 40 hex digits")
    return msgspec.structs.replace(
        market,
        pool=market.pool.lower(),
        quote_feed=market.quote_feed.lower() if market.quote_feed else None,
    )
