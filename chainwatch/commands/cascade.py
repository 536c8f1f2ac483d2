"""The command over cascades: what an outside fall sets off, and where it comes to rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.commands.app import app, setup
from chainwatch.commands.options import AsOfOption, MarketOption, Output, listing, scope
from chainwatch.commands.running import RANKED_SHOWN, on_catalog, row_limit
from chainwatch.commands.values import amount, betas, count, positive, share, span
from chainwatch.errors import UsageError

if TYPE_CHECKING:
    from chainwatch.lake.catalog import Catalog
    from chainwatch.reports.cascade_basis import CascadeTerms
    from chainwatch.show.document import Report

MAX_DEPTH_AGE = "15m"


@app.command(epilog="Example: chainwatch cascade BTC --to 88000")
@listing
def cascade(
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
        str, typer.Option(metavar="SHARE", help="Share of what is seized that is sold at once.")
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
    chart: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw it: .png, .svg or .html (extra `charts`)."),
    ] = None,
    with_model: Annotated[
        bool,
        typer.Option("--with-model", help="MODEL: add where exchange positions may be liquidated."),
    ] = False,
    market: MarketOption = None,
    as_of: AsOfOption = None,
    *,
    output: Output,
) -> None:
    """The price at which a fall feeds itself, and where it lands."""
    from msgspec.structs import replace

    from chainwatch.reports import chart as charts
    from chainwatch.reports import clusters
    from chainwatch.reports.cascade import GROUPS_SHOWN, break_levels, explain_price, fall_to
    from chainwatch.reports.cascade_basis import CascadeTerms
    from chainwatch.reports.joint_fall import joint_fall

    asked = [flag for flag in (to, drop, explain) if flag is not None]
    if len(asked) > 1:
        raise UsageError("choose one of --to, --drop and --explain")
    names = list(dict.fromkeys(factors))
    if absorbed not in ("later", "now"):
        raise UsageError(f"--absorbed takes later or now, not {absorbed!r}")
    told = betas(beta)
    terms = CascadeTerms(
        factor=names[0],
        scope=scope(market, as_of),
        betas=told,
        depth_scale=positive(depth_scale, "--depth-scale"),
        sigma=share(sigma, "--sigma"),
        adv=None if adv is None else positive(adv, "--adv"),
        sold_share=share(sold_share, "--sold-share"),
        absorbed="at once" if absorbed == "now" else "later",
        oracle_deviation=0.0
        if oracle_deviation is None
        else share(oracle_deviation, "--oracle-deviation"),
        max_age=span(max_depth_age, "--max-depth-age"),
    )
    price = next(
        (positive(p, flag) for p, flag in ((to, "--to"), (explain, "--explain")) if p is not None),
        None,
    )
    fall = share(drop, "--drop") if drop is not None else None
    if chart is not None and (len(names) > 1 or explain is not None):
        raise UsageError("--chart draws one factor, without --explain")
    if chart is not None:
        charts.require(chart)
    if with_model and len(names) > 1:
        raise UsageError("--with-model takes one factor")
    if len(names) > 1:
        if fall is None:
            raise UsageError(
                "several factors at once need --drop; --beta eth=1.2 moves one further"
            )
        others = told.keys() - {n.lower() for n in names}
        if others:
            raise UsageError(f"--beta names {', '.join(sorted(others))}, none of the factors given")
        drops = {n: min(fall * told.get(n.lower(), 1.0), 0.999) for n in names}
        if min(drops.values()) <= 0:
            raise UsageError("several factors fall together: a beta has to be above 0")
        several = [replace(terms, factor=name, betas={}) for name in names]
        output.emit(on_catalog(lambda catalog: joint_fall(catalog, several, drops)))
        return
    if names[0].lower() in told:
        raise UsageError(f"--beta: {names[0]} is what falls, it moves by itself")

    groups = output.limit_or(GROUPS_SHOWN)
    output.limit = None  # of groups per depth, not of rows

    def exact(catalog: Catalog) -> Report:
        if explain is not None:
            assert price is not None
            return explain_price(catalog, terms, price)
        if to is not None or fall is not None:
            return fall_to(catalog, terms, price, fall)
        return break_levels(catalog, terms, groups)

    def make(catalog: Catalog) -> Report:
        made = exact(catalog)
        if not with_model:
            return made
        bins = clusters.SHOWN if output.for_people else None
        parts, state = clusters.parts(catalog, terms.factor, terms.scope, bins)
        meta = dict(made.meta) | {"exchange_model": state}
        return replace(made, parts=[*made.parts, *parts], meta=meta)

    output.emit(on_catalog(make))
    if chart is not None:
        _draw(terms, chart)


def _draw(terms: CascadeTerms, path: Path) -> None:
    from chainwatch.reports import chart
    from chainwatch.reports.cascade import drawing

    chart.draw(on_catalog(lambda catalog: drawing(catalog, terms)), path)
    setup().teller.note(f"drawn: {path}")


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
    from chainwatch.reports import run

    limit = output.limit_or(RANKED_SHOWN)
    values = scope(market, as_of) | {
        "p_days": positive(days, "--days"),
        "p_window": window,
        "p_min_debt_usd": min_debt,
        "p_limit": row_limit(limit),
    }

    def make(catalog: Catalog) -> Report:
        made = run.make(catalog, "liquidation_distance", values)
        if not catalog.run("SELECT 1 FROM candles WHERE interval = '1d' LIMIT 1").rows:
            raise UsageError(
                "no daily closes are stored: run `chainwatch collect candles --only 1d`"
            )
        return made

    output.emit(on_catalog(make), limit)
