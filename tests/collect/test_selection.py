"""`--only`: which items of a source it names."""

from __future__ import annotations

import pytest

from chainwatch.collect.selection import names_in, select
from chainwatch.errors import UsageError

CANDLES = {"BTC 1d": ("BTC", "1d"), "BTC 1h": ("BTC", "1h"), "ETH 1d": ("ETH", "1d")}


@pytest.mark.parametrize(
    ("only", "items"),
    [
        ("", ["BTC 1d", "BTC 1h", "ETH 1d"]),
        (" , ", ["BTC 1d", "BTC 1h", "ETH 1d"]),
        ("btc", ["BTC 1d", "BTC 1h"]),
        ("1d", ["BTC 1d", "ETH 1d"]),
        ("eth 1D, btc 1h", ["BTC 1h", "ETH 1d"]),
    ],
)
def test_an_item_is_named_by_itself_or_by_its_words(only: str, items: list[str]) -> None:
    assert select("candles", only, CANDLES) == items


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("XRP", "candles has no 'XRP'; it has BTC, 1d, 1h, ETH"),
        ("btc,ethh", "candles has no 'ethh'; did you mean ETH? it has BTC, 1d, 1h, ETH"),
    ],
)
def test_each_name_must_be_of_an_item(only: str, message: str) -> None:
    """Of several names, too: one that names nothing would be believed to be read."""
    with pytest.raises(UsageError) as refusal:
        select("candles", only, CANDLES)
    assert message in str(refusal.value)


def test_items_without_further_words_are_listed_by_name() -> None:
    with pytest.raises(UsageError, match="fred has no 'SOFFR'; did you mean SOFR\\? it has SOFR"):
        select("fred", "SOFFR", {"SOFR": (), "IORB": ()})


def test_names_have_commas_between_and_count_once() -> None:
    assert names_in("a, b,,a ,B") == ["a", "b", "B"]
