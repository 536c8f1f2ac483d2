"""Values of options: read in one strict way, or refused with the option's name."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from chainwatch.commands import values
from chainwatch.errors import UsageError
from chainwatch.reports.betas import betas_text, read_betas, read_betas_text


@pytest.mark.parametrize(
    ("text", "value"), [("30%", 0.3), ("0.3", 0.3), (" 5 % ", 0.05), (".5", 0.5), ("100%", 1.0)]
)
def test_a_share_is_a_percentage_or_a_fraction(text: str, value: float) -> None:
    assert values.share(text, "--down") == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172_800)]
)
def test_a_span_has_a_unit(text: str, seconds: float) -> None:
    assert values.span(text, "--for") == seconds


@pytest.mark.parametrize("text", ["1_0%", " 0.3 ", "１０%", "1,0", "1e40", "nan", "%"])
def test_a_share_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--down: expected a share"):
        values.share(text, "--down")


@pytest.mark.parametrize("text", ["1_0s", " 10s", "１０m", "1,5h", "nan", "s", "-1s", "10 s"])
def test_a_span_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--for: expected a time"):
        values.span(text, "--for")


@pytest.mark.parametrize(
    "text", ["1_000", " 12 ", "１２", "1,2,3", "3,87", "1e40", "inf", "0", "-1"]
)
def test_a_price_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--to: expected a number above 0"):
        values.positive(text, "--to")
    assert values.positive("88,000.5", "--to") == 88_000.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0001-01-01T00:00+14:00", "a time from 2009 on that is not in the future"),
        ("2008-12-31T23:59Z", "a time from 2009 on that is not in the future"),
        ("9999-12-31T23:59:59-14:00", "a time from 2009 on that is not in the future"),
        ("2026-01-29 ", "a time such as"),
        ("２０２６-01-29", "a time such as"),
    ],
)
@pytest.mark.parametrize("flag", ["--since", "--until", "--as-of", "--known-on", "--from", "--to"])
def test_a_time_that_cannot_be_is_refused(flag: str, text: str, words: str) -> None:
    for read in (values.moment, values.past):
        with pytest.raises(UsageError, match=f"{flag}: expected {words}"):
            read(text, flag)


def test_a_moment_without_a_zone_is_utc() -> None:
    bare, zoned = (
        values.moment("2026-01-29T02:00", "--as-of"),
        values.moment("2026-01-29T02:00Z", "x"),
    )
    assert bare == zoned
    assert values.moment("2026-01-29T03:00+01:00", "x") == zoned
    assert [values.moment(f"2026-01-{d}", "x").day for d in (28, 29)] == [28, 29]
    assert all(a < b for a, b in pairwise([values.moment("2026-01-28", "x"), zoned]))


@pytest.mark.parametrize(
    ("text", "end"), [("2026-01-28", "2026-01-28T23:59:59.999999"), ("2026-01-28T02:00Z",) * 2]
)
def test_a_day_ends_with_its_last_microsecond(text: str, end: str) -> None:
    time = datetime.fromisoformat(end.removesuffix("Z")).replace(tzinfo=UTC)
    assert values.last_moment(text, "--to") == time


def test_a_choice_suggests_the_nearest_word() -> None:
    assert values.choice("all", "--accounts", ("borrowers", "all")) == "all"
    words = "--accounts: expected borrowers or all, got 'borowers'; did you mean borrowers?"
    with pytest.raises(UsageError) as refused:
        values.choice("borowers", "--accounts", ("borrowers", "all"))
    assert str(refused.value) == words


@pytest.mark.parametrize("texts", [["a"], ["=b"], ["a="], ["a=b", "a=c"]])
def test_pairs_have_two_parts_and_one_name_each(texts: list[str]) -> None:
    assert values.pairs(["a=b", "c=d=e"], "--map", "account=user") == {"a": "b", "c": "d=e"}
    with pytest.raises(UsageError, match="--map: expected"):
        values.pairs(texts, "--map", "account=user")


# --- betas --------------------------------------------------------------------------------------


def test_betas_are_read_in_one_way_from_options_and_parameters() -> None:
    pairs = ["eth=1.3", "XAU=-2e0"]
    assert read_betas(pairs, "--beta") == {"eth": 1.3, "xau": -2.0}
    assert read_betas_text("eth=1.3, XAU=-2e0", "p_betas") == {"eth": 1.3, "xau": -2.0}
    assert betas_text({"eth": 1.3, "XAU": -2.0}) == "eth=1.3,xau=-2.0"
    assert read_betas_text("", "p_betas") == {}


@pytest.mark.parametrize("texts", [["eth"], ["=1"], ["eth=nan"], ["eth=101"], ["eth=1", "ETH=2"]])
def test_a_beta_that_is_none_is_refused(texts: list[str]) -> None:
    for name, read in (
        ("--beta", lambda: read_betas(texts, "--beta")),
        ("p_betas", lambda: read_betas_text(",".join(texts), "p_betas")),
    ):
        with pytest.raises(UsageError, match=f"{name}: expected"):
            read()
