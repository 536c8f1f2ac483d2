"""Documents that try to break their reader: each costs itself and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from chainwatch.collect import runner
from chainwatch.collect.document import Raw, Refused
from chainwatch.collect.feed import Job
from chainwatch.collect.registry import discover
from chainwatch.collect.source import Batch, Feed, Source
from chainwatch.disclosures import documents
from chainwatch.disclosures.documents import DocumentRequest, Parse
from chainwatch.disclosures.publishers import (
    cboe,
    circle,
    coinmetrics,
    ethena,
    fred,
    import_file,
    mof,
    nyfed,
    reference,
    tether,
    treasury,
)
from chainwatch.errors import CheckFailed, PartialError
from chainwatch.lake.store import Store
from chainwatch.settings import Settings
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Document
from tests.documents import PATHS, Publisher, Quiet, _fits, fixture, gather, raw

# Readers of each source with a document of theirs, as the loopback publisher serves it.
READERS: dict[str, list[tuple[Parse, str]]] = {
    "cboe": [(cboe.parse, "cboe/VIX_History.csv")],
    "circle": [(circle.parse_page, "circle/transparency.html")],
    "circle-fund": [(circle.parse_fund, "circle/USDXX_holdings.csv")],
    "coinmetrics": [(coinmetrics.parse, "coinmetrics/mvrv.json")],
    "ethena": [
        (ethena.parse_status, "ethena/status.json"),
        (ethena.parse_collateral, "ethena/collateral.json"),
    ],
    "fred": [(partial(fred.parse, series="sofr"), "fred/SOFR.csv")],
    "mof": [(mof.parse, "mof/jgbcme_all.csv")],
    "nyfed": [(nyfed.parse, "nyfed/sofr.json")],
    "tether": [(tether.parse, "tether/transparency.json")],
    "treasury": [(treasury.parse, "treasury/2026.xml")],
}
FILES: list[tuple[Parse, str]] = [
    (partial(import_file.parse, series="gold"), "import_file/gold.csv"),
    (partial(import_file.parse, series="btc"), "import_file/btc_hours.csv"),
    (reference.parse, "../../chainwatch/disclosures/reference/circle.csv"),
]
ALL = [*FILES, *(path for paths in READERS.values() for path in paths)]
NUMBER = re.compile(rb"[0-9][0-9,.]*")
HOSTILE = (
    *("1e9999999", "-1e9999999", "1e-9999999", "1e303", "1e40", "NaN", "Infinity", "-Infinity"),
    *("9" * 5_000, "9" * 40, "0." + "0" * 3_000 + "1", "1_000", " 12 ", "１２", "1,2,3", "3,87"),
    *("null", "true", '"', "", "{}", "[]", "\x00", "[" * 50_000, '{"a":' * 50_000, "0001-01-01"),
    *("9999-12-31", "0", "-1", "1" * 14, "-62135596801", "253402300800", "\ud800", "é"),
)


def publishers() -> dict[str, Source]:
    """Every source that reads documents of a publisher, but candles, which ccxt reads."""
    return {
        name: result
        for name, result in discover().items()
        if result.base and Document in result.tables and name != "candles"
    }


def altered(body: bytes, where: tuple[int, int], hostile: str) -> bytes:
    return body[: where[0]] + hostile.encode("utf-8", "surrogatepass") + body[where[1] :]


def test_the_documents_of_every_publisher_are_tried() -> None:
    assert set(READERS) == set(publishers())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_reader_raises_nothing_but_its_own_refusal(data: st.DataObject) -> None:
    parse, name = data.draw(st.sampled_from(ALL))
    body = fixture(name)
    spans = [m.span() for m in NUMBER.finditer(body)]
    where = data.draw(
        st.one_of(
            st.sampled_from(spans),
            st.tuples(st.integers(0, len(body)), st.integers(0, 20)).map(lambda t: (t[0], sum(t))),
        )
    )
    broken = altered(body, where, data.draw(st.one_of(st.sampled_from(HOSTILE), st.text())))
    try:
        rows = list(parse(raw(broken)))
    except Refused:
        return
    assert all(isinstance(row, Row) for row in rows)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.just([]),
    st.just({}),
    st.just(10**400),
    st.sampled_from(HOSTILE[:12]),
)
JSONS = [(p, n) for p, n in ALL if n.endswith(".json")]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value of some JSON lies."""
    if not isinstance(value, dict | list):
        return [path]
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [path, *(result for key, item in inner for result in places(item, (*path, key)))]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_value_of_another_type_raises_nothing_else(data: st.DataObject) -> None:
    parse, name = data.draw(st.sampled_from(JSONS))
    body = json.loads(fixture(name))
    path = data.draw(st.sampled_from(places(body)))
    value = data.draw(LEAVES)
    if path:
        inner = body
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
    else:
        body = value
    try:
        parse(raw(json.dumps(body)))
    except Refused:
        return


# --- over loopback ------------------------------------------------------------------------------


@pytest.fixture
def store(fill: Callable[[Sequence[Row]], Store]) -> Store:
    return fill([])


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    async with Publisher() as running:
        yield running


def serving(change: Callable[[bytes], bytes]) -> Callable[[web.Request], Any]:
    """A handler that serves each document changed."""

    async def handler(request: web.Request) -> web.Response:
        name = next(n for path, n in PATHS.items() if _fits(request.path_qs, path))
        return web.Response(body=change(fixture(name)))

    return handler


async def test_tethers_page_with_an_endless_number_costs_itself_only(
    store: Store, publisher: Publisher
) -> None:
    page = json.loads(fixture("tether/transparency.json"))
    page["data"]["usdt"]["totaltokens_eth"] = "1e9999999"
    publisher.instead["/transparency.json"] = json.dumps(page).encode()
    result = await gather(store, publisher.url, "tether", "nyfed")
    with pytest.raises(PartialError, match=r"1 of 2 failed: tether.*schema changed.*1e9999999"):
        runner.raise_failures(result)
    outcomes = {d.source: (d.outcome, d.rows > 0) for d in store.rows(Document)}
    assert outcomes["tether"] == ("schema changed", False)
    assert outcomes["nyfed"][0] in ("ok", "stale")
    assert outcomes["nyfed"][1]
    (kept,) = store.rows(Document, "source = 'tether'")
    assert store.document(kept.sha256 or "").exists()


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(READERS))
async def test_a_hostile_document_of_any_publisher_is_an_outcome(
    store: Store, publisher: Publisher, name: str
) -> None:
    for hostile in (b"1e9999999", b"\xff", b"[" * 100_000):
        for path in PATHS:
            publisher.instead[path] = serving(partial(NUMBER.sub, hostile))
        healthy = "nyfed" if name != "nyfed" else "cboe"
        others = {p: b for p, b in publisher.instead.items() if PATHS[p].startswith(healthy)}
        for path in others:
            del publisher.instead[path]
        only = {"only": "SOFR"} if name == "fred" else {}
        broken, well = await gather(store, publisher.url, name, healthy, **only)
        assert isinstance(broken.failure, CheckFailed), broken.failure
        assert well.failure is None or only, well.failure
        stored = store.rows(Document, "source = $s", {"s": name})
        assert {d.outcome for d in stored} <= {"schema changed", "reconcile failed"}
        assert all(d.rows == 0 for d in stored)


RAISED = (
    *(ArithmeticError("a\nb"), KeyError("k"), RecursionError("deep"), AssertionError()),
    *(OverflowError("o"), MemoryError(), StopIteration(), UnicodeDecodeError("u", b"", 0, 1, "x")),
)


@pytest.mark.parametrize("raised", RAISED, ids=lambda raised: type(raised).__name__)
async def test_whatever_a_reader_raises_is_that_documents_outcome(
    store: Store, raised: Exception
) -> None:
    def breaks(raw: Raw) -> list[Row]:
        if raw.name == "broken":
            raise raised
        return parse(raw)

    parse, name = READERS["nyfed"][0]

    async def run(feed: Feed) -> AsyncIterator[Batch]:
        done = []
        for item in ("broken", "well"):
            kept = feed.keep(fixture(name), name=item, url="file")
            document = await documents.read_kept(
                feed, DocumentRequest(name=item, path="", parse=breaks), kept
            )
            done.append(document.document)
            yield document.batch
        documents.raise_failures(done)

    made = Source(
        name="tiny",
        tables=(Document,),
        docs="https://example.org",
        mode="poll",
        module=__name__,
        summary="Two documents.",
        run=run,
    )
    settings_ = Settings({"home": str(store.home)}, environ={}, dotenv=Path("none"))
    voice = Quiet()
    (outcome,) = await runner.collect(store, settings_, [Job(made)], voice)
    assert isinstance(outcome.failure, PartialError)
    stored = {d.name: d for d in store.rows(Document)}
    assert {n: d.outcome for n, d in stored.items()} == {"broken": "schema changed", "well": "ok"}
    assert stored["broken"].detail.startswith(f"its parser fails: {type(raised).__name__}")
    assert stored["broken"].detail.isprintable()
    assert len(voice.notes) == 1


async def test_a_next_page_that_is_no_url_is_an_outcome_of_its_own(
    store: Store, publisher: Publisher
) -> None:
    page = json.loads(fixture("coinmetrics/mvrv.json"))
    page["next_page_url"] = "http://[broken"
    publisher.instead["/v4/timeseries/asset-metrics"] = json.dumps(page).encode()
    (result,) = await gather(store, publisher.url, "coinmetrics")
    assert isinstance(result.failure, PartialError)
    outcomes = {d.name: d.outcome for d in store.rows(Document)}
    assert outcomes == {"MVRV": outcomes["MVRV"], "MVRV page 2": "schema changed"}
    assert outcomes["MVRV"] in ("ok", "stale")
