"""What an incremental refresh costs: it follows the accounts that changed, not all of them.

The alternative is reading every account of the same market again (`collect --full`), whose accounts
are valued and stored in columns as well. What does not shrink is that every health factor is
computed anew at the block's prices and stored. The node on loopback answers in no time: what a
public endpoint adds is its round trips, of which the longest chain in a row is counted.

A market of 500,000 accounts takes the node an hour to make: of that size a stored snapshot is
synthetic, and what a refresh does with it is measured without a chain, in a process of its own:
reading what accounts hold, valuing it, storing it.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from bench.chain import market_with
from chainwatch.bulk import bulk
from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Block
from chainwatch.collect import runner
from chainwatch.collect.feed import Job
from chainwatch.collect.registry import find
from chainwatch.demo.aave import AaveMarket
from chainwatch.lake.store import Store
from chainwatch.lending.accounts import AccountRows
from chainwatch.lending.protocol import Accounts, Currency, MarketView, Rules, Stored
from chainwatch.lending.protocols.aave_v3 import arithmetic
from chainwatch.lending.protocols.aave_v3.arithmetic import ReserveConfig, ReserveState
from chainwatch.lending.protocols.aave_v3.balances import PoolPosition
from chainwatch.lending.protocols.aave_v3.book import PoolBook, PoolState
from chainwatch.lending.protocols.aave_v3.oracle import Oracle
from chainwatch.lending.protocols.aave_v3.pool import V3
from chainwatch.lending.protocols.aave_v3.reader import AavePool
from chainwatch.lending.snapshots import Stamp
from chainwatch.lending.valuation import snapshot_rows
from chainwatch.net.http import Http
from chainwatch.settings import Settings
from chainwatch.tables.columns import Holdings, words
from chainwatch.tables.lending import Account, Leg, Reserve, Snapshot

SIZES = (1_000, 4_000)
LARGEST = 40_000  # more takes the node too long; without changed accounts only
DIRTY = (0, 20, 200)
SYNTHETIC = 500_000
RUNS = 3
CPU_WANTED = 0.15
MB_WANTED = 300
# Of a request through the proxy: less than a public endpoint takes, more than what is done between.
ROUND_TRIP_SECONDS = 0.1


class Quiet:
    def note(self, text: str) -> None: ...

    def progress(self, what: str, done: float, total: float | None = None) -> None: ...


class RoundTrips:
    """A proxy before a node: counts requests, and of those the most that stood in a row.

    A request stands behind every other that was answered before it came.
    """

    def __init__(self, url: str) -> None:
        self.requests = 0
        self.in_a_row = 0
        self._answered = 0
        lock, trips = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                with lock:
                    depth = trips._answered + 1
                    trips.requests += 1
                    trips.in_a_row = max(trips.in_a_row, depth)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posted = Request(url, body, {"Content-Type": "application/json"})
                time.sleep(ROUND_TRIP_SECONDS)
                with urlopen(posted) as answer:
                    content = answer.read()
                with lock:
                    trips._answered = max(trips._answered, depth)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> RoundTrips:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def touch(deployed: AaveMarket, accounts: list[str]) -> None:
    """Let the first accounts do something: each is given a little more collateral."""
    bank = "0x" + "ba" * 20
    deployed.chain.send_all(
        [
            deployed.mint("USDC", bank, 10**6 * len(accounts)),
            deployed.approve(bank, "USDC"),
            *(deployed.supply(bank, "USDC", 10**6, account) for account in accounts),
        ]
    )


def refreshes(cache: Path, size: int, changed: tuple[int, ...]) -> list[dict[str, Any]]:
    lines = []
    with tempfile.TemporaryDirectory() as folder, market_with(cache, size) as built:
        url, market, accounts, deployed = built
        home = Path(folder)

        def configure(endpoint: str) -> None:
            (home / "markets.toml").write_text(
                f'[markets.bench]\nprotocol = "aave-v3"\nchain = "local"\nchain_id = 31337\n'
                f'pool = "{market.pool}"\nrpc = ["{endpoint}"]\nlag = 0\n'
                f"deployment_block = {market.deployment_block}\n"
            )

        settings = Settings({"home": folder}, environ={}, dotenv=home / ".env")

        def read(dirty: int, **options: str) -> tuple[float, float, int]:
            touch(deployed, accounts[:dirty])
            deployed.chain.mine()
            job = Job(find("aave-v3"), target="bench", options={"accounts": "all", **options})
            begin, cpu = time.perf_counter(), time.process_time()
            done = asyncio.run(runner.collect(Store(home), settings, [job], Quiet()))
            runner.raise_failures(done)
            seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
            newest = max(Store(home).rows(Snapshot), key=lambda s: s.read_at)
            return cpu, seconds, newest.accounts_read

        configure(url)
        read(0)
        for dirty in changed:
            cpu, seconds, count = min(read(dirty) for _ in range(RUNS))
            full_cpu, full_seconds, full_count = min(read(dirty, full="yes") for _ in range(RUNS))
            with RoundTrips(url) as trips:
                configure(trips.url)
                read(dirty)
            configure(url)
            lines.append(
                {
                    "benchmark": f"refresh with {dirty} changed of {size} accounts",
                    "unit": "accounts read from the chain",
                    "ours": count,
                    "seconds": round(seconds, 3),
                    "cpu_seconds": round(cpu, 3),
                    "requests": trips.requests,
                    "requests in a row": trips.in_a_row,
                    "alternative": full_count,
                    "alternative_seconds": round(full_seconds, 3),
                    "alternative_cpu_seconds": round(full_cpu, 3),
                    "ratio": round(full_count / max(count, 1), 2),
                    "cpu ratio": round(cpu / full_cpu, 3),
                    **({"wanted": f"cpu ratio ≤ {CPU_WANTED}"} if not dirty else {}),
                }
            )
    return lines


# --- without a chain ------------------------------------------------------------------------------

ASSETS = tuple(f"0x{number:040x}" for number in range(1, 9))
_RAY = 10**27


def pool_view() -> MarketView:
    """A pool of eight reserves at some block."""
    decimals = (18, 8, 6, 6, 18, 18, 8, 18)
    prices = (3_000, 90_000, 1, 1, 3_500, 15, 90_000, 1)
    states, rows = {}, []
    for number, asset in enumerate(ASSETS):
        config = ReserveConfig(
            ltv=7_500,
            lt=8_000,
            bonus=10_500,
            decimals=decimals[number],
            active=True,
            frozen=False,
            borrowing=True,
            paused=False,
            protocol_fee=1_000,
            emode=0,
        )
        indices = _RAY + 123_456_789 * 10**17, _RAY + 234_567_891 * 10**17
        states[asset] = ReserveState(asset, number, config, *indices, prices[number] * 10**8)
        rows.append(
            Reserve(
                snapshot="",
                market="bench",
                block_number=1,
                asset=asset,
                reserve_id=number,
                symbol=f"T{number}",
                decimals=decimals[number],
                price=prices[number] * 10**8,
                price_usd=float(prices[number]),
                price_status="ok",
                oracle=ASSETS[0],
                ltv_bps=7_500,
                lt_bps=8_000,
                bonus_bps=500,
            )
        )
    currency = Currency(10**8)
    state = PoolState(Oracle(ASSETS[0], "USD", currency), arithmetic.V3_4, states, {}, 0)
    rules = Rules(
        profile="3.4", close_rule=arithmetic.V3_4.close_rule, base_decimals=8, truncates_lt=True
    )
    return MarketView(state=state, reserves=rows, rules=rules, currency=currency)


def drawn_holdings(accounts: int) -> Holdings:
    """Accounts with two collaterals and a debt, or less."""
    import numpy as np

    luck = random.Random(1)
    names = sorted(f"0x{luck.getrandbits(160):040x}" for _ in range(accounts))
    numbers, assets, sides, scaled = [], [], [], []
    for number in range(accounts):
        for asset in luck.sample(range(8), luck.randint(1, 2)):
            numbers.append(number)
            assets.append(asset)
            sides.append(0)
            scaled.append(int(luck.lognormvariate(0, 2) * 10 ** (18 if asset % 4 == 0 else 8)))
        if luck.random() < 0.8:
            numbers.append(number)
            assets.append(luck.randrange(8))
            sides.append(1)
            scaled.append(int(luck.lognormvariate(0, 2) * 10**6))
    exact = words(scaled)
    assert not isinstance(exact, list)
    return Holdings(
        accounts=np.array(names, dtype=object),
        emodes=np.zeros(accounts, dtype="int64"),
        read_blocks=np.zeros(accounts, dtype="int64"),
        asset_names=ASSETS,
        numbers=np.array(numbers, dtype="int32"),
        assets=np.array(assets, dtype="uint16"),
        sides=np.array(sides, dtype="uint8"),
        scaled=exact,
        stable={},
        large=frozenset(),
    )


def stamp_at(block: int, name: str) -> Stamp:
    """What a snapshot at some block of the synthetic market is known by."""
    market = Market(
        protocol="aave-v3",
        chain="local",
        chain_id=31_337,
        pool=ASSETS[0],
        name="bench",
        rpc=("http://127.0.0.1:1",),
        deployment_block=0,
        lag=0,
        provenance="demo",
    )
    rpc = Rpc(Http(), market.rpc, chain="local", chain_id=31_337)
    reading = Reading(rpc, market, Block(block, "0x" + "00" * 32, 0))
    return Stamp(name, reading, datetime.now(UTC), "all", 0, None)


def store_snapshot(store: Store, name: str, accounts: Accounts[PoolPosition], block: int) -> None:
    """Value accounts and store them."""
    view = pool_view()
    values = accounts.value(AavePool(V3), view.state, block, None)
    rows, columns = snapshot_rows(stamp_at(block, name), 1, view, {}, (), values)
    store.append(rows, source="aave-v3", target="bench", columns=columns)


def build(home: str, accounts: int) -> None:
    """Store a synthetic snapshot."""
    store = Store(Path(home))
    store.create()
    store_snapshot(store, "first", PoolBook(drawn_holdings(accounts), {}, {}), 1)


def rows_of(store: Store) -> AccountRows[PoolPosition]:
    """The accounts of the stored snapshot as an object for each balance."""
    lending = AavePool(V3)
    legs: dict[str, list[Leg]] = {}
    with bulk():
        for leg in store.rows(Leg):
            legs.setdefault(leg.account, []).append(leg)
        return AccountRows(
            {
                row.account: Stored(row, own, lending.stored_position(row, own))
                for row in store.rows(Account)
                for own in [legs.get(row.account, [])]
            }
        )


def carry_over(home: str, method: str) -> None:
    """Print CPU seconds and the peak of memory of refreshing the stored snapshot, as JSON."""
    store = Store(Path(home))
    seconds, cpu = time.perf_counter(), time.process_time()
    with bulk():
        accounts: Accounts[PoolPosition] = (
            rows_of(store) if method == "rows" else PoolBook(store.holdings("first"), {}, {})
        )
        store_snapshot(store, "second", accounts, 2)
    result = {
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "seconds": round(time.perf_counter() - seconds, 3),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    sys.stdout.write(json.dumps(result) + "\n")


def apart(call: str) -> str:
    """What a call of this module prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", f"from bench import refresh; refresh.{call}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def synthetic(accounts: int) -> dict[str, Any]:
    """A stored snapshot carried over without a chain, in columns and by rows."""
    results = {}
    for method in ("columns", "rows"):
        with tempfile.TemporaryDirectory() as home:
            apart(f"build({home!r}, {accounts})")
            results[method] = json.loads(apart(f"carry_over({home!r}, {method!r})"))
    ours, other = results["columns"], results["rows"]
    return {
        "benchmark": f"{accounts} accounts carried over, valued and stored, synthetic, no chain",
        "unit": "CPU seconds",
        "ours": ours["cpu_seconds"],
        "seconds": ours["seconds"],
        "peak_mb": ours["peak_mb"],
        "alternative": other["cpu_seconds"],
        "alternative_seconds": other["seconds"],
        "alternative_peak_mb": other["peak_mb"],
        "ratio": round(ours["cpu_seconds"] / other["cpu_seconds"], 3),
        "wanted": f"ratio ≤ {CPU_WANTED}, peak_mb ≤ {MB_WANTED}",
    }


def run(cache: Path) -> list[dict[str, Any]]:
    lines = [line for size in SIZES for line in refreshes(cache, size, DIRTY)]
    lines += refreshes(cache, LARGEST, DIRTY[:1])
    return [*lines, synthetic(LARGEST), synthetic(SYNTHETIC)]
