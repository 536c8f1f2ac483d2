"""What the endpoints of markets can do: kept in the lake, and probed where nothing recent is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from chainwatch.chain.capabilities import Contact, EndpointProbe, url_hash
from chainwatch.chain.markets import Market, endpoints, load_markets
from chainwatch.chain.types import Limits
from chainwatch.collect.feed import Progress
from chainwatch.collect.writer import Clock, utc_now
from chainwatch.errors import ChainwatchError, ConfigError, StoreError, UsageError
from chainwatch.lake.store import Store
from chainwatch.net.http import Http
from chainwatch.settings import Settings
from chainwatch.tables.chain import Capabilities
from chainwatch.text import suggest
from chainwatch.urls import mask

# Capabilities of an endpoint count for as long as this.
KEPT_DAYS = 7
SOURCE = "doctor"  # of the loads that hold them


class EndpointState(msgspec.Struct, frozen=True):
    """One endpoint of a chain: what it answered now, and what it can do.

    `failure` is why it cannot be used; then `contact` is None. `is_kept`: its capabilities come
    from the lake.
    """

    chain: str
    endpoint: str
    contact: Contact | None = None
    capabilities: Capabilities | None = None
    failure: ChainwatchError | None = None
    is_kept: bool = False


def markets_named(settings: Settings, names: Sequence[str]) -> list[Market]:
    """The markets with these names; UsageError with a suggestion where there is none."""
    markets = load_markets(settings)
    for name in names:
        if name not in markets:
            raise UsageError(
                f"no market is called {name!r}; {suggest(name, markets)}"
                "`chainwatch markets` lists them"
            )
    return [markets[name] for name in dict.fromkeys(names)]


async def examine_endpoints(
    store: Store,
    settings: Settings,
    markets: Sequence[Market],
    progress: Progress,
    *,
    fresh: bool = False,
    clock: Clock = utc_now,
) -> list[EndpointState]:
    """Ask every endpoint of these markets for its newest block, and probe it where that is due.

    That is where the lake has no capabilities of it from the last KEPT_DAYS, or cannot be read, or
    with `fresh`. An endpoint that fails leaves the others alone.
    """
    due: dict[tuple[str, str], Market] = {}
    states: list[EndpointState] = []
    for market in markets:
        try:
            urls = endpoints(settings, market)
        except ConfigError as failure:
            if all(state.chain != market.chain for state in states):
                states.append(EndpointState(market.chain, "", failure=failure))
            continue
        for url in urls:
            due.setdefault((market.chain, url), market)
    kept: dict[tuple[str, str, str], Capabilities] = {}
    if store.exists and not fresh:
        with contextlib.suppress(StoreError):
            kept = _kept(store, clock)
    async with Http(authorities=settings.ca_file) as http:

        async def examine(chain: str, url: str, market: Market) -> EndpointState:
            probe = EndpointProbe(
                http,
                url,
                chain=chain,
                chain_id=market.chain_id,
                settings=Limits(timeout=settings.timeout),
            )
            try:
                contact = await probe.contact()
                capabilities = kept.get((chain, mask(url), url_hash(url)))
                if capabilities is not None:
                    return EndpointState(chain, probe.name, contact, capabilities, is_kept=True)
                progress.note(f"probing {chain} {probe.name}")
                return EndpointState(chain, probe.name, contact, await probe.capabilities(contact))
            except ChainwatchError as failure:
                return EndpointState(chain, probe.name, failure=failure)

        examinations = [examine(chain, url, market) for (chain, url), market in due.items()]
        return states + await asyncio.gather(*examinations)


def keep_capabilities(store: Store, states: Sequence[EndpointState]) -> None:
    """Store what was probed, in a lake that is made where there is none; StoreError as there."""
    probed = [s.capabilities for s in states if s.capabilities and not s.is_kept]
    if probed:
        store.create()
        store.append(probed, source=SOURCE)


def _kept(store: Store, clock: Clock) -> dict[tuple[str, str, str], Capabilities]:
    """The newest capabilities of each endpoint that still count."""
    since = clock() - timedelta(days=KEPT_DAYS)
    rows = store.rows(Capabilities, "probed_at >= $since ORDER BY probed_at", {"since": since})
    return {(row.chain, row.endpoint, row.endpoint_hash): row for row in rows}
