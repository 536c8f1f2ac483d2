"""Documents: kept before they are read, judged as a whole, their figures kept as vintages."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from chainwatch.collect.document import SchemaChanged
from chainwatch.collect.runner import raise_failures
from chainwatch.disclosures import formats
from chainwatch.disclosures.formats import exact
from chainwatch.disclosures.vintages import new_version
from chainwatch.errors import CheckFailed, NetworkError, PartialError, StoreError, UsageError
from chainwatch.lake import query
from chainwatch.lake.store import Store
from chainwatch.tables.base import Row, columns, fits_decimal
from chainwatch.tables.disclosure import Document, IndicatorValue, ReserveItem, Statement, Supply
from tests.documents import Publisher, Quiet, ask, fixture, gather, put, raw, value
from tests.evm.rpc_proxy import cut, drop, hang, say

VIX = "/api/global/us_indices/daily_prices/VIX_History.csv"
HEAD = "DATE,OPEN,HIGH,LOW,CLOSE\n"


@pytest.fixture
def store(fill: Callable[[Sequence[Row]], Store]) -> Store:
    """A lake with nothing in it."""
    return fill([])


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    async with Publisher() as running:
        yield running


def vix_file(*closes: tuple[int, float]) -> bytes:
    """A file of closes: (days ago, close)."""
    today = datetime.now(UTC).date()
    lines = [
        f"{today - timedelta(days=ago):%m/%d/%Y},{c},{c},{c},{c}\n"
        for ago, c in sorted(closes)[::-1]
    ]
    return (HEAD + "".join(lines)).encode()


def outcomes(store: Store) -> list[str]:
    stored = store.rows(Document, "true ORDER BY fetched_at, name")
    return [d.outcome for d in stored]


# --- keeping --------------------------------------------------------------------------------


async def test_bytes_are_kept_under_their_hash_and_figures_name_it(
    store: Store, publisher: Publisher
) -> None:
    """The bytes are kept under their hash, and every figure names it."""
    body = vix_file((2, 20.5), (1, 18.25))
    publisher.instead[VIX] = body
    raise_failures(await gather(store, publisher.url, "cboe"))
    (document,) = store.rows(Document)
    assert document.outcome == "ok"
    assert document.sha256 == hashlib.sha256(body).hexdigest()
    assert store.document(document.sha256).read_bytes() == body
    assert document.bytes == len(body)
    assert document.rows == 2
    assert {v.document for v in store.rows(IndicatorValue)} == {document.sha256}


async def test_a_key_in_a_configured_address_is_neither_stored_nor_told(
    store: Store, publisher: Publisher
) -> None:
    key = "correct-horse-battery"
    base = publisher.url.replace("://", f"://user:{key}@") + f"/{key}"
    publisher.instead[f"/{key}{VIX}"] = vix_file((1, 18.25))
    voice = Quiet()
    raise_failures(await gather(store, base, "cboe", voice=voice))
    publisher.instead[f"/{key}{VIX}"] = drop
    (failed,) = await gather(store, base, "cboe", voice=voice)
    stored = store.rows(Document, "true ORDER BY fetched_at")
    assert [d.outcome for d in stored] == ["ok", "unavailable"]
    assert {d.url for d in stored} == {f"{publisher.url}/…{VIX}"}
    assert key not in f"{stored}{voice.notes}{failed}"


async def test_the_same_bytes_again_are_unchanged_and_store_nothing(
    store: Store, publisher: Publisher
) -> None:
    publisher.instead[VIX] = vix_file((2, 20.5), (1, 18.25))
    for _ in range(2):
        raise_failures(await gather(store, publisher.url, "cboe"))
    assert outcomes(store) == ["ok", "unchanged"]
    assert len(store.rows(IndicatorValue)) == 2
    assert len(list((store.home / "documents").rglob("*.*"))) == 0  # one file, without a suffix
    assert sum(p.is_file() for p in (store.home / "documents").rglob("*")) == 1


async def test_a_body_that_failed_before_is_not_healthy_for_being_the_same(
    store: Store, publisher: Publisher
) -> None:
    publisher.instead[VIX] = b"something else\n"
    for _ in range(2):
        with pytest.raises(CheckFailed, match="schema changed"):
            raise_failures(await gather(store, publisher.url, "cboe"))
    assert outcomes(store) == ["schema changed", "schema changed"]


async def test_a_server_that_knows_versions_is_asked_for_changes_only(
    store: Store, publisher: Publisher
) -> None:
    body = vix_file((1, 18.25))

    async def versioned(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"v1"':
            return web.Response(status=304)
        return web.Response(body=body, headers={"ETag": '"v1"'})

    publisher.instead[VIX] = versioned
    for _ in range(3):
        raise_failures(await gather(store, publisher.url, "cboe"))
    assert outcomes(store) == ["ok", "unchanged", "unchanged"]
    assert [d.sha256 for d in store.rows(Document)] == [hashlib.sha256(body).hexdigest()] * 3


async def test_a_figure_older_than_its_publication_interval_is_stale(
    store: Store, publisher: Publisher
) -> None:
    """A figure that is older than its publisher's interval is stored and called stale."""
    publisher.instead[VIX] = vix_file((30, 18.25))
    voice = Quiet()
    raise_failures(await gather(store, publisher.url, "cboe", voice=voice))
    raise_failures(await gather(store, publisher.url, "cboe", voice=voice))
    assert outcomes(store) == ["stale", "stale"]
    assert len(store.rows(IndicatorValue)) == 1
    assert "30 days old" in voice.notes[0]
    assert "unchanged" in voice.notes[1]


async def test_a_source_can_be_switched_off(store: Store) -> None:
    raise_failures(await gather(store, "off", "cboe"))
    assert outcomes(store) == ["skipped"]


# --- failures -------------------------------------------------------------------------------

BOMB = gzip.compress(b"0" * (9 * 2**20))
FAILURES = {
    "404": (say("gone", 404), "unavailable", "HTTP 404"),
    "403": (say("no", 403), "unavailable", "HTTP 403"),
    "500": (say("oops", 500), "unavailable", "HTTP 500"),
    "no answer": (drop, "unavailable", "broke before the answer"),
    "cut": (cut(HEAD.encode(), 5000), "unavailable", "in the middle of the answer"),
    "html": (say("<!DOCTYPE html><html><p>Error</p></html>"), "schema changed", "HTML page"),
    "captcha": (say("Please verify you are a human.\n"), "schema changed", "columns are"),
    "empty": (say(""), "schema changed", "no end"),
    "moved columns": (
        say("DATE,CLOSE,OPEN,HIGH,LOW\n09/15/2026,1,2,3,4\n"),
        "schema changed",
        "DATE,CLOSE,OPEN,HIGH,LOW",
    ),
    "cut inside a number": (say(HEAD + "09/15/2026,15,16,14,15.5"), "schema changed", "no end"),
    "cut inside a line": (say(HEAD + "09/15/2026,15,16\n"), "schema changed", "3 fields"),
    "not a number": (say(HEAD + "09/15/2026,1,1,1,high\n"), "schema changed", "not a number"),
    "infinite": (say(HEAD + "09/15/2026,1,1,1,1e999999\n"), "schema changed", "usable number"),
    "not a date": (say(HEAD + "2026-09-15,1,1,1,1\n"), "schema changed", "%m/%d/%Y"),
    "no rows": (say(HEAD), "schema changed", "expected figures, got none"),
    "two values for a day": (
        say(HEAD + "09/15/2026,1,1,1,1\n09/15/2026,1,1,1,2\n"),
        "schema changed",
        "two values for 2026-09-15",
    ),
    "future": (say(HEAD + "09/15/2036,1,1,1,1\n"), "schema changed", "in the future"),
    "wrong charset": (say(HEAD.encode() + "Größe".encode("latin-1")), "schema changed", "utf-8"),
    "huge": (say(b"0" * (9 * 2**20)), "unavailable", "larger than"),
    "gzip bomb": (say(BOMB, Content_Encoding="gzip"), "unavailable", "larger than"),
    "elsewhere": (
        say("", 302, Location="http://example.com/VIX_History.csv"),
        "unavailable",
        "another server",
    ),
}


@pytest.mark.full
@pytest.mark.parametrize("name", FAILURES)
async def test_nothing_is_stored_of_a_document_that_fails(
    store: Store, publisher: Publisher, name: str
) -> None:
    handler, outcome, words = FAILURES[name]
    publisher.instead[VIX] = handler
    (result,) = await gather(store, publisher.url, "cboe")
    with pytest.raises((NetworkError, CheckFailed), match=words):
        raise_failures([result])
    (document,) = store.rows(Document)
    assert (document.outcome, document.rows) == (outcome, 0)
    assert words in document.detail
    assert store.rows(IndicatorValue) == []
    came = document.sha256 is not None
    assert came == (outcome == "schema changed")
    assert not came or store.document(document.sha256 or "").exists()


async def test_a_publisher_that_never_answers_is_given_up(
    store: Store, publisher: Publisher
) -> None:
    from chainwatch.collect import runner
    from chainwatch.collect.feed import Job
    from chainwatch.collect.registry import find
    from chainwatch.settings import Settings

    publisher.instead[VIX] = hang
    environ = {"CHAINWATCH_URL_CBOE": publisher.url, "CHAINWATCH_TIMEOUT": "0.5"}
    result = Settings({"home": str(store.home)}, environ=environ, dotenv=store.home / ".env")
    (outcome,) = await runner.collect(store, result, [Job(find("cboe"))], Quiet())
    assert isinstance(outcome.failure, NetworkError)
    assert len(publisher.asked) == 3
    assert outcomes(store) == ["unavailable"]


async def test_a_hiccup_is_tried_again(store: Store, publisher: Publisher) -> None:
    body = vix_file((1, 18.25))
    answers = [say("busy", 503), say(body)]

    async def second_time(request: web.Request) -> web.StreamResponse:
        return await answers.pop(0)(request)

    publisher.instead[VIX] = second_time
    raise_failures(await gather(store, publisher.url, "cboe"))
    assert outcomes(store) == ["ok"]


async def test_a_server_that_asks_for_a_long_wait_is_left_alone(
    store: Store, publisher: Publisher
) -> None:
    publisher.instead[VIX] = say("later", 429, Retry_After="1200")
    with pytest.raises(NetworkError, match="asks to wait 1,200 s"):
        raise_failures(await gather(store, publisher.url, "cboe"))
    assert len(publisher.asked) == 1


async def test_some_documents_that_fail_do_not_spoil_the_others(
    store: Store, publisher: Publisher
) -> None:
    publisher.instead["/api/collateralization/status"] = say("no", 404)
    with pytest.raises(PartialError, match="1 of 2 documents failed: status: unavailable"):
        raise_failures(await gather(store, publisher.url, "ethena"))
    assert len(store.rows(Statement)) == 1


async def test_an_earlier_figure_survives_every_failure(store: Store, publisher: Publisher) -> None:
    publisher.instead[VIX] = vix_file((2, 20.5), (1, 18.25))
    raise_failures(await gather(store, publisher.url, "cboe"))
    before = store.rows(IndicatorValue)
    for handler in (say("", 404), say("<html>"), say(HEAD)):
        publisher.instead[VIX] = handler
        await gather(store, publisher.url, "cboe")
    assert store.rows(IndicatorValue) == before


async def test_a_history_that_got_shorter_is_a_cut_file(store: Store, publisher: Publisher) -> None:
    publisher.instead[VIX] = vix_file((3, 20.5), (1, 18.25))
    raise_failures(await gather(store, publisher.url, "cboe"))
    publisher.instead[VIX] = vix_file((3, 20.5))
    with pytest.raises(CheckFailed, match="stored before"):
        raise_failures(await gather(store, publisher.url, "cboe"))


async def test_an_unknown_name_after_only_says_what_there_is(store: Store) -> None:
    (outcome,) = await gather(store, "http://127.0.0.1:9", "fred", only="SOFFR")
    assert isinstance(outcome.failure, UsageError)
    assert "VIXCLS" in str(outcome.failure)


async def test_rows_out_of_order_are_put_in_order(store: Store, publisher: Publisher) -> None:
    straight = vix_file((3, 19.5), (2, 20.5), (1, 18.25)).decode().splitlines(keepends=True)
    publisher.instead[VIX] = "".join([straight[0], straight[3], straight[1], straight[2]]).encode()
    raise_failures(await gather(store, publisher.url, "cboe"))
    stored = store.rows(IndicatorValue, "true ORDER BY as_of")
    assert [v.value for v in stored] == [19.5, 20.5, 18.25]
    assert [v.known_at for v in stored] == sorted(v.known_at for v in stored)


# --- vintages -------------------------------------------------------------------------------


async def test_a_revision_is_a_new_row_known_from_when_it_was_seen(
    store: Store, publisher: Publisher
) -> None:
    publisher.instead[VIX] = vix_file((9, 20.5), (1, 18.25))
    raise_failures(await gather(store, publisher.url, "cboe"))
    between = datetime.now(UTC)
    publisher.instead[VIX] = vix_file((9, 20.75), (1, 18.25))
    raise_failures(await gather(store, publisher.url, "cboe"))
    versions = store.rows(IndicatorValue, "value > 20 ORDER BY observed_at")
    assert [(v.value, v.published_basis) for v in versions] == [(20.5, "rule"), (20.75, "observed")]
    assert versions[1].known_at == versions[1].observed_at

    def then(when: datetime | None) -> list[float]:
        return [r["value"] for r in ask(store, "indicators_at", p_known_at=when) if r["value"] > 20]

    assert then(between) == [20.5]
    assert then(None) == [20.75]
    assert then(between - timedelta(days=30)) == []


async def test_a_value_back_to_what_it_was_is_a_third_version(
    store: Store, publisher: Publisher
) -> None:
    for close in (20.5, 20.75, 20.5):
        publisher.instead[VIX] = vix_file((9, close), (1, 18.25))
        raise_failures(await gather(store, publisher.url, "cboe"))
    assert len(store.rows(IndicatorValue, "value > 20")) == 3
    rows = [r["value"] for r in ask(store, "indicators_at") if r["value"] > 20]
    assert rows == [20.5]


async def test_a_blank_takes_no_value_away(store: Store, publisher: Publisher) -> None:
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=n) for n in (3, 2, 1)]
    path = "/graph/fredgraph.csv?id=SOFR"
    publisher.instead[path] = (
        f"observation_date,SOFR\n{days[0]},3.60\n{days[1]},3.61\n{days[2]},3.62\n".encode()
    )
    raise_failures(await gather(store, publisher.url, "fred", only="SOFR"))
    publisher.instead[path] = (
        f"observation_date,SOFR\n{days[0]},3.60\n{days[1]},\n{days[2]},3.62\n".encode()
    )
    raise_failures(await gather(store, publisher.url, "fred", only="SOFR"))
    assert outcomes(store) == ["ok", "ok"]
    assert [v.value for v in store.rows(IndicatorValue, "true ORDER BY as_of")] == [3.6, 3.61, 3.62]


async def test_a_day_that_was_missing_at_the_last_look_is_known_from_now_on(
    store: Store, publisher: Publisher
) -> None:
    publisher.instead[VIX] = vix_file((9, 20.5), (1, 18.25))
    raise_failures(await gather(store, publisher.url, "cboe"))
    publisher.instead[VIX] = vix_file((9, 20.5), (5, 21.5), (1, 18.25))
    raise_failures(await gather(store, publisher.url, "cboe"))
    (late,) = store.rows(IndicatorValue, "value = 21.5")
    assert late.published_basis == "observed"
    assert late.known_at == late.observed_at


def test_a_correction_dated_by_its_publisher_counts_from_that_date() -> None:
    old = value("vix", date(2026, 1, 5), 15.0, basis="source")
    new = value(
        "vix",
        date(2026, 1, 5),
        15.5,
        basis="source",
        known_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    assert new_version(new, old, None) == new
    same_date = value("vix", date(2026, 1, 5), 15.5, basis="source")
    assert new_version(same_date, old, None).known_at == same_date.observed_at


# What a publisher states for one day, step by step: a figure, another one, or nothing.
FIGURES = st.lists(st.sampled_from([None, 1.0, 2.0, 3.0]), min_size=1, max_size=8)
BEGIN = datetime(2026, 3, 2, tzinfo=UTC)


class Watched:
    """A publisher of several days' figures, and who looks at it on some of the steps."""

    def __init__(self, published: list[list[float | None]], looks: set[int], day: date) -> None:
        self.published = published
        self.days = [day + timedelta(days=n) for n in range(len(published))]
        self.looks = sorted(looks)
        self.rows: list[IndicatorValue] = []

    def standing(self, day: int, step: int) -> float | None:
        """What stands published of a day: the newest figure up to a step; a blank takes none."""
        figures = [v for v in self.published[day][: step + 1] if v is not None]
        return figures[-1] if figures else None

    def look(self, step: int) -> None:
        """Store what is new, dated by a usual lag that is right to the moment."""
        earlier = [s for s in self.looks if s < step]
        last = BEGIN + timedelta(days=earlier[-1]) if earlier else None
        for n, day in enumerate(self.days):
            figure = self.standing(n, step)
            if figure is None:
                continue
            first = next(s for s, v in enumerate(self.published[n]) if v is not None)
            row = value(
                "vix",
                day,
                figure,
                known_at=BEGIN + timedelta(days=first),
                observed_at=BEGIN + timedelta(days=step),
            )
            stored = [r for r in self.rows if r.as_of == day]
            settled = new_version(row, stored[-1] if stored else None, last)
            if settled is not None:
                self.rows.append(settled)

    def values_known(self, step: int) -> dict[date, float]:
        """What counts as known at a step, of all that is stored by now."""
        when = BEGIN + timedelta(days=step)
        rows = sorted(self.rows, key=lambda r: (r.known_at, r.observed_at))
        return {r.as_of: r.value for r in rows if r.known_at <= when}


@settings(max_examples=300, deadline=None)
@given(
    published=st.lists(FIGURES, min_size=1, max_size=4),
    looks=st.sets(st.integers(0, 7), min_size=1, max_size=8),
)
def test_no_figure_is_known_before_its_publication(
    published: list[list[float | None]], looks: set[int]
) -> None:
    """No figure is known before its publication, and what was known at a past time stays
    the same."""
    watched = Watched(published, looks, date(2026, 2, 1))
    first_look = min(looks)
    then: dict[int, dict[date, float]] = {}
    for step in range(8):
        if step in looks:
            watched.look(step)
        for past, before in then.items():
            now = watched.values_known(past)
            # Later looks may find what was published in between, but change no figure.
            assert before.items() <= now.items()
        if step >= first_look:
            then[step] = watched.values_known(step)
    for step in range(first_look, 8):
        for day, figure in watched.values_known(step).items():
            n = watched.days.index(day)
            # A correction before the first look counts as the first print: the files do not tell.
            first_seen = next(s for s in watched.looks if watched.standing(n, s) is not None)
            published_by_then = {watched.standing(n, s) for s in range(step + 1)}
            assert figure in published_by_then | {watched.standing(n, first_seen)}
            assert published_by_then != {None}
    # What was published by the last look is known at it.
    last = max(looks)
    assert watched.values_known(last) == {
        day: figure
        for n, day in enumerate(watched.days)
        if (figure := watched.standing(n, last)) is not None
    }


def test_the_query_knows_what_the_vintages_say(store: Store) -> None:
    chance = Random(5)
    published: list[list[float | None]] = [
        [chance.choice([None, 1.0, 2.0, 3.0]) for _ in range(8)] for _ in range(40)
    ]
    watched = Watched(published, {1, 2, 4, 7}, date(2026, 1, 1))
    for step in watched.looks:
        watched.look(step)
    assert len(watched.rows) > 60
    put(store, watched.rows)
    with query.open_catalog(store) as catalog:
        for step in range(8):
            moment = BEGIN + timedelta(days=step)
            rows = query.run(catalog, query.find("indicators_at"), {"p_known_at": moment})
            assert {r["as_of"]: r["value"] for r in rows.dicts()} == watched.values_known(step)


# --- exactness ------------------------------------------------------------------------------


@given(
    st.decimals(
        min_value=Decimal("-99999999999999999999"),
        max_value=Decimal("99999999999999999999"),
        allow_nan=False,
        allow_infinity=False,
    ).filter(fits_decimal)
)
@settings(max_examples=60)
def test_text_of_a_decimal_reads_back_as_itself(number: Decimal) -> None:
    assert exact(f"{number:f}", "it") == number


def test_decimals_and_days_come_back_from_disk_to_the_last_digit(store: Store) -> None:
    amounts = [
        Decimal("184295052985.02347865"),
        Decimal("0.000000000000000001"),
        Decimal("-99999999999999999999.999999999999999999"),
        Decimal("1E+5"),
        Decimal(0),
    ]
    rows = [
        ReserveItem(
            statement="s",
            line=n,
            token="USDT",
            as_of=date(2025, 12, 31),
            label="x",
            asset_class="bitcoin",
            usd=amount,
        )
        for n, amount in enumerate(amounts)
    ]
    put(store, rows)
    stored = store.rows(ReserveItem, "true ORDER BY line")
    assert [r.usd for r in stored] == amounts
    assert stored[0].as_of == date(2025, 12, 31)
    assert stored[0].quantity is None
    assert {c.name: c.type for c in columns(ReserveItem)}["usd"] == "DECIMAL(38,18)"


@pytest.mark.parametrize("amount", ["0.0000000000000000001", "1e20", "NaN", "Infinity"])
def test_a_decimal_that_would_be_rounded_is_refused(store: Store, amount: str) -> None:
    assert not fits_decimal(Decimal(amount))
    with pytest.raises(SchemaChanged, match="usable number"):
        exact(amount, "it")
    item = ReserveItem(
        statement="s",
        line=1,
        token="USDT",
        as_of=date(2025, 12, 31),
        label="x",
        asset_class="bitcoin",
        usd=Decimal(amount),
    )
    with pytest.raises(ValueError, match="fit"):
        put(store, [item])
    assert store.rows(ReserveItem) == []


def test_a_sum_of_long_decimals_loses_nothing() -> None:
    parts = [Decimal("99999999999999999999.000000000000000001"), Decimal("0.1")] * 2
    assert formats.total(parts) == Decimal("199999999999999999998.200000000000000002")


def test_documents_are_refused_where_the_disk_refuses(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    (store.home / "documents").write_text("a file where a folder must be")
    with pytest.raises(StoreError, match="cannot be written"):
        store.keep(b"some bytes")


def test_a_byte_order_mark_is_no_character() -> None:
    assert raw(b"\xef\xbb\xbfa,b\n").text() == "a,b\n"


async def test_a_sources_figures_come_all_or_none(store: Store, publisher: Publisher) -> None:
    body = fixture("tether/transparency.json").replace(b"111558.248455", b"111568.248455")
    body = body.replace(b"3441.875001781234", b"3431.875001781234")
    publisher.instead["/transparency.json"] = body
    (outcome,) = await gather(store, publisher.url, "tether")
    assert isinstance(outcome.failure, CheckFailed)
    assert outcomes(store) == ["reconcile failed"]
    assert store.rows(Statement) == store.rows(Supply) == []  # type: ignore[comparison-overlap]


def test_a_date_of_a_document_is_read_as_written_or_refused() -> None:
    assert formats.day("January 2, 2026", "%B %d, %Y") == date(2026, 1, 2)
    assert formats.day("31-Jul-2026", "%d-%b-%Y") == date(2026, 7, 31)
    for wrong in (
        "January  2, 2026",
        "January\t2, 2026",
        "January\n2, 2026",
        " January 2, 2026",
        "January 2, 2026\n",
        "January ２, 2026",
        "January 32, 2026",
    ):
        with pytest.raises(SchemaChanged, match="not of the form"):
            formats.day(wrong, "%B %d, %Y")
