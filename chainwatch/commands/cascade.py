"""Commands over cascades: what an outside fall sets off, and how far accounts are from one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from chainwatch.commands.app import app, get_session
from chainwatch.commands.options import (
    ORDERS,
    AsOfOption,
    DustOption,
    GasOption,
    MarketOption,
    MinProfitOption,
    OrderOption,
    Output,
    block_time,
    listing,
    market_list,
    scope,
)
from chainwatch.commands.running import RANKED_SHOWN, on_catalog, row_limit
from chainwatch.commands.values import amount, choice, count, positive, share, span
from chainwatch.errors import UsageError
from chainwatch.reports.betas import read_betas

if TYPE_CHECKING:
    from chainwatch.lake.catalog import Catalog
    from chainwatch.reports.cascade_basis import CascadeTerms
    from chainwatch.show.document import Report

MAX_DEPTH_AGE = "15m"
ABSORBED = {"later": "later", "now": "at once"}


class Fall(NamedTuple):
    """The outside fall that is asked for; all None: every price at which one feeds itself."""

    price: float | None
    drop: float | None
    around: float | None


@app.command("cascade", epilog="Example: chainwatch cascade BTC --to 88000")
@listing
def emit_cascade(
    factors: Annotated[
        list[str], typer.Argument(metavar="FACTOR…", help="What falls: BTC, ETH; several at once.")
    ],
    to: Annotated[
        str | None, typer.Option(metavar="PRICE", help="One outside price to fall to.")
    ] = None,
    drop: Annotated[
        str | None, typer.Option(metavar="SHARE", help="One outside fall: 10%.")
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(metavar="PRICE", help="In words: what lies within 2% of that price."),
    ] = None,
    beta: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=BETA", help="Another factor moves along: eth=1.2."),
    ] = None,
    depth_scale: Annotated[
        str, typer.Option(metavar="X", help="Depth times this, before the band's own scales.")
    ] = "1",
    sold_share: Annotated[
        str, typer.Option(metavar="SHARE", help="Share of what is seized sold.")
    ] = "100%",
    oracle_deviation: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="How late an oracle may answer: 0.5%."),
    ] = None,
    absorbed: Annotated[
        str, typer.Option(metavar="WHEN", help="Compound III sells what it absorbs: later, now.")
    ] = "later",
    sigma: Annotated[
        str, typer.Option(metavar="SHARE", help="Daily volatility in the law beyond the books.")
    ] = "3%",
    adv: Annotated[
        str | None,
        typer.Option(metavar="UNITS", help="Units traded a day; else what the venues state."),
    ] = None,
    max_depth_age: Annotated[
        str, typer.Option(metavar="TIME", help="Refuse order books that are older.")
    ] = MAX_DEPTH_AGE,
    order: OrderOption = "profit",
    gas: GasOption = 1,
    min_profit: MinProfitOption = 0,
    dust: DustOption = 1,
    chart_file: Annotated[
        Path | None,
        typer.Option(
            "--chart", metavar="FILE", help="Draw it: .png, .svg or .html (extra `charts`)."
        ),
    ] = None,
    with_model: Annotated[
        bool,
        typer.Option("--with-model", help="MODEL: add levels of exchange positions."),
    ] = False,
    market: MarketOption = None,
    as_of: AsOfOption = None,
    *,
    output: Output,
) -> None:
    """The price at which a fall feeds itself, and where it lands."""
    from chainwatch.reports import cascade, chart
    from chainwatch.reports.cascade_basis import CascadeTerms
    from chainwatch.reports.joint_fall import joint_fall

    fall = _read_fall(to, drop, explain)
    names = list(dict.fromkeys(factors))
    terms = CascadeTerms(
        factor=names[0],
        markets=market_list(market),
        as_of=block_time(as_of),
        betas=read_betas(beta or [], "--beta"),
        depth_scale=positive(depth_scale, "--depth-scale"),
        sigma=share(sigma, "--sigma"),
        adv=None if adv is None else positive(adv, "--adv"),
        sold_share=share(sold_share, "--sold-share"),
        absorbed=ABSORBED[choice(absorbed, "--absorbed", ABSORBED)],
        oracle_deviation=None
        if oracle_deviation is None
        else share(oracle_deviation, "--oracle-deviation"),
        max_age=span(max_depth_age, "--max-depth-age"),
        order=choice(order, "--order", ORDERS),
        gas_usd=gas,
        min_profit_usd=min_profit,
        dust_usd=dust,
    )
    if chart_file is not None:
        if len(names) > 1 or explain is not None:
            raise UsageError("--chart draws one factor, without --explain")
        chart.require(chart_file)
    if len(names) > 1:
        if with_model:
            raise UsageError("--with-model takes one factor")
        each_terms, drops = _read_common_fall(terms, names, fall)
        output.emit(on_catalog(lambda catalog: joint_fall(catalog, each_terms, drops)))
        return
    if names[0].lower() in terms.betas:
        raise UsageError(f"--beta: {names[0]} is what falls, it moves by itself")
    groups = output.limit_or(cascade.GROUPS_SHOWN)
    output.limit = None  # of groups per depth, not of rows

    def make(catalog: Catalog) -> Report:
        report = _report(catalog, terms, fall, groups)
        return _add_model(catalog, terms, report, output) if with_model else report

    output.emit(on_catalog(make))
    if chart_file is not None:
        chart.draw(on_catalog(lambda catalog: cascade.drawing(catalog, terms)), chart_file)
        get_session().teller.note(f"drawn: {chart_file}")


def _read_fall(to: str | None, drop: str | None, explain: str | None) -> Fall:
    if sum(text is not None for text in (to, drop, explain)) > 1:
        raise UsageError("choose one of --to, --drop and --explain")
    return Fall(
        price=None if to is None else positive(to, "--to"),
        drop=None if drop is None else share(drop, "--drop"),
        around=None if explain is None else positive(explain, "--explain"),
    )


def _read_common_fall(
    terms: CascadeTerms, names: list[str], fall: Fall
) -> tuple[list[CascadeTerms], dict[str, float]]:
    """The terms of several factors that fall at once, and each one's drop: its beta times."""
    from msgspec.structs import replace

    if fall.drop is None:
        raise UsageError("several factors at once need --drop; --beta eth=1.2 moves one further")
    others = terms.betas.keys() - {name.lower() for name in names}
    if others:
        raise UsageError(f"--beta names {', '.join(sorted(others))}, none of the factors given")
    drops = {name: min(fall.drop * terms.betas.get(name.lower(), 1.0), 0.999) for name in names}
    if min(drops.values()) <= 0:
        raise UsageError("several factors fall together: a beta has to be above 0")
    return [replace(terms, factor=name, betas={}) for name in names], drops


def _report(catalog: Catalog, terms: CascadeTerms, fall: Fall, groups: int | None) -> Report:
    from chainwatch.reports import cascade

    if fall.around is not None:
        return cascade.explain_price(catalog, terms, fall.around)
    if fall.price is not None or fall.drop is not None:
        return cascade.fall_to(catalog, terms, fall.price, fall.drop)
    return cascade.break_levels(catalog, terms, groups)


def _add_model(catalog: Catalog, terms: CascadeTerms, report: Report, output: Output) -> Report:
    """The report with where positions on exchanges may be liquidated, by the model."""
    from msgspec.structs import replace

    from chainwatch.reports import clusters

    bins = clusters.SHOWN if output.for_people else None
    parts, state = clusters.parts(catalog, terms.factor, terms.as_of, bins)
    meta = dict(report.meta) | {"exchange_model": state}
    return replace(report, parts=[*report.parts, *parts], meta=meta)


@app.command(epilog="Example: chainwatch distance --days 7 --min-debt 100000")
@listing
def distance(
    days: Annotated[
        str, typer.Option(metavar="DAYS", help="Horizon of the probability-like figure.")
    ] = "30",
    window: Annotated[
        int,
        typer.Option(metavar="N", parser=count(10), help="Days of closes the covariance is of."),
    ] = 90,
    min_debt: Annotated[
        float,
        typer.Option(metavar="USD", parser=amount, help="Leave out accounts with less debt."),
    ] = 0,
    market: MarketOption = None,
    as_of: AsOfOption = None,
    *,
    output: Output,
) -> None:
    """MODEL: accounts by daily moves to liquidation."""
    from chainwatch.reports import run, validation

    limit = output.limit_or(RANKED_SHOWN)
    values = scope(market, as_of) | {
        "p_days": positive(days, "--days"),
        "p_window": window,
        "p_min_debt_usd": min_debt,
        "p_limit": row_limit(limit),
    }

    def make(catalog: Catalog) -> Report:
        made = run.make(catalog, "liquidation_distance", values)
        validation.require_closes(catalog)
        return made

    output.emit(on_catalog(make), limit)
