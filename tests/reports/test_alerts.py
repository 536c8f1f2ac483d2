"""Alerts: raised once, held between two levels, cleared once, and never lost on the way."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.errors import ChainwatchError, ConfigError, Exit, NetworkError, UsageError
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.net.errors import Failed
from chainwatch.reports import alerts
from chainwatch.reports.notifiers import Apprise, Webhook
from chainwatch.reports.rules import Finding
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Account
from chainwatch.tables.log import Delivery, Notice
from tests import shell
from tests.builders import Asset, Book
from tests.commands.test_cli import WRITES
from tests.reports.test_liquidations import order, span
from tests.reports.test_reserve_queries import Q1, QUARTERS, report

NOW = datetime(2026, 2, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 15, tzinfo=UTC)
SHIPPED = [name for name, q in query.load_all().items() if q.group == "alerts"]


@pytest.fixture
def store(empty_lake: Store) -> Store:
    return empty_lake


class Mailbox:
    """A webhook on loopback that keeps what it is sent."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.status = 200
        self.url = ""

    @property
    def messages(self) -> list[str]:
        return [f"{n['kind']} {n['subject']}" for body in self.got for n in body["notices"]]


@contextlib.contextmanager
def listening(certificate: Path | None = None) -> Iterator[Mailbox]:
    """A webhook, over TLS where there is a certificate."""
    box = Mailbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if box.status == 200:
                box.got.append(json.loads(body))
            self.send_response(box.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        box.url = (
            f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}/hook/SECRETKEY"
        )
        yield box
        server.shutdown()


def level(store: Store, value: float | None) -> None:
    """A rule of one's own: raised from 100, held down to 80."""
    folder = store.home / "alerts"
    folder.mkdir(exist_ok=True)
    (folder / "level.sql").write_text(
        "-- name: level\n-- title: a level\n"
        "SELECT 's' AS subject, CASE WHEN v >= 100 THEN 'raise' ELSE 'hold' END AS state,\n"
        f"'it is ' || v AS message, v::DOUBLE AS value FROM (SELECT {value or 0} AS v)\n"
        "WHERE v >= 80"
    )


def test_an_alert_is_raised_once_and_cleared_once(store: Store) -> None:
    """An alert is raised once, held between its two levels, and cleared once."""
    kinds = []
    for hour, value in enumerate((50, 90, 100, 120, 99, 81, 100, 79, 85, 101)):
        level(store, value)
        outcome = alerts.run(store, [], only=["level"], now=NOW + timedelta(hours=hour))
        kinds.append([n.kind for n in outcome.notices])
        assert outcome.failures == []
    assert kinds == [[], [], ["raised"], [], [], [], [], ["cleared"], [], ["raised"]]


@given(st.lists(st.integers(0, 150), max_size=40))
def test_raising_and_clearing_always_take_turns(values: list[int]) -> None:
    rule = query.find(SHIPPED[0])
    notices: list[Notice] = []
    for n, value in enumerate(values):
        state = "raise" if value >= 100 else "hold"
        findings = [Finding(rule.name, "s", state, "m", float(value))] if value >= 80 else []
        standing = alerts.active(notices).values()
        new = alerts.changes(rule, findings, standing, NOW + timedelta(minutes=n))
        assert len(new) <= 1
        notices += new
        is_active = bool(alerts.active(notices))
        assert not (value >= 100 and not is_active)
        assert not (value < 80 and is_active)
    kinds = [n.kind for n in notices]
    assert kinds == (["raised", "cleared"] * len(kinds))[: len(kinds)]


def test_a_clock_set_back_keeps_the_order_of_notices(
    store: Store,
) -> None:
    """Notices stay in the order in which they were sent, even where the clock was set back."""
    kinds, days = [], (9, 0, 0, 0, 1, 1)
    for day, value in zip(days, (120, 10, 10, 130, 130, 10), strict=True):
        level(store, value)
        outcome = alerts.run(store, [], only=["level"], now=NOW + timedelta(days=day))
        kinds.append([n.kind for n in outcome.notices])
    assert kinds == [["raised"], ["cleared"], [], ["raised"], [], ["cleared"]]
    moments = [n.notified_at for n in store.rows(Notice)]
    assert len(set(moments)) == 4
    with listening() as box:
        alerts.run(store, [Webhook(box.url, 5.0)], only=["level"], now=NOW)
        assert box.messages == [], "a new channel does not hear of what was"


def test_a_webhook_that_is_down_gets_everything_once_it_is_back(store: Store) -> None:
    with listening() as box:
        hook = Webhook(box.url, 5.0)
        level(store, 1)
        assert alerts.run(store, [hook], only=["level"], now=NOW).failures == []
        box.status = 503
        for hour, value in ((1, 120), (2, 10), (3, 130)):
            level(store, value)
            outcome = alerts.run(store, [hook], only=["level"], now=NOW + timedelta(hours=hour))
            (failure,) = outcome.failures
            assert isinstance(failure, NetworkError)
            assert f"HTTP 503; {hour} notice(s) are kept and sent again by the next run" in str(
                failure
            )
            assert "SECRETKEY" not in str(failure)
        assert box.got == []
        box.status = 200
        assert (
            alerts.run(store, [hook], only=["level"], now=NOW + timedelta(hours=4)).failures == []
        )
        assert box.messages == ["raised s", "cleared s", "raised s"]
        assert "▲ level: it is 130" in box.got[0]["text"]
        alerts.run(store, [hook], only=["level"], now=NOW + timedelta(hours=5))
        assert len(box.messages) == 3
    assert "SECRETKEY" not in json.dumps([msgspec.to_builtins(d) for d in store.rows(Delivery)])


def test_a_new_channel_hears_of_what_is_active_and_not_of_what_was(store: Store) -> None:
    for hour, value in ((0, 120), (1, 10), (2, 130)):
        level(store, value)
        alerts.run(store, [], only=["level"], now=NOW + timedelta(hours=hour))
    with listening() as box:
        alerts.run(store, [Webhook(box.url, 5.0)], only=["level"], now=NOW + timedelta(hours=3))
        assert box.messages == ["raised s"]


def book(time: datetime, block: int, lt: float = 0.8) -> Book:
    made = Book(
        Asset("BTC", 90_000.0, lt=lt, betas={"BTC": 1.0}), Asset("USD", 1.0), time=time, block=block
    )
    made.account("a", {"BTC": 3_000.0}, {"USD": 3_000.0 * 90_000 * lt / 1.01})
    return made


def fallen(part: float = 1.0, block: int = 200) -> Book:
    """A market in which that part of the large account's collateral is gone: nobody is near."""
    made = Book(
        Asset("BTC", 90_000.0, lt=0.8, betas={"BTC": 1.0}), Asset("USD", 1.0), time=NOW, block=block
    )
    made.account("sound", {"BTC": 1_000.0}, {"USD": 10e6})
    made.account("fallen", {"BTC": 1_000.0}, {"USD": 1_000.0 * 90_000 * 0.8 * (1 + 0.1 * part)})
    return made


def wrong(name: str) -> list[Row]:
    """What each rule that ships is for."""
    newer = book(NOW, 200)
    match name:
        case "alert_wall" | "alert_health_share":
            return newer.rows()
        case "alert_liquidatable_debt":
            return fallen().rows()
        case "alert_verify_mismatch":
            return [*newer.rows(), newer.verified(mismatched=1)]
        case "alert_parameter_change":
            return [*book(NOW - timedelta(days=1), 100, lt=0.7).rows(), *newer.rows()]
        case "alert_feed_silent":
            return [span(0, 1), span(1, 2, "down", reason="no heartbeat for 9 s")]
        case "alert_feed_mute":
            by_name = {"source": "binance-usdm-history", "delivery": "history"}
            return [span(0, 1), order(1, **by_name)]
        case "alert_feed_rejecting":
            return [span(0, 1), span(1, 2, "rejecting", reason="size is 'x'")]
        case "alert_reserve_drift":
            return QUARTERS
    raise ValueError(f"say what {name} is for")


@pytest.mark.full
@pytest.mark.parametrize("name", SHIPPED)
def test_each_rule_that_ships_runs_and_finds_what_it_is_for(store: Store, name: str) -> None:
    assert alerts.run(store, [], only=[name], now=NOW).failures == []
    store.append(wrong(name), source="test")
    outcome = alerts.run(store, [], only=[name], now=NOW)
    assert outcome.failures == []
    assert outcome.notices, name
    assert all(n.message and n.subject for n in outcome.notices)
    assert alerts.run(store, [], only=[name], now=NOW + timedelta(hours=1)).notices == []


def test_a_silent_feed_is_notified_with_its_reason_and_cleared(
    store: Store,
) -> None:
    """A silent feed raises an alert with its reason, which is cleared once messages arrive
    again."""

    def notices_after(hours: int) -> list[tuple[str, str, str]]:
        outcome = alerts.run(
            store, [], only=["alert_feed_silent"], now=NOW + timedelta(hours=hours)
        )
        assert outcome.failures == []
        return [(n.kind, n.subject, n.message) for n in outcome.notices]

    store.append([span(0, 1), span(0, 1, source="okx", venue="okx", market="swap")], source="test")
    assert notices_after(1) == []
    store.append(
        [
            span(1, 2, "down", reason="no heartbeat for 9 s"),
            span(1, 2, "stale", source="okx", venue="okx", market="swap"),
        ],
        source="test",
    )
    assert sorted(notices_after(2)) == [
        ("raised", "binance-usdm", "binance-usdm is down: no heartbeat for 9 s"),
        ("raised", "okx", "okx is stale: no reason known"),
    ]
    store.append(
        [span(2, 3), span(2, 3, "stale", source="okx", venue="okx", market="swap")], source="test"
    )
    assert [(kind, subject) for kind, subject, _ in notices_after(3)] == [
        ("cleared", "binance-usdm")
    ]


def test_a_feed_that_rejects_is_told_until_a_day_without_it(store: Store) -> None:
    def notices_after(hours: int) -> list[tuple[str, str]]:
        rules = ["alert_feed_rejecting"]
        outcome = alerts.run(store, [], only=rules, now=NOW + timedelta(hours=hours))
        assert outcome.failures == []
        return [(n.kind, n.message) for n in outcome.notices]

    store.append([span(0, 1)], source="test")
    assert notices_after(1) == []
    store.append([span(1, 2, "rejecting", reason="size is 'x'"), span(2, 3)], source="test")
    assert notices_after(3) == [
        ("raised", "binance-usdm is not covered for 3600.0 s of the last day: size is 'x'")
    ]
    store.append([span(3, 30)], source="test")
    assert [kind for kind, _ in notices_after(30)] == ["cleared"]


def test_a_class_of_a_reserve_that_moved_is_told_once_per_disclosure(store: Store) -> None:
    store.append(QUARTERS, source="test")
    rules = ["alert_reserve_drift"]
    (first,) = alerts.run(store, [], only=rules, now=MAY).notices
    assert first.message == (
        "USDT: US treasuries moved by -10.0 points to 60.0 % of the reserve on 2026-03-31"
    )
    assert alerts.run(store, [], only=rules, now=MAY + timedelta(days=1)).notices == []


@pytest.mark.parametrize(("days", "notices"), [(119, 1), (120, 1), (121, 0), (900, 0)])
def test_a_disclosure_of_long_ago_is_no_news(store: Store, days: int, notices: int) -> None:
    store.append(QUARTERS, source="test")
    now = datetime(2026, 3, 31, 12, tzinfo=UTC) + timedelta(days=days)
    outcome = alerts.run(store, [], only=["alert_reserve_drift"], now=now)
    assert (len(outcome.notices), outcome.failures) == (notices, [])


def test_only_the_newest_disclosure_of_a_token_is_news(store: Store) -> None:
    """One in which nothing moved takes the place of the one before, which had told a move."""
    third = report(
        date(2026, 6, 30), datetime(2026, 5, 10, tzinfo=UTC).date(), Q1, liabilities=1150
    )
    store.append([*QUARTERS, *third], source="test")
    assert alerts.run(store, [], only=["alert_reserve_drift"], now=MAY).notices == []


@pytest.mark.full
@pytest.mark.parametrize(
    "name", ["alert_parameter_change", "alert_verify_mismatch", "alert_feed_silent"]
)
def test_what_is_long_over_raises_nothing_and_ends_nothing(store: Store, name: str) -> None:
    store.append(wrong(name), source="test")
    later = NOW + timedelta(days=30)
    assert alerts.run(store, [], only=[name], now=later).notices == []
    assert [n.kind for n in alerts.run(store, [], only=[name], now=NOW).notices] == ["raised"]
    outcome = alerts.run(store, [], only=[name], now=later)
    assert (outcome.notices, outcome.failures) == ([], []), "that nobody looked is no end"


# --- what is liquidatable already ---------------------------------------------------------------


def raised_messages(store: Store, *names: str) -> dict[str, str]:
    outcome = alerts.run(store, [], only=names, now=NOW)
    assert outcome.failures == []
    return {n.rule: n.message for n in outcome.notices if n.kind == "raised"}


def test_debt_past_liquidation_rings_although_nobody_is_near(store: Store) -> None:
    names = ("alert_health_share", "alert_wall", "alert_liquidatable_debt")
    store.append(fallen().rows(), source="test")
    debt = 1_000 * 90_000 * 0.8 * 1.1
    levels = raised_messages(store, *names)
    assert sorted(levels) == sorted(names)
    share = 100 * debt / (debt + 10e6)
    assert levels["alert_health_share"] == (
        f"{share:.1f} % of all debt on m is within 5 % of liquidation or past it, "
        "as of 2026-02-01 00:00Z"
    )
    assert levels["alert_liquidatable_debt"] == (
        f"{debt:,.0f} USD of debt of 1 accounts on m may be liquidated now, {share:.1f} % of all "
        "debt, as of 2026-02-01 00:00Z"
    )
    assert levels["alert_wall"].endswith("below the price of BTC, 83,160,000 USD of that now")


def test_the_contracts_verdict_decides_what_is_liquidatable(store: Store) -> None:
    for n, (verdict, rings) in enumerate(((False, False), (True, True), (None, False))):
        rows = [
            msgspec.structs.replace(row, liquidatable=verdict)
            if isinstance(row, Account) and row.debt_usd == pytest.approx(72e6)
            else row
            for row in fallen(0, 300 + n).rows()
        ]
        assert any(isinstance(row, Account) and row.liquidatable == verdict for row in rows)
        store.append(rows, source="test")
        assert bool(raised_messages(store, "alert_liquidatable_debt")) == rings, verdict


def test_liquidatable_debt_is_held_between_its_levels_and_then_over(store: Store) -> None:
    kinds = []
    for n, debt in enumerate((4e6, 5.5e6, 4.2e6, 3.9e6)):
        made = Book(Asset("BTC", 90_000.0, lt=0.8), Asset("USD", 1.0), time=NOW, block=200 + n)
        made.account("sound", {"BTC": 100_000.0}, {"USD": 2e9})
        made.account("fallen", {"BTC": 1.0}, {"USD": debt})
        store.append(made.rows(), source="test")
        outcome = alerts.run(store, [], only=["alert_liquidatable_debt"], now=NOW)
        kinds.append([notice.kind for notice in outcome.notices])
    assert kinds == [[], ["raised"], [], ["cleared"]]


# --- rules of one's own -------------------------------------------------------------------------

HEAD = "-- name: mine\n-- title: t\n"


def mine(store: Store, text: str) -> Path:
    folder = store.home / "alerts"
    folder.mkdir(exist_ok=True)
    (folder / "mine.sql").write_text(HEAD + text)
    return folder / "mine.sql"


@pytest.mark.full
def test_a_rule_can_write_nothing_and_opens_nothing_but_the_lake(store: Store) -> None:
    level(store, 120)
    assert len(alerts.run(store, [], only=["level"], now=NOW).notices) == 1
    outside, inside = store.home / "evil", store.lake / "legs" / "day=2026-01-01" / "evil.parquet"
    before = {p: p.stat().st_mtime_ns for p in store.lake.rglob("*") if p.is_file()}
    for text in WRITES:
        for target in (outside, inside) if "TARGET" in text else (outside,):
            path = mine(store, text.replace("TARGET", str(target)))
            outcome = alerts.run(store, [], only=["mine"], now=NOW)
            assert outcome.notices == [], text
            (failure,) = outcome.failures
            assert str(failure).startswith(str(path)), text
            assert "a rule returns" not in str(failure), f"{text} was run"
            assert not target.exists(), text
    assert {p: p.stat().st_mtime_ns for p in store.lake.rglob("*") if p.is_file()} == before


@pytest.mark.full
@pytest.mark.parametrize(
    "header",
    [
        "p_x BIGINT = 1/**/AS/**/BIGINT)/**/AS/**/p_x;COPY/**/(FROM/**/loads/**/LIMIT/**/1)"
        "/**/TO/**/'TARGET';SELECT/**/CAST(1 x",
        "p_x BIGINT); COPY (FROM loads LIMIT 1) TO 'TARGET'; SELECT CAST(1 AS BIGINT = 1 x",
        "p_x BIGINT);COPY/**/(FROM/**/loads)/**/TO/**/'TARGET';SELECT/**/CAST(1/**/AS/**/INT = 1 x",
        "p_x TEXT = 'a';COPY(FROM/**/loads)TO/**/'TARGET'",
    ],
)
def test_the_header_of_a_rule_runs_nothing(store: Store, header: str) -> None:
    level(store, 120)
    alerts.run(store, [], only=["level"], now=NOW)
    (target,) = (store.lake / "notices").glob("day=2*/*.parquet")
    before = target.read_bytes()
    path = mine(
        store,
        f"-- param: {header.replace('TARGET', str(target))}\n"
        "SELECT 's' AS subject, 'raise' AS state, 'm' AS message, $p_x AS value",
    )
    (failure,) = alerts.run(store, [], only=["mine"], now=NOW).failures
    assert isinstance(failure, UsageError)
    assert str(failure).startswith(f"{path} line 3: ")
    assert target.read_bytes() == before
    done = shell.run("alert", "mine", home=store.home)
    assert (done.code, len(done.lines)) == (Exit.USAGE, 1)
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("COPY (SELECT 1) TO 'TARGET'", ": a rule only reads: COPY is refused"),
        ("WITH t AS (COPY (SELECT 1) TO 'TARGET') FROM t", "WITH may hold SELECT only"),
        ("SELECT 1; COPY (SELECT 1) TO 'TARGET'", ": a rule only reads: COPY is refused"),
        ("SELECT 1; SELECT 2", ": a rule takes one statement at a time"),
        (
            "SELECT 's' AS subject, 'raise' AS state, content AS message, 1 AS value\n"
            "FROM read_text('/etc/hostname')",
            "only the lake is open here",
        ),
    ],
)
def test_a_rule_that_does_more_than_read_is_told_why(store: Store, text: str, message: str) -> None:
    target = store.home / "evil"
    mine(store, text.replace("TARGET", str(target)))
    outcome = alerts.run(store, [], only=["mine"], now=NOW)
    assert outcome.notices == []
    assert message in str(outcome.failures[0])
    assert not target.exists()


@pytest.mark.full
@pytest.mark.parametrize(
    "text",
    [
        "SELECT 's' AS subject, 'raise' AS state, 'm' AS message, count(*) AS value\n"
        "FROM range(10000000000) AS a, range(1000)",
        "SELECT 's' AS subject, 'raise' AS state, 'm' AS message,\n"
        "(SELECT count(*) FROM range(10000000000) AS a, range(1000)) AS value",
    ],
)
def test_a_rule_that_never_ends_is_stopped_and_stops_no_other(store: Store, text: str) -> None:
    level(store, 120)
    path = mine(store, text)
    begun = time.monotonic()
    outcome = alerts.run(store, [], only=["level", "mine"], now=NOW, seconds=1.0)
    assert [n.rule for n in outcome.notices] == ["level"]
    (failure,) = outcome.failures
    assert str(failure).startswith(str(path))
    assert "stopped after 1 s: ask for less, or raise --timeout" in str(failure)
    assert time.monotonic() - begun < 60
    done = shell.run("alert", "mine", "--timeout", "1s", home=store.home)
    assert (done.code, len(done.lines)) == (Exit.USAGE, 1)
    assert "stopped after 1 s" in done.err


@pytest.mark.full
def test_a_rule_the_engine_cannot_stop_stops_no_other(
    store: Store,
) -> None:
    """A rule that the engine cannot stop is left behind, and the other rules run."""
    level(store, 120)
    path = mine(
        store,
        "SELECT 's' AS subject, 'raise' AS state, 'm' AS message,\n"
        "levenshtein(repeat('a', 200000), repeat('b', 200000)) AS value",
    )
    path.rename(path.with_name("endless.sql"))
    path = path.with_name("endless.sql")
    path.write_text(path.read_text().replace("name: mine", "name: endless"))
    begun = time.monotonic()
    done = shell.run("alert", "endless", "level", "--timeout", "1s", "--json", home=store.home)
    assert time.monotonic() - begun < 30, "by itself it takes minutes"
    assert done.code == Exit.USAGE
    assert f"{path}: stopped after 1 s: ask for less, or raise --timeout" in done.err
    assert [n["rule"] for n in shell.rows_of(done.out, "--json")] == ["level"]
    statement = "SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))"
    begun = time.monotonic()
    done = shell.run("sql", statement, "--timeout", "1s", home=store.home)
    assert time.monotonic() - begun < 30
    assert (done.code, len(done.lines)) == (Exit.USAGE, 1)
    assert "stopped after 1 s" in done.err


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "-- name: mine\n-- title: t\nSELECT 's' AS subject,\nFROM WHERE",
            "mine.sql line 4: Parser",
        ),
        (
            "-- name: mine\n-- title: t\nSELECT\n  nosuch AS subject\nFROM loads",
            "mine.sql line 4: Bin",
        ),
        (
            "-- name: mine\n-- title: t\nSELECT 1 AS subject",
            "mine.sql: a rule returns subject, state",
        ),
    ],
)
def test_a_wrong_rule_is_named_with_its_line_and_stops_no_other(
    store: Store, text: str, message: str
) -> None:
    """A rule that is wrong is named with its line, and the other rules run."""
    level(store, 120)
    (store.home / "alerts" / "mine.sql").write_text(text)
    outcome = alerts.run(store, [], only=["level", "mine"], now=NOW)
    assert [n.rule for n in outcome.notices] == ["level"]
    (failure,) = outcome.failures
    assert isinstance(failure, UsageError)
    assert message in str(failure)


@pytest.mark.full
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("'a', 'raise', 'm', 'high'", "'a' has the value 'high', not a number"),
        ("'a', 'raise', 'm', '1_000'", "'a' has the value '1_000', not a number"),
        ("'a', 'raise', 'm', '1_０00'", "'a' has the value '1_０00', not a number"),
        ("'a', 'raise', 'm', ' 5'", "'a' has the value ' 5', not a number"),
        ("'a', 'raise', 'm', true", "'a' has the value True: it must be a number or NULL"),
        ("'a', 'raise', 'm', DATE '2026-02-01'", "it must be a number or NULL"),
        ("'a', 'raised', 'm', 1", "'a' has the state 'raised': it must be raise or hold"),
        ("'a', NULL, 'm', 1", "state is NULL in a row: only value may be"),
        ("NULL, 'raise', 'm', 1", "subject is NULL in a row: only value may be"),
        ("'a', 'raise', NULL, 1", "message is NULL in a row: only value may be"),
        ("'a', 'raise', 'm', INTERVAL '99999999 years'", "too large"),
    ],
)
def test_an_invalid_row_is_rejected_and_stops_no_other_rule(
    store: Store, row: str, message: str
) -> None:
    """A row that does not fit the columns of a rule is rejected, and the other rules run."""
    level(store, 120)
    path = store.home / "alerts" / "mine.sql"
    path.write_text(
        f"-- name: mine\n-- title: t\nFROM (VALUES ({row})) AS t (subject, state, message, value)"
    )
    outcome = alerts.run(store, [], only=["level", "mine"], now=NOW)
    assert [n.rule for n in outcome.notices] == ["level"]
    (failure,) = outcome.failures
    assert isinstance(failure, UsageError)
    assert str(failure).startswith(f"{path}: ")
    assert message in str(failure)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("'2.5e3'", 2_500.0),
        ("NULL", None),
        ("1 / 0", None),
        ("'nan'::DOUBLE", None),
    ],
)
def test_a_value_is_stored_as_a_number_or_not_at_all(
    store: Store, value: str, stored: float | None
) -> None:
    (store.home / "alerts").mkdir()
    (store.home / "alerts" / "mine.sql").write_text(
        "-- name: mine\n-- title: t\n"
        f"SELECT 'a' AS subject, 'raise' AS state, 'm' AS message, {value} AS value"
    )
    assert alerts.run(store, [], only=["mine"], now=NOW).failures == []
    assert [n.value for n in store.rows(Notice)] == [stored]


@pytest.mark.full
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"-- name: mine\n-- titel: t\nSELECT 1", " line 2: unknown header"),
        (b"-- name: mine\n-- title: \xff\nSELECT 1", " is not UTF-8 text"),
        (
            b"-- name: mine\n-- title: t\n",
            " line 1: expected a SELECT below the header, got nothing",
        ),
        (
            b"-- name: mine\n-- title: t\n-- param: p_x DOUBLE = 'high'  x\nSELECT $p_x AS value",
            " line 3: the default of p_x DOUBLE is 'high', not a number",
        ),
        (None, " cannot be read: Is a directory"),
    ],
)
def test_a_rule_file_that_cannot_be_used_is_named_and_stops_no_other(
    store: Store, text: bytes | None, message: str
) -> None:
    level(store, 120)
    path = store.home / "alerts" / "mine.sql"
    if text is None:
        path.mkdir()
    else:
        path.write_bytes(text)
    outcome = alerts.run(store, [], now=NOW)
    assert [n.rule for n in outcome.notices] == ["level"]
    (failure,) = outcome.failures
    assert isinstance(failure, UsageError)
    assert str(failure).startswith(f"{path}{message}")
    assert alerts.run(store, [], only=["level"], now=NOW).failures == []
    assert len(alerts.run(store, [], only=["mine"], now=NOW).failures) == 1


def test_a_rule_that_cannot_be_used_leaves_its_alerts_as_they_are(store: Store) -> None:
    level(store, 120)
    path = store.home / "alerts" / "level.sql"
    path.write_text(path.read_text().replace("-- title", "-- once: yes\n-- title"))
    with listening() as box:
        hook = Webhook(box.url, 5.0)
        raised = path.read_bytes()
        for hour, text, active in (
            (0, raised, 1),
            (1, raised.replace(b"120", b"10"), 0),
            (2, raised, 1),
            (3, b"\xff", 1),
        ):
            path.write_bytes(text)
            now = NOW + timedelta(hours=hour)
            assert alerts.run(store, [hook], only=["level"], now=now).active == active
        assert box.messages == ["raised s", "raised s"], "nobody needs to hear of its end"


def test_a_wrong_user_rule_is_not_replaced_by_the_shipped_one(store: Store) -> None:
    """A user's rule that is wrong fails; the shipped rule of that name does not run instead."""
    store.append(wrong("alert_feed_silent"), source="test")
    (store.home / "alerts").mkdir()
    (store.home / "alerts" / "alert_feed_silent.sql").write_text("SELECT 1")
    outcome = alerts.run(store, [], only=["alert_feed_silent"], now=NOW)
    assert outcome.notices == []
    (failure,) = outcome.failures
    assert isinstance(failure, ConfigError)


def test_a_rule_that_does_not_exist_is_told(store: Store) -> None:
    with pytest.raises(UsageError, match=r"no rule is called 'x'; known: alert_.*feed_silent"):
        alerts.run(store, [], only=["x"], now=NOW)


@pytest.mark.full
def test_the_command_tells_on_stdout_and_to_the_webhook(store: Store) -> None:
    level(store, 120)
    with listening() as box:
        env = {"CHAINWATCH_WEBHOOK": box.url}
        done = shell.run("alert", "level", "--json", home=store.home, env=env)
        assert done.code == Exit.OK, done.err
        (row,) = shell.rows_of(done.out, "--json")
        assert (row["kind"], row["subject"], row["message"]) == ("raised", "s", "it is 120")
        assert box.messages == ["raised s"]
        box.status = 500
        level(store, 1)
        done = shell.run("alert", "level", home=store.home, env=env)
        assert done.code == Exit.NETWORK
        assert "1 notice(s) are kept" in done.lines[-1]
        assert "SECRETKEY" not in done.out + done.err
        box.status = 200
        assert shell.run("alert", "--test", home=store.home, env=env).code == Exit.OK
        assert box.messages == ["raised s", "raised test"]
        shown = shell.run("config", home=store.home, env=env).out
        assert "SECRETKEY" not in shown
        assert "CHAINWATCH_WEBHOOK" in shown


@pytest.mark.full
def test_a_webhook_is_trusted_by_the_authorities_that_are_set(
    store: Store, certificate: Path
) -> None:
    level(store, 120)
    with listening(certificate) as box:
        env = {"CHAINWATCH_WEBHOOK": box.url}
        done = shell.run("alert", "level", home=store.home, env=env)
        assert done.code == Exit.NETWORK
        assert "TLS failed (self-signed certificate)" in done.err
        env["CHAINWATCH_CA_FILE"] = str(certificate)
        assert shell.run("alert", "level", home=store.home, env=env).code == Exit.OK
        assert box.messages == ["raised s"]


def test_a_name_in_a_notice_calls_nobody(store: Store) -> None:
    """Chats take `<!channel>`, `<https://…|link>` and `@everyone` for more than text."""
    name = "<!channel> @everyone <https://x.example|USDC>\n▲ forged \x1b[31m"
    level(store, 120)
    path = store.home / "alerts" / "level.sql"
    path.write_text(path.read_text().replace("'it is '", "'" + name + " '"))
    with listening() as box:
        alerts.run(store, [Webhook(box.url, 5.0)], only=["level"], now=NOW)
        (body,) = box.got
    assert not set("<>@\n\x1b") & set(body["text"])
    assert "‹!channel›" in body["text"]
    assert body["notices"][0]["message"].startswith("<!channel> @everyone")


@pytest.mark.full
def test_what_stdout_did_not_take_is_told_again_by_the_next_run(store: Store) -> None:
    level(store, 120)
    with listening() as box:
        env = {"CHAINWATCH_WEBHOOK": box.url}
        with Path("/dev/full").open("wb") as full:
            done = shell.ended(shell.start("alert", "level", home=store.home, env=env, stdout=full))
        assert done.code == Exit.STORE
        assert done.lines == ["chainwatch: stdout cannot be written: No space left on device"]
        assert box.messages == ["raised s"], "what is wrong with stdout stops no other channel"
        for kinds in (["raised"], []):
            done = shell.run("alert", "level", "--json", home=store.home, env=env)
            assert done.code == Exit.OK, done.err
            assert [row["kind"] for row in shell.rows_of(done.out, "--json")] == kinds
        assert box.messages == ["raised s"]


def test_a_webhook_that_is_no_url_is_told_before_anything_is_stored(store: Store) -> None:
    level(store, 120)
    with listening() as box:
        env = {"CHAINWATCH_WEBHOOK": f"htps://127.0.0.1/SECRETKEY {box.url}"}
        for words in (("level",), ("--test",)):
            done = shell.run("alert", *words, home=store.home, env=env)
            assert (done.code, done.out) == (Exit.USAGE, "")
            assert done.lines == [
                "chainwatch: CHAINWATCH_WEBHOOK: expected an http:// or https:// URL, got htps://…"
            ]
        assert store.rows(Notice) == []
        done = shell.run("alert", "level", home=store.home, env={"CHAINWATCH_WEBHOOK": box.url})
        assert "1 new" in done.out
        assert box.messages == ["raised s"]


def test_a_failing_channel_stops_no_other_and_is_not_listed(
    store: Store,
) -> None:
    """A channel that fails stops no other, and is not listed among those that got the notices."""
    level(store, 120)
    with listening() as dead, listening() as box:
        dead.status = 500
        broken, healthy = Webhook(dead.url, 5.0).name, Webhook(box.url, 5.0).name
        env = {"CHAINWATCH_WEBHOOK": f"{dead.url} {box.url}"}
        for words in (("--test",), ("level",)):
            done = shell.run("alert", *words, home=store.home, env=env)
            assert done.code == Exit.NETWORK
            assert "HTTP 500" in done.lines[-1]
            assert f"sent to {healthy}\n" in done.out
            assert broken not in done.out
        assert box.messages == ["raised test", "raised s"]
        none = shell.run("alert", "--test", home=store.home, env={"CHAINWATCH_WEBHOOK": dead.url})
        assert "sent to nowhere but here" in none.out


@pytest.mark.parametrize(
    ("refused", "kind"),
    [
        (lambda: ConfigError("no file of certificate authorities"), ConfigError),
        (lambda: Failed("http://127.0.0.1:1/SECRETKEY", "connection refused"), NetworkError),
    ],
)
def test_a_channel_that_cannot_send_stops_no_other_and_is_tried_again(
    store: Store, refused: Callable[[], ChainwatchError], kind: type[ChainwatchError]
) -> None:
    class Wrong:
        name = "wrong"

        def send(self, notices: Sequence[Notice]) -> None:
            raise refused()

    level(store, 120)
    with listening() as box:
        hook = Webhook(box.url, 5.0)
        for _ in range(2):
            outcome = alerts.run(store, [Wrong(), hook], only=["level"], now=NOW)
            assert outcome.delivered == [hook.name]
            (failure,) = outcome.failures
            assert isinstance(failure, kind)
            assert str(failure) == (
                f"{refused()}; 1 notice(s) are kept and sent again by the next run"
            )
        assert box.messages == ["raised s"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what apprise imports
def test_what_apprise_knows_is_a_channel_too(store: Store) -> None:
    pytest.importorskip("apprise", reason="the extra `alerts` is not installed: make everything")
    with listening() as box:
        level(store, 120)
        url = box.url.replace("http://", "json://")
        channel = Apprise(url)
        assert "SECRETKEY" not in channel.name
        with contextlib.suppress(KeyError):  # its JSON has no `notices`
            channel.send([alerts.sample(NOW)])
        assert "a test of chainwatch's alerts" in json.dumps(box.got)
        page = Apprise(f"{url}?format=html")
        named = msgspec.structs.replace(alerts.sample(NOW), message="<script>x</script>")
        with contextlib.suppress(KeyError):
            page.send([named])
        sent = box.got[-1]["message"]
        assert "<" not in sent, "a name is no part of a page"
        assert "script" in sent
        box.status = 500
        with pytest.raises(NetworkError, match="did not accept"):
            channel.send([alerts.sample(NOW)])
    with pytest.raises(ConfigError, match="is not an apprise URL"):
        Apprise("nosuch://x")
