"""What a cascade is computed under and from: assumptions, snapshots, order books, reserves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from chainwatch.chain.markets import ALL
from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.reports import headers, needs
from chainwatch.reports.betas import betas_text
from chainwatch.reports.needs import Heading
from chainwatch.text import suggest
from chainwatch.units import duration, price_text

# Bids within 1 % of the mid price in stress over those of normal times: the median of 5,142 events
# on 21 Binance perpetuals since 2023.
STRESS = 0.63
BAND = (1.0, STRESS, 0.1, 0.02)
# An order book whose mid price lies further from the oracle's price is of another asset.
NEAR_ORACLE = 0.2


class CascadeTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The assumptions of a cascade; shares as fractions, prices in the factor's own unit.

    `markets` are names with commas between, or all; `as_of` is the newest a block and an order book
    may be, None for the newest stored; `max_age` is the oldest an order book may be, in seconds,
    None for any age; `oracle_deviation` is how far oracles may lag, None for what the market file
    states. The last four are what a liquidator minds, see path_steps: USD, and the order
    in which pairs of assets are taken.
    """

    factor: str
    markets: str = ALL
    as_of: datetime | None = None
    betas: Mapping[str, float] = {}
    depth_scale: float = 1.0
    sigma: float = 0.03
    y: float = 1.0
    adv: float | None = None
    sold_share: float = 1.0
    absorbed: str = "later"
    oracle_deviation: float | None = None
    max_age: float | None = None
    order: str = "profit"
    gas_usd: float = 1.0
    min_profit_usd: float = 0.0
    dust_usd: float = 1.0

    @property
    def token(self) -> str:
        """The asset that is sold: of a ratio such as wstETH/ETH the first."""
        return self.factor.split("/")[0]

    @property
    def snapshots(self) -> dict[str, object]:
        """The parameters that choose snapshots."""
        return {"p_market": self.markets, "p_as_of": self.as_of}

    @property
    def places(self) -> dict[str, object]:
        """The parameters of queries of the factor without order books."""
        return {"p_factor": self.factor, **self.snapshots}

    @property
    def books(self) -> dict[str, object]:
        """The parameters that choose the factor's order books."""
        values: dict[str, object] = {"p_factor": self.factor, "p_as_of": self.as_of}
        return values if self.max_age is None else values | {"p_max_age": self.max_age}

    @property
    def liquidators(self) -> dict[str, object]:
        """The parameters that say which calls liquidators make."""
        return {
            "p_order": self.order,
            "p_gas_usd": self.gas_usd,
            "p_min_profit_usd": self.min_profit_usd,
            "p_dust_usd": self.dust_usd,
        }

    @property
    def values(self) -> dict[str, object]:
        """The parameters of all cascade queries but the scales."""
        values = (
            self.snapshots
            | self.books
            | {
                "p_sigma": self.sigma,
                "p_y": self.y,
                "p_sold_share": self.sold_share,
                "p_absorbed": self.absorbed,
                "p_betas": betas_text(self.betas),
            }
            | self.liquidators
        )
        return values if self.adv is None else values | {"p_adv": self.adv}

    @property
    def depths(self) -> tuple[float, ...]:
        """Multiples of the measured depth: those of the band, times the depth scale."""
        return tuple(self.depth_scale * scale for scale in BAND)

    @property
    def assumptions(self) -> dict[str, Any]:
        """What machine formats carry of the assumptions."""
        return {
            "depth_scale": self.depth_scale,
            "sigma_daily": self.sigma,
            "y": self.y,
            "adv": self.adv,
            "sold_share": self.sold_share,
            "absorbed": self.absorbed,
            "oracle_deviation": self.oracle_deviation,
            "betas": dict(self.betas),
            "order": self.order,
            "gas_usd": self.gas_usd,
            "min_profit_usd": self.min_profit_usd,
            "dust_usd": self.dust_usd,
            "permanence": 1.0,
        }


class Basis(msgspec.Struct, frozen=True):
    """The heading of a cascade's reports, and the factor's price now."""

    heading: Heading
    spot: float


def basis(catalog: Catalog, terms: CascadeTerms) -> Basis:
    """The snapshots, order books and protocol reserves that a cascade is computed from.

    Raises UsageError without a snapshot, for an unknown factor or beta, and where no order book
    is stored (unless a daily volume is given), all are too old, or one is of another asset.
    """
    factors = query.run(catalog, query.find("factors_at"), terms.snapshots).dicts()
    names = {str(row["factor"]).lower(): str(row["factor"]) for row in factors}
    for name in terms.betas:
        if names and name.lower() not in names:
            raise UsageError(
                f"--beta: no factor is called {name!r}; {suggest(name, names.values())}"
                f"known: {', '.join(sorted(names.values()))}"
            )
    call = needs.read_call(
        query.find("break_levels"), terms.places | {"p_betas": betas_text(terms.betas)}
    )
    headings = needs.read(catalog, call)
    prices = [
        float(row["factor_price"])
        for row in factors
        if str(row["factor"]).lower() == terms.factor.lower() and row["factor_price"] is not None
    ]
    if not prices:
        raise UsageError(
            f"expected a price of {terms.factor}, got none: its feed gives no usable one"
        )
    spot = max(prices)
    books = _books(catalog, terms, spot)
    absorbing = _absorbing(catalog, terms)
    own = Heading(
        [
            *headers.axis_lines(headings["factors"].meta["axes"], terms.factor),
            *_book_lines(books, terms),
            *(_reserves_line(market) for market in absorbing),
            _model_line(catalog, terms, books),
        ],
        {"depth": books, "model": terms.assumptions}
        | ({"absorbing": absorbing} if absorbing else {}),
    )
    return Basis(needs.join([*headings.values(), own]), spot)


def _books(catalog: Catalog, terms: CascadeTerms, spot: float) -> list[dict[str, Any]]:
    """One entry per order book that is used, with its age, reach and depth."""
    stored = query.run(
        catalog,
        query.find("books_at"),
        {"p_factor": terms.factor, "p_as_of": terms.as_of},
    ).dicts()
    command = f"`chainwatch collect depth --only {_depth_name(terms.factor)}`"
    if not stored:
        if terms.adv is not None:
            return []
        raise UsageError(
            f"no order book of {terms.factor} is stored: run {command}, or "
            "give --adv UNITS for the square-root law alone"
        )
    fresh = [b for b in stored if terms.max_age is None or b["age_seconds"] <= terms.max_age]
    if not fresh:
        age = duration(min(b["age_seconds"] for b in stored))
        raise UsageError(
            f"the newest order book of {terms.factor} is {age} old: {command} reads it again, "
            "--max-depth-age 2d accepts it"
        )
    for book in fresh:
        if abs(book["mid_price"] / spot - 1) > NEAR_ORACLE:
            raise UsageError(
                f"expected a mid price near the oracle's {terms.factor}, {price_text(spot)}, got "
                f"{price_text(book['mid_price'])} in the book {book['venue']} {book['symbol']}: it "
                "is of another symbol, or of another time than the snapshot"
            )
    return fresh


def _depth_name(factor: str) -> str:
    """What `collect depth --only` takes for the factor: its base, or a pair of a venue to name."""
    return f'"VENUE {factor}"' if "/" in factor else factor


def _book_lines(books: list[dict[str, Any]], terms: CascadeTerms) -> list[str]:
    if books:
        return [_book_line(book) for book in books]
    return [f"depth: no order book of {terms.factor} is stored, the square-root law alone"]


def _book_line(book: Mapping[str, Any]) -> str:
    label = ", DEMO DATA" if book["provenance"] == "demo" else ""
    volume = book["volume_24h"]
    traded = "24 h volume n/a" if volume is None else f"{volume:,.6g} traded in 24 h"
    usual = (
        f"median n/a ({book['median_books']} of 10 books of 30 days stored)"
        if book["depth_share"] is None
        else f"{book['depth_share']:.0%} of their median over 30 days"
    )
    return (
        f"depth {book['venue']} {book['symbol']} ({book['kind']}{label}): "
        f"{book['time']:%Y-%m-%d %H:%M:%S}Z, {headers.age_words(book['age_seconds'])}; "
        f"mid price {price_text(book['mid_price'])}; bids of {book['bid_units']:,.6g} "
        f"{book['factor'].split('/')[0]} within {book['bid_reach']:.1%}, as far as the venue "
        f"showed them; within 1 % {usual}; {traded}"
    )


def _absorbing(catalog: Catalog, terms: CascadeTerms) -> list[dict[str, Any]]:
    """The markets that absorb whole accounts, with their own reserves and the target."""
    columns = ("market", "reserves_usd", "target_reserves_usd")
    markets = query.run(catalog, query.find("snapshots_at"), terms.snapshots).dicts()
    return [
        {name: row[name] for name in columns}
        for row in sorted(markets, key=lambda row: str(row["market"]))
        if row["absorbs"]
    ]


def _reserves_line(market: Mapping[str, Any]) -> str:
    """Whether a market's reserves let it sell what it absorbs, or why that is not known."""
    own, target = market["reserves_usd"], market["target_reserves_usd"]
    if own is not None and target is not None:
        sells = "it does not sell what it absorbs" if own >= target else "what it absorbs is sold"
        figures = f"{round(own):,} USD of a target of {round(target):,}"
        return f"{market['market']}: reserves {figures}: {sells}"
    if own is None and target is None:
        why = "they were not read, or their asset has no USD price"
    else:
        why = f"{'getReserves' if own is None else 'targetReserves'} gave no answer"
    return f"{market['market']}: reserves n/a ({why}): counted as below their target"


def _liquidators_words(terms: CascadeTerms) -> str:
    """What is assumed of liquidators, in words."""
    pair = "the pair with the most valuable bonus" if terms.order == "profit" else "largest first"
    floor = terms.gas_usd + terms.min_profit_usd
    return (
        f"liquidators call at once and again ({pair}) where the bonus is worth {floor:,.6g} USD "
        f"or more, not below {terms.dust_usd:,.6g} USD of debt"
    )


def _demand_words(terms: CascadeTerms, books: list[dict[str, Any]]) -> str:
    """What takes the sales, and what would and is left out."""
    if not books:
        return "no book is stored, the law is all the demand: "
    venues = ", ".join(dict.fromkeys(f"{book['kind']} {book['venue']}" for book in books))
    return (
        f"the books' bids × {terms.depth_scale:g} are all the demand (a lower bound: {venues}; "
        "without pools on chain, where liquidators often sell, and other venues), beyond it "
    )


def _model_line(catalog: Catalog, terms: CascadeTerms, books: list[dict[str, Any]]) -> str:
    (volume,) = query.run(catalog, query.find("traded_daily"), terms.books).dicts()
    adv = terms.adv if terms.adv is not None else volume["units"]
    beyond = (
        f"{terms.y:g} × {terms.sigma:.1%} a day × √(units / {adv:,.6g} a day)"
        if adv is not None
        else "the last slope continues (no daily volume is known)"
    )
    words = [
        f"MODEL: {_demand_words(terms, books)}{beyond}",
        f"{terms.sold_share:.0%} of what is seized is sold at once and stays sold, staking "
        "tokens as what they stand for, without a discount",
        f"what is absorbed by a protocol is sold {terms.absorbed}",
        _liquidators_words(terms),
    ]
    if terms.oracle_deviation is not None:
        words.append(f"oracles lag by up to {terms.oracle_deviation:.2%}")
    if terms.betas:
        moves = ", ".join(f"{name.upper()} × {beta:g}" for name, beta in terms.betas.items())
        words.append(f"also moving: {moves}")
    return "; ".join(words)
