"""Circle's page and its fund's file, with figures of our own in their shapes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.collect.document import Irreconcilable, Refused, SchemaChanged
from chainwatch.disclosures.publishers import circle
from chainwatch.disclosures.reserves import CASH, REPO, TREASURY_BILLS, UNCLASSIFIED
from chainwatch.tables.disclosure import ReserveItem, Statement, Supply
from tests.documents import fixture, raw

PAGE = fixture("circle/transparency.html").decode()
FUND = fixture("circle/USDXX_holdings.csv").decode()


def test_the_pages_misleading_attributes_are_read_for_what_they_mean() -> None:
    rows = circle.parse_page(raw(PAGE))
    items = [r for r in rows if isinstance(r, ReserveItem)]
    assert {(i.label, i.asset_class, i.usd) for i in items} == {
        ("US Treasuries", TREASURY_BILLS, Decimal("20050000000")),
        ("US Treasury repo", REPO, Decimal("22400000000")),
        ("Deposits at systemic banks", CASH, Decimal("6500000000")),
        ("Deposits at other banks", CASH, Decimal("1250000000")),
    }
    (supply,) = [r for r in rows if isinstance(r, Supply)]
    assert supply.circulating == Decimal("50100000000")
    (stated,) = [r for r in rows if isinstance(r, Statement)]
    assert (stated.assets, stated.as_of) == (Decimal("50200000000"), date(2026, 9, 17))
    assert {i.statement for i in items} == {stated.statement}


def test_a_slipped_decimal_is_refused_with_both_sums() -> None:
    with pytest.raises(Irreconcilable, match=r"32,405,000,000\.0+, in circulation are 50,100"):
        circle.parse_page(raw(PAGE.replace('months="20.05"', 'months="2.255"')))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("data-usdc-months", "data-usdc-treasuries", "no data-usdc-months"),
        ('data-usdc-months="20.05"', 'data-usdc-months="20.05" data-usdc-bills="1"', "a new data"),
        ('id="usdc-in-circulation"', 'id="circulation"', "expected <span"),
        ('id="usdc_chartjs_canvas"', 'id="chart"', "has no data-usdc-cash"),
        ("As of Sep 17, 2026", "Yesterday", "no `As of"),
        ("As of Sep 17, 2026", "As of Sep 37, 2026", "page's date"),
        ('data-point="50.10"', 'data-point="n/a"', "not a number"),
    ],
)
def test_a_page_that_changed_is_refused(old: str, new: str, words: str) -> None:
    assert old in PAGE
    with pytest.raises(SchemaChanged, match=words):
        circle.parse_page(raw(PAGE.replace(old, new)))


def test_a_captcha_is_no_page() -> None:
    with pytest.raises(SchemaChanged, match="expected <span"):
        circle.parse_page(raw("<html><body>Are you human?</body></html>"))


def test_fund_positions_count_at_market_value_new_types_unclassified() -> None:
    """The fund's positions count at market value, and a new type of asset is unclassified."""
    rows = circle.parse_fund(raw(FUND))
    items = [r for r in rows if isinstance(r, ReserveItem)]
    assert [(i.asset_class, i.usd) for i in items] == [
        (REPO, Decimal("6000000.00")),
        (TREASURY_BILLS, Decimal("2941250.75")),
        (TREASURY_BILLS, Decimal("992500.10")),
        (UNCLASSIFIED, Decimal("50000.00")),
    ]
    (stated,) = [r for r in rows if isinstance(r, Statement)]
    assert (stated.assets, stated.evidence) == (Decimal("9983750.85"), "fund file")
    assert stated.as_of == date(2026, 9, 16)
    assert "Tokenized Deposit" in items[3].label


def test_a_fund_file_without_its_last_positions_is_refused() -> None:
    cut = FUND.split('"SOMETHING NEW"')[0].split('"TREASURY BILL"')[0]
    with pytest.raises(Irreconcilable, match=r"add up to 60\.00 %"):
        circle.parse_fund(raw(cut))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Fund Holdings as of", "Holdings", "first line"),
        ("16-Sep-2026", "2026-09-16", "fund's date"),
        ("%Par,Par", "Par,%Par", "columns are"),
        ('"2,941,250.75"', '"n/a"', "value of TREASURY BILL"),
        ('"08-Oct-2026","08-Oct-2026"', '"08-Oct-2026"', "6 fields"),
    ],
)
def test_a_fund_file_that_changed_is_refused(old: str, new: str, words: str) -> None:
    assert old in FUND
    with pytest.raises(SchemaChanged, match=words):
        circle.parse_fund(raw(FUND.replace(old, new)))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_it_fail_otherwise(body: bytes) -> None:
    for parse in (circle.parse_page, circle.parse_fund):
        with pytest.raises(Refused):
            parse(raw(body))
