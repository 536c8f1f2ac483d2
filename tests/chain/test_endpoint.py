"""How much an endpoint takes at once, as learnt from its answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.chain.endpoint import Size

pytestmark = pytest.mark.contracts("plain")


@given(st.integers(1, 10**7), st.lists(st.integers(-5, 10**8), max_size=40))
def test_every_refusal_makes_less_whatever_the_endpoint_claims(
    start: int, claims: list[int]
) -> None:
    size = Size(start)
    for claim in claims:
        before = size.now
        size.refuse(before, claim)
        assert 1 <= size.now <= max(1, before - 1)


@given(st.integers(2, 10**6))
def test_an_endpoint_that_always_states_one_less_is_halved(start: int) -> None:
    size = Size(start)
    refusals = 0
    while size.now > 1:
        size.refuse(size.now, size.now - 1)
        refusals += 1
    assert refusals <= 2 + start.bit_length()


def test_a_size_grows_slowly_and_only_through_full_use() -> None:
    size = Size(100)
    for _ in range(1000):
        size.accept(99)
    assert size.now == 100
    for _ in range(20):
        size.accept(100)
    assert size.now == 125


def test_a_size_never_outgrows_a_lasting_limit() -> None:
    size = Size(1000)
    size.refuse(1000, 100, lasting=True)
    for _ in range(1000):
        size.accept(size.now)
    assert size.now == 100


def test_refusals_of_requests_sent_together_count_once() -> None:
    size = Size(1000)
    for _ in range(8):
        size.refuse(1000)
    assert size.now == 500
    size.refuse(500, 100)
    size.refuse(1000)
    assert size.now == 100
