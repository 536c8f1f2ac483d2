"""The form of a price's answers, against the price itself at many other multiples."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainwatch.lending.elasticity import (
    PROBES,
    SLACK,
    Elasticity,
    measure_elasticity,
    points_at_edges,
)
from tests.amounts import sample_size

# A price by the raw answer of its source, all integers as on chain.
Price = Callable[[int], int]
MULTIPLES = [Fraction(n, 40) for n in range(10, 81)]  # a quarter to the double


def measured(price: Price, source: int) -> Elasticity | None:
    """As a market is measured: by the probes, and again at the edges that they show."""
    form, points = None, PROBES
    answers: dict[Fraction, int | None] = {}
    for _ in range(2):
        answers |= {x: price(source * x.numerator // x.denominator) or None for x in points}
        form = measure_elasticity(price(source), answers, source)
        points = points_at_edges(form) if form and form.linear else ()
    return form


def predicted(form: Elasticity, x: float) -> float:
    """The price as a multiple of itself, where the source is x times what it is."""
    x /= form.scale
    if form.cap_x is not None:
        x = min(x, form.cap_x)
    if form.floor_x is not None:
        x = max(x, form.floor_x)
    return 1 / x if form.beta == -1 else 1 + form.beta * (x - 1)


def misses(form: Elasticity | None, price: Price, source: int) -> list[float]:
    """The multiples at which the price is not what the form says, but for rounding."""
    now, wrong = price(source), []
    step = 4 * (1 / now + 1 / source) if form is None else form.step
    for x in map(float, MULTIPLES):
        value = price(int(source * x)) / now
        expected = 1.0 if form is None else predicted(form, x)
        # Two probes lie on each line, a rounding away from it; a quarter is a move away from them.
        if abs(value - expected) > 5 * (SLACK + step * max(1.0, expected, 1 / x)):
            wrong.append(x)
    return wrong


def line(share: Fraction, source: int) -> Price:
    """A price of which a share follows the source."""
    rest = int(source * (1 - share) / share)
    return lambda answer: answer + rest


def inverse(unit: int) -> Price:
    return lambda answer: unit // max(answer, 1)


def capped(cap: int) -> Price:
    return lambda answer: min(answer, cap)


def floored(floor: int) -> Price:
    return lambda answer: max(answer, floor)


SOURCES = st.integers(10**6, 10**20)
SHARES = st.fractions(Fraction(1, 20), 1, max_denominator=1_000)
FULL = settings(max_examples=sample_size(quick=50, full=1_000, torture=20_000), deadline=None)


# --- forms that hold are found, and say what the price is elsewhere -------------------------------


@pytest.mark.sampled
@FULL
@given(source=SOURCES, share=SHARES)
def test_a_line_has_its_slope(source: int, share: Fraction) -> None:
    price = line(share, source)
    form = measured(price, source)
    assert form is not None
    assert form.linear
    assert (form.cap_x, form.floor_x) == (None, None)
    assert form.beta == pytest.approx(source / price(source), abs=1e-5 + 8 * form.step)
    assert misses(form, price, source) == []


@pytest.mark.sampled
@FULL
@given(source=SOURCES, digits=st.integers(0, 12))
def test_what_divides_follows_the_reciprocal(source: int, digits: int) -> None:
    """The price may have few digits: USDC in ETH has 33,333 units at 8 decimals."""
    price = inverse(source * 33_333 * 10**digits)
    form = measured(price, source)
    assert form is not None
    assert (form.beta, form.linear) == (-1, True)
    assert misses(form, price, source) == []


@pytest.mark.sampled
@FULL
@given(source=SOURCES, cap_x=st.fractions(Fraction(101, 100), Fraction(199, 100)))
def test_a_cap_above_the_price(source: int, cap_x: Fraction) -> None:
    price = capped(int(source * cap_x))
    form = measured(price, source)
    assert form is not None
    assert (form.beta, form.linear) == (1, True)
    assert form.cap_x == pytest.approx(float(cap_x), abs=1e-4)
    assert misses(form, price, source) == []


@pytest.mark.sampled
@FULL
@given(source=SOURCES, cap_x=st.fractions(Fraction(51, 100), Fraction(99, 100)))
def test_a_cap_that_is_passed_counts_the_source_as_the_cap(source: int, cap_x: Fraction) -> None:
    price = capped(int(source * cap_x))
    form = measured(price, source)
    assert form is not None
    assert (form.beta, form.linear, form.cap_x) == (1, True, 1)
    assert form.scale == pytest.approx(float(cap_x), abs=1e-4)
    assert misses(form, price, source) == []


@pytest.mark.sampled
@FULL
@given(source=SOURCES, floor_x=st.fractions(Fraction(26, 100), Fraction(99, 100)))
def test_a_floor_below_the_price(source: int, floor_x: Fraction) -> None:
    price = floored(int(source * floor_x))
    form = measured(price, source)
    assert form is not None
    assert (form.beta, form.linear) == (1, True)
    assert form.floor_x == pytest.approx(float(floor_x), abs=1e-4)
    assert misses(form, price, source) == []


@pytest.mark.sampled
@FULL
@given(source=SOURCES, share=SHARES, cap_x=st.fractions(Fraction(101, 100), Fraction(199, 100)))
def test_a_sum_with_a_cap(source: int, share: Fraction, cap_x: Fraction) -> None:
    total = line(share, source)
    cap = total(int(source * cap_x))
    form = measured(lambda answer: min(total(answer), cap), source)
    assert form is not None
    assert form.linear
    assert form.cap_x == pytest.approx(float(cap_x), abs=1e-3)
    assert misses(form, lambda answer: min(total(answer), cap), source) == []


# --- forms that do not hold are refused -----------------------------------------------------------


@pytest.mark.parametrize("power", [2, 3, -2, -3])
@given(source=st.integers(10**9, 10**12))
def test_a_power_is_named_and_refused(source: int, power: int) -> None:
    scale = source ** (abs(power) + 1) * 10**9

    def price(answer: int) -> int:
        return scale * answer**power if power > 0 else scale // answer**-power

    form = measured(price, source)
    assert form is not None
    assert (form.beta, form.linear) == (power, False)


@pytest.mark.sampled
@FULL
@given(
    source=SOURCES,
    corners=st.lists(
        st.tuples(st.fractions(Fraction(1, 10), 3), st.booleans()), min_size=1, max_size=4
    ),
    share=SHARES,
    divides=st.booleans(),
)
def test_a_form_never_says_what_a_probe_does_not(
    source: int, corners: list[tuple[Fraction, bool]], share: Fraction, divides: bool
) -> None:
    """Caps and floors anywhere and of any order: where a form is linear, all probes lie on it."""
    base = inverse(source * source * 10) if divides else line(share, source)
    unit = base(source)

    def price(answer: int) -> int:
        value = base(answer)
        for level, is_cap in corners:
            bound = int(unit * level)
            value = min(value, bound) if is_cap else max(value, bound)
        return value

    form = measured(price, source)
    if form is None or form.linear:
        wrong = set(misses(form, price, source)) & {float(x) for x in PROBES}
        assert not wrong, (form, wrong)


@pytest.mark.parametrize("reverts", PROBES)
def test_a_price_that_reverts_at_a_probe_is_refused(reverts: Fraction) -> None:
    """But for the outermost: a source may refuse to answer what is far off."""
    answers = {x: None if x == reverts else int(x * 10**8) for x in PROBES}
    form = measure_elasticity(10**8, answers, 10**8)
    assert form is not None
    assert form.linear == (reverts in (Fraction(1, 8), 4))


@pytest.mark.sampled
@FULL
@given(
    source=SOURCES,
    corner=st.fractions(Fraction(26, 100), Fraction(199, 100)),
    share=st.fractions(Fraction(1, 10), Fraction(9, 10), max_denominator=100),
    below=st.booleans(),
)
def test_a_bend_is_no_cap(source: int, corner: Fraction, share: Fraction, below: bool) -> None:
    """A sum of what is capped (or has a floor) and of what is not goes on beyond the corner."""
    bound = int(source * corner)

    def price(answer: int) -> int:
        bent = max(answer, bound) if below else min(answer, bound)
        return int(bent * share) + int(answer * (1 - share))

    form = measured(price, source)
    if form is None or form.linear:
        assert misses(form, price, source) == []


# --- rounding -------------------------------------------------------------------------------------


@pytest.mark.sampled
@FULL
@given(
    source=SOURCES,
    bend=st.integers(91, 99),
    share=st.integers(10, 90),
    top=st.integers(101, 109),
)
def test_a_bend_below_a_cap_above_is_refused(source: int, bend: int, share: int, top: int) -> None:
    """A sum of the source and of the source capped, capped itself: both between two probes."""

    def summed(answer: int) -> int:
        return (share * answer + (100 - share) * min(answer, source * bend // 100)) // 100

    def price(answer: int) -> int:
        return min(summed(answer), summed(source) * top // 100)

    form = measured(price, source)
    assert form is not None
    assert not form.linear or not misses(form, price, source)


@pytest.mark.sampled
@FULL
@given(source=SOURCES, units=st.integers(2, 5_000))
def test_a_price_of_few_units_is_within_its_step(source: int, units: int) -> None:
    """Whatever is said of a price of a few units, it is said with its step."""

    def price(answer: int) -> int:
        return answer * units // source

    form = measured(price, source)
    if form is None or form.linear:
        assert misses(form, price, source) == []
    if form is not None:
        assert form.step >= 1 / units


def test_a_price_that_does_not_move_has_no_form() -> None:
    assert measured(lambda answer: 10**8, 10**8) is None


def test_a_source_without_an_answer_counts_the_steps_of_the_price() -> None:
    form = measure_elasticity(10**6, {x: int(x * 10**6) for x in PROBES}, None)
    assert form == Elasticity(1.0, step=4e-6, rounding=1e-6)


def test_past_its_cap_a_source_without_an_answer_is_refused() -> None:
    answers = {x: min(10**6, int(x * 12 * 10**5)) for x in PROBES}
    form = measure_elasticity(10**6, answers, None)
    assert form is not None
    assert not form.linear
