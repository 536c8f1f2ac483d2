"""An hour of a feed at 50 frames per second, in a process of its own; and garbage in gzip.

The hour is compressed: the clock runs as fast as the frames come, and everything behind the socket
- reading, recognising what came before, coverage, storing, merging - is what collects in earnest.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chainwatch.exchanges.venues import htx
from chainwatch.tables.log import Reject
from tests import shell
from tests.amounts import sample_size
from tests.venues.client import ROOT, Collecting, Loopback, quick, until
from tests.venues.discovery import ALL

PER_SECOND = 50
SECONDS = sample_size(quick=3_600, full=3_600, torture=36_000)
LINEAR = quick(htx.LINEAR)

# Frames through the stream that collects, all but its socket, into a lake: flushed every 30 s of
# its clock and merged as a collector merges; prints memory in KiB twelve times, and files.
_HOUR = """
import asyncio, json, resource, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from chainwatch.collect.feed import Job, JobFeed, Run
from chainwatch.collect.registry import find
from chainwatch.exchanges import stream
from chainwatch.exchanges.channel import Timing
from chainwatch.exchanges.feeds import channels
from chainwatch.lake.merge import Merger
from chainwatch.lake.store import Store
from chainwatch.net.socket import SocketFrame
from chainwatch.settings import Settings
from tests.venues.client import Notes
from tests.venues.discovery import ALL

home, per_second, seconds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
stream.REMEMBERED = 50_000  # else the hour ends before anything is forgotten

async def main():
    store = Store(home)
    store.create()
    start = datetime.now(UTC)
    now = [start]
    settings = Settings({"home": str(home)}, environ={}, dotenv=home / "no.env")
    run = Run(store, settings, Notes(), clock=lambda: now[0])
    source = find("binance-usdm")
    feed = JobFeed(run, None, Job(source), run.writer)
    reading = stream.Stream(feed, channels[source.name], Timing())
    merger = Merger(store, settle=0.0, grace=0.0)
    memory, most = [], 0

    def files():
        return len(list((store.lake / "exchange_liquidations").glob("day=2*/*.parquet")))

    for second in range(seconds):
        now[0] = start + timedelta(seconds=second)
        for n in range(second * per_second, (second + 1) * per_second):
            for _, text in ALL["binance-usdm"].frames(n, 0):
                await reading.handle(SocketFrame(text.encode(), False), now[0])
        reading.coverage.advance()
        if second % 30 == 29:
            await run.writer.add(reading.take())
            await run.writer.flush()
        if second % 60 == 59:
            merger.step()
            most = max(most, files())
        if second % (seconds // 12) == seconds // 12 - 1:
            with open("/proc/self/statm") as file:
                memory.append(int(file.read().split()[1]) * resource.getpagesize() // 1024)
    merger.close()
    print(json.dumps({"memory": memory, "files": files(), "most": most}))

asyncio.run(main())
"""


@pytest.mark.full
@pytest.mark.sampled(f"{PER_SECOND * SECONDS:,} frames")
@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_memory_stays_flat_and_files_stay_few_over_an_hour_of_frames(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HOUR, str(tmp_path), str(PER_SECOND), str(SECONDS)],
        cwd=ROOT,
        env=shell.environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS / 10,
    )
    assert done.returncode == 0, done.stderr
    usage: dict[str, Any] = json.loads(done.stdout)
    early, late = usage["memory"][3], usage["memory"][-1]
    assert late < 1.25 * early, usage  # the last two thirds of the hour add next to nothing
    assert usage["most"] <= 24, usage
    counted = shell.run(
        "sql", "SELECT count(*) AS n FROM exchange_liquidations", "--csv", home=tmp_path
    )
    assert counted.out == f"n\n{PER_SECOND * SECONDS}\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with Loopback() as running:
        yield running


async def test_frames_that_are_not_gzip_are_rejected_with_a_reason(
    server: Loopback, tmp_path: Path
) -> None:
    """The socket stays open."""
    good = next(ALL["htx-linear"].frames(0, 0))[1].encode()
    packed = gzip.compress(good)
    bad = [
        ({"raw_text": b'{"op":"notify"}'.hex()}, "expected a gzip frame, got a text frame"),
        ({"hex": b"plain".hex()}, "the frame is not gzip"),
        ({"hex": packed[:-9].hex()}, "the gzip frame is cut"),
        ({"hex": gzip.compress(bytes(20_000_000)).hex()}, "holds more than 16,777,216 bytes"),
        ({"hex": gzip.compress(b"[" * 1_000).hex()}, "expected `object`"),
        (
            {"hex": gzip.compress(good.replace(b'"sell"', b'"hold"')).hex()},
            "expected side sell or buy, got 'hold'",
        ),
        (
            {"hex": gzip.compress(good.replace(b'"volume":1.0', b'"volume":-1')).hex()},
            "expected a size",
        ),
    ]
    async with Collecting(server, tmp_path, LINEAR) as running:
        await running.alive()
        opened = (await server.control("state", LINEAR.source))["opened"]
        for n, (frame, _) in enumerate(bad):
            await server.control("send", LINEAR.source, frames=[frame])
            await server.control("burst", LINEAR.source, count=1, start=10 + n)

        async def complete() -> bool:
            return len(running.liquidations(LINEAR)) == len(bad)

        await until(complete)
        assert (await server.control("state", LINEAR.source))["opened"] == opened
    rejects = running.store.rows(
        Reject, "source = $source ORDER BY received_at", {"source": LINEAR.source}
    )
    for (_, words), reject in zip(bad, rejects, strict=True):
        assert words.lower() in reject.reason.lower()
