"""Starts the loopback exchange in a process of its own and tells it what to do."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from chainwatch.collect import runner
from chainwatch.collect.feed import Job, Outcome
from chainwatch.collect.registry import discover
from chainwatch.collect.source import Batch, Feed, Source
from chainwatch.exchanges import stream
from chainwatch.exchanges.channel import Channel, Timing
from chainwatch.exchanges.feeds import channels, histories
from chainwatch.lake.store import Store
from chainwatch.settings import Settings
from chainwatch.tables.exchange import Coverage, ExchangeLiquidation, Instrument
from tests.places import ROOT
from tests.venues.discovery import ALL


def discovered() -> tuple[Channel, ...]:
    """Every stream that the registry finds. Each is played by the loopback exchange."""
    discover()
    played = channels.keys() | {history.channel.source for history in histories.values()}
    if played != ALL.keys():
        difference = ", ".join(sorted(played ^ ALL.keys()))
        raise LookupError(
            f"expected a protocol in LOOPBACK of tests/exchanges/venues/test_<venue>.py for each "
            f"stream, got {difference} in one of the two only; add the protocol: faults of all "
            "venues are tried on it"
        )
    return tuple(channels[name] for name in sorted(channels))


# The streams of all venues but those of which tests know more: see tests/exchanges/test_stream.py.
OTHERS = tuple(
    channel
    for channel in discovered()
    if channel.source not in ("binance-usdm", "bybit-linear", "okx")
)


class Loopback:
    """The loopback exchange, alive inside the `with` block."""

    def __init__(self, certificate: Path | None = None) -> None:
        self._certificate = certificate
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.venues.server"]
        if self._certificate is not None:
            command.append(str(self._certificate))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout is not None
        self.port = json.loads(self._process.stdout.readline())["port"]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    @property
    def _secure(self) -> str:
        return "s" if self._certificate is not None else ""

    def environment(self, *sources: str) -> dict[str, str]:
        """What points these sources here."""
        variables = {}
        for source in sources:
            name = source.upper().replace("-", "_")
            variables[f"CHAINWATCH_WS_{name}"] = (
                f"ws{self._secure}://127.0.0.1:{self.port}/ws/{source}"
            )
            variables[f"CHAINWATCH_URL_{name}"] = (
                f"http{self._secure}://127.0.0.1:{self.port}/rest/{source}"
            )
        return variables

    def settings(self, home: Path, *sources: str, **more: str) -> Settings:
        return Settings(
            {"home": str(home), **more},
            environ=self.environment(*sources),
            dotenv=home / "no.env",
        )

    async def control(self, do: str, source: str, **order: Any) -> Any:
        """Have the exchange do something (see tests.venues.server); its answer."""
        return await self._post("/control", {"do": do, "source": source, **order})

    async def treat_ccxt(self, **faults: Any) -> list[str]:
        """Behave so with ccxt; the paths it requested since the last time."""
        paths: list[str] = await self._post("/control/ccxt", faults)
        return paths

    async def _post(self, path: str, order: Any) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"http{self._secure}://127.0.0.1:{self.port}{path}",
                data=io.BytesIO(json.dumps(order).encode()),
                ssl=False,
            ) as answer,
        ):
            answer.raise_for_status()
            return await answer.json()


# --- collecting from it ---------------------------------------------------------------------

# Heartbeats every 0.1 s, expected every second: silence is noticed after 2.5 s, and a machine that
# is busy with other things is not mistaken for it.
HEARTBEAT_SECONDS = 1.0
FAST = Timing(
    ack=2.0,
    stable=0.5,
    span=0.3,
    relist=3_600.0,
    relist_retry=0.2,
    backoff_base=0.05,
    backoff_cap=0.4,
    connect=10.0,
)


class Notes:
    """Keeps the notes of a run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, what: str, done: float, total: float | None = None) -> None: ...


def quick(channel: Channel, **changes: Any) -> Channel:
    """A channel as documented, only faster."""
    given = {"heartbeat_seconds": HEARTBEAT_SECONDS, "messages_per_second": 200.0, **changes}
    return msgspec.structs.replace(channel, **given)


class HandedOver:
    """What a stream has handed over so far."""

    def __init__(self) -> None:
        self.liquidations = 0
        self.spans: list[Coverage] = []

    def add(self, batch: Batch) -> None:
        for row in batch.rows:
            self.liquidations += isinstance(row, ExchangeLiquidation)
            if isinstance(row, Coverage):
                self.spans.append(row)


def source_of(channel: Channel, timing: Timing, handed_over: HandedOver) -> Source:
    """The channel's own stream; `handed_over` is told what it hands over."""

    async def run(feed: Feed) -> AsyncIterator[Batch]:
        async with contextlib.aclosing(stream.run(feed, channel, timing)) as batches:
            async for batch in batches:
                handed_over.add(batch)
                yield batch

    return Source(
        name=channel.source,
        tables=(ExchangeLiquidation, Coverage, Instrument),
        docs="",
        mode="stream",
        module="",
        summary="",
        run=run,
        venue=channel.venue,
    )


class Collecting:
    """A collector of these channels in this process, alive inside the `async with` block."""

    def __init__(
        self, exchange: Loopback, home: Path, *channels: Channel, timing: Timing = FAST, **more: Any
    ) -> None:
        self.store = Store(home)
        self.voice = Notes()
        self.channels = channels
        self.outcomes: list[Outcome] = []
        self._exchange = exchange
        settings = exchange.settings(home, *(c.source for c in channels), **more)
        self._handed_over = {channel.source: HandedOver() for channel in channels}
        jobs = [
            Job(source_of(channel, timing, self._handed_over[channel.source]))
            for channel in channels
        ]
        self._run = runner.collect(self.store, settings, jobs, self.voice)
        self._task: asyncio.Task[list[Outcome]] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def alive(self, connections: int = 1) -> None:
        """Wait until every channel has subscribed to everything on so many sockets, and is up.

        What proves it arrived after this was called: sockets that broke just now do not count.
        """
        called_at = datetime.now(UTC)
        await self.subscribed(connections)
        for channel in self.channels:
            await self.stands(channel, lambda span: span.state == "up" and span.to_time > called_at)

    async def subscribed(self, connections: int = 1) -> None:
        """Wait until every channel has asked for topics on so many sockets."""
        for channel in self.channels:

            async def has_topics(source: str = channel.source) -> bool:
                state = await self._exchange.control("state", source)
                return state["connections"] >= connections and all(state["topics"])

            await until(has_topics)

    async def stands(self, channel: Channel, check: Callable[[Coverage], bool]) -> None:
        """Wait until the newest span of this channel is such."""

        async def such() -> bool:
            spans = self._handed_over[channel.source].spans
            return bool(spans) and check(spans[-1])

        await until(such)

    async def counted(self, *, rows: int = 0, duplicates: int = 0, rejects: int = 0) -> None:
        """Wait until every channel has handed over as much as this."""
        for handed_over in self._handed_over.values():

            async def reached(handed_over: HandedOver = handed_over) -> bool:
                return (
                    handed_over.liquidations >= rows
                    and sum(span.duplicates for span in handed_over.spans) >= duplicates
                    and sum(span.rejects for span in handed_over.spans) >= rejects
                )

            await until(reached)

    async def noted(self, words: str) -> None:
        """Wait until a note on each channel holds these words."""

        async def complete() -> bool:
            lines = [line for line in self.voice.lines if words in line]
            return all(
                any(line.startswith(f"{name}: ") for line in lines) for name in self._handed_over
            )

        await until(complete)

    def coverage(self, channel: Channel) -> list[Coverage]:
        return self.store.rows(
            Coverage, "source = $source ORDER BY from_time", {"source": channel.source}
        )

    def liquidations(self, channel: Channel) -> list[ExchangeLiquidation]:
        return self.store.rows(
            ExchangeLiquidation, "source = $source ORDER BY time", {"source": channel.source}
        )


async def until(check: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    """Wait for something that must happen."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110 - what is waited for is in another process
            await asyncio.sleep(0.02)
