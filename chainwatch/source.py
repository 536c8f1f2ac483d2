"""What a source is: an async generator that asks and yields batches, and knows nothing else.

    @source("aave-v3", tables=(Snapshot, ...), docs="https://…", targets=markets_of("aave-v3"))
    async def positions(feed: Feed) -> AsyncIterator[Batch]:
        \"\"\"Positions on Aave v3: collateral, debt and health factor of every borrower.\"\"\"

Discovery walks chainwatch/sources: a new source is a new file there.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec

from chainwatch.errors import UsageError
from chainwatch.rows import Row, Verification

if TYPE_CHECKING:
    import asyncio

    from chainwatch.documents import Raw
    from chainwatch.exchange import Channel
    from chainwatch.history import History
    from chainwatch.markets import Market
    from chainwatch.net import Http
    from chainwatch.rpc import Rpc
    from chainwatch.tokens import Token

R = TypeVar("R", bound=Row)
Mode = Literal["poll", "stream", "file"]


class Batch(msgspec.Struct, frozen=True):
    """Rows that belong together: stored whole or not at all, the cursor with them.

    `rows` may be of several tables; their order decides the order of their segments, so the row
    that makes the others count comes last. `cursor` is any JSON value.
    """

    rows: Sequence[Row]
    cursor: Any = None


class Feed(Protocol):
    """What a source may use: the network, what it stored before, a clock, and a voice.

    `stopped` is set when a stream shall end.
    """

    source: str
    target: str
    options: dict[str, str]
    http: Http
    stopped: asyncio.Event

    def url(self, kind: str, default: str) -> str:
        """The configured address of this source: kind ws (socket) or url (REST)."""

    @property
    def base(self) -> str:
        """Where the source's documents are: a URL without a slash at its end; empty if off."""

    def shown(self, url: str) -> str:
        """A URL below `base` without what a key may be in, where somebody configured the base."""

    @property
    def provenance(self) -> str:
        """What figures are to be marked as: live, imported, reference, sample or demo."""

    @property
    def cursor(self) -> Any:
        """The cursor of this source and target's last stored batch, or None."""

    def market(self) -> Market:
        """The market that `target` names."""

    def tokens(self) -> dict[str, Token]:
        """The token contracts whose supply is read, by name."""

    async def rpc(self, market: Market) -> Rpc:
        """A checked JSON-RPC client for the market's chain."""

    async def fetch(self, path: str, *, name: str, etag: str | None = None) -> Raw:
        """A document below the base URL, kept on disk; status 304 and no body if not changed.

        Raises net.Failed where nothing usable comes.
        """

    def keep(self, body: bytes, *, name: str, url: str, media_type: str = "") -> Raw:
        """A document that is here already (a file, an answer read by others), kept on disk.

        Of its URL is kept what may be shown.
        """

    def now(self) -> datetime:
        """The current time, UTC."""

    async def stored(self, table: type[R], where: str = "", **values: object) -> list[R]:
        """Rows of a table stored before, each once; `where` is SQL with $names from `values`."""

    def progress(self, what: str, done: float, total: float | None = None) -> None:
        """Tell how far the work is; the same `what` updates the same line."""

    def note(self, text: str) -> None:
        """Tell the user something that matters, in one line."""

    def reject(self, raw: str, reason: str) -> None:
        """Keep something that could not be read, and go on."""

    def record(self, frame: bytes, received: datetime) -> None:
        """Keep a frame as it came, where somebody asked for it."""


class Verify(Protocol):
    """Compares one stored snapshot with the chain: the result, with its mismatches."""

    async def __call__(
        self, feed: Feed, sample: int | None, independent: bool
    ) -> tuple[Verification, list[Row]]: ...


class Source(msgspec.Struct, frozen=True):
    """One discovered source."""

    name: str
    tables: tuple[type[Row], ...]
    docs: str
    mode: Mode
    module: str
    summary: str
    run: Callable[[Feed], AsyncIterator[Batch]]
    protocol: str = ""
    venue: str = ""
    channel: Channel | None = None
    history: History | None = None
    verify: Verify | None = None
    base: str = ""
    spacing: float = 0.0
    provenance: str = "live"


_found: dict[str, Source] = {}
_verifiers: dict[str, Verify] = {}


def source(
    name: str,
    *,
    tables: tuple[type[Row], ...],
    docs: str,
    mode: Mode = "poll",
    protocol: str = "",
    venue: str = "",
    channel: Channel | None = None,
    history: History | None = None,
    base: str = "",
    spacing: float = 0.0,
    provenance: str = "live",
) -> Callable[[Callable[[Feed], AsyncIterator[Batch]]], Callable[[Feed], AsyncIterator[Batch]]]:
    """Register an async generator as a source.

    `protocol` says that its targets are the markets of that protocol; without it a source has
    the one target "". `docs` is where the format it reads is documented. `venue` is the exchange
    it reads; all streams of one are collected under that name. `base` is where its documents are
    (a setting may say otherwise), `spacing` the seconds between two requests. Mode `file` reads a
    file that the user names, and is run by a command of its own. `provenance` is what its figures
    are marked as.
    """

    def register(
        run: Callable[[Feed], AsyncIterator[Batch]],
    ) -> Callable[[Feed], AsyncIterator[Batch]]:
        _found[name] = Source(
            name=name,
            tables=tables,
            docs=docs,
            mode=mode,
            module=run.__module__,
            summary=(run.__doc__ or "").strip().splitlines()[0] if run.__doc__ else "",
            run=run,
            protocol=protocol,
            venue=venue,
            channel=channel,
            history=history,
            base=base,
            spacing=spacing,
            provenance=provenance,
        )
        return run

    return register


def stream(channel: Channel, *, docs: str, summary: str) -> None:
    """Register a channel as a source: a stream of liquidations with its coverage."""
    from chainwatch.rows import Coverage, ExchangeLiquidation, Instrument

    async def liquidations(feed: Feed) -> AsyncIterator[Batch]:
        from chainwatch import stream as streaming

        async for batch in streaming.run(feed, channel):
            yield batch

    liquidations.__doc__ = summary
    liquidations.__module__ = channel.parse.__module__
    source(
        channel.source,
        tables=(ExchangeLiquidation, Coverage, Instrument),
        docs=docs,
        mode="stream",
        venue=channel.venue,
        channel=channel,
    )(liquidations)


def history(past: History, *, docs: str, summary: str) -> None:
    """Register a venue's past liquidations as a source of their own."""
    from chainwatch.rows import ExchangeLiquidation

    async def liquidations(feed: Feed) -> AsyncIterator[Batch]:
        from chainwatch import history as reading

        async for batch in reading.run(feed, past):
            yield batch

    liquidations.__doc__ = summary
    liquidations.__module__ = past.parse.__module__
    source(
        past.source,
        tables=(ExchangeLiquidation,),
        docs=docs,
        mode="poll",
        venue=past.channel.venue,
        history=past,
    )(liquidations)


def verifier(name: str) -> Callable[[Verify], Verify]:
    """Register the function that compares a source's newest snapshot with the chain."""

    def register(verify: Verify) -> Verify:
        _verifiers[name] = verify
        return verify

    return register


def discover() -> dict[str, Source]:
    """All sources by name, from the files of chainwatch/sources."""
    import chainwatch.sources

    for module in pkgutil.iter_modules(chainwatch.sources.__path__):
        importlib.import_module(f"chainwatch.sources.{module.name}")
    return {
        name: msgspec.structs.replace(found, verify=_verifiers.get(name))
        for name, found in sorted(_found.items())
    }


def find(name: str) -> Source:
    """One source by name; UsageError with a suggestion where there is none."""
    known = discover()
    if name in known:
        return known[name]
    raise _unknown(name, known)


def find_all(name: str) -> list[Source]:
    """The source of that name, or all streams of the venue of that name."""
    known = discover()
    if name in known:
        return [known[name]]
    streams = [s for s in known.values() if s.venue == name and s.mode == "stream"]
    if not streams:
        raise _unknown(name, [*known, *(s.venue for s in known.values() if s.venue)])
    return streams


def _unknown(name: str, known: Iterable[str]) -> UsageError:
    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return UsageError(f"no source is called {name!r}; {hint}`chainwatch sources` lists them")
