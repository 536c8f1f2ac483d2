"""The wall proven: what is predicted at other prices, beside what the contracts say at them.

Within a call the feeds of a factor answer x times what they do (`chain.overrides`). The market is
read anew under that, by the same code, and its accounts are asked for: verdicts have to be those
that the triggers predict, and every figure the contracts', as integers.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import TypeVar

import msgspec

from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Overrides
from chainwatch.collect.predictions import PredictedTrigger, PredictedWall
from chainwatch.collect.source import Feed
from chainwatch.errors import NetworkError, Reorged
from chainwatch.lending.parts import in_parts
from chainwatch.lending.price_sources import pair, read_quotes
from chainwatch.lending.probing import ScalableContracts, read_scalable
from chainwatch.lending.protocol import (
    Figure,
    LendingProtocol,
    Opened,
    Stored,
    Valued,
    name_parts,
    scoped_name,
)
from chainwatch.lending.snapshots import Stamp
from chainwatch.lending.valuation import account_rows
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Factor, Mismatch, Snapshot, WallProof

P = TypeVar("P")

NEAR = 200  # accounts asked for on account of their trigger, for each price
OTHERS = 100  # and of the rest
# Prices to ask at, over the price now, where few accounts have a trigger.
USUAL = {"down": (0.95, 0.85, 0.7), "up": (1.1, 1.3)}
QUANTILES = {"down": (0.2, 0.5, 0.8), "up": (0.3, 0.7)}
# How near its trigger an account is not asked for: rounding of the price, and of an average
# threshold to 1 bp, decide there.
LEAST_DISTANCE = 3e-4


class _Prover(msgspec.Struct, frozen=True):
    """What all proofs of a snapshot have in common."""

    feed: Feed
    snapshot: Snapshot
    reading: Reading
    opened: Opened
    verified_at: datetime

    def proof(self, factor: str, x: float | None, **figures: object) -> WallProof:
        return WallProof(
            snapshot=self.snapshot.snapshot,
            market=self.snapshot.market,
            block_number=self.snapshot.block_number,
            factor=factor,
            x=x,
            verified_at=self.verified_at,
            endpoint=self.reading.rpc.host,
            **figures,  # type: ignore[arg-type]
        )

    def no_proof(self, reason: str) -> WallProof:
        """A row that says why nothing, or nothing more, could be asked."""
        status = f"n/a ({reason})"
        return self.proof("", None, checked=0, mismatched=0, undecided=0, status=status)

    def mismatch(self, factor: str, x: float, name: str, **figure: str) -> Mismatch:
        """One figure of an account that differs there; `figure` as in mismatches."""
        account, position = name_parts(name)
        return Mismatch(
            snapshot=self.snapshot.snapshot,
            market=self.snapshot.market,
            block_number=self.snapshot.block_number,
            verified_at=self.verified_at,
            account=account,
            position=position,
            factor=factor,
            x=x,
            **figure,
        )


async def prove_walls(
    feed: Feed,
    lending: LendingProtocol[P],
    snapshot: Snapshot,
    reading: Reading,
    accounts: Mapping[str, Stored[P]],
    walls: Sequence[PredictedWall],
) -> list[Row]:
    """A WallProof for each factor and price, with a Mismatch for each figure that differs.

    Where the endpoint takes no state overrides, or gives up on one, a WallProof without a price
    says so, and nothing more is asked.
    """
    opened = await lending.open(reading)
    prover = _Prover(feed, snapshot, reading, opened, feed.now())
    if not await reading.rpc.can_override():
        return [prover.no_proof("the endpoint takes no state overrides")]
    factors = await feed.stored(Factor, "snapshot = $s", s=snapshot.snapshot)
    rows: list[Row] = []
    try:
        for wall in walls:
            feeds = await _read_feeds(prover.reading, factors, wall.factor)
            for x in prices_to_ask(wall.triggers):
                rows += await _prove(prover, lending, accounts, wall, feeds, x)
                feed.progress(f"{snapshot.market}: {wall.factor} × {x:.4g}", 1, 1)
    except Reorged:
        raise
    except NetworkError as failure:
        rows.append(prover.no_proof(str(failure)))
    return rows


def prices_to_ask(triggers: Sequence[PredictedTrigger]) -> list[float]:
    """Where to ask: between triggers, at some of their quantiles; multiples of the price now."""
    prices: list[float] = []
    for direction, quantiles in QUANTILES.items():
        reached = sorted(
            t.x for t in triggers if t.direction == direction and t.x and 0.02 < t.x < 50
        )
        if len(reached) <= len(quantiles):
            between = [_midpoint(reached, i) for i in range(len(reached))]
            usual = USUAL[direction]
            prices += (between + [x for x in usual if x not in between])[: len(usual)]
        else:
            places = [int(q * (len(reached) - 1)) for q in quantiles]
            prices += [_midpoint(reached, i) for i in places]
    return sorted(dict.fromkeys(round(x, 6) for x in prices))


def _midpoint(ordered: Sequence[float], i: int) -> float:
    """Between a trigger and the next one that is clearly farther away, or a little past it."""
    here = ordered[i]
    for other in ordered[i + 1 :]:
        if other > here * (1 + 4 * LEAST_DISTANCE):
            return (here + other) / 2
    return here * (1 + 1e-2)


def predicted_verdict(trigger: PredictedTrigger, x: float) -> bool | None:
    """Whether the account is liquidatable at x; None where that is not predicted."""
    if trigger.direction in ("n/a", "outside"):
        return None
    if trigger.x_min is not None and x <= trigger.x_min:
        return None
    if trigger.x_max is not None and x >= trigger.x_max:
        return None
    if trigger.direction == "now":
        return _still_liquidatable(trigger.recovers_at, x)
    if trigger.direction not in ("down", "up") or trigger.x is None:
        return False
    if abs(x / trigger.x - 1) <= max(LEAST_DISTANCE, trigger.tolerance or 0.0):
        return None
    return x < trigger.x if trigger.direction == "down" else x > trigger.x


def _still_liquidatable(recovers_at: float | None, x: float) -> bool | None:
    """Of an account that is liquidatable now: not on the other side of where it recovers."""
    if recovers_at is None:
        return None
    if abs(x / recovers_at - 1) <= LEAST_DISTANCE or 1 - LEAST_DISTANCE <= recovers_at <= 1:
        return None
    return (x < recovers_at) == (recovers_at > 1)


class _FactorFeeds(msgspec.Struct, frozen=True):
    """The feeds that move with a factor, as they are at the block: the same for every price."""

    factor: str
    factors: Sequence[Factor]
    quote_feed: str | None
    answers: Mapping[str, float]
    contracts: ScalableContracts

    def overrides(self, x: float) -> Overrides:
        """The code under which they answer as they would at x times the factor's price."""
        move = Fraction(x).limit_denominator(10**6)
        return self.contracts.overrides(
            feed_moves(self.factors, self.factor, move, self.quote_feed, self.answers)
        )


async def _read_feeds(reading: Reading, factors: Sequence[Factor], factor: str) -> _FactorFeeds:
    own = [f for f in factors if f.factor == factor]
    capped = {feed for f in own if f.cap_x is not None for feed in f.feed.split()}
    quotes = await read_quotes(reading, sorted(capped))
    answers = {feed: q.answer for feed, q in quotes.items() if q.answer is not None}
    quote_feed = reading.market.quote_feed
    moving = feed_moves(factors, factor, Fraction(1), quote_feed, answers)
    contracts = await read_scalable(reading, sorted(moving))
    return _FactorFeeds(factor, factors, quote_feed, answers, contracts)


async def _prove(
    prover: _Prover,
    lending: LendingProtocol[P],
    accounts: Mapping[str, Stored[P]],
    wall: PredictedWall,
    feeds: _FactorFeeds,
    x: float,
) -> list[Row]:
    overrides = feeds.overrides(x)
    reading = msgspec.structs.replace(prover.reading, overrides=overrides)
    predicted = {scoped_name(t.account, t.position): predicted_verdict(t, x) for t in wall.triggers}
    names = _to_ask(wall.triggers, x, prover.snapshot.block_hash)
    held = {name: accounts[name] for name in names if name in accounts}
    mismatches: list[Row] = []
    wrong: set[str] = set()
    undecided = 0
    moved, figures = await _read_moved(prover, lending, reading, held)
    for figure in figures:
        if figure.ours != figure.chain:
            wrong.add(figure.account)
            mismatches.append(prover.mismatch(wall.factor, x, figure.account, **_differing(figure)))
    for name, valued in moved.items():
        expected = predicted[name]
        # Where interest that is not accrued yet decides, both verdicts are right in their way.
        verdict, accrued = valued.liquidatable, valued.liquidatable_accrued
        if expected is None or verdict is None or (accrued is not None and accrued != verdict):
            undecided += 1
        elif expected != verdict:
            wrong.add(name)
            verdicts = {"ours": _verdict(expected), "chain": _verdict(verdict)}
            mismatches.append(prover.mismatch(wall.factor, x, name, figure="verdict", **verdicts))
    proof = prover.proof(
        wall.factor,
        x,
        checked=len(moved),
        mismatched=len(wrong),
        undecided=undecided,
        feeds=" ".join(sorted(a for a in overrides if a in _feeds(feeds.factors))),
    )
    return [*mismatches, proof]


async def _read_moved(
    prover: _Prover,
    lending: LendingProtocol[P],
    reading: Reading,
    held: Mapping[str, Stored[P]],
) -> tuple[dict[str, Valued], list[Figure]]:
    """Accounts valued at the moved prices, and these figures beside the contracts'."""
    opened = await lending.open(reading)
    positions = {name: stored.position for name, stored in held.items()}
    positions |= await lending.refresh(reading, opened, positions)
    view = await lending.read_market(reading, opened, positions)
    stamp = Stamp(
        snapshot=prover.snapshot.snapshot,
        reading=reading,
        read_at=prover.verified_at,
        scope=prover.snapshot.scope,
        accounts_read=0,
        based_on=None,
    )
    moved: dict[str, Valued] = {}
    figures: list[Figure] = []
    for _, part in in_parts(list(held)):
        stored: dict[str, Stored[P]] = {}
        for name in part:
            valued = moved[name] = lending.value(view.state, name, positions[name])
            row, legs = account_rows(stamp, view, name, held[name].row.read_block, valued)
            stored[name] = Stored(row, legs, positions[name])
        figures += await lending.chain_figures(reading, opened, stored)
    return moved, figures


def _to_ask(triggers: Sequence[PredictedTrigger], x: float, seed: str) -> list[str]:
    """The accounts whose triggers are nearest, and some others, the same for the same block."""
    near = sorted(
        (t for t in triggers if t.direction in ("down", "up") and t.x),
        key=lambda t: (abs((t.x or 1.0) / x - 1), t.account, t.position),
    )[:NEAR]
    names = {scoped_name(t.account, t.position) for t in near}
    rest = sorted({scoped_name(t.account, t.position) for t in triggers} - names)
    pick = random.Random(f"{seed} {x}")
    return [*sorted(names), *pick.sample(rest, min(OTHERS, len(rest)))]


def feed_moves(
    factors: Iterable[Factor],
    factor: str,
    x: Fraction,
    quote_feed: str | None,
    answers: Mapping[str, float],
) -> dict[str, Fraction]:
    """By feed, what its answer is multiplied by as a factor moves.

    A feed of the factor itself is multiplied. Where the price is at its cap already the factor
    counts from the cap: `answers` are the feeds' own. Where a market counts in that factor (its
    quote feed prices it), a feed that gives another asset in units of it is divided: that asset's
    value in USD stays. What is a kind of the factor keeps its exchange rate.
    """
    moves: dict[str, Fraction] = {}
    rows = list(factors)
    counts_in = any(f.factor == factor and f.feed == quote_feed for f in rows)
    for row in rows:
        names = pair(row.description)
        if row.factor == factor:
            for feed in row.feed.split():
                moves[feed] = x * _from_cap(row, answers.get(feed))
        elif counts_in and names and names[1] == factor and factor not in names[0]:
            moves.update(dict.fromkeys(row.feed.split(), 1 / x))
    return moves


def _from_cap(row: Factor, answer: float | None) -> Fraction:
    """What is left of a feed's answer at the cap of the price; 1 below it."""
    if row.cap_x is None or row.cap_x > 1 or not answer or not row.factor_price:
        return Fraction(1)
    return min(Fraction(row.factor_price) / Fraction(answer), Fraction(1)).limit_denominator(10**9)


def _feeds(factors: Iterable[Factor]) -> set[str]:
    return {feed for row in factors for feed in row.feed.split()}


def _differing(figure: Figure) -> dict[str, str]:
    """Name and both sides of a figure, as in mismatches."""
    return {
        "figure": figure.name,
        "ours": figure.why_not_ours if figure.ours is None else str(int(figure.ours)),
        "chain": "reverted" if figure.chain is None else str(int(figure.chain)),
    }


def _verdict(liquidatable: bool) -> str:
    return "liquidatable" if liquidatable else "not liquidatable"
