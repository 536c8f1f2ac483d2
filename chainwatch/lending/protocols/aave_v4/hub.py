"""The hubs of an Aave v4 spoke: what it and the other spokes have drawn of their liquidity.

Source: aave/aave-v4 (Hub); the ABI is that of @aave-dao/aave-address-book (IHubV4).
"""

from __future__ import annotations

from chainwatch.chain.reading import Reading
from chainwatch.lending.integers import RAY, unit_of
from chainwatch.lending.protocol import DebtTotal
from chainwatch.lending.protocols.aave_v4.spoke import HUB, SpokeState

GET_SPOKE_DRAWN_SHARES = HUB.function("getSpokeDrawnShares")
GET_SPOKE_COUNT = HUB.function("getSpokeCount")
GET_SPOKE_ADDRESS = HUB.function("getSpokeAddress")


async def read_debt_totals(reading: Reading, state: SpokeState) -> list[DebtTotal]:
    """The drawn shares that the hubs count for the spoke, by reserve (Hub.getSpokeDrawnShares).

    Premium is in them in proportion only; it is a small part of a debt.
    """
    reserves = list(state.reserves.values())
    shares = await reading.ask(
        [GET_SPOKE_DRAWN_SHARES(r.listing.hub, r.listing.asset_id, reading.pool) for r in reserves]
    )
    return [
        DebtTotal(asset=r.key, measure="drawn shares", total=drawn, raw=drawn * r.index // RAY)
        for r, drawn in zip(reserves, shares, strict=True)
    ]


async def read_other_debtors(reading: Reading, state: SpokeState) -> dict[str, float]:
    """USD that other spokes owe the hubs in the assets of this one, by spoke, above 0.

    Assets without a price are left out. A hub lists fee receivers and vaults, too: they draw
    nothing.
    """
    assets = {
        (r.listing.hub, r.listing.asset_id): r.price_usd * r.index / RAY / unit_of(r.decimals)
        for r in state.reserves.values()
        if r.price_usd is not None
    }
    counts = await reading.ask([GET_SPOKE_COUNT(*asset) for asset in assets])
    places = [
        (*asset, i) for asset, count in zip(assets, counts, strict=True) for i in range(count)
    ]
    spokes = await reading.ask([GET_SPOKE_ADDRESS(*place) for place in places])
    others = [
        (hub, number, spoke)
        for (hub, number, _), spoke in zip(places, spokes, strict=True)
        if spoke != reading.pool
    ]
    drawn = await reading.ask([GET_SPOKE_DRAWN_SHARES(*other) for other in others])
    owed: dict[str, float] = {}
    for (hub, number, spoke), shares in zip(others, drawn, strict=True):
        if shares:
            owed[spoke] = owed.get(spoke, 0.0) + shares * assets[hub, number]
    return owed
