"""Compare what two trees store of the same chain: `python -m scripts.compare_lakes OLD_TREE`.

Per protocol a local node gets a market of hundreds of accounts. Processes of the old tree and of
this one read it at the same blocks: at first, after a fall with liquidations, and with an asset
without a price. Then every table of the two lakes is compared row by row, in the order in which it
was stored, and column by column. Exit code 1 says that something differs.

Protocols may be named after OLD_TREE; else all are compared. Needs what the tests on the local node
need, see docs/development/tests.md.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from aiohttp import web

from chainwatch.demo import aave, accounts, comet
from chainwatch.demo.chain import DEPLOYER, Chain, Tx, encode
from chainwatch.demo.node import Node, install
from chainwatch.lake.engine import connect
from tests.builders import clean_environment
from tests.conftest import GENESIS
from tests.evm import aave_v2_market, compound_v2_market, morpho_market, operations
from tests.evm.rpc_proxy import Proxy, standing
from tests.lending.protocols import test_aave_v4_on_chain as aave_v4_market
from tests.lending.protocols import test_compound_v3_on_chain as comet_market
from tests.places import CACHE, ROOT

DAY = 86_400
USD = 10**8
ACCOUNTS = 250
# Columns that hold the time of reading, or a name made of it.
TIMES = {"read_at", "verified_at", "detected_at", "stored_at", "load"}
SNAPSHOTS = ("snapshot", "based_on")
Entry = Mapping[str, str]  # of the market in markets.toml

# --- the markets: each yields its entry where it is to be read ------------------------------------


def aave_v3_scene(chain: Chain) -> Iterator[Entry]:
    toolchain = install(CACHE, print)
    market = aave.deploy(chain, toolchain.artifacts, category_price=101_000_000)
    return _aave_scene(market, {"pool": market.pool}, accounts.populate(market, ACCOUNTS, 7))


def aave_v2_scene(chain: Chain) -> Iterator[Entry]:
    market: Any = aave_v2_market.deploy(chain, aave_v2_market.artifacts())
    entry = {"pool": market.pool, "quote_feed": market.eth_feed}
    return _aave_scene(market, entry, aave_v2_market.populate(market, ACCOUNTS, 7))


def _aave_scene(market: Any, entry: Entry, made: Sequence[str]) -> Iterator[Entry]:
    yield entry
    operations.random_operations(market, made, Random(1), 120)
    accounts.crash(market, 0.5)
    accounts.liquidate(market, made, Random(2), 60)
    market.chain.increase_time(30 * DAY)
    yield entry
    operations.random_operations(market, made, Random(3), 40)
    market.chain.send(market.listed["WBTC"].feed, "setAnswer(int256)", 0)
    yield entry


def aave_v4_scene(chain: Chain) -> Iterator[Entry]:
    market = aave_v4_market.deploy(chain)
    made, entry = aave_v4_market.populate(market, ACCOUNTS, 7), {"pool": market.spoke}
    yield entry
    market.set_prices({"WETH": 2_000 * USD, "WBTC": 50_000 * USD})
    signature = "liquidationCall(uint256,uint256,address,uint120[4],bool)"
    taken = [2 * 10**5, 10**5, 3 * 10**5, 10**5]
    pairs = [(c, d) for c in ("WETH", "WBTC") for d in ("USDC", "DAI")]
    calls = [
        encode(signature, market.numbers[held], market.numbers[owed], a, taken, i % 5 == 0)
        for i, a in enumerate(made)
        for held, owed in pairs
    ]
    chain.send_all([Tx(DEPLOYER, market.spoke, data) for data in calls], tolerate=True)
    market.configure("WETH", 7_500, 10_600)
    refreshed = [Tx(DEPLOYER, market.spoke, encode("refresh(address)", a)) for a in made[60:90]]
    chain.send_all([*refreshed, *(market.supply(a, "DAI", 10**18) for a in made[80:110])])
    chain.increase_time(365 * DAY)
    yield entry
    market.set_prices({"WBTC": 0})
    yield entry


def compound_v2_scene(chain: Chain) -> Iterator[Entry]:
    market = compound_v2_market.deploy(chain)
    prices = {symbol: price for symbol, _, price, _ in compound_v2_market.LISTED}
    made, bank = compound_v2_market.populate(market, prices, ACCOUNTS, 7), compound_v2_market.LENDER
    entry = {"pool": market.comptroller}
    yield entry
    market.set_prices({"WETH": 1_700 * USD, "WBTC": 50_000 * USD})
    for account in made[:80]:
        for debt in ("USDC", "DAI"):
            owed = market.snapshot_of(account, debt)[1]
            steps = market.liquidate(account, debt, owed // 3, "WETH")
            chain.send_all(steps if owed else [], tolerate=True)
    repaid = [tx for a in made[80:110] for tx in market.repay(bank, "USDC", a, 10**6)]
    handed = [market.hand(a, "WETH", b, 10**6) for a, b in zip(made[:40], made[40:80], strict=True)]
    left = [market.leave(account, "WBTC") for account in made[110:140]]
    chain.send_all([*repaid, *handed, *left], tolerate=True)
    chain.send_all(market.set_rate(10**13))
    chain.mine(300)
    yield entry
    market.set_prices({"WBTC": 0})
    yield entry


def comet_scene(chain: Chain) -> Iterator[Entry]:
    prices = comet_market.PRICES
    decimals = {"USDC": 6, "WETH": 18, "WBTC": 8, "wstETH": 18}
    shelf = comet_market.shelf(chain, [(s, d, prices[s]) for s, d in decimals.items()])
    market = comet.deploy(shelf)
    made, entry = comet.populate(market, prices, ACCOUNTS, 7), {"pool": market.comet}
    yield entry
    fallen = {s: prices[s] * 6 // 10 for s in ("WETH", "WBTC", "wstETH")}
    comet_market.set_prices(market, fallen)
    comet.liquidate(market, made, 40, 1)
    steps = [tx for a in made[:20] for tx in market.supply(a, "WETH", 10**17)]
    steps += [
        market.transfer(a, "USDC", b, 10**6) for a, b in zip(made[:30], made[30:60], strict=True)
    ]
    steps += [market.withdraw(account, "WBTC", 10**5) for account in made[60:100]]
    chain.send_all(steps, tolerate=True)
    chain.increase_time(30 * DAY)
    yield entry
    comet_market.set_prices(market, {"WBTC": 0})
    yield entry


def morpho_scene(chain: Chain) -> Iterator[Entry]:
    market = morpho_market.deploy(chain)
    made, entry = morpho_market.populate(market, ACCOUNTS, 7), {"pool": market.morpho}
    yield entry
    market.set_prices({"WETH": 1_900 * USD, "WBTC": 55_000 * USD, "wstETH/ETH": 11 * USD // 10})
    pairs = {pair.market_id: pair for pair in market.pairs.values()}
    for i, name in enumerate(made[:200]):
        account, _, market_id = name.partition(":")
        pair = pairs[market_id]
        held, shares = market.position(pair, account)
        steps = [
            market.liquidate(pair, account, held, 0),  # all that is held: the rest is bad debt
            market.liquidate(pair, account, 0, shares // 2),
            market.repay(morpho_market.LENDER, pair, shares // 3, account),
            market.supply(account, pair, 10**6),
        ]
        chain.send_all(steps[i % 4], tolerate=True)
    chain.increase_time(365 * DAY)
    yield entry
    market.set_prices({"WBTC": 0})
    yield entry


SCENES: dict[str, Callable[[Chain], Iterator[Entry]]] = {
    "aave-v2": aave_v2_scene,
    "aave-v3": aave_v3_scene,
    "spark": aave_v3_scene,
    "aave-v4": aave_v4_scene,
    "compound-v2": compound_v2_scene,
    "compound-v3": comet_scene,
    "morpho-blue": morpho_scene,
}

# --- two trees read them --------------------------------------------------------------------------


class Meter(Proxy):
    """The endpoint of both trees: the node, with what is asked and answered counted."""

    answered = 0  # bytes

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        response = await super()._handle(request)
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            self.answered += len(response.body)
        return response

    def take(self) -> tuple[int, int, int]:
        """Requests, calls in them and bytes of answers since the last time."""
        counts = len(self.received), len(self.calls()), self.answered
        self.received, self.answered = [], 0
        return counts


class Tree:
    """A checkout of the program, and the lake that it fills."""

    def __init__(self, name: str, source: Path, home: Path) -> None:
        self.name = name
        self.source = source
        self.home = home
        self.costs = [0, 0, 0, 0.0]  # requests, calls, bytes, seconds of CPU
        home.mkdir(parents=True)

    def configure(self, protocol: str, url: str, entry: Entry) -> None:
        values = {"protocol": protocol, "chain": "local", "rpc": [url]} | dict(entry)
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        lines = ["[markets.local]", *lines, "chain_id = 31337", "lag = 0", ""]
        (self.home / "markets.toml").write_text("\n".join(lines))

    def run(self, arguments: Sequence[str], meter: Meter) -> int:
        """Run a command of this tree; returns its exit code."""
        environ = clean_environment(self.home) | {"PYTHONPATH": str(self.source)}
        meter.take()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "chainwatch.cli", *arguments]
        done = subprocess.run(
            command, env=environ, cwd=self.home, capture_output=True, text=True, timeout=600
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        spent = (*meter.take(), seconds)
        self.costs = [a + b for a, b in zip(self.costs, spent, strict=True)]
        if done.returncode:
            say(f"  {self.name} tree, {' '.join(arguments)}: exit code {done.returncode}")
            say("".join(f"    {line}\n" for line in done.stderr.splitlines()[-3:]).rstrip())
        return done.returncode

    def tables(self) -> dict[str, Table]:
        """What the lake holds, by table."""
        folders = sorted(path for path in (self.home / "lake").iterdir() if path.is_dir())
        return {folder.name: read_table(folder) for folder in folders}


class Table(NamedTuple):
    """The rows of a table in the order in which they were stored."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def read_table(folder: Path) -> Table:
    """All rows of a table; names of snapshots end before the time of reading.

    An account is named with its position, whether that is a column of its own or not.
    """
    # A segment's name begins with the time at which it was stored.
    segments = sorted(folder.glob("day=*/*.parquet"), key=lambda path: path.name)
    names = ", ".join(f"'{path}'" for path in segments)
    text = f"SELECT * FROM read_parquet([{names}], hive_partitioning = false)"
    with connect() as engine:
        answer = engine.execute(text)
        columns = tuple(column[0] for column in answer.description or ())
        rows = answer.fetchall()
    cut = [columns.index(name) for name in SNAPSHOTS if name in columns]
    for i, row in enumerate(rows):
        values = list(row)
        for place in cut:
            values[place] = values[place] and values[place].rpartition(":")[0]
        if "position" in columns and (position := values[columns.index("position")]):
            values[columns.index("account")] += f":{position}"
        rows[i] = tuple(values)
    return Table(columns, rows)


def read_market(trees: Sequence[Tree], protocol: str, scene: Iterator[Entry], meter: Meter) -> int:
    """Let both trees read a market at each of its blocks; returns how many commands failed."""
    failed, reads = 0, 0
    for entry in scene:
        reads += 1
        for tree in trees:
            tree.configure(protocol, meter.url, entry)
        commands = [
            ("collect", protocol, "--accounts", "all", "--verify"),
            ("collect", f"{protocol}-liquidations"),
            ("collect", protocol, "--full", "--verify"),
        ]
        for command in commands:
            codes = [tree.run((*command, "--market", "local"), meter) for tree in trees]
            failed += any(codes)
    if reads < 3:
        raise RuntimeError(f"{protocol}: expected 3 reads, got {reads}")
    return failed


# --- what they have stored ------------------------------------------------------------------------


class Difference(NamedTuple):
    """The first row in which a column differs, and how many do."""

    row: str
    before: Any
    after: Any
    rows: int


def compare_table(old: Table, new: Table) -> dict[str, Difference]:
    """The columns that differ in tables of equally many rows."""
    shared = [c for c in old.columns if c in new.columns and c not in TIMES]
    places = [(c, old.columns.index(c), new.columns.index(c)) for c in shared]
    found: dict[str, Difference] = {}
    for i, (before, after) in enumerate(zip(old.rows, new.rows, strict=True)):
        for column, place, other in places:
            # The text of a number tells 0.0 from -0.0, and n/a equals n/a.
            if repr(before[place]) == repr(after[other]):
                continue
            if column in found:
                found[column] = found[column]._replace(rows=found[column].rows + 1)
                continue
            values = dict(zip(old.columns, before, strict=True))
            name = [f"row {i}", *(str(values[c]) for c in ("account", "asset") if c in values)]
            found[column] = Difference(" ".join(name), before[place], after[other], 1)
    return found


def compare_lakes(old: Tree, new: Tree) -> int:
    """Print how the lakes of two trees differ; returns the number of columns that do."""
    before, after = old.tables(), new.tables()
    differences, nothing = 0, Table((), [])
    for name in sorted({*before, *after}):
        was, now = before.get(name, nothing), after.get(name, nothing)
        if not was.rows and not now.rows:
            continue
        if len(was.rows) != len(now.rows):
            say(f"  {name:20} {len(was.rows)} rows in the old tree, {len(now.rows)} in the new one")
            differences += 1
            continue
        found = compare_table(was, now)
        differences += len(found)
        verdict = f"{len(found)} columns differ" if found else "equal"
        say(f"  {name:20} {len(now.rows):6} rows {len(now.columns):3} columns  {verdict}")
        for column, (row, old_value, new_value, rows) in found.items():
            say(f"    {column} in {rows} rows, first {row}: {old_value!r} became {new_value!r}")
        for side, columns, others in (("old", was, now), ("new", now, was)):
            if only := [c for c in columns.columns if c not in others.columns]:
                say(f"    only in the {side} tree, not compared: {', '.join(only)}")
    for tree in (old, new):
        requests, calls, size, seconds = tree.costs
        say(
            f"  {tree.name} tree: {requests} requests, {calls} calls, {size:,} bytes of answers, "
            f"{seconds:.1f} s of CPU"
        )
    return differences


def compare_protocol(protocol: str, old_source: Path, folder: Path) -> bool:
    """Whether both trees store the same of a protocol's market."""
    toolchain, begun = install(CACHE, print), time.monotonic()
    trees = [
        Tree(name, source, folder / protocol / name)
        for name, source in (("old", old_source), ("new", ROOT))
    ]
    say(protocol)
    with Node(toolchain.anvil, timestamp=GENESIS) as node, standing(Meter(node.url)) as proxy:
        assert isinstance(proxy, Meter)
        with Chain(node.url) as chain:
            failed = read_market(trees, protocol, SCENES[protocol](chain), proxy)
    differences = compare_lakes(*trees)
    say(
        f"  {differences} columns differ, {failed} commands failed "
        f"({time.monotonic() - begun:.0f} s)\n"
    )
    return not differences and not failed


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    unknown = [name for name in arguments[1:] if name not in SCENES]
    if not arguments or unknown:
        say(f"expected OLD_TREE and some of {', '.join(SCENES)}, got {' '.join(arguments)!r}")
        return 2
    old_source = Path(arguments[0]).resolve()
    if not (old_source / "chainwatch" / "cli.py").is_file():
        say(f"expected a checkout of chainwatch, got {old_source}; make one with git worktree add")
        return 2
    with tempfile.TemporaryDirectory(prefix="chainwatch-compare-") as folder:
        protocols = arguments[1:] or list(SCENES)
        equal = [compare_protocol(protocol, old_source, Path(folder)) for protocol in protocols]
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
