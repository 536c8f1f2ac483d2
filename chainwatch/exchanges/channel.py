"""What a venue's public liquidation stream is, and how long a stream waits for what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import msgspec

from chainwatch.exchanges.contracts import Contract
from chainwatch.exchanges.reader import MessageForm, ParsedMessage, Reader
from chainwatch.text import visible

if TYPE_CHECKING:
    from chainwatch.net.http import Rest

# Stands for the time of sending, in seconds, in what a channel sends.
NOW = "@NOW@"


class Request(msgspec.Struct, frozen=True):
    """A message that subscribes; acknowledgements must name all `tokens`."""

    text: str
    tokens: tuple[str, ...]


SamplingClass = Literal["full", "sampled", "partial", "unknown"]


class Era(msgspec.Struct, frozen=True):
    """What a venue publishes of its liquidations from a UTC day on, until the next era begins.

    `full`: the venue documents every liquidation; `sampled`: some of them; `partial`: only those of
    one kind; `unknown`: no limit is documented and none was measured. `begins` is the latest day on
    which the rule began. `selection` says which order of a contract and second is published, where
    the venue documents that. `cited` is the page that states the rule, and the date of the page or
    of its last reading.
    """

    begins: date
    sampling_class: SamplingClass
    sampling_rule: str
    selection: Literal["latest", "largest", "largest of each side"] | None = None
    cited: str = ""


class VenueMarket(msgspec.Struct, frozen=True, kw_only=True):
    """A market of a venue: what it publishes of its liquidations, and its list of contracts.

    `eras` are what it publishes, oldest first: the last lasts. `accounts` reads the addresses whose
    fills stand for a feed of all.
    """

    source: str
    venue: str
    market: str
    rest: str
    eras: tuple[Era, ...]
    contracts: Callable[[Rest], Awaitable[list[Contract]]]
    accounts: Callable[[Rest], Awaitable[list[str]]] | None = None

    def __post_init__(self) -> None:
        days = [era.begins for era in self.eras]
        if not days or any(later <= earlier for earlier, later in pairwise(days)):
            listed = ", ".join(map(str, days)) or "none"
            raise ValueError(
                f"{self.source}: expected eras in the order of their days, got {listed}; "
                "list each once, the oldest first"
            )

    @property
    def sampling_class(self) -> SamplingClass:
        return self.eras[-1].sampling_class

    @property
    def sampling_rule(self) -> str:
        return self.eras[-1].sampling_rule


class Channel(VenueMarket, frozen=True, kw_only=True):
    """A venue's public liquidation stream, as its documents describe it.

    `heartbeat` names a stream on the same socket that is never silent, `heartbeat_seconds` its
    longest pause; `max_quiet_seconds` is the longest time without a liquidation before the stream
    counts as stale (None: any time). `topics` gives what to subscribe to for the contracts listed;
    a channel that cannot subscribe without them is `per_contract`. Each of the `accounts` is
    subscribed to by its `account_topic`. `greeting` is sent first. NOW in what is sent stands for
    the time in seconds. `ping` is a text that the venue answers, `frame_ping_seconds` the pause
    between pings of the WebSocket protocol. `packed` frames are gzip. `forms` are those in which
    liquidations were sent, where there were several. `other_ws` are further addresses
    in use, tried in turn where one does not prove alive. The limits are the venue's.
    """

    ws: str
    heartbeat: str
    heartbeat_seconds: float
    topics: Callable[[Mapping[str, Contract]], list[str]]
    subscribe: Callable[[Sequence[str], int], Request]
    parse: Callable[[bytes, Reader], ParsedMessage]
    per_contract: bool = False
    account_topic: Callable[[str], str] = str
    forms: tuple[MessageForm, ...] = ()
    other_ws: tuple[str, ...] = ()
    heartbeat_topics: tuple[str, ...] = ()
    greeting: tuple[str, ...] = ()
    ping: str = ""
    ping_seconds: float = 20.0
    frame_ping_seconds: float | None = None
    packed: bool = False
    max_quiet_seconds: float | None = None
    topics_per_connection: int = 1_000
    characters_per_connection: int = 1_000_000
    topics_per_message: int = 100
    messages_per_second: float = 4.0


class Timing(msgspec.Struct, frozen=True):
    """How long a stream waits for what, in seconds."""

    ack: float = 5.0
    stable: float = 5.0
    span: float = 30.0
    relist: float = 3_600.0
    relist_retry: float = 30.0
    backoff_base: float = 0.25
    backoff_cap: float = 30.0
    connect: float = 15.0
    # Silence is noticed after this many heartbeat periods.
    silence: float = 2.5


def side_of(names: Mapping[str, str], raw_side: str) -> str:
    """The side that a venue's word means; ValueError for an unknown word."""
    try:
        return names[raw_side]
    except KeyError:
        words = " or ".join(names)
        raise ValueError(f"expected side {words}, got {visible(str(raw_side), 40)!r}") from None
