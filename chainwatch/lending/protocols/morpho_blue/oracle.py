"""What a Morpho oracle is made of: base feeds 1 · 2 / (quote feeds 1 · 2), and vaults' rates.

Source: morpho-org/morpho-blue-oracles e32d890 (MorphoChainlinkOracleV2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from chainwatch.chain.contract import Contract
from chainwatch.chain.reading import Reading
from chainwatch.lending.exposures import FIXED, Exposure, combine, convert_to_usd
from chainwatch.lending.oracles import currency_exposure, resolve
from chainwatch.lending.price_sources import Quote, read_quotes
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
SAME = 1e-9


class OracleReading(msgspec.Struct, frozen=True):
    """Oracles at a block: prices, feeds and vaults by oracle; quotes and factors by feed.

    `currency` is the exposure of what the market table's quote feed prices, None without one.
    """

    prices: dict[str, int | None]
    parts: dict[str, tuple[str, ...]]
    quotes: Mapping[str, Quote]
    factors: Mapping[str, tuple[Exposure, ...]]
    currency: Exposure | None

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

    def moves(
        self, oracle: str, symbol: str, worth: float | None
    ) -> tuple[tuple[Exposure, ...], tuple[Exposure, ...]]:
        """The factors of the collateral of that symbol, and of the loan token.

        `worth` is the oracle's price of a whole token. Where the feeds do not give it, the price
        is a factor of its own, counted in loan tokens.
        """
        parts, own = self.parts[oracle], self.currency
        if not self._explains(parts, worth):
            return (
                (Exposure(f"feed:{oracle}", 1.0, "unknown", oracle, "", worth),),
                (_fixed(oracle),),
            )
        sides = self._sides(parts, symbol, worth)
        if own is not None and own.factor == self._unit(parts):
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
        self, parts: Sequence[str], symbol: str, worth: float | None
    ) -> tuple[tuple[Exposure, ...], tuple[Exposure, ...]]:
        base, quote = self._product(parts[:2]), self._product(parts[2:4])
        rate = worth * quote / base if worth and base and quote else None
        sides = []
        for feeds, vault, label in (
            (parts[:2], parts[4], symbol),
            (parts[2:4], parts[5], "loan"),
        ):
            exposures = [e for f in feeds if f != NO_ADDRESS for e in self.factors[f]]
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
    rpc, block, quote_feed = reading.rpc, reading.block, reading.market.quote_feed
    answers = await reading.ask_each(
        sorted(set(addresses)), lambda oracle: [f.maybe(oracle) for f in (PRICE, *PARTS)]
    )
    parts = {o: () if None in named else tuple(named) for o, (_, *named) in answers.items()}
    feeds = sorted({f for named in parts.values() for f in named[:4] if f != NO_ADDRESS})
    quotes = await read_quotes(rpc, [*feeds, *([quote_feed] if quote_feed else [])], block)
    return OracleReading(
        prices={oracle: price for oracle, (price, *_) in answers.items()},
        parts=parts,
        quotes=quotes,
        factors=await resolve(rpc, {f: f for f in feeds}, block),
        currency=currency_exposure(quote_feed, quotes[quote_feed]) if quote_feed else None,
    )


def _fixed(feed: str) -> Exposure:
    return Exposure(FIXED, 0.0, "fixed", feed, "counted as its unit", 1.0)
