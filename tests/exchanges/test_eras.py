"""Sampling eras: what the channels declare is a table that every reader sees alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import replace

from chainwatch.collect.registry import discover
from chainwatch.exchanges import eras
from chainwatch.exchanges.channel import Channel, Era, SamplingClass
from chainwatch.exchanges.feeds import channels
from chainwatch.exchanges.venues import binance, bybit, okx
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.tables.exchange import SamplingEra
from tests import shell

ROWS = eras.rows()
STREAMS = sorted(source.name for source in discover().values() if source.name in channels)
# What another version of the program would state.
_OTHER_VERSION = """
import sys
from pathlib import Path
from msgspec.structs import replace
from chainwatch.exchanges.feeds import register_stream
from chainwatch.exchanges.venues import okx
from chainwatch.lake import query
from chainwatch.lake.store import Store

other = replace(okx.OKX, source="other", venue="other")
register_stream(other, docs="https://example.com/", summary="Liquidations of another version.")
with query.open_catalog(Store(Path(sys.argv[1]))) as catalog:
    print(catalog.run("SELECT count(*) FROM sampling_eras WHERE venue = 'other'").rows[0][0])
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A lake in which nothing was ever collected."""
    made = Store(tmp_path / "home")
    made.create()
    return made


def of_market(rows: Iterable[SamplingEra], channel: Channel) -> list[SamplingEra]:
    """The eras of a channel's market, oldest first."""
    markets = ("all", channel.market)
    mine = [row for row in rows if row.venue == channel.venue and row.market in markets]
    return sorted(mine, key=lambda row: row.from_time)


@pytest.mark.parametrize("source", STREAMS)
def test_the_eras_of_a_channel_adjoin_up_to_the_open_one(source: str) -> None:
    """They neither overlap nor leave time out, and the last one has no end."""
    rows = of_market(ROWS, channels[source])
    assert [row.to_time for row in rows] == [*(row.from_time for row in rows[1:]), None]
    assert all(row.to_time is None or row.from_time < row.to_time for row in rows)
    assert rows[-1].from_time <= datetime.now(UTC), "what is published now has begun"


@pytest.mark.parametrize("source", STREAMS)
def test_the_open_era_is_what_the_channel_publishes(source: str) -> None:
    channel = channels[source]
    open_era = of_market(ROWS, channel)[-1]
    assert open_era.sampling_class == channel.sampling_class
    assert open_era.sampling_rule == channel.sampling_rule
    assert channel.sampling_class in get_args(SamplingClass)
    assert channel.sampling_rule.strip()
    assert ":" not in channel.sampling_rule, "the class stands before the colon in reports"


def test_no_market_stands_beside_all() -> None:
    """A venue has eras of all its markets, or of each of them."""
    for venue, rows in groupby(ROWS, key=lambda row: row.venue):
        markets = {row.market for row in rows}
        streams = {c.market for c in channels.values() if c.venue == venue}
        assert markets in ({"all"}, streams), venue
    by_venue = {row.venue: row.market for row in ROWS}
    assert (by_venue["bybit"], by_venue["binance"]) == ("all", "usdm")
    assert len({(row.venue, row.market, row.from_time) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row.venue}-{row.market}-{row.from_time:%Y}"
)
def test_each_rule_cites_its_page_and_a_date(row: SamplingEra) -> None:
    page, _, day = row.cited.rpartition(", ")
    assert len(page) > 10, row
    assert date(2017, 1, 1) < date.fromisoformat(day) <= datetime.now(UTC).date()


def test_limits_are_those_of_the_documents() -> None:
    """Bitget: the largest of each side; Kraken: full liquidations only."""
    bitget, kraken = channels["bitget"].eras[-1], channels["kraken-futures"].eras[-1]
    assert (bitget.sampling_class, bitget.selection) == ("sampled", "largest of each side")
    assert kraken.sampling_class == "partial"


def test_a_selection_is_one_of_samples() -> None:
    """What is sampled by second says which order is published, where that is documented."""
    assert {row.sampling_class for row in ROWS if row.selection} == {"sampled"}
    assert binance.USDM.eras[-1].selection == "largest"
    assert binance.COINM.eras[-1].selection == "latest"
    rules: dict[str, set[str | None]] = {}
    for row in ROWS:
        rules.setdefault(row.sampling_rule, set()).add(row.selection)
    assert all(len(selections) == 1 for selections in rules.values()), "a rule has one meaning"


@pytest.mark.parametrize(
    ("days", "listed"),
    [
        ([], "got none"),
        ([date(2026, 1, 2), date(2026, 1, 1)], "got 2026-01-02, 2026-01-01"),
        ([date(2026, 1, 1), date(2026, 1, 1)], "got 2026-01-01, 2026-01-01"),
    ],
)
def test_eras_out_of_order_are_refused(days: list[date], listed: str) -> None:
    with pytest.raises(ValueError, match=f"okx: expected eras in the order .* {listed}; list"):
        replace(okx.OKX, eras=tuple(Era(day, "full", "every order") for day in days))


# --- the table -----------------------------------------------------------------------------------


def test_the_table_is_there_before_any_collection(store: Store) -> None:
    with query.open_catalog(store) as catalog:
        columns = ", ".join(SamplingEra.__struct_fields__)
        rows = catalog.run(f"SELECT {columns} FROM sampling_eras ORDER BY ALL").dicts()
        assert catalog.run("SELECT DISTINCT load, day FROM sampling_eras").rows == [(None, None)]
        assert catalog.run("SELECT count(*) FROM loads").rows == [(0,)]
    stated = sorted(ROWS, key=lambda row: (row.venue, row.market, row.from_time))
    assert [SamplingEra(**row) for row in rows] == stated
    assert store.rows(SamplingEra, "venue = 'okx'") == of_market(ROWS, okx.OKX)
    assert not (store.lake / "sampling_eras").exists(), "nothing is stored of it"


def test_the_shell_sees_the_same_rows(store: Store) -> None:
    text = "SELECT sampling_rule FROM sampling_eras WHERE venue = 'bybit' ORDER BY from_time"
    listed = shell.run("sql", text, "--json", home=store.home)
    assert listed.code == 0, listed.err
    catalog = str(store.home / "chainwatch.duckdb")
    done = subprocess.run(
        [shell.duckdb_program(), "-readonly", catalog, "-json", "-c", text],
        capture_output=True,
        text=True,
        env=shell.environment(),
    )
    assert done.returncode == 0, done.stderr
    rules = [era.sampling_rule for era in bybit.ERAS]
    assert [row["sampling_rule"] for row in json.loads(done.stdout)] == rules
    assert [row["sampling_rule"] for row in json.loads(listed.out)["rows"]] == rules


def test_each_version_of_the_program_sees_its_own_eras(store: Store) -> None:
    """The catalog is made anew where the eras changed, by whichever version reads next."""
    count = "SELECT count(*) FROM sampling_eras"
    for _ in range(2):
        with query.open_catalog(store) as catalog:
            assert catalog.run(count).rows == [(len(ROWS),)]
        done = subprocess.run(
            [sys.executable, "-c", _OTHER_VERSION, str(store.home)],
            capture_output=True,
            text=True,
            env=shell.environment(),
        )
        assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_no_load_brings_an_era(store: Store) -> None:
    with pytest.raises(ValueError, match="got rows of sampling_eras: they are stated by"):
        store.append(ROWS[:1], source="test")
    assert store.rows(SamplingEra, "venue = 'okx'") == of_market(ROWS, okx.OKX)
