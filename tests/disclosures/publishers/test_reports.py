"""Signed reports as PDF: three issuers' shapes with figures of our own, drawn into tiny PDFs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainwatch.collect.document import Irreconcilable, Refused, SchemaChanged, Unreadable
from chainwatch.collect.runner import raise_failures
from chainwatch.disclosures import pdf
from chainwatch.disclosures.publishers import reports
from chainwatch.disclosures.reserves import (
    BITCOIN,
    CASH,
    EQUITIES,
    FOREIGN_BILLS,
    REPO,
    SETTLEMENT,
    TREASURY_BILLS,
)
from chainwatch.errors import CheckFailed, NetworkError, UsageError
from chainwatch.lake.store import Store
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Document, ReserveItem, Statement, Supply
from tests.documents import fixture, gather, load, raw
from tests.pdfs import pdf as drawn

TETHER, CIRCLE, FIRST_DIGITAL = (
    fixture(f"reports/{name}.txt").decode() for name in ("tether", "circle", "first_digital")
)


def read(text: str) -> list[Row]:
    return reports.parse_text(raw(""), [text])


def items(rows: Sequence[Row]) -> list[ReserveItem]:
    return [r for r in rows if isinstance(r, ReserveItem)]


def test_a_drawn_pdf_reads_back_as_its_text() -> None:
    rows = reports.parse(raw(drawn([TETHER.splitlines()[:14], TETHER.splitlines()[14:]])))
    assert len(items(rows)) == 11


def test_tethers_table_is_read_whatever_breaks_its_lines() -> None:
    rows = read(TETHER)
    (stated,) = [r for r in rows if isinstance(r, Statement)]
    assert (stated.assets, stated.liabilities) == (
        Decimal(2_345_678_912),
        Decimal(2_300_000_111),
    )
    assert stated.equity == Decimal(45_678_801)
    assert stated.as_of == date(2021, 3, 31)
    assert stated.published_at == datetime(2021, 4, 30, 23, 59, 59, tzinfo=UTC)
    assert (stated.published_basis, stated.evidence) == ("source", "attestation")
    result = by_class(rows)
    assert result[REPO] == Decimal(190_000_023)
    assert result[FOREIGN_BILLS] == Decimal(2_500_000)  # printed with a stray blank
    assert result[EQUITIES] == Decimal(40_678_000)
    assert sum(result.values()) == stated.assets


def test_the_bitcoin_price_of_a_footnote_gives_the_quantity() -> None:
    (bitcoin,) = [i for i in items(read(TETHER)) if i.asset_class == BITCOIN]
    assert (bitcoin.unit_price, bitcoin.quantity) == (Decimal("80000.00"), Decimal("1375"))


def test_tokens_held_by_the_issuer_are_named() -> None:
    (supply,) = [r for r in read(TETHER) if isinstance(r, Supply)]
    assert supply.authorized == Decimal(2_299_500_033)
    assert supply.held == Decimal(500_011)
    assert supply.circulating == Decimal(2_299_000_022)  # not …0223: the 3 is a footnote


def test_text_without_any_blank_between_words_is_read_too() -> None:
    squeezed = re.sub(r"(?<=[A-Za-z.&,]) (?=[A-Za-z&(])", "", TETHER)
    assert "U.S.TreasuryBills4 1,400" in squeezed
    assert items(read(squeezed)) == items(read(TETHER))


def test_circle_reports_two_days_and_rounds_its_positions() -> None:
    rows = read(CIRCLE)
    wholes = [r for r in rows if isinstance(r, Statement)]
    assert [(w.as_of, w.assets, w.liabilities) for w in wholes] == [
        (date(2021, 1, 11), Decimal(3_011_000_500), Decimal(3_000_000_100)),
        (date(2021, 1, 29), Decimal(3_110_000_000), Decimal(3_100_000_200)),
    ]
    assert {w.published_at for w in wholes} == {datetime(2021, 2, 26, 23, 59, 59, tzinfo=UTC)}
    first = [i for i in items(rows) if i.statement == wholes[0].statement]
    assert sum(i.usd for i in first) == wholes[0].assets
    assert sum(i.usd for i in first if i.asset_class == SETTLEMENT) == Decimal(-29_000_001)


def test_first_digital_adds_up_in_subtotals() -> None:
    rows = read(FIRST_DIGITAL)
    (stated,) = [r for r in rows if isinstance(r, Statement)]
    assert (stated.assets, stated.as_of) == (Decimal("100000000.50"), date(2021, 2, 28))
    assert stated.published_basis == "observed"  # no date of signature is in the text
    cash = sum(i.usd for i in items(rows) if i.asset_class == CASH)
    assert cash == Decimal("51000000.20")
    (supply,) = [r for r in rows if isinstance(r, Supply)]
    assert supply.circulating == Decimal("99000000.25")


# First Digital's layouts of 2023-11 to 2025-02 and of 2025-03 to 2026-02: heading, line and sum of
# the sections treasuries (its heading is the table's), repo and deposits.
SECTIONS = {
    "totals by name": (
        (
            "",
            "U.S. Treasury Bills 912797{n:03d} 5Dec23 ${usd}",
            " Total U.S. Treasury Bills: ${usd}",
        ),
        (
            "Collateral Held Pursuant to\nOvernight Reverse Repurchase Agreements",
            "U.S. Treasury Debt 912798{n:03d} 1Dec23 ${usd}",
            "Total U.S. Government Guaranteed Debt Instruments Held Pursuant\n"
            "to Overnight Reverse Repurchase Agreements:\n${usd}",
        ),
        ("Fixed Deposits", "1-month Fixed Deposit 27Dec23 ${usd}", "Total Fixed Deposits: ${usd}"),
    ),
    "totals by letter": (
        ("", "Unites States Treasury Bills 912797{n:03d} 9-Sep-25 {usd}", "(A) Sub-total: {usd}"),
        (
            "United States Government Guaranteed Debt Instruments Held Pursuant to "
            "Overnight Reserve Repurchase\nAgreements:\n",
            "Unites States Treasury Debt 912798{n:03d} 2-Sep-25 {usd}",
            "(B) Sub-total: {usd}",
        ),
        (
            "Fixed Deposits Maturity Date\nCarrying value1 as of Report\nDate and Time (US$)",
            "Overnight Fixed Deposit 2-Sep-25 {usd}",
            "(C) Sub-total: {usd}\n1: The carrying values of fixed deposits approximate their fair "
            "values.",
        ),
    ),
}
SECTION_CLASSES = (TREASURY_BILLS, REPO, CASH)
LAST = {
    "totals by name": (
        "Total U.S. Dollars Held: ${usd}",
        "Total Assets Held in Reserve Accounts: ${usd}",
    ),
    "totals by letter": (
        "(D) US$ held in custody accounts: {usd}",
        "(A) + (B) + (C) + (D) Total assets held in Reserve Accounts: US${usd}",
    ),
}


def first_digital(layout: str, cents: Sequence[Sequence[int]], held: int, headed: bool) -> str:
    """A report with these amounts in its sections; an empty one keeps its heading or goes."""
    results = [
        "Reserves Accounts Report of FDUSD\nAs of 31 August 2025 at 9:00pm Eastern Time",
        "Description CUSIP Maturity Date Fair value as of Report Date and Time (US$)",
    ]
    shown = [f"{c // 100:,}.{c % 100:02d}" for c in (held, held + sum(map(sum, cents)))]
    for (heading, line, total), amounts in zip(SECTIONS[layout], cents, strict=True):
        if heading and (amounts or headed):
            results.append(heading)
        for n, c in enumerate(amounts):
            results.append(line.format(n=n, usd=f"{c // 100:,}.{c % 100:02d}"))
        if amounts:
            results.append(total.format(usd=f"{sum(amounts) // 100:,}.{sum(amounts) % 100:02d}"))
    last = (text.format(usd=usd) for text, usd in zip(LAST[layout], shown, strict=True))
    return "\n".join([*results, *last, "Notes to the report."])


def by_class(rows: Sequence[Row]) -> dict[str, Decimal]:
    by_name: dict[str, Decimal] = {}
    for item in items(rows):
        by_name[item.asset_class] = by_name.get(item.asset_class, Decimal(0)) + item.usd
    return by_name


AMOUNTS = st.lists(st.integers(1, 10**12), max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(SECTIONS)),
    st.tuples(*[AMOUNTS] * 3),
    st.integers(10**5, 10**12),
    st.booleans(),
)
def test_an_amount_is_of_the_class_of_its_section(
    layout: str, cents: tuple[list[int], ...], held: int, headed: bool
) -> None:
    """Whatever the order and number of lines; an empty section leaves its heading to nobody."""
    wanted: dict[str, Decimal] = {}
    for name, amounts in zip((*SECTION_CLASSES, CASH), (*cents, [held]), strict=True):
        if amounts:
            wanted[name] = wanted.get(name, Decimal(0)) + Decimal(sum(amounts)) / 100
    assert by_class(read(first_digital(layout, cents, held, headed))) == wanted


@pytest.mark.parametrize("layout", sorted(SECTIONS))
def test_a_drawn_report_of_first_digital_is_read_by_section(layout: str) -> None:
    text = first_digital(
        layout, [[870_620_056_61], [1_350_307_500, 1_000_194_445], [50]], 10**5, True
    )
    lines = text.splitlines()
    words = ["Notes in words that no figure depends on, so that the page is one of text."] * 4
    rows = reports.parse(raw(drawn([lines[:5], [*lines[5:], *words]])))
    assert by_class(rows)[REPO] == Decimal("23505019.45")
    labels = [i.label for i in items(rows) if i.asset_class == REPO]
    assert len(labels) == 2
    assert all(label.startswith("Repurchase agreements: ") for label in labels)


FULL = [[300_000, 500_000], [700_000, 1_100_000], [1_300_000, 1_700_000]]  # cents


@pytest.mark.parametrize("layout", sorted(SECTIONS))
@pytest.mark.parametrize("section", range(3))
def test_a_section_without_its_own_sum_is_refused(layout: str, section: int) -> None:
    """Even where all lines together make up the total."""
    text = first_digital(layout, FULL, 1_900_000, True)
    usd = f"{sum(FULL[section]) / 100:,.2f}"
    total = SECTIONS[layout][section][2].format(usd=usd)
    assert total in text
    with pytest.raises(Refused, match=r"has no sum|add up to"):
        read(text.replace(total, "", 1))
    moved = SECTIONS[layout][section][2].format(usd=f"{sum(FULL[section]) / 100 + 1:,.2f}")
    with pytest.raises(Irreconcilable, match="lines up to"):
        read(text.replace(total, moved, 1))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Fixed Deposits Maturity Date", "Time accounts Maturity Date", "of another class"),
        (
            "Held Pursuant to Overnight Reserve Repurchase",
            "lent overnight to others",
            "no known heading",
        ),
        ("(B) Sub-total", "Total Fixed Deposits", "is the sum of another class"),
        ("912797001", "912797001 Fixed Deposit", "several classes are known"),
    ],
)
def test_a_section_that_is_not_known_is_refused(old: str, new: str, words: str) -> None:
    text = " ".join(first_digital("totals by letter", FULL, 1_900_000, True).split())
    assert old in text
    if words == "of another class":  # an empty section before it must not take its lines
        text = " ".join(
            first_digital("totals by letter", [FULL[0], [], FULL[2]], 1_900_000, True).split()
        )
    with pytest.raises(SchemaChanged, match=words):
        read(text.replace(old, new, 1))


def altered_digits(text: str, begin: str, end: str) -> list[int]:
    """Positions of the digits of amounts between two marks."""
    first, last = text.index(begin), text.index(end)
    return [
        at
        for m in re.finditer(r"(?<![\d/])\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d\d)?", text[first:last])
        for at in range(first + m.start(), first + m.end())
        if text[at].isdigit()
    ]


DIGITS = [
    *((TETHER, at) for at in altered_digits(TETHER, "Asset Category", "4 The")),
    *(
        (CIRCLE, at)
        for at in altered_digits(
            CIRCLE, "U.S. Treasury Rep", "CIRCLE RESERVE FUND ASSETS AS OF JANUARY 29"
        )
    ),
    *((FIRST_DIGITAL, at) for at in altered_digits(FIRST_DIGITAL, "Description", "Notes to")),
]


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(DIGITS), st.sampled_from("0123456789"))
def test_one_digit_altered_in_any_amount_is_refused(where: tuple[str, int], digit: str) -> None:
    text, at = where
    if text[at] == digit:
        return
    with pytest.raises(Refused):
        read(text[:at] + digit + text[at + 1 :])


def test_a_table_that_does_not_add_up_is_refused_with_both_sums() -> None:
    with pytest.raises(Irreconcilable, match=r"1,594,000,133, stated are 1,594,000,123 \(diff"):
        read(TETHER.replace("1,400,000,100", "1,400,000,110"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TETHER.replace("Secured Loans14", "Moon Rocks14"), "no class is known for the line"),
        (TETHER.replace("Subtotal ", "Sum "), "no class is known|no subtotal"),
        (TETHER.replace("Asset Category", "Category"), "no table from"),
        (TETHER.replace("Authorized & approved", "Signed"), "date of approval"),
        (TETHER.replace("31 March", "31 Marsh"), "not of the form"),
        (CIRCLE.replace("CIRCLE RESERVE FUND ASSETS AS OF", "FUND AT"), "no section"),
        (CIRCLE.replace("February 26, 2021", ""), "date of signature"),
        (CIRCLE.replace("TOTAL U.S. TREASURY", "ALL U.S. TREASURY"), "no TOTAL U.S."),
        (FIRST_DIGITAL.replace("Description", "Assets"), "no table from"),
        (FIRST_DIGITAL.replace("United States Treasury Bills", "Notes"), "no class is known"),
        ("A report of another issuer, as of 31 March 2021", "expected a report of Tether"),
    ],
)
def test_another_shape_is_refused(text: str, words: str) -> None:
    with pytest.raises(SchemaChanged, match=words):
        read(text)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"PK\x03\x04 not a pdf", "not a PDF"),
        (b"%PDF-1.7\ncut", "is broken"),
        (drawn([[], []]), "image PDF"),
        (drawn([["Page 1"], ["Docusign Envelope ID: 1234"]]), "image PDF"),
    ],
)
def test_a_pdf_without_text_is_unavailable(body: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        pdf.pages(body)


def test_a_locked_pdf_says_so() -> None:
    import io

    import pypdf

    writer = pypdf.PdfWriter(clone_from=io.BytesIO(drawn([TETHER.splitlines()])))
    writer.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    with pytest.raises(Unreadable, match="locked"):
        pdf.pages(out.getvalue())


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail_otherwise(body: bytes) -> None:
    with pytest.raises(Refused):
        reports.parse(raw(b"%PDF-1.4\n" + body))


# --- from a file into the lake --------------------------------------------------------------


async def test_a_file_is_stored_once_and_a_rejected_one_only_as_bytes(
    tmp_path: Path,
) -> None:
    """A file is stored once, and a rejected one leaves only its bytes."""
    store = Store(tmp_path / "home")
    good, bad = tmp_path / "good.pdf", tmp_path / "bad.pdf"
    good.write_bytes(drawn([TETHER.splitlines()]))
    bad.write_bytes(drawn([TETHER.replace("1,400,000,100", "1,400,000,101").splitlines()]))
    for _ in range(2):
        raise_failures(await gather(store, "", "reserve-report", file=str(good)))
    assert len(store.rows(Statement)) == 1
    with pytest.raises(CheckFailed, match="reconcile failed"):
        raise_failures(await gather(store, "", "reserve-report", file=str(bad)))
    assert len(store.rows(Statement)) == 1
    stored = {d.name: d for d in store.rows(Document, "outcome <> 'unchanged'")}
    assert stored["good.pdf"].provenance == "imported"
    assert stored["bad.pdf"].outcome == "reconcile failed"
    assert store.document(stored["bad.pdf"].sha256 or "").read_bytes() == bad.read_bytes()
    picture = tmp_path / "picture.pdf"
    picture.write_bytes(drawn([[]]))
    with pytest.raises(NetworkError, match="image PDF"):
        raise_failures(await gather(store, "", "reserve-report", file=str(picture)))


async def test_a_file_read_by_an_older_parser_is_read_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "home")
    path = tmp_path / "august.pdf"
    text = first_digital("totals by letter", FULL, 1_900_000, True)
    path.write_bytes(drawn([[*text.splitlines(), *["Notes without a figure in them."] * 10]]))
    raise_failures(await gather(store, "", "reserve-report", file=str(path)))
    (read_now,) = store.rows(Document)
    old = msgspec.structs.replace(read_now, parser=1, fetched_at=datetime.now(UTC))
    store.append([old], source="test")
    raise_failures(await gather(store, "", "reserve-report", file=str(path)))
    (_, _, newest) = store.rows(Document, "true ORDER BY fetched_at")
    assert (newest.outcome, newest.parser) == ("ok", reports.PARSER)


async def test_a_restated_report_replaces_the_figures_and_keeps_the_old(tmp_path: Path) -> None:
    from tests.documents import ask

    store = Store(tmp_path / "home")
    first, second = tmp_path / "first.pdf", tmp_path / "second.pdf"
    first.write_bytes(drawn([TETHER.splitlines()]))
    moved = TETHER.replace("300,000,000", "310,000,000").replace("110,000,000", "100,000,000")
    second.write_bytes(drawn([moved.splitlines()]))
    for path in (first, second):
        raise_failures(await gather(store, "", "reserve-report", file=str(path)))
    versions = store.rows(Statement, "true ORDER BY observed_at")
    assert [v.published_basis for v in versions] == ["source", "observed"]
    gold = [r["usd"] for r in ask(store, "reserves") if r["asset_class"] == "precious metals"]
    assert gold == [310e6]


def test_a_file_that_is_not_there_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load(Store(tmp_path / "home"), "reserve-report", file=str(tmp_path / "none.pdf"))
