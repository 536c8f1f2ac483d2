"""A liquidator in plain Python, from the contracts' rules, that watches one account as prices fall.

It shares no code with the product: it looks for the next price by halving an interval, tries every
pair of assets, and computes each call from the rule's own words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

# What one call may repay: health factor, all debt, the pair's collateral and debt, bonus and
# threshold of the collateral, what the thresholds make of all collateral; USD.
Rule = Callable[[float, float, float, float, float, float, float], float]


def half(hf: float, total: float, held: float, owed: float, *_: float) -> float:
    """Aave v2: half of the debt in one asset."""
    return owed / 2


def half_until_95(hf: float, total: float, held: float, owed: float, *_: float) -> float:
    """Aave v3.0 to 3.2: CLOSE_FACTOR_HF_THRESHOLD is 0.95."""
    return owed / 2 if hf > 0.95 else owed


def half_of_position(
    hf: float, total: float, held: float, owed: float, bonus: float, *_: float
) -> float:
    """Aave v3.3: half of all debt unless a side is below 2,000 USD; 1,000 USD stay of each side."""
    most = owed
    if held >= 2_000 and owed >= 2_000 and hf > 0.95:
        most = min(owed, total / 2)
    if most < owed and most * (1 + bonus) < held:
        most = min(most, owed - 1_000, (held - 1_000) / (1 + bonus))
    return most


def all_of_it(hf: float, total: float, held: float, owed: float, *_: float) -> float:
    """Morpho Blue, Euler: no close factor."""
    return owed


def up_to(target: float) -> Rule:
    """Aave v4: what brings the health factor to a target; all where less than 1,000 USD stay."""

    def rule(
        hf: float,
        total: float,
        held: float,
        owed: float,
        bonus: float,
        threshold: float,
        weighted: float,
    ) -> float:
        gain = target - (1 + bonus) * threshold
        need = owed if gain <= 0 else (target * total - weighted) / gain
        return owed if owed - need < 1_000 else need

    return rule


@dataclass
class Terms:
    """What a liquidator minds."""

    gas: float = 1.0
    dust: float = 1.0
    largest: bool = False


@dataclass
class Call:
    x: float
    collateral: str
    debt: str
    repaid: float
    seized: float


@dataclass
class Watched:
    """An account; balances in USD at the prices now, of each asset its move, threshold, bonus.

    Of pairs that pay the same the first is called.
    """

    held: dict[str, float]
    owed: dict[str, float]
    moves: Mapping[str, float]
    thresholds: Mapping[str, float]
    bonuses: Mapping[str, float]
    rule: Rule
    truncates: bool = False
    calls: list[Call] = field(default_factory=list)
    end: str = ""
    left: float = 0.0

    def worth(self, asset: str, usd: float, x: float) -> float:
        return usd * (1 + self.moves[asset] * (x - 1))

    def debt(self, x: float) -> float:
        return sum(self.worth(asset, usd, x) for asset, usd in self.owed.items())

    def weighted(self, x: float) -> float:
        worths = {asset: self.worth(asset, usd, x) for asset, usd in self.held.items()}
        collateral = sum(worths.values())
        exact = sum(worth * self.thresholds[asset] for asset, worth in worths.items())
        several = len({self.thresholds[a] for a, usd in self.held.items() if usd > 0}) > 1
        if not (self.truncates and several and collateral > 0):
            return exact
        return collateral * int(exact / collateral * 10_000 + 1e-9) / 10_000

    def health(self, x: float) -> float:
        debt = self.debt(x)
        return self.weighted(x) / debt if debt > 0 else 1e18

    def next_price(self, x: float, end: float, level: float = 1.0) -> float | None:
        """The first multiple from x towards the end at which the health factor is below a level.

        Truncating takes up to 1 bp off the threshold: near the level every price is looked at.
        """

        def is_below(at: float) -> bool:
            return self.health(at) < level * (1 - 1e-12)

        if is_below(x):
            return x
        near = self._first(x, end, level * (1 + 3e-4))
        far = self._first(x, end, level * (1 - 1e-9))
        if not self.truncates or near is None:
            near, far, marks = x, end, 1
        else:
            far, marks = end if far is None else far, 3_000
        before = near
        for mark in range(marks + 1):
            here = near + (far - near) * mark / marks
            if is_below(here):
                return self._halve(before, here, is_below)
            before = here
        return None

    def _first(self, x: float, end: float, level: float) -> float | None:
        """The first multiple at which the health factor without truncating is below a level."""

        def below(at: float) -> bool:
            worths = sum(self.worth(a, u, at) * self.thresholds[a] for a, u in self.held.items())
            return worths < level * self.debt(at)

        return x if below(x) else self._halve(x, end, below) if below(end) else None

    @staticmethod
    def _halve(near: float, far: float, is_there: Callable[[float], bool]) -> float:
        for _ in range(200):
            half_way = (near + far) / 2
            if is_there(half_way):
                far = half_way
            else:
                near = half_way
        return far

    def best_call(self, x: float, terms: Terms) -> Call | None:
        candidates: list[tuple[tuple[float, float, float], Call]] = []
        total, weighted = self.debt(x), self.weighted(x)
        for collateral, in_usd in self.held.items():
            held = self.worth(collateral, in_usd, x)
            for debt, owed_usd in self.owed.items():
                owed = self.worth(debt, owed_usd, x)
                if held <= 0 or owed <= 0:
                    continue
                bonus = self.bonuses[collateral]
                most = self.rule(
                    weighted / total,
                    total,
                    held,
                    owed,
                    bonus,
                    self.thresholds[collateral],
                    weighted,
                )
                repaid = min(most, owed, held / (1 + bonus))
                if repaid < terms.dust or repaid * bonus < terms.gas:
                    continue
                made = Call(x, collateral, debt, repaid, min(repaid * (1 + bonus), held))
                size = owed if terms.largest else repaid * bonus
                # Equal to a millionth of a dollar is equal: the first pair is called.
                candidates.append(((round(size, 6), round(held, 6), round(owed, 6)), made))
        return max(candidates, key=lambda ranked: ranked[0])[1] if candidates else None

    def follow(self, terms: Terms, end: float, full_close: float = 0.0) -> None:
        """Call until nothing is left to call on the way to the end."""
        x = 1.0
        while len(self.calls) < 400:
            price = self.next_price(x, end)
            if price is None:
                return
            call = self.best_call(price, terms)
            if call is None and self.health(price) > full_close > 0:
                # It may pay where all may be repaid.
                low = self.next_price(price, end, full_close)
                call = None if low is None else self.best_call(low, terms)
            if call is None:
                self.left = self.debt(price)
                empty = all(self.worth(a, usd, price) <= 0 for a, usd in self.held.items())
                self.end = "bad debt" if empty else "unprofitable"
                return
            x = call.x
            self._take(call)
            if self.debt(x) <= 0:
                return

    def _take(self, call: Call) -> None:
        for side, asset, amount in (
            (self.held, call.collateral, call.seized),
            (self.owed, call.debt, call.repaid),
        ):
            worth = self.worth(asset, side[asset], call.x)
            side[asset] = (
                0.0 if amount >= worth * (1 - 1e-12) else side[asset] * (1 - amount / worth)
            )
        self.calls.append(call)
