"""How a wall moved from one day to another, and what moved it.

The older state becomes the newer one in steps, in a fixed order with everything else held: price,
new borrowing, repayment, collateral added and withdrawn, interest, liquidation, parameters. The
wall is computed after each; a part is the difference that its step makes. Walls are decimals of
six places, so that the parts add up to the whole exactly.

Two snapshots show the net of what an owner did in between: borrowing and repaying the same amount
is no change. Liquidations come from their events; where these were not collected, they count as
repayment and withdrawal.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from chainwatch.chain.markets import ALL, market_names
from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.store import Store
from chainwatch.lending.close_rules import CloseRule
from chainwatch.reports.headers import excluded_accounts
from chainwatch.reports.validation import require_markets

PARTS = (
    "price",
    "new borrowing",
    "repayment",
    "collateral added",
    "collateral withdrawn",
    "interest",
    "liquidation",
    "parameters",
)
# What a wall consists of; each is split.
FIGURES = ("accounts", "collateral_at_risk_usd", "round_seizable_usd")


class WallRange(msgspec.Struct, frozen=True, kw_only=True):
    """Which wall: of a factor, what is liquidatable already or within `reach` (a share) of the
    price then, down or up; of one market, several with commas, or all."""

    factor: str
    market: str = "all"
    direction: str = "down"
    reach: float = 0.3


class MarketState(msgspec.Struct, frozen=True):
    """One market's older or newer snapshot."""

    market: str
    snapshot: str
    block_number: int
    block_time: datetime


class Part(msgspec.Struct, frozen=True):
    """The wall of a market after one step (the first has no part: it is the older wall)."""

    market: str
    part: str
    walls: dict[str, Decimal]
    changes: dict[str, Decimal]


class Mover(msgspec.Struct, frozen=True):
    """An account whose collateral at risk a step changed."""

    market: str
    part: str
    account: str
    position: str
    before_usd: Decimal
    change_usd: Decimal


class WallDifference(msgspec.Struct, frozen=True):
    """The parts of each market's move, oldest first, and the accounts behind them."""

    pairs: list[tuple[MarketState, MarketState]]
    parts: list[Part]
    movers: list[Mover]
    excluded_accounts: list[dict[str, Any]]


# A change below this is rounding: the account is not named.
DUST_USD = Decimal("0.01")

# The state after a step, as a snapshot of its own: $step counts from 0 (older) to 8 (newer).
_LEGS = """
SELECT $name AS snapshot, $name AS market, account, position, asset, side, amount,
       CASE WHEN $step = 0 THEN before_usd WHEN $step = 8 THEN after_usd
            ELSE amount * after_price END AS usd,
       0 AS scaled, 0 AS raw,
       CASE WHEN $step = 8 THEN after_lt_bps
            ELSE coalesce(before_lt_bps, after_lt_bps) END AS lt_bps,
       CASE WHEN $step = 8 THEN after_bonus_bps
            ELSE coalesce(before_bonus_bps, after_bonus_bps) END AS bonus_bps,
       CASE WHEN $step = 8 THEN after_category_priced
            ELSE coalesce(before_category_priced, after_category_priced) END AS category_priced
FROM (
  SELECT *, CASE
      WHEN $step = 0 THEN before_amount
      WHEN $step >= 7 THEN after_amount
      ELSE greatest(0e0, coalesce(before_amount, 0e0)
        + CASE WHEN side = 'debt' AND $step >= 2 THEN greatest(moved, 0e0) ELSE 0e0 END
        + CASE WHEN side = 'debt' AND $step >= 3 THEN least(moved, 0e0) ELSE 0e0 END
        + CASE WHEN side <> 'debt' AND $step >= 4 THEN greatest(moved, 0e0) ELSE 0e0 END
        + CASE WHEN side <> 'debt' AND $step >= 5 THEN least(moved, 0e0) ELSE 0e0 END
        + CASE WHEN $step >= 6 THEN interest ELSE 0e0 END)
    END AS amount
  FROM changed WHERE market = $market
) AS stepped
WHERE amount IS NOT NULL AND (amount > 0e0 OR $step IN (0, 8))
ORDER BY account, position, asset, side
"""
_FACTORS = """
SELECT $name AS snapshot, $name AS market, 0 AS block_number, f.asset, f.factor, f.beta, f.kind,
       f.feed, f.description,
       CASE WHEN $step = 0 THEN f.factor_price ELSE coalesce(p.price, f.factor_price) END
         AS factor_price, f.cap_x, f.floor_x, f.evidence, f.step
FROM (
  SELECT * FROM factors WHERE snapshot = CASE WHEN $step = 8 THEN $after ELSE $before END
  UNION ALL
  SELECT n.* FROM factors AS n
  WHERE n.snapshot = $after AND $step BETWEEN 1 AND 7
    AND n.asset NOT IN (SELECT asset FROM reserves WHERE snapshot = $before)
) AS f
LEFT JOIN (
  SELECT factor, max(factor_price) AS price FROM factors WHERE snapshot = $after GROUP BY factor
) AS p ON p.factor = f.factor
ORDER BY f.asset, f.factor
"""
_RESERVES = """
SELECT * REPLACE ($name AS snapshot, $name AS market) FROM (
  SELECT * FROM reserves WHERE snapshot = CASE WHEN $step = 0 THEN $before ELSE $after END
  UNION ALL
  SELECT * FROM reserves
  WHERE snapshot = $before AND $step > 0
    AND asset NOT IN (SELECT asset FROM reserves WHERE snapshot = $after)
)
"""
_ACCOUNTS = """
SELECT * REPLACE ($name AS snapshot, $name AS market) FROM account_health
WHERE snapshot = CASE $step WHEN 0 THEN $before WHEN 8 THEN $after END
"""
_RULES = ",\n".join(
    f"       CASE WHEN $step = 8 THEN n.{column} ELSE o.{column} END AS {column}"
    for column in ("truncates_lt", *CloseRule.__struct_fields__)
)
_SNAPSHOT = f"""
SELECT n.* REPLACE ($name AS snapshot, $name AS market,
{_RULES})
FROM snapshots AS n, snapshots AS o
WHERE n.snapshot = $after AND o.snapshot = $before
"""
_AT_RISK = """
SELECT account, position,
       CAST(collateral_usd + collateral_moving_usd * (x - 1e0) AS DECIMAL(38, 6)) AS usd
FROM triggers(p_factor := $factor, p_market := $name)
WHERE in_usd
  AND (direction = 'now'
    OR (direction = 'down' AND $direction = 'down' AND x >= 1e0 - $range - 1e-9)
    OR (direction = 'up' AND $direction = 'up' AND x <= 1e0 + $range + 1e-9))
"""


def split(
    store: Store, wall: WallRange, since: datetime, until: datetime, *, movers: int = 0
) -> WallDifference:
    """The wall at the newest blocks up to two times, and the parts of its move.

    `movers` is how many accounts are named per part. Raises UsageError where a market or the
    factor is not stored at both times.
    """
    pairs, left_out = _pairs(store, wall, since, until)
    ids = sorted({s.snapshot for pair in pairs for s in pair})
    parts: list[Part] = []
    named: list[Mover] = []
    with (
        tempfile.TemporaryDirectory(prefix="chainwatch-") as folder,
        store.frozen(query.definitions(), Path(folder) / "work.duckdb", complete=ids) as catalog,
    ):
        catalog.keep(
            "changed",
            "FROM leg_changes(p_from := $since, p_to := $until)",
            {"since": since, "until": until},
        )
        for older, newer in pairs:
            _require_factor(catalog, wall.factor, older, newer)
            market_parts, market_movers = _split_market(catalog, wall, older, newer)
            parts += market_parts
            named += [mover for of_part in market_movers for mover in of_part[:movers]]
    return WallDifference(pairs, parts, named, left_out)


def _split_market(
    catalog: Catalog, wall: WallRange, older: MarketState, newer: MarketState
) -> tuple[list[Part], list[list[Mover]]]:
    """The wall of one market after each step, and the accounts behind each."""
    parts: list[Part] = []
    movers: list[list[Mover]] = []
    risk_before: AtRisk = {}
    for step, part in enumerate(("", *PARTS)):
        name = f"{older.market} after step {step}"
        _step(catalog, name, step, older, newer)
        risk = _at_risk(catalog, wall, name)
        figures = {
            "accounts": Decimal(len(risk)),
            "collateral_at_risk_usd": sum(risk.values(), Decimal(0)),
            "round_seizable_usd": _seizable(catalog, wall, name),
        }
        last = parts[-1].walls if parts else figures
        parts.append(Part(older.market, part, figures, {f: figures[f] - last[f] for f in FIGURES}))
        if step:
            movers.append(_movers(older.market, part, risk_before, risk))
        risk_before = risk
    return parts, movers


def _pairs(
    store: Store, wall: WallRange, since: datetime, until: datetime
) -> tuple[list[tuple[MarketState, MarketState]], list[dict[str, Any]]]:
    """The older and newer snapshots, and the accounts that are in no sum of either."""
    with query.open_catalog(store) as catalog:
        definition = query.find("snapshots_at")

        def states(time: datetime) -> dict[str, MarketState]:
            newest = query.run(catalog, definition, {"p_as_of": time, "p_market": wall.market})
            return {
                str(s["market"]): MarketState(
                    s["market"], s["snapshot"], s["block_number"], s["block_time"]
                )
                for s in newest.dicts()
            }

        older, newer = states(since), states(until)
        require_markets(catalog, newer, wall.market)
        left_out = [
            row | {"as_of": time}
            for time in (since, until)
            for row in excluded_accounts(
                catalog,
                {"p_market": wall.market, "p_as_of": time},
                {"p_factor": wall.factor},
            )
        ]
    wanted = market_names(wall.market)
    for when, stored in ((since, older), (until, newer)):
        late = [name for name in wanted if name not in (*stored, ALL)]
        if late or not stored:
            what = f"market {late[0]!r}" if late else "a market"
            raise UsageError(
                f"no snapshot of {what} up to {when:%Y-%m-%d %H:%M:%S}Z: `chainwatch status` lists "
                "the stored ones"
            )
    pairs = [
        (older[name], newer[name])
        for name in sorted(older.keys() & newer.keys())
        if older[name].snapshot != newer[name].snapshot
    ]
    if not pairs:
        raise UsageError(
            f"no market has a snapshot of its own up to {since:%Y-%m-%d %H:%M:%S}Z and a newer one "
            f"up to {until:%Y-%m-%d %H:%M:%S}Z"
        )
    return pairs, left_out


def _require_factor(catalog: Catalog, factor: str, older: MarketState, newer: MarketState) -> None:
    factors = catalog.run(
        "SELECT DISTINCT factor FROM factors WHERE snapshot IN ($a, $b) ORDER BY factor",
        {"a": older.snapshot, "b": newer.snapshot},
    )
    names = [str(row[0]) for row in factors.rows]
    if factor.lower() not in [n.lower() for n in names]:
        raise UsageError(f"no factor is called {factor!r} on {older.market}: {', '.join(names)}")


def _step(catalog: Catalog, name: str, step: int, older: MarketState, newer: MarketState) -> None:
    values: dict[str, object] = {
        "name": name,
        "step": step,
        "before": older.snapshot,
        "after": newer.snapshot,
        "market": older.market,
    }
    for table, text in (
        ("legs", _LEGS),
        ("factors", _FACTORS),
        ("reserves", _RESERVES),
        ("account_health", _ACCOUNTS),
        ("snapshots", _SNAPSHOT),
    ):
        used = {k: v for k, v in values.items() if f"${k}" in text}
        catalog.keep(table, text, used, append=True)


# The collateral at risk of accounts by (account, position), USD.
AtRisk = Mapping[tuple[str, str], Decimal]


def _at_risk(catalog: Catalog, wall: WallRange, name: str) -> AtRisk:
    """The collateral at risk of each account in the wall of a state."""
    rows = catalog.run(
        _AT_RISK,
        {"factor": wall.factor, "name": name, "direction": wall.direction, "range": wall.reach},
    ).rows
    return {(str(account), str(position)): Decimal(usd) for account, position, usd in rows}


def _seizable(catalog: Catalog, wall: WallRange, name: str) -> Decimal:
    rows = catalog.run(
        "SELECT coalesce(sum(CAST(round_seizable_usd AS DECIMAL(38, 6))), 0) "
        "FROM walls(p_factor := $factor, p_market := $name, p_direction := $direction, "
        "p_range := $range, p_step_pct := $range) WHERE direction IN ('now', $direction)",
        {"factor": wall.factor, "name": name, "direction": wall.direction, "range": wall.reach},
    ).rows
    return Decimal(rows[0][0])


def _movers(market: str, part: str, before: AtRisk, after: AtRisk) -> list[Mover]:
    zero = Decimal(0)
    movers = [
        Mover(market, part, *key, before.get(key, zero), change)
        for key in before.keys() | after.keys()
        if abs(change := after.get(key, zero) - before.get(key, zero)) >= DUST_USD
    ]
    return sorted(movers, key=lambda m: (-abs(m.change_usd), m.account, m.position))
