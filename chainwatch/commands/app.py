"""The application and its global flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from chainwatch.commands.values import choice
from chainwatch.errors import EXIT_MEANING, UsageError

if TYPE_CHECKING:
    from chainwatch.lake.store import Store
    from chainwatch.settings import Settings
    from chainwatch.show.tell import Teller

F = TypeVar("F", bound=Callable[..., Any])

# \b keeps the lines that follow as they are.
EXAMPLES = """At which prices how much collateral is liquidated, with coverage and verification.

\b
Examples:
  chainwatch demo                                  a whole market on a local chain
  chainwatch collect aave-v3 --market ethereum     read a market at one block
  chainwatch verify --market ethereum              compare with the chain's own answers
  chainwatch walls BTC --down 30%                  what liquidates as BTC falls
  chainwatch watch binance bybit okx               liquidations on exchanges as they come
  chainwatch liquidations --by hour                exchanges and chain, with the gaps
  chainwatch sql "FROM walls(p_factor := 'ETH')"   the same in SQL
  chainwatch reserves USDT                         what backs a stablecoin
"""

EPILOG = "Exit codes: " + " · ".join(f"{code.value} {text}" for code, text in EXIT_MEANING.items())


class _Once:
    """Refuses a second value of an option that takes one: click would keep the last."""

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
    """A command that has commands, listed by name: they register in no order of their own."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx))


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


class Session:
    """What the global flags set, once per run."""

    def __init__(self, home: str | None, debug: bool, color: str, teller: Teller) -> None:
        from chainwatch.settings import Settings

        self.settings: Settings = Settings({"home": home})
        self.debug = debug
        self.color = color
        self.teller = teller

    @property
    def store(self) -> Store:
        from chainwatch.lake.store import Store

        return Store(self.settings.home)


_session: Session | None = None


def session_or_none() -> Session | None:
    """The session of this run, or None before the flags were read."""
    return _session


def get_session() -> Session:
    """The session of this run: the callback below runs before every command."""
    if _session is None:
        raise RuntimeError("no command is running")
    return _session


def _print_version(wanted: bool) -> None:
    if wanted:
        import chainwatch
        from chainwatch.show import terminal

        terminal.write(f"chainwatch {chainwatch.__version__}\n")
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
    from chainwatch.show.tell import Teller

    global _session
    choice(color, "--color", ("auto", "always", "never"))
    if home == "":
        raise UsageError("--home: expected a folder, got an empty name")
    _session = Session(home, debug, color, Teller(quiet=quiet, verbose=verbose, color=color))
    if verbose:
        configured = _session.settings.get("home")
        origin = configured.origin if configured else "default"
        _session.teller.detail(f"lake in {_session.settings.home} ({origin})")
