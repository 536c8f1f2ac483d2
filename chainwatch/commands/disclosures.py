"""Commands over reserves, indicators, crashes and claims, and the documents they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from chainwatch.commands.app import App, Group, app, get_session
from chainwatch.commands.options import Output, listing
from chainwatch.commands.running import emit_query, on_catalog, run
from chainwatch.commands.values import amount, choice, count, last_moment, moment
from chainwatch.errors import UsageError
from chainwatch.text import suggest

ASSETS = ("BTC", "ETH")


class _Titled(Group):
    """A group whose command `show` runs where none is named: `reserves USDT`."""

    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        named = arguments[:1]
        if not named or (
            named[0] not in self.commands and named[0] not in context.help_option_names
        ):
            arguments = ["show", *arguments]
        return list(super().parse_args(context, arguments))


reserves_app = App(cls=_Titled, rich_markup_mode=None)
app.add_typer(reserves_app, name="reserves", epilog="Example: chainwatch reserves USDT --history")
indicators_app = App(cls=_Titled, rich_markup_mode=None)
app.add_typer(
    indicators_app,
    name="indicators",
    epilog="Example: chainwatch indicators import gold.csv --series gold",
)


@reserves_app.callback()
def reserves() -> None:
    """What backs a stablecoin: composition, changes, supply."""


@indicators_app.callback()
def indicators() -> None:
    """Market indicators: newest value, age, source of each."""


KnownOption = Annotated[
    str | None,
    typer.Option(
        "--known-on", metavar="TIME", help="Only what was known then; a day counts to its end."
    ),
]


def _known_on(text: str | None) -> dict[str, object]:
    """The parameter for "as known on"."""
    return {} if text is None else {"p_known_at": last_moment(text, "--known-on")}


@reserves_app.command("show", epilog="Example: chainwatch reserves USDT --known-on 2026-01-29")
@listing
def show_reserves(
    token: Annotated[str, typer.Argument(help="Token: USDT, USDC, USDe, FDUSD …")] = "USDT",
    history: Annotated[
        bool, typer.Option("--history", help="One line per disclosure: shares of each class.")
    ] = False,
    statements: Annotated[
        bool, typer.Option("--statements", help="Assets, liabilities, lag and document of each.")
    ] = False,
    supply: Annotated[
        bool, typer.Option("--supply", help="Tokens against liabilities, what differs by name.")
    ] = False,
    drift: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            parser=amount,
            help="Classes that moved by more points of share.",
        ),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(metavar="N", parser=count(1), help="Disclosures per kind, the newest N."),
    ] = None,
    known_on: KnownOption = None,
    *,
    output: Output,
) -> None:
    """Composition of a token's reserve, class by class, and what moved."""
    flags = {
        "reserve_history": history,
        "reserve_statements": statements,
        "reserve_supply": supply,
        "reserve_drift": drift is not None,
    }
    wanted = [name for name, flag in flags.items() if flag]
    if len(wanted) > 1:
        raise UsageError("choose one of --history, --statements, --supply and --drift")
    name = wanted[0] if wanted else "reserves"
    values: dict[str, object] = {"p_token": token, **_known_on(known_on)}
    if drift is not None:
        values["p_points"] = drift
    if last is not None:
        if name in ("reserve_supply", "reserve_drift"):
            raise UsageError(f"--last does not go with {name.replace('reserve_', '--')}")
        values["p_last"] = last
    emit_query(name, values, output)


@reserves_app.command("import-pdf", epilog="Example: chainwatch reserves import-pdf report.pdf")
@listing
def import_pdf(
    file: Annotated[Path, typer.Argument(help="A signed report: Tether, Circle, First Digital.")],
    *,
    output: Output,
) -> None:
    """Read a signed reserve report; accepted only if its sums hold."""
    _import("reserve-report", file, {}, output)


@indicators_app.command("show", epilog="Example: chainwatch indicators --known-on 2026-01-29")
@listing
def show_indicators(known_on: KnownOption = None, *, output: Output) -> None:
    """Newest value of each indicator, its day, age and source."""
    emit_query("indicators", _known_on(known_on), output)


@indicators_app.command(
    "import", epilog="Example: chainwatch indicators import gold.csv --series gold"
)
@listing
def import_indicator(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV: date,value[,published] or date[,time],open,high,low,close[,volume]."
        ),
    ],
    series: Annotated[
        str, typer.Option("--series", metavar="NAME", help="Whose values they are: gold, btc, …")
    ],
    decimal_comma: Annotated[
        bool, typer.Option("--decimal-comma", help="Its numbers are written 3,87, not 3.87.")
    ] = False,
    *,
    output: Output,
) -> None:
    """Read values or candles of one series from a CSV file."""
    from chainwatch.lake import query

    store = get_session().store
    store.create()
    listed = on_catalog(lambda catalog: query.run(catalog, query.find("series")))
    names = sorted({str(row["series"]) for row in listed.dicts()})
    if series not in names:
        raise UsageError(
            f"no series is called {series!r}; {suggest(series, names)}known: {', '.join(names)}"
        )
    comma = {"decimal_comma": "yes"} if decimal_comma else {}
    _import("import", file, {"series": series} | comma, output)


def _import(source: str, file: Path, options: dict[str, str], output: Output) -> None:
    from chainwatch.collect import runner
    from chainwatch.collect.feed import Job
    from chainwatch.collect.registry import find

    session = get_session()
    job = Job(find(source), options={**options, "file": str(file)})
    with session.teller:
        outcomes = run(runner.collect(session.store, session.settings, [job], session.teller))
        runner.raise_failures(outcomes)
        emit_query("document_outcomes", {"p_source": source, "p_limit": 1}, output)


@app.command(epilog="Example: chainwatch spreads --last 20")
@listing
def spreads(
    last: Annotated[int, typer.Option(metavar="N", parser=count(1), help="Newest N days.")] = 10,
    known_on: KnownOption = None,
    *,
    output: Output,
) -> None:
    """SOFR against what the Fed pays on reserves."""
    emit_query("spreads", {"p_last": last, **_known_on(known_on)}, output)


@app.command(epilog="Example: chainwatch bottom --known-on 2026-02-06")
@listing
def bottom(known_on: KnownOption = None, *, output: Output) -> None:
    """The three-indicator checklist for a bottom."""
    emit_query("bottom", _known_on(known_on), output)


@app.command(epilog="Example: chainwatch crashes")
@listing
def crashes(known_on: KnownOption = None, *, output: Output) -> None:
    """Five crashes side by side; --json: figure by figure."""
    emit_query("crashes" if output.for_people else "crash_figures", _known_on(known_on), output)


@app.command(epilog="Example: chainwatch breaks BTC 88000 --since 2026-01-01")
@listing
def breaks(
    asset: Annotated[str, typer.Argument(help="BTC or ETH.")],
    level: Annotated[float, typer.Argument(parser=amount, help="Price in USD.")],
    up: Annotated[bool, typer.Option("--up", help="Breaks upwards, not downwards.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only breaks from then on.")
    ] = None,
    known_on: KnownOption = None,
    *,
    output: Output,
) -> None:
    """When a price level broke, by each definition."""
    values: dict[str, object] = {
        "p_asset": choice(asset.upper(), "ASSET", ASSETS),
        "p_level": level,
        "p_direction": "up" if up else "down",
        **_known_on(known_on),
    }
    if since is not None:
        values["p_since"] = moment(since, "--since")
    emit_query("breaks", values, output)


@app.command(epilog="Example: chainwatch claims --article C")
@listing
def claims(
    article: Annotated[
        str | None, typer.Option("--article", metavar="LETTER", help="Only article A, B, C or D.")
    ] = None,
    known_on: KnownOption = None,
    *,
    output: Output,
) -> None:
    """Claims of the articles of the day against stored data."""
    values = _known_on(known_on)
    if article is not None:
        values["p_article"] = choice(article.upper(), "--article", ("A", "B", "C", "D"))
    emit_query("claims", values, output)


@app.command(epilog="Example: chainwatch documents")
@listing
def documents(*, output: Output) -> None:
    """What became of each document that was read."""
    emit_query("document_outcomes", {}, output)
