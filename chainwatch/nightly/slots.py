"""A day's account slots in an order in which each factor reads only the accounts it matters to.

A factor matters to an account that holds or owes something whose price moves with it, and to one
that may be liquidatable now. Any other has no trigger by this factor and is in no wall. Accounts
whose slots hold the same terms form a term set; one join of term sets with factors selects the
accounts of all factors. Accounts that may be liquidatable now are term set 0, which every factor
reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chainwatch.lake.catalog import Catalog
from chainwatch.lake.query import narrowed_macros
from chainwatch.tables.lending import AccountSlots

_SLOTS = [n.removesuffix("_term_id") for n in AccountSlots.__struct_fields__ if "_term_id" in n]
COLLATERAL = [slot for slot in _SLOTS if slot.startswith("collateral")]
DEBT = [slot for slot in _SLOTS if slot.startswith("debt")]
_TERMS = ", ".join(f"{slot}_term_id" for slot in _SLOTS)

# The tables that are filled for a day, without rows, and the macro over them.
_BEFORE = (
    "CREATE TABLE grouped_slots AS "
    "SELECT *, CAST(0 AS BIGINT) AS term_set FROM account_slots LIMIT 0",
    "CREATE TABLE factor_term_sets (factor VARCHAR, term_set BIGINT)",
    "CREATE MACRO unbound.factor_slots(p_factor) AS TABLE "
    "SELECT s.* FROM main.factor_term_sets AS f "
    "JOIN main.grouped_slots AS s ON s.term_set = f.term_set WHERE f.factor = lower(p_factor)",
)


def narrowed() -> Iterator[str]:
    """The statements after which a factor's queries read its slots alone, see Store.frozen.

    Queries with betas of other factors, or of the index MARKET, have no meaning there.
    """
    yield from _BEFORE
    yield from narrowed_macros("account_slots", "factor_slots")


def group_slots(catalog: Catalog, snapshots: Sequence[str]) -> None:
    """Fill the tables with the accounts of some snapshots."""
    ids = {"ids": list(snapshots)}
    here = frozenset(snapshots)

    def keep(table: str, text: str) -> None:
        bound = ids if "$ids" in text else None
        catalog.run(f"CREATE OR REPLACE TEMP TABLE {table} AS\n{text}", bound, choice=here)

    keep("term_sets", _term_sets())
    keep(
        "factor_term_sets",
        f"""SELECT DISTINCT lower(f.factor) AS factor, w.term_set
        FROM term_sets AS w
        JOIN slot_terms AS t ON t.snapshot = w.snapshot AND t.term_id IN ({_TERMS})
        JOIN factors AS f ON f.snapshot = t.snapshot AND f.asset = t.asset
        UNION ALL SELECT DISTINCT lower(factor), 0 FROM factors""",
    )
    keep("grouped_slots", _grouped_slots())


def _term_sets() -> str:
    thresholds = ", ".join(f"{slot}.lt AS {slot}_lt" for slot in COLLATERAL)
    joins = "\n".join(
        f"LEFT JOIN threshold AS {slot} ON {slot}.snapshot = w.snapshot "
        f"AND {slot}.term_id = w.{slot}_term_id"
        for slot in COLLATERAL
    )
    return f"""
    WITH threshold AS (
      SELECT snapshot, term_id, lt_bps / 10000e0 AS lt FROM slot_terms
      UNION ALL SELECT DISTINCT snapshot, 0, 0e0 FROM slot_terms
    )
    SELECT w.*, {thresholds}, row_number() OVER (ORDER BY w.snapshot, {_TERMS}) AS term_set
    FROM (SELECT DISTINCT snapshot, {_TERMS} FROM account_slots
          WHERE snapshot IN (SELECT unnest($ids))) AS w
    {joins}"""


def _grouped_slots() -> str:
    weighted = " + ".join(f"{slot}_worth * {slot}_lt" for slot in COLLATERAL)
    collateral = " + ".join(f"{slot}_worth" for slot in COLLATERAL)
    debt = " + ".join(f"{slot}_worth" for slot in DEBT)
    # Without a verdict the balances decide, within rounding; a market that truncates the average
    # threshold to 1 bp takes up to that off. Too many accounts here cost time, too few are missing.
    return f"""
    SELECT s.*, CASE WHEN debt1_term_id > 0 AND coalesce(liquidatable,
        {weighted} - CASE WHEN has_several_lts THEN 1e-4 * ({collateral}) ELSE 0e0 END
          < ({debt}) * (1e0 + 1e-6), true) THEN 0 ELSE w.term_set END AS term_set
    FROM account_slots AS s
    JOIN term_sets AS w USING (snapshot, {_TERMS})
    ORDER BY term_set, snapshot, account, position"""
