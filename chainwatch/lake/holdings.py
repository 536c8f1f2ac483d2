"""What accounts of a stored snapshot hold, read as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chainwatch.tables.columns import HALF_BITS, SIDES, WORD_LIMIT, Holdings, Words

if TYPE_CHECKING:
    import duckdb

_HALF = f"{2**HALF_BITS}::HUGEINT"


def read_holdings(
    engine: duckdb.DuckDBPyConnection, accounts: str, legs: str, snapshot: str
) -> Holdings:
    """The accounts and balances of a snapshot; `accounts` and `legs` are the tables as SQL."""
    import numpy as np

    engine.execute(
        "CREATE OR REPLACE TEMP TABLE holder AS SELECT account, emode, read_block, "
        "(row_number() OVER (ORDER BY account) - 1)::INTEGER AS number "
        f"FROM ({accounts}) WHERE snapshot = $snapshot",
        {"snapshot": snapshot},
    ).fetchall()
    heads = engine.execute(
        "SELECT account, emode, read_block FROM holder ORDER BY number"
    ).fetchnumpy()
    own = f"({legs}) WHERE snapshot = $snapshot"
    assets = [
        asset
        for (asset,) in engine.execute(
            f"SELECT DISTINCT asset FROM {own} ORDER BY asset", {"snapshot": snapshot}
        ).fetchall()
    ]
    lines = engine.execute(
        "SELECT number, (list_position($assets, asset) - 1)::USMALLINT AS asset, "
        "(list_position($sides, side) - 1)::UTINYINT AS side, "
        f"coalesce(scaled::HUGEINT // {_HALF}, 0)::UBIGINT AS high, "
        f"coalesce(scaled::HUGEINT % {_HALF}, 0)::UBIGINT AS low, "
        "stable_principal IS NOT NULL OR stable_principal_text IS NOT NULL AS has_stable, "
        f"coalesce(scaled >= {WORD_LIMIT}::HUGEINT, true) AS is_large "
        f"FROM (SELECT * FROM {own}) JOIN holder USING (account) ORDER BY number, asset, side",
        {"snapshot": snapshot, "assets": assets, "sides": list(SIDES)},
    ).fetchnumpy()
    numbers = _plain(lines["number"])
    high = _plain(lines["high"])
    stable, large = _stable(engine, own, snapshot, _plain(lines["has_stable"]))
    names = _plain(heads["account"])
    large.update(names[numbers[_plain(lines["is_large"]).astype(bool)]])
    engine.execute("DROP TABLE holder").fetchall()
    return Holdings(
        accounts=names,
        emodes=_plain(heads["emode"]),
        read_blocks=_plain(heads["read_block"]),
        asset_names=tuple(assets),
        numbers=numbers,
        assets=_plain(lines["asset"]),
        sides=_plain(lines["side"]),
        scaled=Words(_plain(lines["low"]), high if np.any(high) else None),
        stable=stable,
        large=frozenset(large),
    )


def _stable(
    engine: duckdb.DuckDBPyConnection, own: str, snapshot: str, holds: Any
) -> tuple[dict[int, tuple[int, int, int]], set[str]]:
    """The stable debts by place, where `holds` is true; and accounts with one that is too large."""
    import numpy as np

    places = np.flatnonzero(holds).tolist()
    if not places:
        return {}, set()
    lines = engine.execute(
        "SELECT account, coalesce(stable_principal_text, stable_principal::VARCHAR), "
        "coalesce(stable_rate_text, stable_rate::VARCHAR), stable_since "
        f"FROM (SELECT * FROM {own}) JOIN holder USING (account) "
        "WHERE stable_principal IS NOT NULL OR stable_principal_text IS NOT NULL "
        "ORDER BY number, asset, side",
        {"snapshot": snapshot},
    ).fetchall()
    stable: dict[int, tuple[int, int, int]] = {}
    large: set[str] = set()
    for place, (account, principal, rate, since) in zip(places, lines, strict=True):
        stable[place] = int(principal), int(rate or 0), since or 0
        if max(stable[place]) >= WORD_LIMIT:
            large.add(account)
    return stable, large


def _plain(values: Any) -> Any:
    """An array without a mask: the columns read here have no nulls."""
    import numpy as np

    return values.data if isinstance(values, np.ma.MaskedArray) else values
