"""The parts of a wall's move: each cause moves its own part, and together they are the whole."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.errors import Exit, UsageError
from chainwatch.lake.store import Store
from chainwatch.lending.close_rules import ABSORB, HALF, RESERVE_HALF, WHOLE, CloseRule
from chainwatch.reports import diff
from chainwatch.reports.diff import FIGURES, PARTS, WallRange
from chainwatch.tables.base import Row
from chainwatch.tables.lending import ChainLiquidation, Reserve
from tests import shell
from tests.amounts import sample_size
from tests.builders import Asset, Book, ask

THEN = datetime(2026, 1, 29, tzinfo=UTC)
NOW = datetime(2026, 1, 30, tzinfo=UTC)
RAY = 10**27
Balances = dict[str, tuple[float, float]]


def book(
    time: datetime,
    block: int,
    accounts: Balances,
    *,
    eth: float = 3_000.0,
    lt: float = 0.8,
    index: float = 1.0,
    close_rule: CloseRule = HALF,
) -> list[Row]:
    """Accounts with (ETH supplied, USD owed); `index` is the debt index of USD."""
    made = Book(
        Asset("ETH", eth, lt=lt, betas={"ETH": 1.0}),
        Asset("USD", 1.0, lt=0.7, betas={"USD": 1.0}),
        block=block,
        time=time,
        close_rule=close_rule,
    )
    for name, (supplied, owed) in accounts.items():
        made.account(name, {"ETH": supplied} if supplied else {}, {"USD": owed} if owed else {})
    usd = made.assets["USD"].address
    return [
        msgspec.structs.replace(row, debt_index=round(RAY * index))
        if isinstance(row, Reserve) and row.asset == usd
        else row
        for row in made.rows()
    ]


def split(folder: Path, *loads: list[Row], movers: int = 0, **wall: Any) -> diff.WallDifference:
    store = Store(folder)
    store.create()
    for rows in loads:
        store.append(rows, source="test")
    hour = timedelta(hours=1)
    return diff.split(
        store, WallRange(factor="ETH", **wall), THEN + hour, NOW + hour, movers=movers
    )


def parts(result: diff.WallDifference, figure: str = "round_seizable_usd") -> dict[str, float]:
    return {p.part: float(p.changes[figure]) for p in result.parts[1:] if p.changes[figure]}


def address(name: str) -> str:
    return f"0x{name.encode().hex():0>40}"


# a and b become liquidatable at 2,437.50 and 2,500 USD per ETH, c at 12.50.
WHO: Balances = {"a": (4.0, 7_800.0), "b": (10.0, 20_000.0), "c": (100.0, 1_000.0)}


@pytest.mark.full
@pytest.mark.parametrize(
    ("cause", "change", "sign"),
    [
        ("price", {"eth": 4_000.0}, -1),  # what is near the price is near no more
        ("new borrowing", {"a": (4.0, 8_500.0)}, 1),
        ("repayment", {"a": (4.0, 3_000.0)}, -1),
        ("collateral added", {"a": (40.0, 7_800.0)}, -1),
        ("collateral withdrawn", {"c": (0.5, 1_000.0)}, 1),
        ("parameters", {"lt": 0.79}, 1),
        ("parameters", {"close_rule": WHOLE}, 1),
    ],
)
def test_each_cause_moves_its_own_part_and_no_other(
    tmp_path: Path, cause: str, change: dict[str, Any], sign: int
) -> None:
    after = WHO | {k: v for k, v in change.items() if k in WHO}
    how = {k: v for k, v in change.items() if k not in WHO}
    figure = "round_seizable_usd" if cause == "parameters" or sign > 0 else "collateral_at_risk_usd"
    result = split(tmp_path, book(THEN, 1, WHO), book(NOW, 2, after, **how))
    moved = {p: c for p, c in parts(result, figure).items() if abs(c) > 0.01}
    if cause == "parameters" and "lt" in how:
        figure = "collateral_at_risk_usd"
        moved = {p: c for p, c in parts(result, figure).items() if abs(c) > 0.01}
        sign = 1 if moved[cause] > 0 else -1
    assert set(moved) == {cause}, moved
    assert moved[cause] * sign > 0


@pytest.mark.full
def test_interest_is_what_the_index_made_of_the_older_debt(tmp_path: Path) -> None:
    grown = {name: (c, d * 1.01) for name, (c, d) in WHO.items()}
    result = split(tmp_path, book(THEN, 1, WHO), book(NOW, 2, grown, index=1.01))
    moved = {p for p, c in parts(result).items() if abs(c) > 0.01}
    assert moved == {"interest"}


@pytest.mark.full
def test_a_liquidation_is_no_repayment_and_no_withdrawal(tmp_path: Path) -> None:
    after = WHO | {"a": (2.6, 3_900.0)}
    event = ChainLiquidation(
        market="m",
        protocol="aave-v3",
        chain_id=1,
        block_number=2,
        block_hash="0x2",
        block_time=NOW,
        tx_hash="0x",
        log_index=0,
        kind="liquidation",
        account=address("a"),
        liquidator="0x",
        debt_asset=address("USD"),
        debt_repaid_raw=1,
        debt_repaid=3_900.0,
        coll_asset=address("ETH"),
        coll_seized_raw=1,
        # The liquidator got this; the protocol a tenth of the bonus of 5 %.
        coll_seized=1.4 * (1 - 0.1 * 0.05 / 1.05),
        bonus_bps=500,
        protocol_fee_bps=1_000,
    )
    loads = (book(THEN, 1, WHO), book(NOW, 2, after))
    with_event = split(tmp_path / "one", *loads, [event])
    without = split(tmp_path / "two", *loads)
    assert {p for p, c in parts(with_event).items() if abs(c) > 0.01} == {"liquidation"}
    assert {p for p, c in parts(without).items() if abs(c) > 0.01} == {"repayment"}
    assert without.parts[-1].walls == with_event.parts[-1].walls


amounts = st.one_of(st.just(0.0), st.floats(0.001, 50.0))
debts = st.one_of(st.just(0.0), st.floats(1.0, 90_000.0))
people = st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(amounts, debts), min_size=1)


@pytest.mark.sampled
@settings(
    max_examples=sample_size(quick=1, full=6, torture=100),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    before=people,
    after=people,
    prices=st.tuples(st.floats(500, 5_000), st.floats(500, 5_000)),
    lts=st.tuples(st.sampled_from((0.75, 0.8)), st.sampled_from((0.75, 0.83))),
    index=st.floats(1.0, 1.2),
    rule=st.sampled_from((HALF, RESERVE_HALF, WHOLE, ABSORB)),
    direction=st.sampled_from(("down", "up")),
)
def test_parts_add_up_exactly_and_the_ends_are_the_walls(
    before: Balances,
    after: Balances,
    prices: tuple[float, float],
    lts: tuple[float, float],
    index: float,
    rule: CloseRule,
    direction: str,
) -> None:
    """The parts add up to the whole difference exactly, and its ends are the walls."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        result = split(
            home,
            book(THEN, 1, before, eth=prices[0], lt=lts[0]),
            book(NOW, 2, after, eth=prices[1], lt=lts[1], index=index, close_rule=rule),
            direction=direction,
            movers=1_000,
        )
        first, *rest = result.parts
        assert [p.part for p in rest] == list(PARTS)
        for figure in FIGURES:
            complete = rest[-1].walls[figure] - first.walls[figure]
            assert sum((p.changes[figure] for p in rest), Decimal(0)) == complete
        for time, part in ((THEN, first), (NOW, rest[-1])):
            rows = ask(
                Store(home),
                "walls",
                factor="ETH",
                direction=direction,
                range=0.3,
                step_pct=0.3,
                as_of=time,
            )
            near = [row for row in rows if row["direction"] in ("now", direction)]
            assert part.walls["accounts"] == sum(row["accounts"] for row in near)
            for figure in FIGURES[1:]:
                wall = sum(row[figure] for row in near)
                assert float(part.walls[figure]) == pytest.approx(wall, rel=1e-9, abs=1e-4)
        # The accounts behind a part are all of it, but for dust.
        for part in rest:
            mine = [m.change_usd for m in result.movers if m.part == part.part]
            total = sum(mine, Decimal(0))
            assert abs(total - part.changes["collateral_at_risk_usd"]) <= Decimal("0.16")


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    store.append(book(THEN, 1, WHO), source="test")
    with pytest.raises(UsageError, match="no snapshot of a market up to 2020"):
        diff.split(store, WallRange(factor="ETH"), datetime(2020, 1, 1, tzinfo=UTC), NOW)
    with pytest.raises(UsageError, match="no market has a snapshot of its own up to"):
        diff.split(store, WallRange(factor="ETH"), THEN, NOW)
    store.append(book(NOW, 2, WHO), source="test")
    with pytest.raises(UsageError, match="no factor is called 'XAU' on m: ETH, USD"):
        diff.split(store, WallRange(factor="XAU"), THEN, NOW)
    with pytest.raises(UsageError, match="no snapshot of market 'x'"):
        diff.split(store, WallRange(factor="ETH", market="x"), THEN, NOW)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--from", "soon"), "--from: expected a time"),
        (("--from", "2026-01-29", "--to", "2026-01-28"), "--to must be later than --from"),
        (("--from", "2026-01-28", "--up", "5%", "--down", "5%"), "choose --down or --up"),
    ],
)
def test_a_wrong_word_is_one_line(words: tuple[str, ...], message: str) -> None:
    done = shell.run("diff", *words, home=shell.recorded_lake())
    assert (done.code, len(done.lines)) == (Exit.USAGE, 1)
    assert message in done.err
