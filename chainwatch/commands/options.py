"""Options that many commands take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chainwatch.commands.app import get_session
from chainwatch.commands.values import amount, choice, count, moment
from chainwatch.errors import UsageError
from chainwatch.reports.betas import betas_text, read_betas

if TYPE_CHECKING:
    from datetime import datetime

    from chainwatch.show.document import Report


# --- output options, the same for every listing ---------------------------------------------------


class Output:
    """Where and how a listing is written."""

    def __init__(
        self,
        json: bool,
        jsonl: bool,
        csv: bool,
        markdown: bool,
        out: Path | None,
        limit: int | None,
    ) -> None:
        from chainwatch.show.document import Format

        forms = [
            form
            for form, wanted in (
                (Format.JSON, json),
                (Format.JSONL, jsonl),
                (Format.CSV, csv),
                (Format.MARKDOWN, markdown),
            )
            if wanted
        ]
        if len(forms) > 1:
            raise UsageError(f"choose one of --{' and --'.join(forms)}")
        self.form = forms[0] if forms else Format.TABLE
        self.out = out
        self.limit = limit

    @property
    def to_stdout(self) -> bool:
        from chainwatch.show import terminal

        return terminal.is_stdout(self.out)

    @property
    def for_people(self) -> bool:
        return self.form.value in ("table", "markdown")

    def limit_or(self, shown: int) -> int | None:
        """Rows at the most: --limit, else `shown` for people and all (None) for machines."""
        if self.limit is None and self.for_people:
            return shown
        return self.limit

    def emit(self, report: Report, limit: int | None = None) -> None:
        """Write a report; header and warnings of machine formats go to stderr.

        `limit` stands in where the user gave no --limit.
        """
        import msgspec

        from chainwatch.lake.engine import Result
        from chainwatch.reports.headers import stale_lines
        from chainwatch.show import render, terminal
        from chainwatch.show.document import Format

        teller = get_session().teller
        teller.close()
        limit = limit if self.limit is None else self.limit
        result = report.result
        if self.form not in (Format.TABLE, Format.MARKDOWN):
            for line in report.header:
                teller.note(line)
        for line in stale_lines(report):
            teller.note(f"stale: {line}")
        if limit is not None and len(result.rows) > limit:
            teller.note(f"only the first {limit:,} rows are shown: raise --limit to see more")
            result = Result(result.columns, result.types, result.rows[:limit])
            report = msgspec.structs.replace(report, result=result)
        text = render.text_of(
            report,
            self.form,
            width=terminal.terminal_width() if self.to_stdout else None,
            color=self.to_stdout and terminal.wants_color(get_session().color),
        )
        terminal.write(text, self.out)


_OUTPUT_OPTIONS: dict[str, Any] = {
    "json": (Annotated[bool, typer.Option("--json", help="JSON with header.")], False),
    "jsonl": (Annotated[bool, typer.Option("--jsonl", help="One JSON object per row.")], False),
    "csv": (Annotated[bool, typer.Option("--csv", help="CSV, unrounded.")], False),
    "markdown": (Annotated[bool, typer.Option("--markdown", help="Markdown table.")], False),
    "out": (
        Annotated[
            Path | None,
            typer.Option("--out", "-o", metavar="FILE", help="Write there, not to stdout."),
        ],
        None,
    ),
    "limit": (
        Annotated[
            int | None,
            typer.Option("--limit", metavar="N", parser=count(0), help="Rows shown at the most."),
        ],
        None,
    ),
}


def listing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the output options; it receives them as `output`.

    A command with an --out of its own keeps it, and has no -o.
    """
    own_names = inspect.signature(command).parameters
    offered = {k: v for k, v in _OUTPUT_OPTIONS.items() if k != "out" or "folder" not in own_names}

    def wrapped(**arguments: Any) -> None:
        given_options = {name: arguments.pop(name) for name in offered}
        command(output=Output(**{"out": None, **given_options}), **arguments)

    own = inspect.signature(command, eval_str=True)
    parameters = [p for p in own.parameters.values() if p.name != "output"]
    for name, (annotation, default) in offered.items():
        parameters.append(
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
        )
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    wrapped.__name__ = command.__name__
    wrapped.__doc__ = command.__doc__
    return wrapped


MarketOption = Annotated[
    list[str] | None,
    typer.Option("--market", metavar="NAME", help="This market; repeatable; all without it."),
]
MarketsOption = Annotated[
    list[str] | None,
    typer.Option("--market", metavar="NAME", help="Market to read; may be repeated."),
]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="TIME", help="Newest block not later than this (ISO 8601)."),
]
BetaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--beta", metavar="FACTOR=B", help="With MARKET: eth=1.3, repeatable; else 1 if volatile."
    ),
]


def beta_values(pairs: list[str] | None) -> dict[str, object]:
    """The --beta options as the parameter of a query."""
    betas = read_betas(pairs or [], "--beta")
    return {"p_betas": betas_text(betas)} if betas else {}


def market_list(market: list[str] | None) -> str:
    """The --market options as one list with commas, or all."""
    from chainwatch.chain.markets import ALL, market_names

    return ",".join(market_names(",".join(market))) if market else ALL


def block_time(as_of: str | None) -> datetime | None:
    """The --as-of option as a time, None without it."""
    return None if as_of is None else moment(as_of, "--as-of")


def scope(market: list[str] | None, as_of: str | None) -> dict[str, object]:
    """The parameters that choose snapshots, of the queries over them."""
    return {"p_market": market_list(market), "p_as_of": block_time(as_of)}


# --- what a liquidator minds ---------------------------------------------------------------------

ORDERS = ("profit", "largest")
OrderOption = Annotated[str, typer.Option(metavar="WHICH", help="Pair taken: profit or largest.")]
GasOption = Annotated[
    float, typer.Option(metavar="USD", parser=amount, help="MODEL: what a call costs.")
]
MinProfitOption = Annotated[
    float,
    typer.Option(metavar="USD", parser=amount, help="MODEL: its least profit above gas."),
]
DustOption = Annotated[
    float, typer.Option(metavar="USD", parser=amount, help="MODEL: no call repays less.")
]


def liquidator_values(order: str, gas: float, min_profit: float, dust: float) -> dict[str, object]:
    """The parameters that say which calls liquidators make. Raises UsageError."""
    return {
        "p_order": choice(order, "--order", ORDERS),
        "p_gas_usd": gas,
        "p_min_profit_usd": min_profit,
        "p_dust_usd": dust,
    }
