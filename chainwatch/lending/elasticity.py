"""How a price answers to one of its sources: proportional, divided, a sum, capped, or otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

import msgspec

# The source's answer is multiplied by each of these; the first two decide whether it matters.
PROBES = tuple(Fraction(x) for x in ("1/2", "2", "9/10", "11/10", "1/4", "1/8", "4"))
DECIDING = 2
_FAR_DOWN, _FAR_UP, _DOWN, _UP, _LOW, _LOWEST, _HIGHEST = PROBES
# Beyond the others a source may refuse to answer, and the form still holds between them.
_OUTER = (_LOWEST, _HIGHEST)
# Where a form has to hold: between the probes it may break more than once.
_POINTS = (*PROBES, Fraction(1))
_EDGE_DENOMINATOR = 10_000
# Relative, before the steps of the integers themselves.
SLACK = 2e-6
_POWERS = (-1, 2, -2, 3, -3)
STEPS = 4


class Elasticity(msgspec.Struct, frozen=True):
    """A price as a multiple of itself, by the multiple x of a source.

    `beta`: 1 + beta · (x - 1), and 1/x for -1. Above `cap_x` and below `floor_x` the price stays as
    it is there. `linear` is False where no such form holds: no figure may follow from it then, and
    `beta` is the power of x, or the slope around 1. `scale`: where the price is at its cap already,
    the source counts as this part of its value. `step` is how far integers may be off in a
    measurement, `rounding` one unit of the price and of the source; both are relative.
    """

    beta: float
    cap_x: float | None = None
    floor_x: float | None = None
    linear: bool = True
    scale: float = 1.0
    step: float = 0.0
    rounding: float = 0.0


def measure_elasticity(
    price: int, answers: Mapping[Fraction, int | None], source: int | None
) -> Elasticity | None:
    """The form that a price's answers have; None where the source does not move it.

    `price` and `source` are the raw answers now, `answers` the price by each of PROBES and of any
    other multiple, None where it reverted.
    """
    step = STEPS * (1 / price + (1 / source if source else 0))
    form = _Answers({x: None if a is None else a / price for x, a in answers.items()}, step).form()
    if form is None:
        return None
    # Without a value of its own the source cannot count as a part of it.
    linear = form.linear and (form.scale == 1 or source is not None)
    # A source that is passed through is rounded once.
    rounding = 1 / price + (1 / source if source and source != price else 0.0)
    return msgspec.structs.replace(form, step=step, rounding=rounding, linear=linear)


def points_at_edges(form: Elasticity) -> tuple[Fraction, ...]:
    """Multiples of the source at which a form with a cap or a floor has yet to hold: at its edge,
    and halfway from there to the probes on both sides. None for a form without an edge.
    """
    edges = [form.cap_x * form.scale] if form.cap_x is not None else []
    edges += [form.floor_x] if form.floor_x is not None else []
    points = []
    for edge in (Fraction(e).limit_denominator(_EDGE_DENOMINATOR) for e in edges):
        below = max((x for x in _POINTS if x < edge), default=edge)
        above = min((x for x in _POINTS if x > edge), default=edge)
        points += [edge, (below + edge) / 2, (edge + above) / 2]
    return tuple(dict.fromkeys(x for x in points if x > 0 and x not in _POINTS))


class _Answers:
    """A price by the multiple of its source, as multiples of the price now, and their relative
    error.
    """

    def __init__(self, multiples: Mapping[Fraction, float | None], step: float) -> None:
        self._multiples = {**multiples, Fraction(1): 1.0}
        self._points = tuple(dict.fromkeys((*_POINTS, *multiples)))
        self._step = step
        self._slack = SLACK + step

    def form(self) -> Elasticity | None:
        """The form that all of them have; None where the price does not move."""
        if self._all_are(lambda x: 1.0):
            return None
        for power in _POWERS:
            if self._all_are(lambda x, n=power: float(x**n)):  # type: ignore[misc]
                return Elasticity(float(power), linear=power == -1)
        form = self._line() or self._capped() or self._floored()
        return form or Elasticity(self._slope(_DOWN, _UP) or 0.0, linear=False)

    def _line(self) -> Elasticity | None:
        beta = self._slope(_DOWN, _UP)
        if beta is not None and self._all_are(lambda x: 1 + beta * (x - 1)):
            return Elasticity(beta)
        return None

    def _capped(self) -> Elasticity | None:
        """One line below, one value above; where that is the price now, the source is past it."""
        beta, low = self._slope(_LOW, _FAR_DOWN), self._multiples[_FAR_DOWN]
        top = self._outermost(_HIGHEST, _FAR_UP)
        if beta is None or top is None or low is None or beta <= 0:
            return None
        at_one = low + beta * float(1 - _FAR_DOWN)
        if not all(self._is(x, min(top, at_one + beta * float(x - 1))) for x in self._points):
            return None
        if abs(at_one - 1) <= 2 * self._slack:
            return Elasticity(beta, cap_x=1 + (top - 1) / beta)
        # Past its cap the price has to be proportional to the source: what it follows below is the
        # source, not a sum with another.
        if at_one > 1 and abs(beta - at_one) <= 4 * self._slack * at_one:
            return Elasticity(1.0, cap_x=1.0, scale=1 / at_one)
        return None

    def _floored(self) -> Elasticity | None:
        """One line above, one value below."""
        beta, bottom = self._slope(_UP, _FAR_UP), self._outermost(_LOWEST, _LOW)
        if beta is None or bottom is None or beta <= 0:
            return None
        if all(self._is(x, max(bottom, 1 + beta * float(x - 1))) for x in self._points):
            return Elasticity(beta, floor_x=1 + (bottom - 1) / beta)
        return None

    def _outermost(self, outer: Fraction, inner: Fraction) -> float | None:
        """Where the price stays as it is, two probes have to lie there: the outer one shows it."""
        value = self._multiples[outer]
        return self._multiples[inner] if value is None else value

    def _slope(self, low: Fraction, high: Fraction) -> float | None:
        """Between two probes, whole where it is but for rounding; None where either reverted."""
        below, above = self._multiples[low], self._multiples[high]
        if below is None or above is None:
            return None
        slope = (above - below) / float(high - low)
        near = abs(slope - round(slope)) <= 3 * self._slack / float(high - low)
        return float(round(slope)) if near else slope

    def _all_are(self, expected: Callable[[float], float]) -> bool:
        return all(self._is(x, expected(float(x))) for x in self._points)

    def _is(self, x: Fraction, expected: float) -> bool:
        """A step of the source weighs more, the smaller its answer is made."""
        value = self._multiples[x]
        if value is None and x in _OUTER:
            return True
        tolerance = SLACK + self._step * max(1.0, expected) * max(1.0, 1 / float(x))
        return value is not None and abs(value - expected) <= tolerance
