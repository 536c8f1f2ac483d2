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
"""

from __future__ import annotations

import contextlib
import re
import tomllib
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


class Market(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One lending market.

    `wall_factors` are those by which its walls are proven; without any, those of most weight.
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


def load_markets(settings: Settings) -> dict[str, Market]:
    """All markets by name: the built-in table, then the user's file.

    Raises ConfigError naming the file and the entry that does not fit.
    """
    markets = _read(Path(__file__).with_name("markets.toml"))
    own = settings.markets
    if own.is_dir():
        raise ConfigError(f"the market file {own} is a folder: put a file in its place")
    if own.is_file():
        markets |= _read(own)
    elif settings.get("markets"):
        raise ConfigError(f"the market file {own} does not exist")
    return markets


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


def _read(path: Path) -> dict[str, Market]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as failure:
        raise ConfigError(f"{path} is not valid TOML: {failure}") from None
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigError(f"{path} cannot be read: {failure}") from None
    for key in (key for key in tables if key != "markets"):
        name = visible(key, 64)
        raise ConfigError(
            f"{path}: expected tables [markets.NAME], got `{name}`: write [markets.{name}]"
        )
    entries = tables.get("markets", {})
    if not isinstance(entries, dict):
        raise ConfigError(f"{path}: expected tables such as [markets.mine] below `markets`")
    return {name: _market(path, name, entry) for name, entry in entries.items()}


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
