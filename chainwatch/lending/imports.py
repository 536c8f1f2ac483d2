"""Positions from any other source as a snapshot of their own, marked `imported`.

Figures are floats, so nothing here claims to equal a contract to the last digit. A price of 0 is a
missing price: accounts that hold such an asset are n/a. The file's columns:
chainwatch.lending.imported_balances.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from chainwatch.errors import UsageError
from chainwatch.lending.close_rules import RESERVE_HALF, CloseRule
from chainwatch.lending.imported_balances import COLLATERAL, DEBT, ImportedBalance, read_balances
from chainwatch.lending.slots import with_slots
from chainwatch.numbers import PLAIN, Form
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Account, Factor, Leg, Reserve, Snapshot

BASE_DECIMALS = 8
BASE_UNIT: int = 10**BASE_DECIMALS
_WAD = 10**18


class ImportOptions(msgspec.Struct, frozen=True):
    """What is not in the file: the market's name, the currency of its prices, its rules, and
    columns that have one value in all lines."""

    market: str
    source: str
    as_of: datetime
    now: datetime
    quote: str = "USD"
    quote_usd: float | None = 1.0
    close_rule: CloseRule = RESERVE_HALF
    form: Form = PLAIN
    constants: Mapping[str, str] = {}


def imported_rows(
    header: Sequence[str],
    lines: Sequence[Sequence[Any]],
    mapping: Mapping[str, str],
    options: ImportOptions,
) -> list[Row]:
    """The rows of one imported snapshot.

    `mapping` is our column → the file's. Raises UsageError naming the line (the first after the
    header is line 2) and the column that does not fit; then nothing is returned at all.
    """
    balances = read_balances(header, lines, mapping, options.form, options.constants)
    prices = _asset_prices(balances)
    by_account: dict[str, list[ImportedBalance]] = {}
    for balance in balances:
        by_account.setdefault(balance.account, []).append(balance)
    snapshot = f"{options.market}:imported:{options.now:%Y%m%dT%H%M%S%fZ}"
    common: dict[str, Any] = {"snapshot": snapshot, "market": options.market}
    rows: list[Row] = [
        *_reserve_rows(common, balances, prices, options),
        *_factor_rows(common, balances, prices, options),
    ]
    for account, held in by_account.items():
        rows += _account_rows(common, account, held, options)
    rows.append(_snapshot_row(common, by_account, options))
    return with_slots(rows)


def _asset_prices(balances: Sequence[ImportedBalance]) -> dict[str, tuple[float, str]]:
    """(price, factor) by asset; UsageError where two lines disagree."""
    prices: dict[str, tuple[float, str]] = {}
    for balance in balances:
        first = prices.setdefault(balance.asset, (balance.price, balance.factor))
        if first != (balance.price, balance.factor):
            raise UsageError(
                f"{balance.asset} has two prices or factors: "
                f"{first[0]:g} ({first[1]}) and {balance.price:g} ({balance.factor})"
            )
    return prices


def _reserve_rows(
    common: Mapping[str, Any],
    balances: Sequence[ImportedBalance],
    prices: Mapping[str, tuple[float, str]],
    options: ImportOptions,
) -> Iterator[Row]:
    for number, (asset, (price, _)) in enumerate(prices.items()):
        yield Reserve(
            **common,
            block_number=0,
            asset=asset,
            reserve_id=number,
            symbol=asset,
            decimals=18,
            price=round(price * BASE_UNIT) if price else None,
            price_usd=price * options.quote_usd if price and options.quote_usd else None,
            price_status="ok" if price else "n/a (price 0)",
            oracle="",
            ltv_bps=0.0,
            lt_bps=max((b.lt for b in balances if b.asset == asset), default=0.0) * 1e4,
            bonus_bps=max((b.bonus for b in balances if b.asset == asset), default=0.0) * 1e4,
        )


def _factor_rows(
    common: Mapping[str, Any],
    balances: Sequence[ImportedBalance],
    prices: Mapping[str, tuple[float, str]],
    options: ImportOptions,
) -> Iterator[Row]:
    factor_prices = _factor_prices(balances, prices)
    for asset, (_, factor) in prices.items():
        yield Factor(
            **common,
            block_number=0,
            asset=asset,
            factor=factor,
            beta=1.0,
            kind="unknown" if factor in (COLLATERAL, DEBT) else "feed",
            feed="",
            description=f"imported from {options.source}",
            factor_price=_in_usd(factor_prices[factor], options),
        )


def _snapshot_row(
    common: Mapping[str, Any],
    by_account: Mapping[str, Sequence[ImportedBalance]],
    options: ImportOptions,
) -> Snapshot:
    return Snapshot(
        **common,
        protocol="imported",
        provenance="imported",
        chain_id=0,
        block_number=0,
        block_hash="",
        block_time=options.as_of,
        read_at=options.now,
        revision=0,
        profile="imported",
        base_decimals=BASE_DECIMALS,
        quote=options.quote,
        quote_usd=options.quote_usd,
        scope="all",
        accounts=len(by_account),
        accounts_read=len(by_account),
        accounts_failed=sum(any(not b.price for b in held) for held in by_account.values()),
        based_on=None,
        endpoint=options.source,
        **msgspec.structs.asdict(options.close_rule),
    )


def _factor_prices(
    balances: Sequence[ImportedBalance], prices: Mapping[str, tuple[float, str]]
) -> dict[str, float | None]:
    """The price of each factor in the quote currency; None where the file does not settle it."""
    stated: dict[str, set[float]] = {}
    for balance in balances:
        factor_values = stated.setdefault(balance.factor, set())
        if balance.factor_price is not None:
            factor_values.add(balance.factor_price)
    factor_prices: dict[str, float | None] = {}
    for factor, values in stated.items():
        if len(values) > 1:
            raise UsageError(
                f"factor {factor} has two values: "
                + " and ".join(f"{value:g}" for value in sorted(values)[:2])
            )
        moved = {price for price, moved_by in prices.values() if moved_by == factor}
        own = prices.get(factor)
        possible = values or ({own[0]} if own and own[1] == factor else moved)
        factor_prices[factor] = next(iter(possible)) if len(possible) == 1 else None
    return factor_prices


def _in_usd(value: float | None, options: ImportOptions) -> float | None:
    return value * options.quote_usd if value and options.quote_usd else None


def _account_rows(
    common: Mapping[str, Any], account: str, held: Sequence[ImportedBalance], options: ImportOptions
) -> Iterator[Row]:
    collateral = sum(b.amount * b.price for b in held if b.side == "collateral")
    weighted = sum(b.amount * b.price * b.lt for b in held if b.side == "collateral")
    debt = sum(b.amount * b.price for b in held if b.side == "debt")
    priced = all(b.price for b in held)
    hf = weighted / debt if debt and priced else None

    def usd(value: float) -> float | None:
        return None if options.quote_usd is None or not priced else value * options.quote_usd

    def base(side: str) -> int | None:
        return sum(_base_units(b) for b in held if b.side == side) if priced else None

    yield Account(
        **common,
        block_number=0,
        account=account,
        emode=0,
        status="n/a (price 0)" if not priced else "ok" if debt else "no debt",
        collateral_base=base("collateral"),
        debt_base=base("debt"),
        hf_wad=None if hf is None else int(hf * _WAD),
        liquidatable=(hf is not None and hf < 1) if priced else None,
        lt_bps=int(weighted / collateral * 1e4) if collateral and priced else None,
        collateral_usd=usd(collateral),
        debt_usd=usd(debt),
        hf=hf,
        legs=len(held),
        read_block=0,
    )
    listed: set[tuple[str, str]] = set()
    for balance in held:
        key = (balance.asset, balance.side)
        if key in listed:
            raise UsageError(
                f"account {account} has two rows of {balance.side} in {balance.asset}: add them up"
            )
        listed.add(key)
        value = balance.amount * balance.price
        yield Leg(
            **common,
            account=account,
            asset=balance.asset,
            side=balance.side,
            scaled=round(balance.amount * BASE_UNIT),
            raw=round(balance.amount * BASE_UNIT),
            value=_base_units(balance) if balance.price else None,
            amount=balance.amount,
            usd=value * options.quote_usd if balance.price and options.quote_usd else None,
            lt_bps=balance.lt * 1e4,
            bonus_bps=balance.bonus * 1e4,
        )


def _base_units(balance: ImportedBalance) -> int:
    """A balance's value in base units."""
    return round(balance.amount * balance.price * BASE_UNIT)
