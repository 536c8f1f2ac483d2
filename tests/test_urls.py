"""What may be shown of a URL."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.urls import mask, scrub

KEY = "s3cr3t-k3y-0123456789"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://rpc.example.org", "https://rpc.example.org"),
        ("https://rpc.example.org/", "https://rpc.example.org"),
        ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
        ("http://[::1]:8545/", "http://[::1]:8545"),
        (f"https://rpc.example.org/v2/{KEY}", "https://rpc.example.org/…"),
        (f"https://rpc.example.org/?apikey={KEY}", "https://rpc.example.org/…"),
        (f"https://user:{KEY}@rpc.example.org:8443", "https://rpc.example.org:8443/…"),
        (f"https://{KEY}@rpc.example.org/", "https://rpc.example.org/…"),
        (f"https://rpc.example.org#{KEY}", "https://rpc.example.org/…"),
        (f"https://rpc.example.org:{KEY}/", "https://rpc.example.org:…"),
        (f"wss://{KEY}@feeds.example.org/ws", "wss://feeds.example.org/…"),
        (f"prowl://{KEY}", "prowl://…"),
        (f"pover://user@{KEY}/device", "pover://…"),
        (f"https://[{KEY}", "…"),
        (KEY, "…"),
        ("", "…"),
    ],
)
def test_a_url_is_shown_up_to_its_host(url: str, shown: str) -> None:
    assert mask(url) == shown


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (f"cannot reach https://a.org/v2/{KEY} now", f"https://a.org/v2/{KEY}"),
        (f"key {KEY} is over its quota", f"https://a.org/v2/{KEY}"),
        (f"key {KEY.upper()} is over its quota", f"https://a.org/v2/{KEY}"),
        (f"bad apikey={KEY}", f"https://a.org/?apikey={KEY}"),
        (f"no user {KEY}", f"https://{KEY}:x@a.org/"),
        ("no user p@ss/word here", "https://user:p%40ss%2Fword@a.org/"),
        (f"not a URL: {KEY}", KEY),
    ],
)
def test_no_key_survives_in_a_foreign_text(text: str, url: str) -> None:
    shown = scrub(text, ["https://other.org", url])
    assert KEY.lower() not in shown.lower()
    assert "p@ss" not in shown
    assert "…" in shown


def test_a_foreign_text_keeps_its_words_on_one_line() -> None:
    url = f"https://a.org/v2/{KEY}"
    text = "limited to\n 10,000\x1b[31m blocks at https://a.org/v2"
    assert scrub(text, [url]) == "limited to 10,000\\x1b[31m blocks at https://a.org/v2"


@given(st.text(min_size=4, max_size=30).filter(str.strip))
def test_masking_never_shows_a_path(secret: str) -> None:
    quoted = quote(secret, safe="")
    assert mask(f"https://a.org/{quoted}") == "https://a.org/…"
    shown = scrub(f"it said {quoted} was wrong", [f"https://a.org/{quoted}"])
    assert shown == "it said … was wrong"
