"""What a Morpho oracle is made of: base feeds 1 · 2 / (quote feeds 1 · 2), and vaults' rates.

Sources: morpho-org/morpho-blue-oracles e32d890 (MorphoChainlinkOracleV2), and its first version
(MorphoChainlinkOracle), which has one vault, of the collateral.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from chainwatch.chain.contract import Contract
from chainwatch.chain.reading import Reading
from chainwatch.lending.exposures import (
    FIXED,
    MEASURED,
    NONLINEAR,
    UNKNOWN,
    Exposure,
    combine,
    convert_to_usd,
)
from chainwatch.lending.measured_exposures import measured_exposures
from chainwatch.lending.oracles import currency_exposure, infer
from chainwatch.lending.price_sources import Quote, read_quotes
from chainwatch.lending.probing import Measured, measure
from chainwatch.lending.protocol import NO_ADDRESS

ORACLE = Contract("morpho_oracle", "an oracle of Morpho")
PRICE = ORACLE.function("price")
PARTS = [
    ORACLE.function(name)
    for name in (
        "BASE_FEED_1",
        "BASE_FEED_2",
        "QUOTE_FEED_1",
        "QUOTE_FEED_2",
        "BASE_VAULT",
        "QUOTE_VAULT",
    )
]
VAULT = ORACLE.function("VAULT")
SAME = 1e-9


class OraclePrice(msgspec.Struct, frozen=True):
    """A market's price: its oracle, the collateral's symbol, and the loan tokens that a whole token
    of collateral is worth."""

    oracle: str
    symbol: str
    worth: float | None


# What moves the collateral of a market, and what its loan token.
Sides = tuple[tuple[Exposure, ...], tuple[Exposure, ...]]


class OracleReading(msgspec.Struct, frozen=True):
    """Oracles at a block: prices, feeds and vaults by oracle; quotes by feed.

    `currency` is the exposure of what the market table's quote feed prices, None without one.
    """

    prices: dict[str, int | None]
    parts: dict[str, tuple[str, ...]]
    quotes: Mapping[str, Quote]
    currency: Exposure | None

    @property
    def feeds(self) -> list[str]:
        """All feeds that the oracles name."""
        named = {f for parts in self.parts.values() for f in parts[:4]}
        return sorted(named - {NO_ADDRESS})

    def loan_usd(self, oracle: str, worth: float | None) -> float | None:
        """USD per loan token; the market table may name a feed for another unit than USD."""
        parts = self.parts[oracle]
        if not self._explains(parts, worth):
            return None
        value, unit, own = self._product(parts[2:4]), self._unit(parts), self.currency
        if unit == "USD":
            return value
        if own and own.price and value and unit == own.factor:
            return value * own.price
        return None

    def sides(self, price: OraclePrice, factors: Mapping[str, Sequence[Exposure]]) -> Sides:
        """What moves either side, by the oracle's getters; `factors` are those of its feeds.

        Where the feeds do not give the price, it is a factor of its own, counted in loan tokens.
        """
        oracle, worth = price.oracle, price.worth
        parts = self.parts[oracle]
        if self._explains(parts, worth):
            return self._sides(parts, price.symbol, worth, factors)
        own = Exposure(f"feed:{oracle}", 1.0, "unknown", oracle, "", worth, evidence=UNKNOWN)
        return (own,), (_fixed(oracle),)

    def in_usd(self, oracle: str, sides: Sides) -> Sides:
        """The same by the factors that move USD values, where the unit of the price has a feed."""
        own = self.currency
        if own is not None and own.factor == self._unit(self.parts[oracle]):
            return convert_to_usd(sides[0], own), convert_to_usd(sides[1], own)
        return sides

    def _product(self, feeds: Iterable[str]) -> float | None:
        """The product of feeds' answers, 1 for those that are left out; None if one has none."""
        product = 1.0
        for feed in feeds:
            if feed == NO_ADDRESS:
                continue
            answer = self.quotes[feed].answer
            if answer is None:
                return None
            product *= answer
        return product

    def _explains(self, parts: Sequence[str], worth: float | None) -> bool:
        """Whether the price is what the oracle's feeds give; a vault's rate may be anything."""
        if not parts or worth is None:
            return False
        base, quote = self._product(parts[:2]), self._product(parts[2:4])
        if not base or not quote:
            return False
        has_vault = parts[4] != NO_ADDRESS or parts[5] != NO_ADDRESS
        return has_vault or abs(worth * quote / base - 1) < SAME

    def _unit(self, parts: Sequence[str]) -> str | None:
        """The unit of the price: that of its last base feed, else of its last quote feed."""
        ends = [f for f in parts[:2] if f != NO_ADDRESS]
        ends = ends or [f for f in parts[2:4] if f != NO_ADDRESS]
        return self.quotes[ends[-1]].unit if ends else None

    def _sides(
        self,
        parts: Sequence[str],
        symbol: str,
        worth: float | None,
        factors: Mapping[str, Sequence[Exposure]],
    ) -> Sides:
        base, quote = self._product(parts[:2]), self._product(parts[2:4])
        rate = worth * quote / base if worth and base and quote else None
        sides = []
        for feeds, vault, label in (
            (parts[:2], parts[4], symbol),
            (parts[2:4], parts[5], "loan"),
        ):
            exposures = [e for f in feeds if f != NO_ADDRESS for e in factors[f]]
            if vault != NO_ADDRESS:
                is_alone = parts[4] == NO_ADDRESS or parts[5] == NO_ADDRESS
                exposures.append(
                    Exposure(
                        factor=f"vault:{vault}",
                        beta=1.0,
                        kind="ratio",
                        feed=vault,
                        description=f"exchange rate of {label}",
                        price=rate if is_alone and vault == parts[4] else None,
                    )
                )
            sides.append(combine(exposures) if exposures else (_fixed(NO_ADDRESS),))
        return sides[0], sides[1]


async def read_oracles(reading: Reading, addresses: Iterable[str]) -> OracleReading:
    """Oracles at a block, with the feeds that they name."""
    answers = await reading.ask_each(
        sorted(set(addresses)), lambda oracle: [f.maybe(oracle) for f in (PRICE, *PARTS, VAULT)]
    )
    named = OracleReading(
        prices={oracle: price for oracle, (price, *_) in answers.items()},
        parts={oracle: _parts(parts) for oracle, (_, *parts) in answers.items()},
        quotes={},
        currency=None,
    )
    quote_feed = reading.market.quote_feed
    quotes = await read_quotes(reading, [*named.feeds, *([quote_feed] if quote_feed else [])])
    return msgspec.structs.replace(
        named,
        quotes=quotes,
        currency=currency_exposure(quote_feed, quotes[quote_feed]) if quote_feed else None,
    )


def _parts(named: Sequence[str | None]) -> tuple[str, ...]:
    """Four feeds and two vaults; nothing where an oracle does not name all of them."""
    *feeds, base_vault, quote_vault, vault = named
    if base_vault is None and quote_vault is None and vault is not None:
        base_vault, quote_vault = vault, NO_ADDRESS
    parts = tuple(p for p in (*feeds, base_vault, quote_vault) if p is not None)
    return parts if len(parts) == len(PARTS) else ()


async def read_sides(reading: Reading, prices: Mapping[str, OraclePrice]) -> dict[str, Sides]:
    """What moves either side of each market.

    An oracle gives the price of one side in the other, so that only what moves their ratio can be
    measured. Where that is what its getters say, they say what belongs to which side, also for a
    feed that both have. Else what multiplies the price is the collateral's, what divides it the
    loan token's.
    """
    oracles = await read_oracles(reading, [p.oracle for p in prices.values()])
    factors = await infer(reading, {f: f for f in oracles.feeds})
    measured = await measure(reading, {o: PRICE.call(o) for o in oracles.prices})
    if measured is not None and oracles.currency is not None:
        currency = msgspec.structs.replace(oracles.currency, evidence=MEASURED)
        oracles = msgspec.structs.replace(oracles, currency=currency)
    sides = {}
    for market, price in prices.items():
        inferred = oracles.sides(price, factors)
        own = inferred if measured is None else _measured_sides(measured, price, inferred)
        sides[market] = oracles.in_usd(price.oracle, own)
    return sides


def _measured_sides(measured: Measured, price: OraclePrice, inferred: Sides) -> Sides:
    if price.oracle not in measured.responses:
        return inferred
    ratio = measured_exposures(measured, price.oracle, price.symbol, [*inferred[0], *inferred[1]])
    net: dict[str, float] = {}
    for side, sign in zip(inferred, (1, -1), strict=True):
        for e in side:
            net[e.factor] = net.get(e.factor, 0.0) + sign * e.beta
    plain = all(e.kind != NONLINEAR and e.cap_x is e.floor_x is None for e in ratio)
    if plain and {f: b for f, b in net.items() if b} == {e.factor: e.beta for e in ratio if e.beta}:
        evidence = {e.factor: e.evidence for e in ratio}
        collateral, loan = (
            tuple(
                msgspec.structs.replace(e, evidence=evidence.get(e.factor, MEASURED)) for e in side
            )
            for side in inferred
        )
        return collateral, loan
    above = [e for e in ratio if e.beta > 0 or e.kind == NONLINEAR]
    below = [msgspec.structs.replace(e, beta=-e.beta) for e in ratio if e not in above and e.beta]
    fixed = (_fixed(NO_ADDRESS),)
    return combine(above) if above else fixed, combine(below) if below else fixed


def _fixed(feed: str) -> Exposure:
    return Exposure(FIXED, 0.0, "fixed", feed, "counted as its unit", 1.0)
