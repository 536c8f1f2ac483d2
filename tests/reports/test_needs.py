"""The heading of a report has what its query declares, whatever names stand in the query."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chainwatch.errors import UsageError
from chainwatch.lake import query
from chainwatch.lake.engine import Result
from chainwatch.lake.needs import NEEDS
from chainwatch.lake.query import Query
from chainwatch.lake.store import Store
from chainwatch.reports import run
from chainwatch.show.document import Report
from tests import documents
from tests.builders import FIRST_BLOCK_TIME, Asset, Book
from tests.reports.test_liquidations import order, span

KNOWN = datetime(2026, 1, 29, tzinfo=UTC)
DAY = datetime(2026, 1, 1, tzinfo=UTC)

# One parameter for each role; no name tells what it is for.
PARAMETERS = {
    "as_of": "p_a TIMESTAMPTZ = NULL",
    "markets": "p_b TEXT = 'all'",
    "factor": "p_c TEXT = 'BTC'",
    "betas": "p_d TEXT = ''",
    "reach": "p_e DOUBLE = 0.3",
    "step": "p_f DOUBLE = NULL",
    "step_share": "p_g DOUBLE = NULL",
    "direction": "p_h TEXT = 'down'",
    "split": "p_i BOOLEAN = false",
    "token": "p_j TEXT = 'USDT'",
    "known_at": "p_k TIMESTAMPTZ = NULL",
    "since": "p_l TIMESTAMPTZ = NULL",
    "until": "p_m TIMESTAMPTZ = NULL",
    "venue": "p_n TEXT = 'all'",
    "window": "p_o BIGINT = 90",
}
NAMES = {role: text.split()[0] for role, text in PARAMETERS.items()}
# What each need adds to the heading: a piece of a line, and the fields in machine formats.
ADDED: dict[str, tuple[str, set[str]]] = {
    "markets": ("", set()),
    "snapshots": ("m (aave-v3): block 100 of ", {"markets"}),
    "factors": ("BTC at 90,000.00 USD on m moves BTC; all else stays", {"axes", "moves"}),
    "bins": ("the markets' prices of BTC differ (80,000.00 to 90,000.00): ", set()),
    "excluded_accounts": ("n: accounts in no sum: 1 ", {"excluded_accounts"}),
    "statements": (", sha256 ", set()),
    "feeds": ("binance-usdm (sampled: the latest order per contract", {"feeds"}),
    "closes": ("daily closes of BTC (import, source import): 2 from ", {"closes"}),
    "known_at": ("as known on 2026-01-29 00:00Z: nothing published later counts", {"known_at"}),
    "provenance": ("1 of 1 rows: SAMPLE data", set()),
}


def prices(market: str, btc: float, **more: Any) -> Book:
    return Book(
        Asset("BTC", btc, lt=0.8, betas={"BTC": 1.0}),
        Asset("USD", 1.0, lt=0.75, betas={"USD": 1.0}),
        Asset("DEAD", None, betas={"DEAD": 1.0}),
        market=market,
        **more,
    )


def fill(store: Store) -> Store:
    """Something for every need: two markets with prices of their own, a feed, closes, reports."""
    for market, btc in (("m", 90_000.0), ("n", 80_000.0)):
        made = prices(market, btc)
        made.account("a", {"BTC": 1}, {"USD": 50_000})
        if market == "n":
            made.account("b", {"DEAD": 1}, {"USD": 5})
        made.store(store)
    store.append([order(1), span(0, 1)], source="binance-usdm")
    closes = [
        documents.candle(DAY + timedelta(days=n), 90_000, 91_000, 90_500 + n) for n in range(2)
    ]
    store.append(closes, source="import")
    documents.load(store, "reference")
    return store


def mine(folder: Path, needs: str) -> Query:
    """A query of the user with these needs, whose parameters are all there."""
    path = folder / "mine.sql"
    lines = ["-- name: mine", "-- title: t", *([f"-- needs: {needs}"] if needs else [])]
    lines += [f"-- param: {text}  {role}" for role, text in PARAMETERS.items()]
    used = ", ".join(f"${name} AS {role}" for role, name in NAMES.items())
    path.write_text("\n".join([*lines, f"SELECT 'sample' AS provenance, {used}"]))
    return query.read(path)


def text_of(name: str) -> str:
    """A need with all of its parameters."""
    named = ", ".join(NAMES[role] for role in NEEDS[name].roles)
    return f"{name}({named})" if named else name


def reported(store: Store, definition: Query, values: Mapping[str, object]) -> Report:
    with query.open_catalog(store) as catalog:
        return run.report(catalog, definition, values)


def test_a_heading_has_the_needs_of_its_query_and_no_more(
    empty_lake: Store, tmp_path: Path
) -> None:
    """Each need adds its lines and fields where it is declared, in that order, and nowhere else."""
    store = fill(empty_lake)
    values = {NAMES["known_at"]: KNOWN}
    assert ADDED.keys() == NEEDS.keys()
    bare = reported(store, mine(tmp_path, ""), values)
    assert (list(bare.header), bare.meta) == ([], {})
    for name in NEEDS:
        needed = [*_before(name), name]
        made = reported(store, mine(tmp_path, ", ".join(map(text_of, needed))), values)
        shown = {n for n, (line, _) in ADDED.items() if line and line in "\n".join(made.header)}
        fields = set().union(*(ADDED[n][1] for n in needed))
        assert (shown, made.meta.keys()) == ({n for n in needed if ADDED[n][0]}, fields)
    everything = reported(store, mine(tmp_path, ", ".join(map(text_of, NEEDS))), values)
    text = "\n".join(everything.header)
    places = [text.index(line) for line, _ in ADDED.values()][1:]
    assert places == sorted(places)


def _before(name: str) -> list[str]:
    """The needs that have to stand before one."""
    after = NEEDS[name].after
    return [*_before(after), after] if after else []


def test_a_need_without_parameters_shows_the_newest_of_all(
    empty_lake: Store, tmp_path: Path
) -> None:
    """`needs: snapshots` gives a query of the user the header of every market."""
    made = reported(fill(empty_lake), mine(tmp_path, "snapshots"), {})
    assert [m["market"] for m in made.meta["markets"]] == ["m", "n"]
    assert [line.split()[0] for line in made.header] == ["m", "n"]


def test_values_are_checked_by_role_and_not_by_name(empty_lake: Store, tmp_path: Path) -> None:
    """Markets, factors, betas and bins are read as those of any report, under the names here."""
    store = fill(empty_lake)
    walls = ", ".join(map(text_of, ("snapshots", "factors", "bins")))
    definition = mine(tmp_path, walls)
    made = reported(store, definition, {"p_b": " n , n", "p_c": "usd", "p_d": "BTC = 0.50"})
    (row,) = made.result.dicts()
    assert (row["markets"], row["betas"]) == ("n", "btc=0.5")
    assert [m["market"] for m in made.meta["markets"]] == ["n"]
    assert {m["symbol"]: m["beta"] for m in made.meta["moves"]} == {"BTC": 0.5, "USD": 1.0}
    for values, message in (
        ({"p_b": "o"}, "no snapshot of market 'o'"),
        ({"p_c": "BTX"}, "no factor is called 'BTX'; did you mean BTC"),
        ({"p_d": "x"}, "p_d: expected a factor and a number"),
        ({"p_e": 0}, "p_e must be above 0, got 0"),
        ({"p_g": 1e-6}, "expected at most 999 bins down"),
        ({"p_a": FIRST_BLOCK_TIME - timedelta(days=1)}, "no snapshot is that old"),
    ):
        with pytest.raises(UsageError, match=message):
            reported(store, definition, values)


def test_a_flag_given_as_text_decides_by_its_value(empty_lake: Store, tmp_path: Path) -> None:
    """The split of bins may be the text false: markets are then one wall."""
    definition = mine(tmp_path, ", ".join(map(text_of, ("snapshots", "factors", "bins"))))
    store = fill(empty_lake)
    for text, words in (
        ("false", "sums use m's "),
        ("true", "the rows of each market use its own"),
    ):
        assert words in reported(store, definition, {"p_i": text}).header[-1]


@pytest.mark.quick_variants("walls-*", "reserves-*", "liquidations-*")
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("walls", {"p_market": "n, m", "p_split": True, "p_step_pct": 0.05}),
        ("nearest", {"p_factor": "MARKET", "p_betas": "BTC=1.5", "p_limit": 2}),
        ("health", {"p_market": " m"}),
        ("changes", {}),
        ("liquidation_distance", {"p_window": 20, "p_limit": 3}),
        ("reserves", {"p_known_at": KNOWN, "p_token": "USDC"}),
        ("indicators", {"p_known_at": KNOWN}),
        ("liquidations", {"p_venue": "binance"}),
    ],
)
def test_names_of_a_query_and_its_parameters_decide_nothing(
    empty_lake: Store, tmp_path: Path, name: str, values: dict[str, object]
) -> None:
    """A shipped query under another name, with other parameters' names, is the same report."""
    store = fill(empty_lake)
    shipped = query.find(name)
    own = {p.name: f"p_own{n}" for n, p in enumerate(shipped.params)}
    text = re.sub(r"^-- name: \w+", "-- name: mine", shipped.text)
    text = re.sub(r"\$(p_\w+)", lambda match: f"${own[match[1]]}", text)
    text = re.sub(
        r"^(-- (?:param|needs):)(.*)$",
        lambda match: match[1] + re.sub(r"\bp_\w+", lambda part: own[part[0]], match[2]),
        text,
        flags=re.MULTILINE,
    )
    path = tmp_path / "mine.sql"
    path.write_text(text)
    original = reported(store, shipped, values)
    renamed = reported(store, query.read(path), {own[k]: v for k, v in values.items()})
    assert renamed.result.columns == original.result.columns
    assert _without_ages(renamed.header) == _without_ages(original.header) != []
    assert renamed.meta.keys() == original.meta.keys()


def _without_ages(lines: Iterable[str]) -> list[str]:
    return [re.sub(r"\d+ \w+ old", "old", line) for line in lines]


def test_heading_and_rows_are_of_the_same_snapshots(empty_lake: Store, tmp_path: Path) -> None:
    """A snapshot that is stored while the rows are read leads to another read, of the new one."""
    store = fill(empty_lake)
    times: list[object] = []

    def rows_of(definition: Query, values: Mapping[str, object]) -> Result:
        times.append(values.get("p_a"))
        if len(times) <= 2:
            prices("m", 90_000.0, block=100 + len(times)).store(store)
        return Result((), (), [])

    with query.open_catalog(store) as catalog:
        made = run.report(catalog, mine(tmp_path, text_of("snapshots")), {}, rows_of)
    newest = FIRST_BLOCK_TIME + timedelta(seconds=12 * 101)
    # The first new snapshot is the newest; with its time given, the second one is not asked for.
    assert times == [None, newest]
    assert [m["block_number"] for m in made.meta["markets"]] == [101, 100]
