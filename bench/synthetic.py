# ruff: noqa: E501 - SQL reads better unbroken
"""A lake of synthetic positions: one market, 40 assets, about three legs per account."""

from __future__ import annotations

import contextlib
from pathlib import Path

from chainwatch.lake.store import Store
from chainwatch.tables import base
from chainwatch.tables.base import Row
from chainwatch.tables.lending import (
    Account,
    AccountSlots,
    Factor,
    Leg,
    Reserve,
    SlotTerm,
    Snapshot,
)
from chainwatch.tables.log import Load

ASSETS = 40
SNAPSHOT = "synthetic:1:00000000:20260101T000000000000Z"

_COMMON = f"'{SNAPSHOT}' AS snapshot, 'synthetic' AS market"


def _slots() -> str:
    filled = ("collateral1", "collateral2", "debt1", "debt2")
    figures = [f"{s}_{name}" for s in filled for name in ("term_id", "worth", "amount")]
    empty = [
        f"0 AS {s}_{name}"
        for s in ("collateral3", "collateral4")
        for name in ("term_id", "worth", "amount")
    ]
    return ", ".join([*figures, *empty])


def _sorted_pair(side: str, first: str, first_usd: str, second: str, second_usd: str) -> str:
    """Columns of two slots, the larger balance first; the first one always is."""
    price = "CASE WHEN ({0}) % 4 = 0 THEN 90000e0 WHEN ({0}) % 4 = 1 THEN 3000e0 ELSE 1e0 END"
    return ", ".join(
        f"({asset}) + 1 AS {side}{n}_term_id, {usd} AS {side}{n}_worth, "
        f"{usd} / {price.format(asset)} AS {side}{n}_amount"
        for n, asset, usd in ((1, first, first_usd), (2, second, second_usd))
    )


def build(home: Path, accounts: int) -> Store:
    """Write a snapshot of `accounts` synthetic accounts as finished segments; deterministic."""
    import duckdb

    store = Store(home)
    store.create()
    with contextlib.closing(duckdb.connect()) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SELECT setseed(0.5)")
        con.execute(
            f"""CREATE TABLE asset AS SELECT range AS id, printf('0x%040x', range + 1) AS asset,
                CASE WHEN range % 4 = 0 THEN 'BTC' WHEN range % 4 = 1 THEN 'ETH' ELSE 'USD' || range END
                  AS factor,
                CASE WHEN range % 4 = 0 THEN 90000e0 WHEN range % 4 = 1 THEN 3000e0 ELSE 1e0 END
                  AS price,
                CASE WHEN range % 4 < 2 THEN 8000 ELSE 7800 END AS lt, 500 AS bonus
                FROM range({ASSETS})"""
        )
        con.execute(
            f"""CREATE TABLE person AS SELECT range AS id, printf('0x%040x', 1000000 + range) AS account,
                exp(random() * 8) * 10 AS debt, 1.01 + 2 * random() * random() AS hf,
                CAST(floor(random() * 2) AS INT) AS volatile,
                CAST(floor(random() * 10) AS INT) AS pick, random() AS r
                FROM range({accounts})"""
        )
        # one or two volatile collaterals, a stable one for a third, one stable debt
        con.execute(
            """CREATE TABLE leg AS
               SELECT p.account, a.asset, 'collateral' AS side, p.debt * p.hf * 0.7 / 0.8 AS usd,
                      a.price, a.lt, a.bonus
               FROM person AS p JOIN asset AS a ON a.id = p.volatile + 4 * p.pick
               UNION ALL
               SELECT p.account, a.asset, 'collateral', p.debt * p.hf * 0.3 / 0.78, a.price, a.lt, a.bonus
               FROM person AS p JOIN asset AS a ON a.id = 4 * ((p.pick + 3) % 10) + CASE WHEN p.r < 0.5 THEN 2 ELSE 1 - p.volatile END
               UNION ALL
               SELECT p.account, a.asset, 'debt', p.debt, a.price, 0, 0
               FROM person AS p JOIN asset AS a ON a.id = 4 * p.pick + 3
               UNION ALL
               SELECT p.account, a.asset, 'debt', p.debt * 0.1, a.price, 0, 0
               FROM person AS p JOIN asset AS a ON a.id = 4 * p.pick + 2 WHERE p.r < 0.1"""
        )
        count = con.execute("SELECT count(*) FROM leg").fetchone()
        assert count is not None
        selects: dict[type[Row], str] = {
            Reserve: f"""SELECT {_COMMON}, 1 AS block_number, asset, id AS reserve_id,
                'T' || id AS symbol, 18 AS decimals, CAST(price * 1e8 AS DECIMAL(38,0)) AS price,
                price AS price_usd, 'ok' AS price_status, asset AS oracle, lt AS lt_bps,
                bonus AS bonus_bps, 0 AS emode FROM asset""",
            Factor: f"""SELECT {_COMMON}, 1 AS block_number, asset, factor, 1e0 AS beta,
                'feed' AS kind, asset AS feed, factor AS description, price AS factor_price
                FROM asset""",
            Account: f"""SELECT {_COMMON}, 1 AS block_number, account, '' AS position, 0 AS emode, 'ok' AS status,
                CAST(sum(usd * (side = 'collateral')::INT) * 1e8 AS DECIMAL(38,0)) AS collateral_base,
                CAST(sum(usd * (side = 'debt')::INT) * 1e8 AS DECIMAL(38,0)) AS debt_base,
                CAST(1e18 * sum(usd * lt / 1e4) / sum(usd * (side = 'debt')::INT) AS DECIMAL(38,0))
                  AS hf_wad,
                sum(usd * (side = 'collateral')::INT) AS collateral_usd,
                sum(usd * (side = 'debt')::INT) AS debt_usd,
                sum(usd * lt / 1e4) / sum(usd * (side = 'debt')::INT) AS hf, count(*) AS legs,
                1 AS read_block, true AS in_slots FROM leg GROUP BY account ORDER BY account""",
            Leg: f"""SELECT {_COMMON}, account, '' AS position, asset, side,
                CAST(usd / price * 1e18 AS DECIMAL(38,0)) AS scaled,
                CAST(usd / price * 1e18 AS DECIMAL(38,0)) AS raw,
                CAST(usd * 1e8 AS DECIMAL(38,0)) AS value, usd / price AS amount, usd,
                lt AS lt_bps, bonus AS bonus_bps, false AS category_priced, true AS in_slots
                FROM leg ORDER BY account, side, asset""",
            SlotTerm: f"""SELECT {_COMMON}, id + 1 + {ASSETS} * is_debt AS term_id, asset,
                CASE is_debt WHEN 1 THEN 'debt' ELSE 'collateral' END AS side,
                lt * (1 - is_debt) AS lt_bps, bonus * (1 - is_debt) AS bonus_bps, false AS category_priced
                FROM asset CROSS JOIN (VALUES (0), (1)) AS s(is_debt)""",
            AccountSlots: f"""SELECT {
                _COMMON
            }, account, '' AS position, true AS in_usd, collateral1_lt <> collateral2_lt AS has_several_lts,
                NULL AS liquidatable, false AS is_below_one, NULL AS blocked_reason,
                {
                _slots()
            } FROM (SELECT p.account, 0.8 AS collateral1_lt, CASE WHEN p.r < 0.5 THEN 0.78 ELSE 0.8 END AS collateral2_lt,
                  {
                _sorted_pair(
                    "collateral",
                    "p.volatile + 4 * p.pick",
                    "p.debt * p.hf * 0.7 / 0.8",
                    "4 * ((p.pick + 3) % 10) + CASE WHEN p.r < 0.5 THEN 2 ELSE 1 - p.volatile END",
                    "p.debt * p.hf * 0.3 / 0.78",
                )
            },
                  4 * p.pick + 3 + {
                ASSETS
            } + 1 AS debt1_term_id, p.debt AS debt1_worth, p.debt AS debt1_amount,
                  CASE WHEN p.r < 0.1 THEN 4 * p.pick + 2 + {
                ASSETS
            } + 1 ELSE 0 END AS debt2_term_id,
                  CASE WHEN p.r < 0.1 THEN p.debt * 0.1 ELSE 0 END AS debt2_worth,
                  CASE WHEN p.r < 0.1 THEN p.debt * 0.1 ELSE 0 END AS debt2_amount
                  FROM person AS p) AS filled ORDER BY account""",
            Snapshot: f"""SELECT {_COMMON}, 'aave-v3' AS protocol, 'imported' AS provenance,
                1 AS chain_id, 1 AS block_number, '0x00' AS block_hash,
                TIMESTAMPTZ '2026-01-01 00:00:00Z' AS block_time,
                TIMESTAMPTZ '2026-01-01 00:00:00Z' AS read_at, 1 AS revision, '3.0' AS profile,
                false AS truncates_lt, 0.5 AS close_factor, 'position' AS close_basis,
                0.95 AS full_close_below_hf, 2000 AS full_close_below_usd, 1000 AS min_leftover_usd,
                false AS absorbs, 8 AS base_decimals, 'all' AS scope,
                {accounts} AS accounts, {accounts} AS accounts_read, 0 AS accounts_failed,
                'bench' AS endpoint""",
            Load: f"""SELECT 'bench' AS source, '' AS target,
                TIMESTAMPTZ '2026-01-01 00:00:00Z' AS stored_at, '{{}}' AS tables,
                {count[0]} AS rows""",
        }
        for row, select in selects.items():
            folder = store.lake / row.table / "day=2026-01-01"
            folder.mkdir(parents=True, exist_ok=True)
            kinds = {part: kind for c in base.columns(row) for part, kind in c.stored}
            names = [str(c[0]) for c in con.execute(f"DESCRIBE {select}").fetchall()]
            typed = ", ".join(f"CAST({n} AS {kinds[n]}) AS {n}" for n in names)
            con.execute(
                f"COPY (SELECT {typed}, 'bench' AS load FROM ({select})) "
                f"TO '{folder}/bench.parquet' (FORMAT parquet, COMPRESSION zstd)"
            )
    return store
