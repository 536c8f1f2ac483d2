"""Ethena's collateral pages: the backing of USDe, as the protocol states it.

    /api/collateralization/status        {"timestamp": "2026-09-30 11:05:12.345 UTC",
        "totalBackingAssetsInUsd": …, "totalReserveFundInUsd": …, "totalTokenSupplyInUsd": …}
    /api/positions/current/collateral    {"totalBackingAssetsInUsd": …, "collateral":
        [{"asset": "BTC", "exchange": "…", "timestamp": …, "usdAmount": …}]}

Neither page is documented.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal

from chainwatch import numbers
from chainwatch.collect.document import Irreconcilable, Raw, SchemaChanged
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, formats
from chainwatch.disclosures.documents import DocumentRequest
from chainwatch.disclosures.formats import exact
from chainwatch.disclosures.reserves import (
    BITCOIN,
    CASH,
    OTHER_CRYPTO,
    PAGE,
    UNCLASSIFIED,
    Disclosure,
    ReserveLine,
)
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Document, ReserveItem, Statement
from chainwatch.text import visible

ASSETS = {
    "BTC": BITCOIN,
    "ETH": OTHER_CRYPTO,
    "stETH": OTHER_CRYPTO,
    "SOL": OTHER_CRYPTO,
    "Liquid Cash": CASH,
    "Stables": CASH,
    "USDC": CASH,
    "USDT": CASH,
    "USDtb": CASH,
}
# The positions and their total are read at slightly different times.
TOLERANCE = Decimal("0.005")


@source(
    "ethena",
    tables=(Document, Statement, ReserveItem),
    docs="https://app.ethena.fi/dashboards/transparency",
    base="https://app.ethena.fi",
)
async def collateral(feed: Feed) -> AsyncIterator[Batch]:
    """Ethena's own figures for USDe: backing, reserve fund, supply, and collateral by asset."""
    requests = [
        DocumentRequest(
            name="status",
            path="/api/collateralization/status",
            parse=parse_status,
            max_age_days=2,
        ),
        DocumentRequest(
            name="collateral",
            path="/api/positions/current/collateral",
            parse=parse_collateral,
            max_age_days=2,
        ),
    ]
    async for batch in documents.read(feed, requests):
        yield batch


def parse_status(raw: Raw) -> list[Row]:
    """Backing and reserve fund against the supply; the page states no identity to check."""
    body = raw.json()
    fields = ("totalBackingAssetsInUsd", "totalReserveFundInUsd", "totalTokenSupplyInUsd")
    if not isinstance(body, dict) or not all(f in body for f in (*fields, "timestamp")):
        raise SchemaChanged(f"expected {', '.join(fields)} and timestamp")
    backing, fund, supplied = (exact(body[f], f) for f in fields)
    stamp = str(body["timestamp"])
    try:
        if not stamp.endswith(" UTC"):
            raise ValueError
        when = numbers.moment(stamp.removesuffix(" UTC") + "Z", None)
    except ValueError:
        raise SchemaChanged(f"timestamp is {visible(stamp, 40)!r}") from None
    disclosure = Disclosure(
        raw=raw,
        token="USDe",
        issuer="Ethena",
        kind="protocol status",
        evidence=PAGE,
        as_of=when.date(),
    )
    return disclosure.statement(
        assets=backing + fund,
        liabilities=supplied,
        lines=[
            ReserveLine("Backing assets", UNCLASSIFIED, backing),
            ReserveLine("Reserve fund", UNCLASSIFIED, fund),
        ],
        gate="none: the page states no sum",
    )


def parse_collateral(raw: Raw) -> list[Row]:
    """Collateral by asset and place. Raises Irreconcilable unless it adds up to the backing."""
    body = raw.json()
    if not isinstance(body, dict) or not isinstance(body.get("collateral"), list):
        raise SchemaChanged("there is no list `collateral`")
    stated = exact(body.get("totalBackingAssetsInUsd"), "totalBackingAssetsInUsd")
    lines = []
    stamps = []
    for entry in body["collateral"]:
        if not isinstance(entry, dict) or not {"asset", "usdAmount", "timestamp"} <= set(entry):
            raise SchemaChanged("a collateral entry has no asset, usdAmount and timestamp")
        name = visible(str(entry["asset"]), 40)
        where = visible(str(entry.get("exchange") or ""), 40)
        lines.append(
            ReserveLine(
                f"{name}, {where}" if where else name,
                ASSETS.get(name, UNCLASSIFIED),
                exact(entry["usdAmount"], f"usdAmount of {name}"),
            )
        )
        stamps.append(_time(entry["timestamp"]))
    if not lines:
        raise SchemaChanged("`collateral` is empty")
    assets = formats.total(x.usd for x in lines)
    if abs(assets - stated) > TOLERANCE * stated:
        raise Irreconcilable(
            f"the collateral adds up to {assets:,f}, stated are {stated:,f}: "
            f"more than {TOLERANCE:.1%} apart"
        )
    disclosure = Disclosure(
        raw=raw,
        token="USDe",
        issuer="Ethena",
        kind="protocol collateral",
        evidence=PAGE,
        as_of=max(stamps).date(),
    )
    return disclosure.statement(
        assets=assets,
        lines=lines,
        gate=f"collateral = stated backing within {TOLERANCE:.1%}",
    )


def _time(value: object) -> datetime:
    """Unix seconds or milliseconds."""
    seconds = isinstance(value, int) and value < 10**10
    return formats.instant(value, "s" if seconds else "ms", "a collateral timestamp")
