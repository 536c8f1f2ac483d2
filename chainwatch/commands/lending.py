"""Reports over lending positions: health factors, accounts, walls, triggers, changes."""

from __future__ import annotations

from typing import Annotated

import typer

from chainwatch.commands.app import app
from chainwatch.commands.options import (
    AsOfOption,
    BetaOption,
    DustOption,
    GasOption,
    MarketOption,
    MinProfitOption,
    OrderOption,
    Output,
    beta_values,
    liquidator_values,
    listing,
    scope,
)
from chainwatch.commands.running import emit_query, emit_ranked
from chainwatch.commands.values import account_address, amount, moment, positive, share
from chainwatch.errors import UsageError


@app.command(epilog="Example: chainwatch health --market ethereum")
@listing
def health(market: MarketOption = None, as_of: AsOfOption = None, *, output: Output) -> None:
    """Distribution of health factors: accounts and USD."""
    emit_query("health", scope(market, as_of), output)


@app.command(epilog="Example: chainwatch accounts --min-debt 100000 --limit 20")
@listing
def accounts(
    market: MarketOption = None,
    as_of: AsOfOption = None,
    min_debt: Annotated[
        float,
        typer.Option(metavar="USD", parser=amount, help="Leave out accounts with less debt."),
    ] = 0,
    *,
    output: Output,
) -> None:
    """Accounts, riskiest first (tables: 50, or --limit)."""
    emit_ranked("accounts", scope(market, as_of) | {"p_min_debt_usd": min_debt}, output)


@app.command(epilog="Example: chainwatch walls BTC --down 30% --step 1000")
@listing
def walls(
    factor: Annotated[str, typer.Argument(help="BTC, ETH, USDT, wstETH/ETH …, or MARKET: all.")],
    down: Annotated[
        str | None, typer.Option(metavar="SHARE", help="How far down, default 30%.")
    ] = None,
    up: Annotated[
        str | None, typer.Option(metavar="SHARE", help="How far up (shorts); alone, only up.")
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(metavar="WIDTH", help="Bin width: 1000 (of the price) or 1%; round near 1%."),
    ] = None,
    by_market: Annotated[
        bool, typer.Option("--by-market", help="One wall per market, not their sum.")
    ] = False,
    own_unit: Annotated[
        bool,
        typer.Option(
            "--own-unit", help="Accounts without a price in USD, in the unit of each market."
        ),
    ] = False,
    beta: BetaOption = None,
    market: MarketOption = None,
    as_of: AsOfOption = None,
    *,
    output: Output,
) -> None:
    """Collateral that liquidates as a factor's price moves."""
    values = scope(market, as_of) | {"p_factor": factor} | beta_values(beta)
    if not own_unit:  # those are of one market each
        values["p_split"] = by_market
    if up is not None:
        values["p_direction"] = "both" if down is not None else "up"
    reach = set()
    if down is not None:
        reach.add(share(down, "--down"))
    if up is not None:
        reach.add(share(up, "--up", most=10.0))
    if len(reach) > 1:
        raise UsageError("--down and --up go equally far when both are given")
    if reach:
        values["p_range"] = reach.pop()
    if step is not None and step.endswith("%"):
        values["p_step_pct"] = share(step, "--step")
    elif step is not None:
        values["p_step_abs"] = positive(step, "--step", "a width such as 1000 or 1%")
    emit_query("own_unit_walls" if own_unit else "walls", values, output)


@app.command(epilog="Example: chainwatch triggers ETH --limit 20")
@listing
def triggers(
    factor: Annotated[str, typer.Argument(help="BTC, ETH, USDT, wstETH/ETH …, or MARKET: all.")],
    market: MarketOption = None,
    as_of: AsOfOption = None,
    beta: BetaOption = None,
    min_debt: Annotated[
        float,
        typer.Option(metavar="USD", parser=amount, help="Leave out accounts with less debt."),
    ] = 0,
    *,
    output: Output,
) -> None:
    """Accounts nearest to liquidation by a factor's price."""
    values = (
        scope(market, as_of) | {"p_factor": factor, "p_min_debt_usd": min_debt} | beta_values(beta)
    )
    emit_ranked("nearest", values, output)


@app.command(epilog="Example: chainwatch path ETH --gas 5")
@listing
def path(
    factor: Annotated[str, typer.Argument(help="BTC, ETH, USDT, wstETH/ETH …, or MARKET: all.")],
    account: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The calls on one account.")
    ] = None,
    calls: Annotated[
        bool, typer.Option("--calls", help="Every call, the nearest price first.")
    ] = False,
    up: Annotated[bool, typer.Option("--up", help="As the price rises, not falls.")] = False,
    order: OrderOption = "profit",
    gas: GasOption = 1,
    min_profit: MinProfitOption = 0,
    dust: DustOption = 1,
    market: MarketOption = None,
    as_of: AsOfOption = None,
    beta: BetaOption = None,
    *,
    output: Output,
) -> None:
    """MODEL: what liquidators take as a price moves on."""
    values = (
        scope(market, as_of)
        | {"p_factor": factor, "p_direction": "up" if up else "down"}
        | beta_values(beta)
        | liquidator_values(order, gas, min_profit, dust)
    )
    if account is not None:
        values["p_account"] = account_address(account, "--account")
    if account is None and not calls:
        emit_query("path_totals", values, output)
    else:
        emit_ranked("path", values, output)


@app.command(epilog="Example: chainwatch changes --since 2026-01-28")
@listing
def changes(
    market: MarketOption = None,
    as_of: AsOfOption = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Compare with the newest block up to this."),
    ] = None,
    *,
    output: Output,
) -> None:
    """What changed between two snapshots of a market."""
    values = scope(market, as_of)
    if since is not None:
        values["p_since"] = moment(since, "--since")
    emit_query("changes", values, output)
