"""Tether's transparency page, with figures of our own in its shape."""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chainwatch.collect.document import Irreconcilable, Refused, SchemaChanged
from chainwatch.disclosures.publishers import tether
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Statement, Supply
from tests.documents import fixture, raw

BODY = fixture("tether/transparency.json").decode()


def parsed(body: str = BODY) -> list[Row]:
    return tether.parse(raw(body))


def changed(**values: Any) -> str:
    """The document with members of data.usdt replaced, or left out where None.

    What the page shows twice is replaced twice.
    """
    body = json.loads(BODY)
    for name, value in values.items():
        if value is None:
            del body["data"]["usdt"][name]
        else:
            body["data"]["usdt"][name] = value
        if value is not None and name in ("total_assets", "shareholder_eq"):
            body["data_formatted"][0][name] = value
    return json.dumps(body)


def test_totals_and_chains_are_read_to_the_last_digit() -> None:
    rows = parsed()
    usdt = next(r for r in rows if isinstance(r, Statement) and r.token == "USDT")
    assert usdt.assets == Decimal("115000.123456781234")
    assert usdt.liabilities == Decimal("111558.248455")
    assert usdt.equity == usdt.assets - usdt.liabilities
    assert (usdt.as_of, usdt.unit, usdt.evidence) == (date(2026, 9, 30), "USD", "issuer page")
    assert usdt.published_basis == "observed"
    chains = {r.chain: r for r in rows if isinstance(r, Supply) and r.token == "USDT"}
    assert chains["Ethereum"].not_issued == Decimal("1000.000001")
    assert chains["Solana"].circulating == Decimal("2987.5")
    total = sum((r.circulating or Decimal(0) for r in chains.values()), Decimal(0))
    assert total == usdt.liabilities


def test_a_chain_that_the_page_does_not_show_is_marked() -> None:
    listed = {r.chain: r.listed for r in parsed() if isinstance(r, Supply) and r.token == "USDT"}
    assert listed == {"Ethereum": True, "Tron": True, "Solana": True, "omni": False}


def test_gold_tokens_are_counted_in_ounces() -> None:
    gold = next(r for r in parsed() if isinstance(r, Statement) and r.token == "XAUT")
    assert (gold.unit, gold.assets) == ("XAU oz", Decimal("700.25"))


def test_a_token_that_only_the_shown_half_has_is_read_from_there() -> None:
    body = json.loads(BODY)
    del body["data"]["xaut"]
    stated, half = parsed(), parsed(json.dumps(body))
    gold = next(r for r in half if isinstance(r, Statement) and r.token == "XAUT")
    before = next(r for r in stated if isinstance(r, Statement) and r.token == "XAUT")
    assert (gold.assets, gold.unit, gold.as_of) == (before.assets, before.unit, before.as_of)


def test_a_new_chain_is_accepted() -> None:
    more = {
        "totaltokens_new": 10,
        "reserve_balance_new": 4,
        "quarantined_new": "0",
        "total_liabilities": "111564.248455",
        "shareholder_eq": "3435.875001781234",
    }
    chains = {r.chain: r for r in parsed(changed(**more)) if isinstance(r, Supply)}
    assert chains["new"].circulating == 6
    assert not chains["new"].listed


def test_a_sum_that_does_not_hold_is_refused_with_both_sums() -> None:
    with pytest.raises(Irreconcilable, match=r"add up to 111,558\.248455, stated are 111,559\.2"):
        parsed(changed(total_liabilities="111559.248455", shareholder_eq="3440.875001781234"))


AMOUNTS = [m.span() for m in re.finditer(r'(?<=[:"])\d+\.?\d*(?=[",}])', BODY)]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_one_digit_altered_in_any_figure_of_usdt_is_refused(data: st.DataObject) -> None:
    begin, end = data.draw(st.sampled_from(AMOUNTS))
    where = data.draw(st.integers(begin, end - 1))
    # The gold token's figures add up to nothing on the page, nor do digits after the third.
    usdt = begin < BODY.index('"xaut"') or BODY.index("data_formatted") < begin < BODY.rindex(
        '{"id"'
    )
    assume(usdt and BODY[where].isdigit())
    dot = BODY.find(".", begin, end)
    assume(dot < 0 or where <= dot + 2)
    digit = data.draw(st.sampled_from([d for d in "0123456789" if d != BODY[where]]))
    altered = BODY[:where] + digit + BODY[where + 1 :]
    assume(float(altered[begin:end]) != float(BODY[begin:end]))
    # The time of the statement is no amount.
    assume(not BODY[:begin].endswith('"id":'))
    with pytest.raises(Refused):
        parsed(altered)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("[]", "no object `data`"),
        ('{"data": {}}', "no list `data_formatted`"),
        ('{"data": {"xaut": {}}, "data_formatted": []}', r"no `data.usdt`"),
        (changed(id=None), "id is 'None'"),
        (changed(id="1790812740"), "not a time"),
        (changed(id=17), "not a time"),
        (changed(total_assets=None), "no total_assets"),
        (changed(total_assets="many"), "not a number"),
        (changed(total_assets=True), "not a number"),
        (changed(quarantined_eth=None), "no quarantined_eth"),
        (BODY.replace('"notIssued":0,', ""), "notIssued"),
        (BODY.replace('"blockChains"', '"chains"'), "no list blockChains"),
        ("<!doctype html><title>Just a moment…</title>", "HTML page"),
        (BODY[:-200], "not JSON"),
        ("", "not JSON"),
    ],
)
def test_another_shape_is_refused(body: str, words: str) -> None:
    with pytest.raises(SchemaChanged, match=words):
        parsed(body)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_it_fail_otherwise(body: bytes) -> None:
    with pytest.raises(Refused):
        tether.parse(raw(body))
