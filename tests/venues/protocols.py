"""How a venue's public socket and REST interface behave: what the test file of each fills in.

A test file of tests/exchanges/venues names its venue's sources in `LOOPBACK`, each with its
protocol; tests.venues.discovery finds them.

Liquidation number n is of contract n modulo the number listed, a long if n is even, at BASE_MS + n,
so that every number is an event of its own. All figures are our own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

BASE_MS = 1_760_000_000_000


# A liquidation that REST tells of: its number and its time in milliseconds.
Past = tuple[int, int]


@dataclass
class Answer:
    """What the venue does on a message of the client."""

    replies: list[str] = field(default_factory=list)
    topics: set[str] = field(default_factory=set)
    subscribes: bool = False


def dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def now_ms() -> int:
    return int(time.time() * 1000)


class Protocol:
    """One source. `beat` is the pause between heartbeats in seconds."""

    symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    beat = 0.1
    packed = False

    def welcome(self) -> list[str]:
        return []

    def answer(self, text: str, denied: set[str]) -> Answer:
        raise NotImplementedError

    def heartbeats(self, topics: set[str]) -> Iterable[str]:
        raise NotImplementedError

    def frames(self, n: int, at_ms: int) -> Iterator[tuple[str, str]]:
        """(topic, frame) of liquidation number n."""
        raise NotImplementedError

    def of_second(self, text: str) -> str:
        """A frame about the first contract, with the second in its place."""
        return text.replace(*self.symbols[:2])

    def wants(self, topics: set[str], topic: str) -> bool:
        return topic in topics

    def rest(
        self, path: str, query: dict[str, str], body: bytes, history: list[Past]
    ) -> str | None:
        raise NotImplementedError

    def past(
        self, history: Sequence[Past], start: int, end: int, symbol: str | None = None
    ) -> list[Past]:
        """The liquidations in a span of time, oldest first."""
        past = [(n, ms) for n, ms in history if start <= ms < end]
        past.sort(key=lambda entry: entry[1])
        return [(n, ms) for n, ms in past if symbol in (None, self.symbol(n))]

    def symbol(self, n: int) -> str:
        return self.symbols[n % len(self.symbols)]

    def size(self, n: int) -> str:
        return f"{(n % 997 + 1) / 1000:.3f}"

    def price(self, n: int) -> str:
        return f"{20_000 + n % 1_000}.5"


def iso(ms: int) -> str:
    text = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def of_iso(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
