"""Ethena's pages, with figures of our own in their shapes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.collect.document import Irreconcilable, Refused, SchemaChanged
from chainwatch.disclosures.publishers import ethena
from chainwatch.disclosures.reserves import BITCOIN, CASH, OTHER_CRYPTO, UNCLASSIFIED
from chainwatch.tables.disclosure import ReserveItem, Statement
from tests.documents import fixture, raw

STATUS = fixture("ethena/status.json").decode()
COLLATERAL = fixture("ethena/collateral.json").decode()


def test_backing_and_reserve_fund_stand_against_the_supply() -> None:
    (stated,) = [r for r in ethena.parse_status(raw(STATUS)) if isinstance(r, Statement)]
    assert (stated.assets, stated.liabilities) == (Decimal("5060000.75"), Decimal("4990000.0"))
    assert stated.as_of == date(2026, 9, 17)


def test_collateral_is_classed_by_asset() -> None:
    items = [r for r in ethena.parse_collateral(raw(COLLATERAL)) if isinstance(r, ReserveItem)]
    assert [(i.label, i.asset_class) for i in items] == [
        ("Liquid Cash, Custodian A", CASH),
        ("BTC, Venue B", BITCOIN),
        ("ETH, Venue B", OTHER_CRYPTO),
        ("XYZ", UNCLASSIFIED),
    ]
    assert sum(i.usd for i in items) == Decimal("5000000.50")


def test_collateral_that_is_not_the_backing_is_refused() -> None:
    with pytest.raises(Irreconcilable, match=r"more than 0\.5% apart"):
        ethena.parse_collateral(raw(COLLATERAL.replace("1500000", "1600000")))


@pytest.mark.parametrize(
    ("parse", "body", "words"),
    [
        (ethena.parse_status, "{}", "expected totalBacking"),
        (ethena.parse_status, STATUS.replace("2026-09-17 ", ""), "timestamp is"),
        (ethena.parse_status, STATUS.replace("2026-09", "２０２６-09"), "timestamp is"),
        (ethena.parse_status, STATUS.replace("-17 08", "-17  08"), "timestamp is"),
        (ethena.parse_status, STATUS.replace("-17 08", "-17\\t08"), "timestamp is"),
        (ethena.parse_status, STATUS.replace("-09-17 08", "-9-17 8"), "timestamp is"),
        (ethena.parse_status, STATUS.replace("30.250 UTC", "30.250 utc"), "timestamp is"),
        (ethena.parse_status, STATUS.replace("30.250 UTC", "30.250"), "timestamp is"),
        (ethena.parse_status, STATUS.replace("2026-", "2006-"), "timestamp is"),
        (ethena.parse_status, STATUS.replace("4990000.0", "null"), "not a number"),
        (ethena.parse_collateral, '{"collateral": {}}', "no list"),
        (ethena.parse_collateral, COLLATERAL.replace('"usdAmount"', '"usd"'), "usdAmount"),
        (ethena.parse_collateral, COLLATERAL.replace("1789632900", '"now"'), "timestamp is"),
        (ethena.parse_collateral, '{"totalBackingAssetsInUsd":1,"collateral":[]}', "is empty"),
        (ethena.parse_collateral, '{"collateral":[]}', "totalBackingAssetsInUsd"),
    ],
)
def test_another_shape_is_refused(parse: object, body: str, words: str) -> None:
    assert callable(parse)
    with pytest.raises(SchemaChanged, match=words):
        parse(raw(body))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_it_fail_otherwise(body: bytes) -> None:
    for parse in (ethena.parse_status, ethena.parse_collateral):
        with pytest.raises(Refused):
            parse(raw(body))
