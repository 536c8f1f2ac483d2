"""What a source is: an async generator of batches, registered by its name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec

from chainwatch.tables.base import Row
from chainwatch.tables.columns import Columns, Holdings
from chainwatch.tables.lending import Verification

if TYPE_CHECKING:
    import asyncio

    from chainwatch.chain.client import Rpc
    from chainwatch.chain.markets import Market
    from chainwatch.chain.tokens import Token
    from chainwatch.collect.document import Raw
    from chainwatch.collect.predictions import PredictedWall
    from chainwatch.net.http import Http


R = TypeVar("R", bound=Row)
Mode = Literal["poll", "stream", "file"]


class Batch(msgspec.Struct, frozen=True):
    """Rows that belong together: stored all or none, with the cursor.

    `rows` may be of several tables. Their order decides the order of their segments, so the row
    that makes the others valid comes last. `cursor` is any JSON value. `columns` are further rows:
    their tables come before those of `rows`.
    """

    rows: Sequence[Row]
    cursor: Any = None
    columns: Sequence[Columns] = ()


class Feed(Protocol):
    """What a source may use: the network, what it stored before, a clock, progress and notes.

    `stopped` is set when a stream must end.
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

    def venue_base(self, venue: str) -> str:
        """What ccxt asks for a venue in place of its scheme and host; empty: the venue's own.

        It is the address set for the venue, else `base`.
        """

    def shown(self, url: str) -> str:
        """A URL below `base` as it may be shown: a configured base may hold a key."""

    @property
    def provenance(self) -> str:
        """What figures are to be marked as: live, imported, reference, sample or demo."""

    @property
    def cursor(self) -> Any:
        """The cursor of this source and target's last stored batch, or None."""

    def market(self) -> Market:
        """The market that `target` names."""

    def pools(self) -> frozenset[str]:
        """The contracts of all markets on the chain of `market`."""

    def tokens(self) -> dict[str, Token]:
        """The token contracts whose supply is read, by name."""

    async def rpc(self, market: Market) -> Rpc:
        """A checked JSON-RPC client for the market's chain."""

    async def fetch(self, path: str, *, name: str, etag: str | None = None) -> Raw:
        """A document below the base URL, kept on disk; status 304 and no body if not changed.

        Raises net.errors.Failed where no usable answer comes.
        """

    def keep(self, body: bytes, *, name: str, url: str, media_type: str = "") -> Raw:
        """A document that is here already (a file, an answer that a library read), kept on disk.

        Only the part of its URL that may be shown is kept.
        """

    def now(self) -> datetime:
        """The current time, UTC."""

    async def stored(self, table: type[R], where: str = "", **values: object) -> list[R]:
        """Rows of a table stored before, each once; `where` is SQL with $names from `values`."""

    async def holdings(self, snapshot: str) -> Holdings:
        """What the accounts of a stored snapshot hold; each address is an account."""

    def progress(self, what: str, done: float, total: float | None = None) -> None:
        """Report how much is done; the same `what` updates the same line."""

    def note(self, text: str) -> None:
        """Show the user one line."""

    def reject(self, raw: str, reason: str) -> None:
        """Keep a text that could not be parsed, with the reason."""

    def record(self, frame: bytes, received: datetime) -> None:
        """Pass a frame as it came to the listener of the run, where there is one."""


class Verify(Protocol):
    """Compares one stored snapshot, and its walls, with the chain.

    Gives the result, with a row for each proof of a wall and for each mismatch.
    """

    async def __call__(
        self,
        feed: Feed,
        sample: int | None,
        independent: bool,
        walls: Sequence[PredictedWall],
    ) -> tuple[Verification, list[Row]]: ...


class Source(msgspec.Struct, frozen=True):
    """One source.

    `docs` is where the format it reads is documented. Mode `file` reads a file that the user names,
    and is run by a command of its own. `protocol` says that its targets are the markets of that
    protocol; without it a source has the one target "". `base` is where its documents are (a
    setting may say otherwise), `spacing` the seconds between two requests. `provenance` is what its
    figures are marked as. `venue` is the exchange it reads; all streams of a venue are collected
    under that name. `socket` and `rest` are the venue's addresses. `takes_since` says that the
    source reads the past from a time on.
    """

    name: str
    tables: tuple[type[Row], ...]
    docs: str
    mode: Mode
    module: str
    summary: str
    run: Callable[[Feed], AsyncIterator[Batch]]
    protocol: str = ""
    venue: str = ""
    socket: str = ""
    rest: str = ""
    takes_since: bool = False
    verify: Verify | None = None
    base: str = ""
    spacing: float = 0.0
    provenance: str = "live"


# Runs a source for one of its targets.
SourceFunction = Callable[[Feed], AsyncIterator[Batch]]

registered: dict[str, Source] = {}
verifiers: dict[str, Verify] = {}


def register(entry: Source) -> None:
    """Make a source known to `registry`."""
    registered[entry.name] = entry


def source(
    name: str,
    *,
    tables: tuple[type[Row], ...],
    docs: str,
    mode: Mode = "poll",
    protocol: str = "",
    base: str = "",
    spacing: float = 0.0,
    provenance: str = "live",
) -> Callable[[SourceFunction], SourceFunction]:
    """Register an async generator as a source; see `Source` for what is given."""

    def register_run(run: SourceFunction) -> SourceFunction:
        register(
            Source(
                name=name,
                tables=tables,
                docs=docs,
                mode=mode,
                module=run.__module__,
                summary=(run.__doc__ or "").strip().partition("\n")[0],
                run=run,
                protocol=protocol,
                base=base,
                spacing=spacing,
                provenance=provenance,
            )
        )
        return run

    return register_run


def verifier(name: str) -> Callable[[Verify], Verify]:
    """Register the function that compares a source's newest snapshot with the chain."""

    def register(verify: Verify) -> Verify:
        verifiers[name] = verify
        return verify

    return register
