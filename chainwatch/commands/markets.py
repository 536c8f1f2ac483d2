"""Commands on markets: positions from other sources, and what moves each asset's price."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from chainwatch import numbers
from chainwatch.commands.app import app, get_session
from chainwatch.commands.options import AsOfOption, MarketOption, Output, listing, scope
from chainwatch.commands.running import emit_query, on_catalog
from chainwatch.commands.values import pairs, past, positive, refusal
from chainwatch.errors import UsageError
from chainwatch.lending import close_rules
from chainwatch.numbers import COMMA, PLAIN, Form, NotReadable
from chainwatch.text import visible

if TYPE_CHECKING:
    from chainwatch.lake.store import Store
    from chainwatch.lending.imports import ImportOptions


# The words of `import --close-rule`, for the rules of chainwatch.lending.close_rules.
CLOSE_RULES = {
    "half": close_rules.HALF,
    "reserve-half": close_rules.RESERVE_HALF,
    "position-half": close_rules.POSITION_HALF,
    "whole": close_rules.WHOLE,
    "absorb": close_rules.ABSORB,
}
TARGET = "target "
CLOSE_RULE_WORDS = f"{', '.join(CLOSE_RULES)}, {TARGET}N"
CLOSE_RULE = f"one of {CLOSE_RULE_WORDS} (a health factor of at least 1)"
QUOTE = "USD, or a name and its price in USD such as ETH=1800"

# \b keeps the lines that follow as they are.
COLUMNS = """Store positions of your own, marked as imported.

\b
A row per balance:
  account, asset      any names        side    collateral or debt
  amount              whole tokens     price   of one, in the quote currency
  liquidation_threshold 0.83, or …_bps 8300     bonus, bonus_bps
  factor              what moves the price, else the asset; factor_price
or a row per account:
  account, collateral, debt            values in the quote currency
  liquidation_threshold(_bps) or health_factor, bonus(_bps)
  collateral_asset, debt_asset
or a column per asset and side, such as collateral:WETH and debt:USDC,
with price:WETH, liquidation_threshold:WETH … as columns or by --set.
"""


@app.command(
    name="import",
    help=COLUMNS,
    short_help="Store positions of your own, marked as imported.",
    epilog="Example: chainwatch import mine.csv --market mine --map account=user",
)
@listing
def import_positions(
    file: Annotated[Path, typer.Argument(help="A .csv or .parquet file.")],
    market: Annotated[str, typer.Option("--market", metavar="NAME", help="Its name here.")],
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OURS=THEIRS", help="Another column name; repeatable."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OURS=VALUE", help="A column with one value; repeatable."),
    ] = None,
    quote: Annotated[
        str, typer.Option(metavar="NAME[=USD]", help="Currency of prices: USD, ETH=1800 …")
    ] = "USD",
    close_rule: Annotated[
        str, typer.Option(metavar="RULE", help=f"{CLOSE_RULE_WORDS}.")
    ] = "reserve-half",
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Time of the positions; else the file's."),
    ] = None,
    decimal_comma: Annotated[
        bool, typer.Option("--decimal-comma", help="Its numbers are written 3,87, not 3.87.")
    ] = False,
    *,
    output: Output,
) -> None:
    """Store positions of your own, marked as imported."""
    from chainwatch.lake.files import read_file
    from chainwatch.lending.imports import imported_rows

    mapping = pairs(map_ or [], "--map", "account=user")
    options = _import_options(
        file, market, quote, close_rule, at, COMMA if decimal_comma else PLAIN
    )
    constants = pairs(set_ or [], "--set", "collateral_asset=stETH")
    options = msgspec.structs.replace(options, constants=constants)
    table = read_file(file)
    try:
        rows = imported_rows(table.columns, table.rows, mapping, options)
    except UsageError as failure:
        raise UsageError(f"{file}: {failure}") from None
    store = get_session().store
    _require_own_name(store, market)
    store.create()
    with store.hold("positions", market):
        store.append(rows, source="positions", target=market)
    emit_query("provenance", {"p_market": market}, output)


def _import_options(
    file: Path, market: str, quote: str, close_rule: str, at: str | None, form: Form
) -> ImportOptions:
    from chainwatch.chain.markets import ALL, NAME
    from chainwatch.lending.imports import ImportOptions

    if not NAME.fullmatch(market):
        raise refusal("--market", "a name of a-z, 0-9, dot, dash and underscore", market)
    if market == ALL:
        raise UsageError("--market all means every market: give the import another name")
    name, equals, rate = quote.partition("=")
    if not re.fullmatch(r"[A-Za-z0-9.]{1,16}", name):
        raise refusal("--quote", QUOTE, quote)
    usd = positive(rate, "--quote", QUOTE) if equals else 1.0 if name == "USD" else None
    now = datetime.now(UTC)
    return ImportOptions(
        market=market,
        source=visible(file.name, 80),
        as_of=_time_of(file, now) if at is None else past(at, "--at"),
        now=now,
        quote=name,
        quote_usd=usd,
        close_rule=_read_close_rule(close_rule),
        form=form,
    )


def _read_close_rule(text: str) -> close_rules.CloseRule:
    """The rule that the words stand for; a target is a health factor of at least 1."""
    if text in CLOSE_RULES:
        return CLOSE_RULES[text]
    if text.startswith(TARGET):
        with contextlib.suppress(NotReadable):
            if (target_hf := numbers.real(text.removeprefix(TARGET))) >= 1:
                return close_rules.up_to(target_hf)
    raise refusal("--close-rule", CLOSE_RULE, text)


def _time_of(file: Path, now: datetime) -> datetime:
    """When a file was written last; UsageError where that can be no time of positions."""
    try:
        return numbers.instant(file.stat().st_mtime_ns // 1000, "us", now, timedelta(0))
    except OSError:
        return now  # the reader raises the failure
    except NotReadable as refusal:
        raise UsageError(
            f"the time of {file} cannot be used ({refusal}): give that of the positions with --at"
        ) from None


def _require_own_name(store: Store, market: str) -> None:
    """Imported figures are never stored under the name of a market on a chain."""
    from chainwatch.chain.markets import load_markets
    from chainwatch.tables.lending import Snapshot

    in_use = market in load_markets(get_session().settings)
    if not in_use and store.exists:
        where, values = "market = $market AND provenance <> 'imported'", {"market": market}
        in_use = bool(store.rows(Snapshot, where, values))
    if in_use:
        raise UsageError(f"--market {market} is a market on a chain: give the import another name")


@app.command(epilog="Example: chainwatch factors --market ethereum")
@listing
def factors(market: MarketOption = None, as_of: AsOfOption = None, *, output: Output) -> None:
    """What moves each asset's price: feeds, factors, caps."""
    emit_query("factor_graph", scope(market, as_of), output)


@app.command(epilog="Example: chainwatch markets")
@listing
def markets(*, output: Output) -> None:
    """List the lending markets: what is collected, how old."""
    from chainwatch.chain.markets import endpoints, load_markets
    from chainwatch.errors import ConfigError
    from chainwatch.lake import query
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report
    from chainwatch.urls import mask

    session = get_session()
    newest: dict[str, dict[str, Any]] = {}
    if session.store.exists:
        provenance = on_catalog(lambda catalog: query.run(catalog, query.find("provenance")))
        newest = {row["market"]: row for row in provenance.dicts()}
    rows = []
    for market in load_markets(session.settings).values():
        try:
            where = ", ".join(mask(u) for u in endpoints(session.settings, market))
        except ConfigError as failure:
            where = f"n/a ({failure})"
        named = (market.name, market.protocol, market.chain, market.chain_id, market.pool)
        rows.append((*named, where, *_collected(newest.pop(market.name, None))))
    # What is stored under names that no table lists: imports, and markets that were in_use out.
    for name, row in newest.items():
        rows.append((name, row["protocol"], None, None, None, row["endpoint"], *_collected(row)))
    columns = (
        *("market", "protocol", "chain", "chain_id", "pool", "endpoint"),
        *("block_number", "block_time", "age_seconds", "accounts", "checked", "mismatched"),
    )
    kinds = (*("VARCHAR",) * 3, "BIGINT", "VARCHAR", "VARCHAR", "BIGINT", "TIMESTAMPTZ")
    output.emit(
        Report(
            Result(columns, (*kinds, *("BIGINT",) * 4), rows),
            "markets",
            shown=(
                "market",
                "protocol",
                "chain",
                "block_time",
                "age_seconds",
                "accounts",
                "endpoint",
            ),
            notes=("block_time: of the newest snapshot; n/a: not collected yet",),
        )
    )


def _collected(row: dict[str, Any] | None) -> tuple[Any, ...]:
    """Block, age, accounts and verification of a market's newest snapshot."""
    names = ("block_number", "block_time", "age_seconds", "accounts", "checked", "mismatched")
    return tuple(None if row is None else row[name] for name in names)
