"""The figures that ship: each with its report, each adding up."""

from __future__ import annotations

import csv
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from chainwatch.collect.document import Irreconcilable, SchemaChanged
from chainwatch.disclosures.publishers import reference
from chainwatch.lake.store import Store
from chainwatch.tables.disclosure import ReserveItem, Statement
from tests.documents import ask, load, raw

TETHER = reference.FOLDER / "tether.csv"


def test_every_row_names_its_report_and_its_day_of_publication() -> None:
    for path in reference.FOLDER.glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                assert row["report"]
                assert date.fromisoformat(row["as_of"]) < date.fromisoformat(row["published"])


def test_tether_has_each_quarter_but_the_one_without_a_report() -> None:
    """Tether has every quarter but the one whose report is missing."""
    values = [
        r.as_of for r in reference.parse(raw(TETHER.read_bytes())) if isinstance(r, Statement)
    ]
    quarters = [
        date(year, month, 31 if month in (3, 12) else 30)
        for year in range(2022, 2027)
        for month in (3, 6, 9, 12)
        if date(2022, 6, 1) < date(year, month, 28) < date(2026, 7, 1)
    ]
    assert values == [q for q in quarters if q != date(2026, 3, 31)]


def test_one_digit_altered_is_refused() -> None:
    body = TETHER.read_text("utf-8")
    assert "122325714946" in body
    with pytest.raises(Irreconcilable, match="2025-12-31: the lines"):
        reference.parse(raw(body.replace("122325714946", "122325714947")))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (",US treasuries,", ",bills,", "no class is called"),
        (",assets,", ",total,", "no figure is called"),
        ("USDT,", "TUSD,", "an unknown token"),
    ],
)
def test_words_that_are_not_known_are_refused(old: str, new: str, words: str) -> None:
    with pytest.raises(SchemaChanged, match=words):
        reference.parse(raw(TETHER.read_text("utf-8").replace(old, new)))


def test_loading_twice_stores_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(2):
        load(store, "reference")
    statements = store.rows(Statement)
    assert len(statements) == len({(s.token, s.as_of) for s in statements})
    gold = [
        i.usd
        for i in store.rows(ReserveItem, "token = 'USDT' AND as_of = DATE '2025-12-31'")
        if i.asset_class == "precious metals"
    ]
    assert gold == [Decimal(17_450_435_088)]
    assert {r["outcome"] for r in ask(store, "document_outcomes")} == {"unchanged"}
