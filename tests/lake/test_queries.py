"""Every query, rows in and rows out, and each of them three ways with the same rows."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from chainwatch.collect import registry
from chainwatch.demo import story
from chainwatch.demo.story import failed_checks
from chainwatch.disclosures.publishers import reference
from chainwatch.errors import ConfigError, Exit, UsageError
from chainwatch.lake import query
from chainwatch.lake.layout import CATALOG_NAME
from chainwatch.lake.store import Store
from chainwatch.lending.close_rules import HALF
from chainwatch.lending.slots import with_slots
from chainwatch.reports import run
from chainwatch.show import render
from chainwatch.show.document import Format
from chainwatch.tables.base import Row, columns
from chainwatch.tables.chain import Capabilities
from chainwatch.tables.disclosure import ReserveItem, Statement
from chainwatch.tables.exchange import Coverage, OpenInterest
from chainwatch.tables.lending import Account, ChainLiquidation, Leg, Scan, Snapshot
from chainwatch.tables.log import Reject
from tests import documents
from tests.builders import FIRST_BLOCK_TIME, Asset, Book, ask, clean_environment, depth, sql
from tests.reports.test_liquidations import order, span

QUERIES = query.load_all()
REPORTS = [name for name, q in QUERIES.items() if q.group != "checks"]
ALERTS = [name for name, q in QUERIES.items() if q.group == "alerts"]
CHECKS = [name for name, q in QUERIES.items() if q.group == "checks"]


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-12)


def book(market: str = "m", block: int = 100, btc: float = 90_000.0, **more: Any) -> Book:
    return Book(
        Asset("BTC", btc, lt=0.8, betas={"BTC": 1.0}),
        Asset("USD", 1.0, lt=0.75, betas={"USD": 1.0}),
        Asset("DEAD", None, betas={"DEAD": 1.0}),
        market=market,
        block=block,
        **more,
    )


def owing(made: Book, name: str, hf: float, debt: float = 1_000.0) -> str:
    """An account with a health factor and a debt in dollars."""
    return made.account(name, {"BTC": hf * debt / 0.8 / 90_000}, {"USD": debt})


# --- health -------------------------------------------------------------------------------------


def test_health_puts_each_account_into_the_bucket_its_factor_begins(store: Store) -> None:
    made = book()
    for i, hf in enumerate((0.5, 0.999, 1.0, 1.01, 1.02, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 1e6)):
        owing(made, str(i), hf)
    made.account("no debt", {"BTC": 1})
    made.account("nothing")
    made.account("n/a", {"DEAD": 1}, {"USD": 5})
    made.store(store)
    rows = {row["bucket"]: row for row in ask(store, "health")}
    assert {name: row["accounts"] for name, row in rows.items()} == {
        "< 1": 2,
        "1 – 1.02": 2,
        "1.02 – 1.05": 1,
        "1.05 – 1.1": 1,
        "1.1 – 1.25": 1,
        "1.25 – 1.5": 1,
        "1.5 – 2": 1,
        "2 – 3": 1,
        "≥ 3": 2,
        "no debt": 2,
        "n/a": 1,
    }
    assert [row["bucket"] for row in ask(store, "health")][-1] == "n/a"
    assert (rows["1.02 – 1.05"]["hf_from"], rows["1.02 – 1.05"]["hf_to"]) == (1.02, 1.05)
    assert rows["≥ 3"]["hf_to"] is None
    assert rows["< 1"]["debt_usd"] == 2_000
    assert rows["< 1"]["collateral_usd"] == pytest.approx(1.499 * 1_000 / 0.8, abs=1e-6)
    assert rows["no debt"]["debt_usd"] == 0
    assert rows["no debt"]["collateral_usd"] == 90_000
    # What is not known is no zero.
    assert rows["n/a"]["collateral_usd"] is rows["n/a"]["debt_usd"] is None
    assert rows["2 – 3"]["debt_share"] == close(1 / 12)
    (share,) = {row["within_5pct_share"] for row in rows.values()}
    assert share == close(3 / 12)


def test_health_decides_at_one_by_the_contracts_integer(store: Store) -> None:
    """Two health factors that are the same double, on either side of 1."""
    made = book()
    account = owing(made, "a", 1.0)
    made.accounts[0] = msgspec.structs.replace(made.accounts[0], hf_wad=10**18 - 1, hf=1.0)
    made.store(store)
    counts = {row["bucket"]: row["accounts"] for row in ask(store, "health")}
    assert (counts["< 1"], counts["1 – 1.02"]) == (1, 0)
    (row,) = ask(store, "accounts")
    assert (row["account"], row["hf_wad"]) == (account, 10**18 - 1)


@pytest.mark.full
def test_the_contracts_verdict_classifies_alike_everywhere(store: Store) -> None:
    """Liquidatable with a health factor of 1.0127, and not liquidatable with 0.9988."""
    for block in (100, 200):
        made = book(block=block)
        verdicts = {1.0127: True, 0.9988: False, 1.03: False, 1.04: None, 0.99: None, 1.2: None}
        names = {hf: owing(made, str(hf), hf, debt=2.0**i) for i, hf in enumerate(verdicts)}
        made.accounts = [
            msgspec.structs.replace(account, liquidatable=verdict)
            for account, verdict in zip(made.accounts, verdicts.values(), strict=True)
        ]
        made.store(store)
    counts = {row["bucket"]: row["accounts"] for row in ask(store, "health") if row["accounts"]}
    assert counts == {"< 1": 2, "1 – 1.02": 1, "1.02 – 1.05": 2, "1.1 – 1.25": 1}
    near, all_debt, liquidatable = 2 + 4 + 8, 63, 1 + 16
    (share,) = {row["within_5pct_share"] for row in ask(store, "health")}
    assert share == close(near / all_debt)
    (totals,) = ask(store, "mart_totals")
    assert totals["accounts_liquidatable"] == 2
    assert (totals["liquidatable_usd"], totals["near_usd"]) == (liquidatable, near)
    changes = {row["metric"]: row["after"] for row in ask(store, "changes")}
    assert changes["accounts liquidatable"] == 2
    assert changes["debt liquidatable USD"] == liquidatable
    assert changes["debt within 5 % of liquidation USD"] == near
    (alert,) = ask(store, "alert_health_share")
    assert alert["value"] == close((near + liquidatable) / all_debt)
    rows = ask(store, "accounts")
    assert [row["account"] for row in rows[:3]] == [names[0.99], names[1.0127], names[0.9988]]
    assert [row["liquidatable"] for row in rows[:3]] == [True, True, False]
    assert [row["liquidation_drop_share"] for row in rows[:3]] == [None] * 3
    directions = {row["account"]: (row["direction"], row["x"]) for row in ask(store, "triggers")}
    assert [directions[names[hf]] for hf in (0.99, 1.0127)] == [("now", 1)] * 2
    # Not liquidatable below 1: it is at the next fall, whatever its margin says.
    assert directions[names[0.9988]] == ("down", 1)
    assert {directions[names[hf]][0] for hf in (1.03, 1.04, 1.2)} == {"down"}
    now, nearest, *_ = ask(store, "walls")
    assert (now["direction"], now["accounts"]) == ("now", 2)
    assert nearest["accounts"] == 1


def test_health_of_a_market_without_debt_has_no_share(store: Store) -> None:
    made = book()
    made.account("a", {"BTC": 1})
    made.store(store)
    rows = ask(store, "health")
    assert {row["debt_share"] for row in rows} == {None}
    assert {row["bucket"] for row in rows} >= {"no debt", "< 1"}
    assert "n/a" not in {row["bucket"] for row in rows}


def test_health_counts_a_factor_beyond_38_digits(store: Store) -> None:
    made = book()
    owing(made, "a", 1.5)
    made.accounts[0] = msgspec.structs.replace(made.accounts[0], hf_wad=10**40, hf=1e22)
    made.store(store)
    assert {r["bucket"] for r in ask(store, "health") if r["accounts"]} == {"≥ 3"}


def in_ether(made: Book) -> list[Row]:
    """The book as of a market in ETH whose price in USD is not known."""
    unknown = {"collateral_usd": None, "debt_usd": None}
    accounts = [msgspec.structs.replace(a, **unknown) for a in made.accounts]
    legs = [msgspec.structs.replace(leg, usd=None) for leg in made.legs]
    head = made.head(quote="ETH", quote_usd=None)
    rest = [r for r in made.rows() if not isinstance(r, Account | Leg | Snapshot)]
    return with_slots([*rest, *accounts, *legs, head])


def test_where_no_value_in_usd_is_known_the_sums_are_not_available(store: Store) -> None:
    for block in (100, 200):
        made = book("eth", block=block)
        owing(made, "under", 0.9)
        owing(made, "near", 1.03)
        made.account("free", {"BTC": 1})
        store.append(in_ether(made), source="import", target="eth")
    usd = ("collateral_usd", "debt_usd")
    buckets = {row["bucket"]: row for row in ask(store, "health")}
    for bucket, accounts in (("< 1", 1), ("1.02 – 1.05", 1), ("2 – 3", 0)):
        values = [buckets[bucket][name] for name in usd]
        assert (buckets[bucket]["accounts"], values) == (accounts, [None if accounts else 0] * 2)
    assert [buckets["no debt"][name] for name in usd] == [None, 0]
    (totals,) = ask(store, "mart_totals")
    assert (totals["accounts"], totals["accounts_liquidatable"]) == (3, 1)
    sums = (*usd, "liquidatable_usd", "near_usd", "bad_debt_usd")
    assert [totals[name] for name in sums] == [None] * 5
    rows = {row["metric"]: row for row in ask(store, "changes")}
    for what in (*rows.keys() - {"accounts", "accounts liquidatable"},):
        assert (rows[what]["before"], rows[what]["after"]) == (None, None), what


def test_accounts_that_are_in_no_sum_are_counted_and_told(store: Store) -> None:
    priced, unpriced = book(), book("eth")
    owing(priced, "a", 1.2)
    owing(unpriced, "b", 1.2)
    priced.store(store)
    store.append(in_ether(unpriced), source="import", target="eth")
    bucket = {row["bucket"]: row for row in ask(store, "health")}["1.1 – 1.25"]
    assert (bucket["accounts"], bucket["unpriced_accounts"], bucket["debt_usd"]) == (2, 1, 1_000)
    with query.open_catalog(store) as catalog:
        made = {
            name: run.make(catalog, name, values)
            for name, values in (
                ("health", {}),
                ("accounts", {}),
                ("changes", {}),
                ("walls", {"p_factor": "BTC"}),
                ("nearest", {"p_factor": "BTC"}),
            )
        }
    left_out = {
        "market": "eth",
        "missing": "all",
        "reason": "no price in USD",
        "accounts": 1,
        "debt_usd": None,
    }
    for name, report in made.items():
        assert report.meta["excluded_accounts"] == [left_out], name
        assert "eth: accounts in no sum: 1 no price in USD (debt n/a)" in report.header, name
    assert json.loads(render.text_of(made["walls"], Format.JSON))["excluded_accounts"] == [left_out]


# --- accounts -----------------------------------------------------------------------------------


def test_accounts_are_listed_riskiest_first(store: Store) -> None:
    made = book()
    order = [
        owing(made, "now", 0.9),
        owing(made, "near big", 1.25, debt=5_000),
        owing(made, "near small", 1.25, debt=100),
        made.account("mixed", {"BTC": 1, "USD": 5_000}, {"USD": 20_000, "BTC": 0.1}),
        made.account("n/a", {"DEAD": 1, "BTC": 1}, {"USD": 5}),
    ]
    made.account("no debt", {"BTC": 1})
    made.store(store)
    rows = ask(store, "accounts")
    assert [row["account"] for row in rows] == order
    now, big, _, mixed, unknown = rows
    assert now["liquidation_drop_share"] is None
    assert big["liquidation_drop_share"] == close(0.2)
    assert (mixed["top_collateral"], mixed["top_debt"]) == ("BTC", "USD")
    assert (unknown["status"], unknown["hf"]) == ("n/a (oracle reverted)", None)
    assert [row["account"] for row in ask(store, "accounts", limit=2)] == order[:2]
    assert [r["account"] for r in ask(store, "accounts", min_debt_usd=4_000)] == [
        order[1],
        order[3],
        order[4],
    ]


# --- which snapshot -----------------------------------------------------------------------------


def three_snapshots(store: Store) -> dict[str, Book]:
    """Market m at two blocks that stand and a newer one that is gone; market n at one."""
    made = {
        "old": book(block=100),
        "new": book(block=200, btc=80_000.0),
        "gone": book(block=300, btc=1.0),
        "other": book("n", block=150),
    }
    for name, market in made.items():
        for i in range(len(name)):
            owing(market, str(i), 1.2)
        market.store(store)
    store.append([made["gone"].orphan()], source="aave-v3", target="m")
    return made


def test_the_newest_snapshot_that_stands_is_that_of_its_market(store: Store) -> None:
    made = three_snapshots(store)
    rows = {row["market"]: row for row in ask(store, "snapshots_at")}
    assert rows.keys() == {"m", "n"}
    assert rows["m"]["snapshot"] == made["new"].snapshot
    assert rows["m"]["checked"] is None
    (only,) = ask(store, "snapshots_at", market="n")
    assert only["snapshot"] == made["other"].snapshot
    assert ask(store, "snapshots_at", market="nobody") == []


def test_as_of_takes_the_newest_block_up_to_a_time(store: Store) -> None:
    made = three_snapshots(store)

    def shown(moment: datetime) -> set[str]:
        return {row["snapshot"] for row in ask(store, "snapshots_at", as_of=moment)}

    def seconds(number: int) -> timedelta:
        return timedelta(seconds=number)

    assert shown(made["new"].time) == {made["new"].snapshot, made["other"].snapshot}
    assert shown(made["new"].time - seconds(1)) == {made["old"].snapshot, made["other"].snapshot}
    assert shown(made["old"].time) == {made["old"].snapshot}
    assert shown(made["old"].time - seconds(1)) == set()
    assert shown(made["gone"].time + timedelta(days=1)) == {
        made["new"].snapshot,
        made["other"].snapshot,
    }
    assert [
        r["accounts"] for r in ask(store, "health", as_of=made["old"].time) if r["accounts"]
    ] == [len("old")]


def test_of_two_readings_of_a_block_the_later_one_is_shown(store: Store) -> None:
    first, second = book(), book()
    owing(first, "a", 1.2)
    second.store(store)
    later = first.head(read_at=first.time + timedelta(hours=1))
    store.append([*first.rows()[:-1], later], source="aave-v3", target="m")
    assert [row["snapshot"] for row in ask(store, "snapshots_at")] == [first.snapshot]


def test_the_import_of_the_newest_time_is_compared_with_the_last(
    store: Store,
) -> None:
    """Imports have no block: their own time is their place."""
    late, early, between = (
        book(block=0, time=FIRST_BLOCK_TIME + timedelta(days=n), btc=90_000.0 + n)
        for n in (20, 0, 10)
    )
    for n, made in enumerate((late, early, between)):
        owing(made, "a", 1.2)
        head = made.head(read_at=FIRST_BLOCK_TIME + timedelta(days=30, hours=n))
        store.append([*made.rows()[:-1], head], source="import", target="m")
    assert [row["snapshot"] for row in ask(store, "snapshots_at")] == [late.snapshot]
    prices = {row["metric"]: row for row in ask(store, "changes")}
    price = prices["price BTC USD"]
    assert (price["before"], price["after"]) == (90_010, 90_020)
    (oldest,) = {row["before_price"] for row in ask(store, "leg_changes") if row["side"] != "debt"}
    assert oldest == 90_000


def test_of_imports_parameters_are_compared_with_those_before_the_day(store: Store) -> None:
    for day, lt in ((1, 0.7), (0, 0.8)):
        made = Book(
            Asset("BTC", 90_000.0, lt=lt), block=0, time=FIRST_BLOCK_TIME + timedelta(days=day)
        )
        made.store(store)
    changed = ask(store, "mart_parameter_changes", since=FIRST_BLOCK_TIME + timedelta(hours=1))
    assert [(r["parameter"], r["before"], r["after"]) for r in changed] == [
        ("lt_bps", "8000.0", "7000.0")
    ]


def test_provenance_says_what_the_figures_stand_on(store: Store) -> None:
    made = three_snapshots(store)
    store.append(
        [
            made["new"].verified(),
            msgspec.structs.replace(
                made["new"].verified(checked=2), verified_at=made["new"].time + timedelta(hours=2)
            ),
            made["gone"].verified(mismatched=1),
        ],
        source="aave-v3",
    )
    rows = {row["market"]: row for row in ask(store, "provenance")}
    new = rows["m"]
    # The widest comparison is told, not the last.
    assert (new["block_number"], new["checked"], new["mismatched"]) == (200, 3, 0)
    assert new["verified_at"] == made["new"].time + timedelta(minutes=1)
    assert rows["n"]["checked"] is None
    age = datetime.now(UTC) - made["new"].time
    assert abs(new["age_seconds"] - age.total_seconds()) < 60
    assert (new["scope"], new["profile"], new["revision"]) == ("all", "3.0", 1)
    (line,) = [row for row in ask(store, "verification") if row["market"] == "m"]
    assert (line["checked"], line["equal"], line["different"]) == (2, 2, 0)


def test_a_difference_is_reported_even_if_a_later_check_is_equal(
    store: Store,
) -> None:
    """A verification that found a difference is reported, whatever another found equal."""
    made = book()
    for i in range(5):
        owing(made, str(i), 1.2)
    made.store(store)
    wrong = msgspec.structs.replace(
        made.verified(checked=1, mismatched=1), verified_at=made.time + timedelta(seconds=5)
    )
    store.append([made.verified(), wrong], source="aave-v3")
    (row,) = ask(store, "provenance")
    assert (row["checked"], row["mismatched"]) == (1, 1)
    with query.open_catalog(store) as catalog:
        header = run.make(catalog, "health", {}).header
    assert "WRONG: verified 0/1 equal to the chain" in header[0]


def test_freshness_lists_each_snapshot_and_each_sources_loads(store: Store) -> None:
    three_snapshots(store)
    reject = Reject(
        source="aave-v3", target="m", received_at=FIRST_BLOCK_TIME, reason="why", raw="what"
    )
    store.append([reject], source="aave-v3", target="m")
    store.append([reject], source="other")
    rows = {(row["kind"], row["name"]): row for row in ask(store, "freshness")}
    assert rows.keys() == {
        ("snapshot", "m"),
        ("snapshot", "n"),
        ("load", "aave-v3 m"),
        ("load", "aave-v3 n"),
        ("load", "other"),
    }
    assert rows["snapshot", "m"]["detail"] == "block 200"
    assert rows["snapshot", "m"]["rows"] == 3
    load = rows["load", "aave-v3 m"]
    assert (load["detail"], load["failed"]) == ("5 loads", 1)
    assert load["rows"] == sql(store, "SELECT sum(rows) FROM loads WHERE target = 'm'").rows[0][0]
    assert 0 <= load["age_seconds"] < 60
    assert rows["load", "other"]["failed"] == 0


def test_changes_compares_the_two_newest_snapshots_that_stand(store: Store) -> None:
    before, after = book(block=100), book(block=200, btc=45_000.0)
    for made in (before, after):
        made.account("a", {"BTC": 1}, {"USD": 50_000})  # 1.44, then 0.72 and under water
        made.account("b", {"USD": 1_000}, {"USD": 700})
        made.account("none", {"BTC": 2})
    after.account("new", {"USD": 1_000}, {"USD": 740})  # within 5 % of liquidation
    before.store(store)
    assert ask(store, "changes") == []
    after.store(store)
    gone = book(block=150)
    gone.store(store)
    store.append([gone.orphan()], source="x")
    rows = {row["metric"]: row for row in ask(store, "changes")}
    assert {(row["before_block"], row["after_block"]) for row in rows.values()} == {(100, 200)}
    expected = {
        "price BTC USD": (90_000, 45_000),
        "accounts": (3, 4),
        "collateral USD": (271_000, 137_000),
        "debt USD": (50_700, 51_440),
        "debt within 5 % of liquidation USD": (0, 740),
        "accounts liquidatable": (0, 1),
        "debt liquidatable USD": (0, 50_000),
        "bad debt USD": (0, 5_000),
    }
    assert {name: (row["before"], row["after"]) for name, row in rows.items()} == {
        name: (pytest.approx(b), pytest.approx(a)) for name, (b, a) in expected.items()
    }
    assert rows["price BTC USD"]["change"] == -45_000
    assert rows["price BTC USD"]["change_share"] == -0.5
    assert rows["bad debt USD"]["change_share"] is None  # from nothing
    assert "price USD USD" not in rows
    newest = book(block=300)
    newest.store(store)
    rows = {row["metric"]: row for row in ask(store, "changes")}
    assert (rows["accounts"]["before"], rows["accounts"]["after"]) == (4, 0)
    assert (rows["debt USD"]["after"], rows["bad debt USD"]["after"]) == (0, 0)
    assert {r["before_block"] for r in ask(store, "changes")} == {200}
    assert {r["before_block"] for r in ask(store, "changes", since=before.time)} == {100}
    assert {r["after_block"] for r in ask(store, "changes", as_of=after.time)} == {200}


def test_positions_and_factors_stand_with_their_symbols(store: Store) -> None:
    made = book()
    account = made.account("a", {"BTC": 2}, {"USD": 100})
    made.store(store)
    rows = {row["side"]: row for row in ask(store, "positions")}
    assert (rows["collateral"]["symbol"], rows["collateral"]["usd"]) == ("BTC", 180_000)
    assert (rows["debt"]["amount"], rows["debt"]["account"]) == (100, account)
    factors = {row["factor"]: row for row in ask(store, "factors_at")}
    assert (factors["BTC"]["symbol"], factors["BTC"]["factor_price"]) == ("BTC", 90_000)
    assert factors["DEAD"]["price_usd"] is None


def test_no_query_compares_the_name_of_a_protocol() -> None:
    """What a protocol's rules do to a figure is in columns of its snapshots."""
    names = {entry.protocol for entry in registry.discover().values() if entry.protocol}
    assert "aave-v3" in names
    protocols_named = {
        name: sorted(names.intersection(re.findall(r"'([^']*)'", definition.text)))
        for name, definition in QUERIES.items()
    }
    assert {name: hits for name, hits in protocols_named.items() if hits} == {}


# --- checks -------------------------------------------------------------------------------------


def sound(store: Store) -> Book:
    """A lake in which every invariant holds."""
    three_snapshots(store)
    made = book(block=400, close_rule=HALF)
    for i in range(4):
        owing(made, str(i), 1.1 + i)
    made.account("idle", {"USD": 5})
    made.store(store)
    store.append([made.verified()], source="aave-v3")
    store.append(depth([(0.01, 5.0), (0.05, 20.0)], volume_24h=100.0), source="depth")
    store.append([interest(n, 100.0 + n) for n in range(4)], source="open-interest")
    # The blocks between those of the hand-made snapshots were read as well.
    store.append([gap_free("m"), gap_free("n")], source="aave-v3")
    return made


def interest(n: int, units: float) -> OpenInterest:
    """Open interest of BTC at the end of the n-th bar."""
    at = FIRST_BLOCK_TIME + timedelta(minutes=5 * n)
    return OpenInterest(
        base="BTC",
        venue="bybit",
        market="linear",
        symbol="BTCUSDT",
        interval="5m",
        time=at,
        contracts=units,
        units=units,
        usd=units * 90_000,
        open=90_000.0,
        high=90_500.0,
        low=89_000.0,
        close=90_000.0,
        volume=None,
        received_at=at,
    )


def gap_free(market: str) -> Scan:
    return Scan(market=market, scope="all", from_block=0, to_block=400, to_hash="0x400", events=0)


def liquidation(**changes: Any) -> ChainLiquidation:
    """One liquidation at exactly the bonus of 5 % less the protocol's tenth of it."""
    kinds = {
        "VARCHAR": "x",
        "BIGINT": 1,
        "DOUBLE": 1.0,
        "UINT": 10**18,
        "BOOLEAN": False,
        "TIMESTAMPTZ": FIRST_BLOCK_TIME,
    }
    values: dict[str, Any] = {c.name: kinds[c.type] for c in columns(ChainLiquidation)}
    values |= {
        "market": "m",
        "kind": "liquidation",
        "status": "ok",
        "debt_repaid_usd": 1_000.0,
        "coll_seized_usd": 1_045.0,
        "bonus_bps": 500,
        "protocol_fee_bps": 1_000,
    }
    return ChainLiquidation(**values | changes)


def shipped() -> list[Row]:
    """Tether's figures as they ship."""
    return reference.parse(documents.raw((reference.FOLDER / "tether.csv").read_bytes()))


def planted(check: str, made: Book) -> list[Row]:
    """Rows that break one invariant."""
    first = made.accounts[0]
    match check:
        case "account_counts":
            return [msgspec.structs.replace(first, account="0xextra", status="no debt")]
        case "account_totals":
            (leg, *_) = (leg for leg in made.legs if leg.account == first.account)
            usd = made.assets["USD"].address
            tiny = {"value": 1, "usd": 1e-8, "amount": 1e-8, "in_slots": True}
            return [msgspec.structs.replace(leg, asset=usd, **tiny)]
        case "slot_totals":
            return [msgspec.structs.replace(first, account="0xextra", in_slots=True)]
        case "scan_gaps":
            return [book("gap", block=900).head(), gap_free("gap")]
        case "unknown_assets":
            leg = made.legs[0]
            return [msgspec.structs.replace(leg, asset="0xnowhere", side="idle")]
        case "verification_mismatches":
            return [made.mismatch(first.account)]
        case "liquidation_bonus":
            return [liquidation(coll_seized_usd=1_046.0)]
        case "coverage_overlaps":
            return [span(0, 1), span(0.5, 2)]
        case "feed_rejects":
            return [span(0, 1), span(1, 2, rejects=3), span(2, 3, "rejecting", rejects=1)]
        case "feed_mute":
            gate = {"venue": "gate", "market": "usdt"}
            by_name = gate | {"source": "gate-usdt-history", "delivery": "history"}
            return [span(0, 1, source="gate-usdt", **gate), order(9, **by_name)]
        case "liquidation_figures":
            return [order(1, notional_quote=-100.0, notional_usd=-100.0)]
        case "reserve_sums":
            (item, *_) = [row for row in shipped() if isinstance(row, ReserveItem)]
            (statement, *_) = [row for row in shipped() if isinstance(row, Statement)]
            names = {"statement": "USDT:altered", "token": "altered"}
            return [msgspec.structs.replace(row, **names) for row in (item, statement)]
        case "look_ahead":
            close = documents.value("vix", date(2026, 1, 29), 16.88)
            return [msgspec.structs.replace(close, known_at=close.known_at - timedelta(hours=1))]
    raise AssertionError(f"a fault for the check {check} is missing here")


@pytest.mark.full
def test_on_sound_data_no_check_finds_anything(store: Store) -> None:
    sound(store)
    store.append([liquidation()], source="liquidations")
    store.append([*shipped(), documents.value("vix", date(2026, 1, 29), 16.88)], source="test")
    assert {name: ask(store, name) for name in CHECKS} == {name: [] for name in CHECKS}
    with query.open_catalog(store) as catalog:
        assert failed_checks(catalog) == []


@pytest.mark.full
@pytest.mark.parametrize("check", CHECKS)
def test_each_check_finds_the_fault_that_it_is_for(store: Store, check: str) -> None:
    made = sound(store)
    store.append(planted(check, made), source="fault")
    assert ask(store, check), check
    with query.open_catalog(store) as catalog:
        assert check in failed_checks(catalog)


@pytest.mark.full
def test_a_fault_ends_the_command_with_one_and_its_name(store: Store) -> None:
    made = sound(store)
    assert command(store, "checks").returncode == Exit.OK
    store.append(planted("account_totals", made), source="fault")
    done = command(store, "checks", "--json")
    assert done.returncode == Exit.CHECK_FAILED
    states = {row["check"]: row["state"] for row in json.loads(done.stdout)["rows"]}
    assert {name for name, state in states.items() if state == "wrong"} == {"account_totals"}
    assert "account_totals found rows" in done.stderr


def test_a_mismatch_is_listed_with_the_price_it_is_at(store: Store) -> None:
    """Also one of an older version, which has factor and x in the name of the figure."""
    made = book()
    owing(made, "a", 1.2)
    made.store(store)
    plain = made.mismatch("a")
    older = msgspec.structs.replace(plain, figure="BTC × 0.9: debt")
    store.append([plain, older], source="aave-v3")
    (segment,) = (store.lake / "mismatches").glob("day=2*/*.parquet")
    with duckdb.connect() as engine:
        engine.execute(
            f"COPY (SELECT * EXCLUDE (factor, x) FROM '{segment}') TO '{segment}.old' "
            "(FORMAT parquet)"
        )
    Path(f"{segment}.old").rename(segment)
    moved = [msgspec.structs.replace(plain, factor="BTC", x=x) for x in (0.8, 0.9)]
    store.append(moved, source="aave-v3")
    rows = ask(store, "verification_mismatches")
    assert {(row["factor"], row["x"], row["figure"]) for row in rows} == {
        ("", None, "debt"),
        ("", None, "BTC × 0.9: debt"),
        ("BTC", 0.8, "debt"),
        ("BTC", 0.9, "debt"),
    }


def test_rejected_frames_fail_the_check_until_a_history_is_read(
    store: Store,
) -> None:
    """What a feed rejected is an error until its history is read, and for a week at most."""
    day, now = timedelta(days=1), datetime.now(UTC)

    def state_of_feed(ago: float, state: str, **changes: Any) -> Coverage:
        end = now - ago * day
        return span(0, 1, state, from_time=end - timedelta(hours=1), to_time=end, **changes)

    def wrong() -> list[str]:
        return [row["state"] for row in ask(store, "feed_rejects")]

    store.append([state_of_feed(40, "rejecting", rejects=1)], source="binance-usdm")
    assert wrong() == ["rejecting"], "nothing newer was watched"
    store.append([state_of_feed(0, "up")], source="binance-usdm")
    assert wrong() == [], "over for a week"
    store.append([state_of_feed(1, "rejecting", rejects=1)], source="binance-usdm")
    store.append([], source="okx-history", cursor=1)
    assert wrong() == ["rejecting"], "the history of another feed"
    store.append([], source="binance-usdm-history", cursor=1)
    assert wrong() == [], "its history counts for that time"
    store.append([state_of_feed(-1, "rejecting", rejects=1, run="r2")], source="binance-usdm")
    assert wrong() == ["rejecting"], "the history was read before"
    store.append([state_of_feed(30, "partial", rejects=1)], source="binance-usdm")
    assert sorted(wrong()) == ["partial", "rejecting"], "claimed as covered, however long ago"


def test_a_range_of_blocks_that_was_skipped_is_named(store: Store) -> None:
    made = book("g", block=50)
    scans = [
        Scan(market="g", scope="all", from_block=a, to_block=b, to_hash=hex(b), events=0)
        for a, b in ((0, 10), (15, 30), (20, 40))
    ]
    store.append([*scans, *made.rows()[1:]], source="aave-v3", target="g")
    gaps = {(row["first_missing"], row["last_missing"]) for row in ask(store, "scan_gaps")}
    assert gaps == {(11, 14), (41, 50)}


def test_a_balance_beyond_38_digits_disturbs_no_check(store: Store) -> None:
    made = book()
    owing(made, "a", 1.5)
    huge = 10**40
    made.legs[0] = msgspec.structs.replace(made.legs[0], value=huge, raw=huge)
    made.accounts[0] = msgspec.structs.replace(made.accounts[0], collateral_base=huge)
    made.store(store)
    for name in ("account_counts", "account_totals", "unknown_assets"):
        assert ask(store, name) == []
    assert len(store.rows(Leg)) == 2


# --- three ways, the same rows ------------------------------------------------------------------

# Values that are not the defaults, where a query has such parameters.
VALUES: dict[str, Any] = {
    "p_market": "m",
    "p_as_of": FIRST_BLOCK_TIME + timedelta(days=300),
    "p_factor": "BTC",
    "p_direction": "both",
    "p_split": True,
    "p_range": 0.25,
    "p_step_abs": 750.0,
    "p_min_debt_usd": 10.0,
    "p_limit": 3,
    "p_since": FIRST_BLOCK_TIME - timedelta(days=30),
    "p_until": FIRST_BLOCK_TIME + timedelta(days=270),
    "p_betas": "usd=0.5",
    "p_max_age": 1e9,
    "p_side": "bid",
    "p_scales": "inf,0.5",
    "p_scale": 0.5,
    "p_sigma": 0.02,
    "p_y": 0.8,
    "p_adv": 50.0,
    "p_sold_share": 0.7,
    "p_absorbed": "at once",
    "p_oracle_deviation": 0.005,
    "p_drops": "0.03,0.3",
    "p_price": 70_000.0,
    "p_width": 0.05,
    "p_x": 0.7,
    "p_depth_scale": 0.5,
    "p_top": 2,
    "p_days": 7.0,
    "p_window": 30,
    "p_by": "symbol",
    "p_venue": "binance",
    "p_from": FIRST_BLOCK_TIME + timedelta(seconds=12 * 250),
    "p_to": FIRST_BLOCK_TIME + timedelta(days=300),
}
VALUES |= {
    "p_token": "USDC",
    "p_known_at": datetime(2026, 2, 20, tzinfo=UTC),
    "p_day": FIRST_BLOCK_TIME.date(),
    "p_owing": True,
    "p_now": FIRST_BLOCK_TIME + timedelta(days=301),
    "p_points": 0.5,
    "p_last": 2,
    "p_asset": "BTC",
    "p_interval": "1h",
    "p_level": 85_000.0,
    "p_article": "D",
    "p_source": "reference",
    "p_vix_drop": 0.1,
    "p_mvrv": 1.2,
    "p_symbol": "btc",
    "p_min_usd": 0.0,
    "p_tiers": "20,50",
    "p_mmr": 0.01,
    "p_order": "largest",
    "p_account": f"0x{b'0'.hex():0>40}",
    "p_gas_usd": 2.0,
    "p_min_profit_usd": 1.0,
    "p_dust_usd": 3.0,
    "p_end": 0.4,
    "p_moves": "0,0.1,0.3",
}
# What a parameter of the same name means in one query only.
OWN_VALUES: dict[str, dict[str, Any]] = {
    "liquidations": {"p_side": "long"},
    "largest_liquidations": {"p_side": "long"},
    "reserve_drift": {"p_since": date(2025, 1, 1)},
    "reserve_supply": {"p_token": "USDT"},
    "supplies_at": {"p_token": "USDT"},
    "changes": {"p_since": FIRST_BLOCK_TIME + timedelta(seconds=12 * 200)},
    "path": {"p_direction": "down"},
    "path_steps": {"p_direction": "down"},
    "path_totals": {"p_direction": "down"},
    # JSON has no infinity.
    "break_steps": {"p_scales": "1,0.5"},
    "break_levels": {"p_scales": "1,0.5"},
    "nearest": {"p_direction": "down", "p_factor": "MARKET", "p_betas": "btc=1.5"},
    "walls": {"p_factor": "MARKET", "p_betas": "btc=1.5", "p_step_abs": 0.02},
    "triggers": {"p_factor": "MARKET", "p_betas": "btc=1.5"},
    "moves": {"p_factor": "MARKET", "p_betas": "btc=1.5"},
    "excluded_accounts": {"p_market": "eth,m"},
    "unvalued": {"p_market": "eth,m"},
    "own_unit_walls": {"p_market": "eth,m"},
    "mart_parameter_changes": {"p_since": FIRST_BLOCK_TIME + timedelta(seconds=12 * 350)},
}
MOVES_WITH_THE_CLOCK = {"age_seconds"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return filled_lake(tmp_path_factory.mktemp("lake") / "home")


def filled_lake(home: Path) -> Store:
    """Two markets, reserves and indicators: something for every query."""
    store = Store(home)
    story.disclose(store, documents.Quiet())
    made = sound(store)
    for name in CHECKS:
        store.append(planted(name, made), source="fault")
    unpriced = book("eth")
    owing(unpriced, "unpriced", 1.2)
    store.append(in_ether(unpriced), source="import", target="eth")
    store.append([probed(hour) for hour in (1, 2)], source="doctor")
    return store


def probed(hour: int) -> Capabilities:
    """What an endpoint could do at an hour of a day."""
    moment = datetime(2026, 1, 29, hour, tzinfo=UTC)
    return Capabilities(
        chain="ethereum",
        endpoint="https://node.example",
        endpoint_hash="0123abcd",
        probed_at=moment,
        requests=20 + hour,
        chain_id=1,
        client_version="Geth/v1.16.0",
        block_number=100 * hour,
        block_time=moment,
        state_overrides=True,
        access_lists=hour == 2,
        call_gas=50_000_000,
        has_logs=None,
        oldest_block=0,
        pruned_block=None,
        log_blocks=10_000,
        refused_log_blocks=10_001,
        batch_calls=100,
        refused_batch_calls=None,
        reason='{"has_logs": "no bloom"}',
    )


def command(store: Store, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "chainwatch.cli", *arguments],
        env=clean_environment(store.home),
        capture_output=True,
        text=True,
        timeout=60,
    )


def plain(value: Any) -> Any:
    """A value as JSON has it, which knows no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Decimal):
        rounded = float(value)
        fraction = value != value.to_integral_value() or value.as_tuple().exponent != 0
        return rounded if fraction and Decimal(repr(rounded)) == value else f"{value:f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if hasattr(value, "isoformat") else value


def table(names: list[str], rows: list[Any]) -> list[dict[str, Any]]:
    made = [dict(zip(names, map(plain, row), strict=True)) for row in rows]
    return [{k: v for k, v in row.items() if k not in MOVES_WITH_THE_CLOCK} for row in made]


@pytest.mark.quick_variants("snapshots_at-*", "health-*", "walls-*", "depth_at-*", "triggers-*")
@pytest.mark.parametrize(
    ("name", "defaults"),
    [
        (q.name, how)
        for q in QUERIES.values()
        if q.name not in ALERTS
        for how in (True, False)
        if q.params or how
    ],
)
def test_command_macro_and_raw_file_return_the_same_rows(
    lake: Store, name: str, defaults: bool
) -> None:
    source = QUERIES[name]
    own = VALUES | OWN_VALUES.get(name, {})
    values = {} if defaults else {p.name: own[p.name] for p in source.params if p.name in own}
    ask(lake, "health")  # the catalog is current
    with duckdb.connect(str(lake.home / CATALOG_NAME), read_only=True) as client:
        client.execute("SET TimeZone = 'UTC'")
        # The macro, as anybody calls it.
        given = ", ".join(f"{key} := ${key}" for key in values)
        macro = client.execute(f"FROM {name}({given})", values or None)
        names = [column[0] for column in macro.description or []]
        by_macro = table(names, macro.fetchall())
        # The file, as it lies there, with a value for each of its parameters.
        bound = {
            p.name: values[p.name]
            if p.name in values
            else client.execute(f"SELECT CAST({p.default} AS {p.type})").fetchall()[0][0]
            for p in source.params
        }
        text = source.path.read_text(encoding="utf-8")
        by_file = table(names, client.execute(text, bound or None).fetchall())
    by_command = by_file
    if values or not source.params:
        words = [f"{key}={plain(value)}" for key, value in values.items()]
        done = command(lake, "query", name, *words, "--json")
        assert done.returncode == Exit.OK, done.stderr
        rows = json.loads(done.stdout)["rows"]
        by_command = table(names, [row.values() for row in rows])
        assert [list(row) for row in rows] == [names] * len(rows)
    if not re.search(r"^ORDER BY", text, re.MULTILINE):
        for answer in (by_macro, by_file, by_command):
            answer.sort(key=in_order)
    assert by_macro, "no rows"
    same(by_macro, by_file)
    same(by_macro, by_command)


def in_order(row: dict[str, Any]) -> tuple[list[str], list[str]]:
    """A place for each row, whatever the last bits of its sums."""
    exact = [str(v) for v in row.values() if not isinstance(v, float)]
    return exact, [f"{v:.6g}" for v in row.values() if isinstance(v, float)]


def same(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> None:
    """Equal, but for the last bits of sums, whose order is free."""
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            if isinstance(value, float):
                assert b[name] == pytest.approx(value, rel=1e-12, abs=1e-9), name
            else:
                assert b[name] == value, name


def test_every_parameter_has_a_value_to_be_tried_with() -> None:
    names = {p.name for q in QUERIES.values() for p in q.params}
    assert names - VALUES.keys() <= {"p_step_pct", "p_within", "p_usd", "p_hold", "p_share"}


def test_unknown_parameters_and_wrong_values_are_refused(
    lake: Store,
) -> None:
    """A query refuses parameters that it does not have, and values that do not fit their type."""
    with pytest.raises(UsageError, match="health has no parameter p_colour; it has p_market"):
        ask(lake, "health", colour="red")
    with pytest.raises(UsageError, match=r"a parameter has a wrong value: .*many"):
        ask(lake, "accounts", limit="many")
    with pytest.raises(UsageError, match="did you mean walls"):
        query.find("wals")


@pytest.mark.quick_variants("snapshots_at", "health", "walls", "triggers", "claims")
@pytest.mark.parametrize("name", REPORTS)
def test_on_an_empty_lake_every_query_answers(store: Store, name: str) -> None:
    rows = ask(store, name)
    assert all(not row.get("accounts") for row in rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-- title: t\nSELECT 1", "`-- name: broken` is missing"),
        ("-- name: broken\nSELECT 1", "`-- title:` is missing"),
        ("-- name: broken\n-- titel: t\nSELECT 1", "line 2: unknown header"),
        ("-- name: broken\n-- title: t\n-- param: x INT\nSELECT 1", "not `p_name TYPE = literal"),
        *(
            (
                f"-- name: broken\n-- title: t\n-- param: p_x {param}\nSELECT $p_x",
                f"line 3: {message}",
            )
            for param, message in (
                ("INT = 1", "p_x has the type INT: use TEXT, DOUBLE, BIGINT, BOOLEAN, DATE, TIME"),
                ("BIGINT = 1.5", "the default of p_x BIGINT is 1.5, not a whole number"),
                ("BIGINT = (SELECT(1))", "the default of p_x BIGINT is"),
                ("BIGINT = 1_0", "the default of p_x BIGINT is 1_0, not a number"),
                ("DOUBLE = '1'", "the default of p_x DOUBLE is '1', not a number"),
                ("DOUBLE = pi()", "the default of p_x DOUBLE is"),
                ("TEXT = version()", "the default of p_x TEXT is .*, not a literal: write '…'"),
                ("TEXT = 'a'||'b'", "not `p_name TYPE = literal"),
                ("TEXT = DATE '2026-01-01'", "the default of p_x TEXT is .*, not a literal"),
                ("BOOLEAN = yes", "the default of p_x BOOLEAN is yes, not true, false or NULL"),
                (
                    "DATE = 'today'",
                    "the default of p_x DATE is 'today', not a day written YYYY-MM-DD",
                ),
                ("DATE = TIMESTAMPTZ '2026-01-01'", "the default .*, not a literal: write DATE"),
                ("TIMESTAMPTZ = now()", "the default of p_x TIMESTAMPTZ is"),
                ("TIMESTAMPTZ = 'now'", "the default of p_x TIMESTAMPTZ is 'now', not a time"),
            )
        ),
        ("-- name: broken\n-- title: t\nSELECT $p_x", r"parameters used \['p_x'\], declared \[\]"),
    ],
)
def test_a_file_whose_header_does_not_fit_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "broken.sql"
    path.write_text(text)
    with pytest.raises((ValueError, ConfigError), match=message):
        query.read(path)


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("TEXT = 'it''s'", "it's"),
        ("TEXT = NULL", None),
        ("DOUBLE = 5e6", 5e6),
        ("BIGINT = -7", -7),
        ("BOOLEAN = true", True),
        ("DATE = DATE '2026-01-29'", date(2026, 1, 29)),
        ("TIMESTAMPTZ = TIMESTAMPTZ '2026-01-29 02:00Z'", datetime(2026, 1, 29, 2, tzinfo=UTC)),
        ("TIMESTAMPTZ = '9999-01-01 00:00:00+00'", datetime(9999, 1, 1, tzinfo=UTC)),
    ],
)
def test_the_default_of_a_parameter_is_the_value_of_its_literal(
    store: Store, tmp_path: Path, param: str, value: object
) -> None:
    path = tmp_path / "mine.sql"
    path.write_text(f"-- name: mine\n-- title: t\n-- param: p_x {param}  x\nSELECT $p_x AS x")
    with query.open_catalog(store) as catalog:
        assert query.run(catalog, query.read(path)).rows == [(value,)]
