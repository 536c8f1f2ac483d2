"""Text from outside is made visible before anybody sees it."""

import json
import unicodedata

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.text import ScriptJson, contract_text, suggest, visible

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("name", "names", "hint"),
    [
        ("healt", ["walls", "health"], "did you mean health? "),
        ("usdx", ["USDT", "FDUSD"], "did you mean USDT? "),
        ("nothing like it", ["walls", "health"], ""),
        ("walls", [], ""),
    ],
)
def test_the_nearest_name_is_suggested(name: str, names: list[str], hint: str) -> None:
    assert suggest(name, names) == hint


def test_plain_text_stays_as_it_is() -> None:
    for text in ("", "WETH", "a b", "≥ 1.25 – 2 %", "日本語", "é", "naïve ñ", "\\x1b is text"):
        assert visible(text) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\r\n", "two\\x0alines\\x0d\\x0a"),
        ("a\tb\0", "a\\x09b\\x00"),
        ("\x9b31m", "\\x9b31m"),  # CSI in one character
        ("\u202egnp.exe", "\\u202egnp.exe"),  # right to left
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028para\u2029", "line\\u2028para\\u2029"),
        ("\ud800", "\\ud800"),
        ("\ue000", "\\ue000"),
        ("\U000e0041", "\\U000e0041"),  # an invisible tag letter, not \\ue004 followed by 1
    ],
)
def test_what_cannot_be_seen_is_written_out(raw: str, shown: str) -> None:
    assert visible(raw) == shown


def test_a_text_is_cut_with_an_ellipsis_at_its_limit() -> None:
    assert visible("abcdef", 6) == "abcdef"
    assert visible("abcdefg", 6) == "abcde…"
    assert visible("\x1b\x1b\x1b", 6) == "\\x1b\\…"


@given(st.text())
def test_nothing_hidden_is_left_and_what_was_visible_is_untouched(text: str) -> None:
    shown = visible(text)
    assert not {unicodedata.category(c) for c in shown} & HIDDEN
    assert visible(shown) == shown
    if not {unicodedata.category(c) for c in text} & HIDDEN:
        assert shown == text
    # Every hidden character can be told from what is shown.
    assert shown.count("\\") >= sum(unicodedata.category(c) in HIDDEN for c in text)


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_in_a_script_keeps_its_value_and_ends_nothing(value: object) -> None:
    for ascii_only in (True, False):
        written = json.dumps(value, cls=ScriptJson, ensure_ascii=ascii_only)
        assert not set(written) & set("<>&\u2028\u2029")
        assert json.loads(written) == value


def string(text: str) -> bytes:
    return encode(["string"], [text])


def test_an_abi_string_and_a_bytes32_are_read() -> None:
    assert contract_text(string("WETH")) == "WETH"
    assert contract_text(b"MKR".ljust(32, b"\0")) == "MKR"
    assert contract_text(string("  spaced ")) == "spaced"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 32,
        b"short",
        b"\xff" * 31,
        b"\xff" * 64,  # an offset beyond the end
        (32).to_bytes(32) + b"\xff" * 16,  # the length is cut
        string(""),
        b"\0" * 64,
    ],
)
def test_what_is_no_text_gives_an_empty_one(data: bytes) -> None:
    assert contract_text(data) == ""


def test_a_hostile_symbol_is_shown_and_cut() -> None:
    assert contract_text(string("\x1b]0;title\x07")) == "\\x1b]0;title\\x07"
    assert contract_text(string("=HYPERLINK(1)\n")) == "=HYPERLINK(1)"
    long = contract_text(string("A" * 10_000))
    assert long == "A" * 31 + "…"
    assert contract_text(string("é" * 200)) == "é" * 31 + "…"


def test_bytes_that_are_no_utf8_become_a_replacement_sign() -> None:
    assert contract_text(b"\xff\xfeOK".ljust(32, b"\0")) == "\ufffd\ufffdOK"


def test_a_length_that_lies_reads_what_is_there() -> None:
    lying = (32).to_bytes(32) + (2**255).to_bytes(32) + b"ABC"
    assert contract_text(lying) == "ABC"


@given(st.binary(max_size=300))
def test_any_answer_gives_a_short_visible_text(data: bytes) -> None:
    text = contract_text(data)
    assert len(text) <= 32
    assert not {unicodedata.category(c) for c in text} & HIDDEN


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_an_abi_string_reads_back(text: str) -> None:
    assert contract_text(string(text), 10_000) == visible(text.strip(), 10_000)
