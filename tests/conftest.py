"""The local chain for every test that asks for it; such a test is marked `evm` by itself."""

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from chainwatch.demo import aave
from chainwatch.demo.chain import Chain
from chainwatch.demo.node import Node, Toolchain, ToolchainMissing, install
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.tables.base import Row
from tests import amounts, templates, torture
from tests.places import CACHE

GENESIS = 1_700_000_000
# What a test on the local node runs on: the argument of its marker `contracts`.
CONTRACTS = {
    "published": "published contract bytecode (Aave v2, v3, Spark, v3.6, Morpho Blue, Venus)",
    "stand-in": "stand-ins of this project with a protocol's ABI (all others)",
    "plain": "no protocol (the local node alone, tokens, feeds, ABIs)",
}

# Files that take longest begin first, so that no worker is left alone with one at the end.
LONGEST = (
    "nightly",
    "cli",
    "store",
    "recording",
    "export",
    "cascade",
    "aave_v3_on_chain",
    "queries",
    "hostile_tokens",
    "break_levels",
    "alerts",
    "clusters",
    "macros",
    "liquidations",
    "feeds",
    "stream",
    "diff",
    "rpc",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--amounts",
        choices=amounts.LEVELS,
        default=amounts.QUICK,
        help="how much the tests marked `sampled` try: quick (make test), full (make test-all), "
        "torture (make torture)",
    )


_LAKE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """The processes of a run share what takes half a minute to make: see shell.recorded_lake."""
    amounts.use(config.getoption("amounts"))
    # A test that runs tests of its own gives them its lake.
    if not hasattr(config, "workerinput") and "CHAINWATCH_TEST_LAKE" not in os.environ:
        config.stash[_LAKE] = tempfile.mkdtemp(prefix="chainwatch-lake-")
        os.environ["CHAINWATCH_TEST_LAKE"] = config.stash[_LAKE]


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(_LAKE, ""):
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ["CHAINWATCH_TEST_LAKE"]


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "toolchain" in getattr(item, "fixturenames", ()):
            item.add_marker("evm")
            item.user_properties.append(("contracts", _contracts(item)))
        if (sampled := item.get_closest_marker("sampled")) is not None:
            item.user_properties.append(("tried", _tried(item, sampled)))
    _mark_variants(items)
    ranks = {f"test_{name}": rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    names = getattr(item, "fixturenames", ())
    own = item.get_closest_marker("own_catalog") is not None or "small_disk" in names
    templates.install(not own and item.path.parent.name != "lake")


def _contracts(item: pytest.Item) -> str:
    """Which contracts a test on the local node runs on, as its marker `contracts` says."""
    marker = item.get_closest_marker("contracts")
    kind = marker.args[0] if marker else "plain"
    if kind == "plain" and "file_market" in getattr(item, "fixturenames", ()):
        return "published"
    if marker is None or kind not in CONTRACTS:
        raise pytest.UsageError(
            f"{item.nodeid} runs on the local node: expected a marker contracts(…) with one of "
            f"{', '.join(CONTRACTS)}; add it to the test or to its file"
        )
    return str(kind)


def _tried(item: pytest.Item, sampled: pytest.Mark) -> str:
    """How much a sampled test tries, in words."""
    if sampled.args:
        return str(sampled.args[0])
    settings = getattr(getattr(item, "obj", None), "_hypothesis_internal_use_settings", None)
    return f"{settings.max_examples} examples" if settings else ""


def _mark_variants(items: list[pytest.Item]) -> None:
    """Mark `full` the variants of a test that its marker `quick_variants` does not name."""
    named: dict[str, set[str]] = {}
    variants_of: dict[str, set[str]] = {}
    for item in items:
        marker = item.get_closest_marker("quick_variants")
        if marker is None or not isinstance(item, pytest.Function):
            continue
        test = item.nodeid.partition("[")[0]
        variant = item.callspec.id if hasattr(item, "callspec") else ""
        named[test] = set(marker.args)
        variants_of.setdefault(test, set()).add(variant)
        if not any(fnmatchcase(variant, pattern) for pattern in marker.args):
            item.add_marker("full")
    for test, variants in variants_of.items():
        # Where one variant is asked for by its name, the others are not collected.
        missing = {p for p in named[test] if not any(fnmatchcase(v, p) for v in variants)}
        if len(variants) > 1 and missing:
            raise pytest.UsageError(
                f"{test}: quick_variants names {', '.join(sorted(missing))}; "
                f"expected some of {', '.join(sorted(variants))}"
            )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran on which contracts, so that none at all is visible."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in CONTRACTS}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            kind = dict(getattr(report, "user_properties", ())).get("contracts")
            if kind is not None:
                counts[str(kind)][outcome] += 1
    for kind, meaning in CONTRACTS.items():
        numbers = ", ".join(f"{count} {outcome}" for outcome, count in counts[kind].items())
        terminalreporter.write_line(f"tests on {meaning}: {numbers or 'none'}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """`make torture` leaves its table in docs/development/torture.md."""
    if amounts.level() == amounts.TORTURE and not hasattr(session.config, "workerinput"):
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        torture.write(reporter.stats if reporter else {})


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    """The node and the Aave artifacts, installed on first use."""
    try:
        return install(Path(os.environ.get("CHAINWATCH_CACHE") or CACHE), print)
    except ToolchainMissing as missing:
        if os.environ.get("CI") or os.environ.get("CHAINWATCH_REQUIRE_EVM") == "1":
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def node(toolchain: Toolchain) -> Iterator[Node]:
    """A node per file: a node that has seen too much no longer knows its oldest blocks."""
    with Node(toolchain.anvil, timestamp=GENESIS) as running:
        yield running


@pytest.fixture(scope="module")
def file_chain(node: Node) -> Iterator[Chain]:
    with Chain(node.url) as connected:
        yield connected


@pytest.fixture(scope="module")
def file_market(file_chain: Chain, toolchain: Toolchain) -> aave.AaveMarket:
    return aave.deploy(file_chain, toolchain.artifacts)


@pytest.fixture
def chain(file_chain: Chain) -> Iterator[Chain]:
    """A connection to the node; what a test does to the chain is undone after it."""
    snapshot = file_chain.snapshot()
    yield file_chain
    file_chain.revert(snapshot)


@pytest.fixture
def aave_market(file_market: aave.AaveMarket, chain: Chain) -> aave.AaveMarket:
    """The empty market on `chain`."""
    return replace(file_market, listed=dict(file_market.listed))


@pytest.fixture(scope="session")
def session_lake(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, frozenset[Path]]:
    """A lake with its catalog, and the paths in it while nothing has been stored."""
    store = Store(tmp_path_factory.mktemp("lake"))
    store.create()
    query.open_catalog(store).close()
    return store, frozenset(store.home.rglob("*"))


@pytest.fixture
def empty_lake(session_lake: tuple[Store, frozenset[Path]]) -> Store:
    """A lake with nothing in it; what the test before it stored is gone.

    Its folder and catalog stay the same: making them takes longer than most tests.
    """
    return _emptied(*session_lake)


@pytest.fixture
def fill(session_lake: tuple[Store, frozenset[Path]]) -> Callable[[Sequence[Row]], Store]:
    """Makes that lake one of these rows and nothing else; the one before it is gone then."""

    def filled(rows: Sequence[Row]) -> Store:
        store = _emptied(*session_lake)
        if rows:
            store.append(rows, source="test")
        return store

    return filled


def _emptied(store: Store, own: frozenset[Path]) -> Store:
    for folder, folders, files in os.walk(store.home, topdown=False):
        for name in files:
            if (path := Path(folder, name)) not in own:
                path.unlink()
        for name in folders:
            if (path := Path(folder, name)) not in own:
                path.rmdir()
    return store


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, with its key."""
    pem = tmp_path_factory.mktemp("tls") / "both.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 "
        "-addext subjectAltName=IP:127.0.0.1 -keyout - -out -"
    )
    pem.write_bytes(subprocess.run(command.split(), capture_output=True, check=True).stdout)
    return pem
