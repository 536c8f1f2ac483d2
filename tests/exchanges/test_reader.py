"""Rows from orders: what a frame means does not hang on how it is written or when its contract was
listed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from chainwatch.exchanges.channel import Channel
from chainwatch.exchanges.contracts import Contract, contract_size
from chainwatch.exchanges.feeds import channels
from chainwatch.exchanges.reader import Reader, VenueLiquidation
from chainwatch.exchanges.venues import binance, bybit, okx
from chainwatch.tables.exchange import ExchangeLiquidation
from tests.venues.client import discovered
from tests.venues.discovery import ALL

CHANNELS = (binance.USDM, binance.COINM, bybit.LINEAR, bybit.INVERSE, okx.OKX)


def reader_of(channel: Channel, *contracts: Contract) -> Reader:
    return Reader(channel.source, channel.venue, channel.market, contracts=contracts)


def turned(value: Any) -> Any:
    """The same JSON with its keys in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(element) for element in value] if isinstance(value, list) else value


def content(rows: Any) -> list[dict[str, Any]]:
    kept = [msgspec.structs.asdict(row) for row in rows]
    return [{k: v for k, v in row.items() if k not in ("raw", "received_at")} for row in kept]


def frames(channel: Channel) -> list[str]:
    return [text for n in range(6) for _, text in ALL[channel.source].frames(n, 0)]


@pytest.mark.parametrize("channel", discovered(), ids=lambda c: c.source)
def test_a_frame_means_the_same_however_its_json_is_written(channel: Channel) -> None:
    for text in frames(channel):
        other = json.dumps(turned(json.loads(text)), indent=1)
        first, second = (channel.parse(t.encode(), reader_of(channel)) for t in (text, other))
        assert len(first.rows) == 1
        assert content(first.rows) == content(second.rows)
        raw = (first.rows[0].raw, second.rows[0].raw)
        if channel.source in ("deribit", "dydx-v4"):  # of a frame with other trades only its part
            assert json.loads(raw[0]) == json.loads(raw[1])
        else:
            assert raw == (text, other)


UNUSABLE = [
    '"1_000"',
    '" 12 "',
    '"１２"',
    '"1,2,3"',
    '"3,87"',
    '"1e40"',
    '"1e303"',
    "1e303",
    '"inf"',
]


@pytest.mark.parametrize("wrong", ['"-1"', '"x"', '"NaN"', '""', "null", "{}", "true", *UNUSABLE])
@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: c.source)
def test_an_invalid_price_is_rejected_however_a_frame_is_written(
    channel: Channel, wrong: str
) -> None:
    text = frames(channel)[0]
    key = {"okx": "bkPx", "bybit": "p", "binance": "ap"}[channel.venue]
    if channel.venue == "binance" and wrong == '""':
        wrong = '" "'  # an empty average price means that nothing was filled
    broken, changed = re.subn(f'"{key}":"[^"]+"', f'"{key}":{wrong}', text)
    assert changed == 1
    for form in (broken, json.dumps(json.loads(broken), indent=1)):
        try:
            message = channel.parse(form.encode(), reader_of(channel))
        except (msgspec.DecodeError, ValueError):
            continue  # the stream keeps the frame among the rejects
        assert not message.rows
        assert len(message.rejects) == 1


def test_a_contract_that_is_listed_anew_counts_from_the_next_order_on() -> None:
    def listed(size: float, quote: str = "USDT") -> Contract:
        return Contract(
            symbol="A", base="A", quote=quote, settle=quote, kind="linear", size=size, market=""
        )

    reader = reader_of(okx.OKX, listed(1.0))

    def row(**more: Any) -> ExchangeLiquidation:
        return reader.build_row(
            VenueLiquidation(
                symbol="A",
                side="long",
                raw_side="x",
                at_ms=1_760_000_000_000,
                price="2",
                price_kind="fill",
                raw="",
                identity=("a",),
                contracts="10",
                **more,
            )
        )

    first = row()
    assert (first.quantity_base, first.notional_usd, first.market) == (10.0, 20.0, "swap")
    reader.contracts["A"] = listed(0.5)
    assert (row().quantity_base, row().notional_usd) == (5.0, 10.0)
    reader.contracts["A"] = listed(0.5, "EUR")
    assert (row().notional_usd, row().usd_rule) == (None, "n/a (quoted in EUR)")
    assert row(market="futures").market == "futures"
    del reader.contracts["A"]
    gone = row()
    assert (gone.quantity_base, gone.notional_usd) == (None, None)
    assert gone.usd_rule == "n/a (contract not listed)"


def test_thousands_of_unlisted_contracts_do_not_fill_the_memory() -> None:
    reader = reader_of(bybit.LINEAR)
    text = frames(bybit.LINEAR)[0]
    for n in range(10_000):
        frame = text.replace("BTCUSDT", f"C{n}")
        (row,) = bybit.LINEAR.parse(frame.encode(), reader).rows
        assert row.symbol == f"C{n}"
    assert len(reader._templates) < 5_000


@pytest.mark.parametrize(
    "time", [1_230_767_999_999, -1, 0, 10**40, 253_402_300_800_000, "1_0", " 1 "]
)
def test_a_time_that_cannot_be_is_refused(time: Any) -> None:
    with pytest.raises(ValueError, match="expected a time"):
        reader_of(okx.OKX).build_row(
            VenueLiquidation(
                symbol="A",
                side="long",
                raw_side="x",
                at_ms=time,
                price="2",
                price_kind="fill",
                raw="",
                contracts="10",
            )
        )


def test_a_size_in_a_list_that_is_no_number_is_unknown() -> None:
    """It costs that contract its values, and not the venue its list."""
    for size in ("1_000", "", "0", "1e40", "nan", None):
        assert contract_size(size) is None
    assert contract_size("0.01") == 0.01


class StoredRest:
    """The loopback protocol's list of contracts, each answer changed on its way."""

    def __init__(self, source: str, change: Callable[[Any], None]) -> None:
        self._protocol = ALL[source]
        self._change = change

    async def get(self, path: str, **params: object) -> bytes:
        query = {name: f"{value}" for name, value in params.items() if value is not None}
        return self._changed(self._protocol.rest(path, query, b"", []))

    async def post(self, path: str, body: bytes) -> bytes:
        return self._changed(self._protocol.rest(path, {}, body, []))

    def _changed(self, text: str | None) -> bytes:
        assert text is not None
        answer = json.loads(text)
        for entries in entry_lists(
            answer, [s.removeprefix("t").partition(":")[0] for s in self._protocol.symbols]
        ):
            self._change(entries)
        return json.dumps(answer).encode()


def entry_lists(answer: Any, symbols: list[str]) -> list[Any]:
    """The innermost lists (or objects) in an answer whose elements each name a contract."""
    if not isinstance(answer, dict | list):
        return []
    elements = list(answer.values()) if isinstance(answer, dict) else answer
    if inner := [entries for element in elements for entries in entry_lists(element, symbols)]:
        return inner
    if isinstance(answer, dict) and not all(isinstance(element, dict) for element in elements):
        return []
    names = [json.dumps(element).upper() for element in elements]
    if names and all(any(symbol.upper() in name for symbol in symbols) for name in names):
        return [answer]
    return []


@pytest.mark.parametrize("source", sorted(channels))
@pytest.mark.parametrize("bad", [{}, {"symbol": 7, "name": None}, None, 7, []])
async def test_a_contract_that_cannot_be_parsed_costs_only_itself(source: str, bad: Any) -> None:
    changed = []

    def add(entries: Any) -> None:
        changed.append(len(entries))
        if isinstance(entries, dict):
            entries["X"] = bad
        else:
            entries.append(bad)

    def spoil(entries: Any) -> None:
        if isinstance(entries, dict):
            entries |= dict.fromkeys(entries, bad)
        else:
            entries[:] = [bad] * len(entries)

    async def contracts(change: Callable[[Any], None]) -> list[Contract]:
        return await channels[source].contracts(StoredRest(source, change))  # type: ignore[arg-type]

    listed = await contracts(lambda entries: None)
    assert listed
    assert await contracts(add) == listed
    assert sum(changed) >= len(listed)
    # A list of which nothing can be parsed has a form that is not documented.
    with pytest.raises((msgspec.DecodeError, ValueError)):
        await contracts(spoil)


@pytest.mark.parametrize("size", [0.0, -10.0, float("nan"), float("inf"), 1e31])
def test_a_row_of_a_contract_whose_size_cannot_be_is_refused(size: float) -> None:
    contract = Contract(
        symbol="BTC-USDT-SWAP", base="BTC", quote="USDT", settle="USDT", kind="linear", size=size
    )
    message = okx.parse(frames(okx.OKX)[0].encode(), reader_of(okx.OKX, contract))
    assert not message.rows
    assert "expected a contract size" in message.rejects[0][1]


@pytest.mark.parametrize("price", ["0", "0.00000", "0.0", ""])
def test_an_average_price_of_zero_means_that_nothing_was_filled(price: str) -> None:
    order = {**json.loads(frames(binance.USDM)[0])}
    order["o"]["ap"] = price
    (row,) = binance.parse(json.dumps(order).encode(), reader_of(binance.USDM)).rows
    assert (row.price, row.price_kind) == (19_876.1, "order")
