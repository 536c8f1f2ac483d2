"""What every command shares: the application, global flags, output options, values.

Each module beside this one adds the commands of one area to `app`; the command line imports them.
Nothing heavy is imported here: `chainwatch --help` must not wait for web3 or duckdb.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from chainwatch import numbers
from chainwatch.errors import EXIT_MEANING, UsageError
from chainwatch.numbers import AHEAD, GROUPED, NotReadable, OutOfBounds, OutOfRange

if TYPE_CHECKING:
    from chainwatch.collect import Job
    from chainwatch.settings import Settings
    from chainwatch.show import Report
    from chainwatch.store import Catalog, Store
    from chainwatch.tell import Teller

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# A query that is interrupted ends within moments; what does not is left behind.
INTERRUPT_SECONDS = 2.0
MOST_BETA = 100.0
MOST_ROWS = 1_000_000_000
MOST_DAYS = 36_500
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}

# \b keeps the lines that follow as they are.
EXAMPLES = """Where the liquidation walls stand, and how sure we are.

\b
Examples:
  chainwatch demo                                  a whole market on a local chain
  chainwatch collect aave-v3 --market ethereum     read a market at one block
  chainwatch verify --market ethereum              compare with the chain's own answers
  chainwatch walls BTC --down 30%                  what liquidates on the way down
  chainwatch watch binance bybit okx               liquidations on exchanges as they come
  chainwatch liquidations --by hour                exchanges and chain, with what was not seen
  chainwatch sql "FROM walls(p_factor := 'ETH')"   the same in SQL
  chainwatch reserves USDT                         what backs a stablecoin
"""

EPILOG = "Exit codes: " + " · ".join(f"{code.value} {text}" for code, text in EXIT_MEANING.items())


class _Once:
    """Refuses a second value of an option that takes one: the parser would keep the last."""

    def parse_args(self, context: Any, arguments: list[str]) -> Any:
        command: Any = self
        _, _, order = command.make_parser(context).parse_args(list(arguments))
        for option in (p for p in order if p.param_type_name == "option"):
            single = not (option.multiple or option.count or option.is_flag)
            if single and order.count(option) > 1:
                context.fail(f"{option.opts[0]} takes one value and is given twice.")
        inherited: Any = super()
        return inherited.parse_args(context, arguments)


class Command(_Once, typer.core.TyperCommand):
    """A command of the application."""


class Group(_Once, typer.core.TyperGroup):
    """A command that has commands."""


class App(typer.Typer):
    """An application whose options take no second value where they take one."""

    def __init__(self, *, cls: type[typer.core.TyperGroup] = Group, **settings: Any) -> None:
        super().__init__(cls=cls, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        return super().command(name, **{"cls": Command, **settings})


app = App(
    name="chainwatch",
    help=EXAMPLES,
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    add_completion=False,
)


class Setup:
    """What the global flags say; made once per run."""

    def __init__(self, home: str | None, debug: bool, color: str, teller: Teller) -> None:
        from chainwatch.settings import Settings

        self.settings: Settings = Settings({"home": home})
        self.debug = debug
        self.color = color
        self.teller = teller

    @property
    def store(self) -> Store:
        from chainwatch.store import Store

        return Store(self.settings.home)


_setup: Setup | None = None


def set_up() -> Setup | None:
    """The set-up of this run, or None before the flags were read."""
    return _setup


def setup() -> Setup:
    """The current run's set-up (the callback below has always run before a command)."""
    if _setup is None:
        raise RuntimeError("no command is running")
    return _setup


def _print_version(wanted: bool) -> None:
    if wanted:
        import chainwatch
        from chainwatch import show

        show.write(f"chainwatch {chainwatch.__version__}\n")
        raise typer.Exit


@app.callback()
def main_options(
    home: Annotated[
        str | None,
        typer.Option("--home", metavar="DIR", help="Folder of the lake (CHAINWATCH_HOME)."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only data and errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
    color: Annotated[
        str, typer.Option(metavar="WHEN", help="auto, always or never (also NO_COLOR).")
    ] = "auto",
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    from chainwatch.tell import Teller

    global _setup
    if color not in ("auto", "always", "never"):
        raise UsageError(f"--color takes auto, always or never, not {color!r}")
    if home == "":
        raise UsageError("--home takes a folder, not an empty name")
    _setup = Setup(home, debug, color, Teller(quiet=quiet, verbose=verbose, color=color))
    if verbose:
        found = _setup.settings.get("home")
        origin = found.origin if found else "default"
        _setup.teller.detail(f"lake in {_setup.settings.home} ({origin})")


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
        from chainwatch.show import Format

        chosen = [
            form
            for form, wanted in (
                (Format.JSON, json),
                (Format.JSONL, jsonl),
                (Format.CSV, csv),
                (Format.MARKDOWN, markdown),
            )
            if wanted
        ]
        if len(chosen) > 1:
            raise UsageError(f"choose one of --{' and --'.join(chosen)}")
        self.form = chosen[0] if chosen else Format.TABLE
        self.out = out
        self.limit = limit

    @property
    def to_stdout(self) -> bool:
        from chainwatch import show

        return show.is_stdout(self.out)

    @property
    def for_people(self) -> bool:
        return self.form.value in ("table", "markdown")

    def emit(self, report: Report, limit: int | None = None) -> None:
        """Write a report; header and warnings of machine formats go to stderr.

        `limit` stands in where the user gave no --limit.
        """
        import msgspec

        from chainwatch import show
        from chainwatch.report import stale_lines
        from chainwatch.store import Result

        teller = setup().teller
        teller.close()
        limit = limit if self.limit is None else self.limit
        result = report.result
        if self.form not in (show.Format.TABLE, show.Format.MARKDOWN):
            for line in report.header:
                teller.note(line)
        for line in stale_lines(report):
            teller.note(f"stale: {line}")
        if limit is not None and len(result.rows) > limit:
            teller.note(f"only the first {limit:,} rows are shown: raise --limit to see more")
            result = Result(result.columns, result.types, result.rows[:limit])
            report = msgspec.structs.replace(report, result=result)
        text = show.text_of(
            report,
            self.form,
            width=show.terminal_width() if self.to_stdout else None,
            color=self.to_stdout and show.wants_color(setup().color),
        )
        show.write(text, self.out)


def count(least: int) -> Callable[[str], int]:
    """A reader of options that take a whole number from `least` up."""

    def read(text: str) -> int:
        try:
            found = numbers.whole(text)
        except NotReadable as refusal:
            raise typer.BadParameter(f"{text} is no whole number: {refusal}") from None
        if not least <= found <= MOST_ROWS:
            raise typer.BadParameter(f"{text} does not lie between {least} and {MOST_ROWS}")
        return found

    return read


def amount(text: str) -> float:
    """An option that takes a number not below 0."""
    try:
        found = numbers.real(text)
    except NotReadable as refusal:
        raise typer.BadParameter(f"{text} is no number: {refusal}") from None
    if found < 0:
        raise typer.BadParameter(f"{text} lies below 0")
    return found


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
        chosen = {name: arguments.pop(name) for name in offered}
        command(output=Output(**{"out": None, **chosen}), **arguments)

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


# --- values ---------------------------------------------------------------------------------------


def share(text: str, flag: str, most: float = 1.0) -> float:
    """ "30%" or "0.3" as 0.3; UsageError naming the flag."""
    percent = text.strip().endswith("%")  # blanks may stand around the sign, not around a number
    try:
        value = numbers.real(text.strip()[:-1].rstrip()) / 100 if percent else numbers.real(text)
    except NotReadable:
        raise UsageError(f"{flag} takes a share such as 30% or 0.3, not {text!r}") from None
    if not 0 < value <= most:
        raise UsageError(f"{flag} must lie above 0 and at most at {most:.0%}, not {text!r}")
    return value


def positive(text: str, flag: str, what: str = "a number above 0") -> float:
    """A number above 0 such as 88000, 88,000 or 0.3; UsageError naming the flag."""
    try:
        value = numbers.real(text, GROUPED)
    except NotReadable:
        value = 0.0
    if value > 0:
        return value
    raise UsageError(f"{flag} takes {what}, not {text!r}")


def span(text: str, flag: str) -> float:
    """ "90s", "10m", "2h" or "1d" as seconds; UsageError naming the flag."""
    unit = text[-1:] if text[-1:] in SECONDS else ""
    try:
        seconds = numbers.real(text.removesuffix(unit)) * SECONDS[unit]
    except OutOfRange:
        seconds = numbers.MOST if text[:1].isdigit() else 0.0
    except NotReadable:
        seconds = 0.0
    if seconds <= 0:
        raise UsageError(f"{flag} takes a time such as 90s, 10m or 2h, not {text!r}")
    if seconds > MOST_DAYS * 86_400:
        raise UsageError(f"{flag} takes at most {MOST_DAYS}d, not {text!r}")
    return seconds


def named_folder(text: str) -> Path:
    """A folder as it was typed: an empty name would be the current one."""
    if not text:
        raise typer.BadParameter("takes a folder, not an empty name")
    return Path(text)


def moment(text: str, flag: str, ahead: timedelta = AHEAD) -> datetime:
    """An ISO 8601 time from 2009 to a day from now, as UTC; UsageError naming the flag."""
    try:
        return numbers.moment(text, datetime.now(UTC), ahead)
    except OutOfBounds as refusal:
        raise UsageError(f"{flag} lies {refusal}: {text!r}") from None
    except NotReadable:
        raise UsageError(
            f"{flag} takes a time such as 2026-01-29 or 2026-01-29T02:00Z, not {text!r}"
        ) from None


def past(text: str, flag: str) -> datetime:
    """A time that has been; UsageError naming the flag."""
    return moment(text, flag, timedelta(0))


def scope(market: list[str] | None, as_of: str | None) -> dict[str, object]:
    from chainwatch.markets import asked

    values: dict[str, object] = {}
    if market:
        values["p_market"] = ",".join(asked(",".join(market)))
    if as_of is not None:
        values["p_as_of"] = moment(as_of, "--as-of")
    return values


def betas(pairs: list[str] | None) -> dict[str, float]:
    """The --beta flags by factor, in lower case; UsageError for one that is no number."""
    told: dict[str, float] = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        try:
            value = numbers.real(text)
        except NotReadable:
            value = float("inf")
        if not (name and equals and re.fullmatch(r"[^,=\s]+", name) and abs(value) <= MOST_BETA):
            raise UsageError(
                f"--beta takes a factor and a number of at most {MOST_BETA:g}, such as eth=1.3, "
                f"not {pair!r}"
            )
        if name.lower() in told:
            raise UsageError(f"--beta names {name} twice")
        told[name.lower()] = value
    return told


def beta_values(pairs: list[str] | None) -> dict[str, object]:
    """The --beta flags as the parameter of a query."""
    text = ",".join(f"{name}={value!r}" for name, value in betas(pairs).items())
    return {"p_betas": text} if text else {}


def emit_query(
    name: str, values: dict[str, object], output: Output, limit: int | None = None
) -> None:
    from chainwatch import report

    output.emit(on_catalog(lambda catalog: report.make(catalog, name, values)), limit)


def on_catalog(work: Callable[[Catalog], T]) -> T:
    """Read from the catalog in a thread: the engine itself does not look for Ctrl-C."""
    from concurrent.futures import Future, wait
    from threading import Thread

    from chainwatch import query

    begun = time.monotonic()
    catalog = query.open_catalog(setup().store)
    answer: Future[T] = Future()

    def read() -> None:
        try:
            answer.set_result(work(catalog))
        except BaseException as failure:
            answer.set_exception(failure)

    thread = Thread(target=read, daemon=True)
    try:
        thread.start()
        wait([answer])
        thread.join()
    except KeyboardInterrupt:
        # A query that has not begun yet does not notice that it is interrupted: it is told again.
        until = time.monotonic() + INTERRUPT_SECONDS
        while thread.is_alive() and time.monotonic() < until:
            catalog.interrupt()
            thread.join(0.05)
        raise
    finally:
        if not thread.is_alive():  # one that reads on is left behind, and its catalog with it
            catalog.close()
    found = answer.result()
    setup().teller.detail(f"read in {time.monotonic() - begun:.2f} s")
    return found


def run(coroutine: Any) -> Any:
    """Run to the end; SIGTERM ends like Ctrl-C, so that a stopped service leaves cleanly."""

    import asyncio

    interrupt = {signal.SIGINT}

    async def guarded() -> Any:
        task = asyncio.current_task()
        assert task is not None
        # Not by way of SIGINT, which is ignored in a process started in the background.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupt)
        return await coroutine

    # Ctrl-C waits until the loop stands: a half-made one complains when it is dropped.
    signal.pthread_sigmask(signal.SIG_BLOCK, interrupt)
    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupt)


def jobs_of(sources: list[str], markets: list[str], options: dict[str, str]) -> list[Job]:
    """The jobs that sources or venues mean, one for each market where they have markets."""
    from chainwatch.collect import Job
    from chainwatch.markets import find_market, markets_of
    from chainwatch.source import find_all

    settings = setup().settings
    jobs = []
    named = {found.name: found for name in sources for found in find_all(name)}
    for name, found in named.items():
        if found.mode == "file":
            raise UsageError(
                f"{name} reads a file: `chainwatch reserves import-pdf FILE` or "
                "`chainwatch indicators import FILE --series NAME`"
            )
        if found.base:
            settings.url(found.name, found.base)  # a bad one is told before anything is read
        if not found.protocol:
            jobs.append(Job(found, options=options))
            continue
        known = markets_of(settings, found.protocol)
        if not markets:
            names = ", ".join(known) or f"none, {settings.markets} may name some"
            raise UsageError(f"{name} needs --market NAME (it may be repeated); known: {names}")
        for market in dict.fromkeys(markets):
            find_market(settings, found.protocol, market)
            jobs.append(Job(found, target=market, options=options))
    return jobs
