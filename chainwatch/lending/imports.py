"""Positions from any other source as a snapshot of their own, marked `imported`.

Two shapes of CSV or Parquet are understood; other column names are mapped onto these.

balances, one row per balance:
    account                    any text of up to 80 characters that names the account
    asset                      any such text that names the asset
    side                       collateral or debt
    amount                     whole tokens
    price                      of one token, in the quote currency
    liquidation_threshold      collateral: fraction (0.83) …
    liquidation_threshold_bps  … or basis points (8300); one of the two, 0 where it counts nothing
    bonus, bonus_bps           collateral, optional: 0.05 or 500; one of the two
                               (thresholds and bonuses are 1.5 at the most)
    factor                     optional: what moves the price; without it the asset itself
    factor_price               optional: what the factor stands at; without it the price of the
                               asset of its name, or the one price of all assets that it moves

accounts, one row per account with what its protocol reports:
    account, collateral, debt  values in the quote currency
    liquidation_threshold(_bps), bonus(_bps)  as above, of the whole collateral
    collateral_asset, debt_asset              optional; without them "collateral" and "debt"

Figures are floats, so nothing here claims to equal a contract to the last digit. A price of 0 is
none: accounts that hold such an asset are n/a. What a number looks like says chainwatch.numbers;
`form` is the file's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from chainwatch import numbers
from chainwatch.errors import UsageError
from chainwatch.numbers import LEAST, MOST, PLAIN, Form, NotReadable, OutOfRange
from chainwatch.tables.base import Row
from chainwatch.tables.lending import Account, Factor, Leg, Reserve, Snapshot
from chainwatch.text import visible

BALANCE_COLUMNS = ("account", "asset", "side", "amount", "price")
ACCOUNT_COLUMNS = ("account", "collateral", "debt")
OPTIONAL_COLUMNS = (
    "liquidation_threshold",
    "liquidation_threshold_bps",
    "bonus",
    "bonus_bps",
    "factor",
    "factor_price",
    "collateral_asset",
    "debt_asset",
)
KNOWN_COLUMNS = (*dict.fromkeys((*BALANCE_COLUMNS, *ACCOUNT_COLUMNS, *OPTIONAL_COLUMNS)),)
# What accounts hold and owe where their file does not name it.
COLLATERAL, DEBT = "collateral", "debt"
BASE_DECIMALS = 8
BASE_UNIT: int = 10**BASE_DECIMALS
NAME_LENGTH = 80
# Thresholds and bonuses above this are no fractions.
MOST_SHARE = 1.5
_WAD = 10**18
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


class Terms(msgspec.Struct, frozen=True):
    """What the file does not say: the market's name, the currency its prices are in, its rules."""

    market: str
    source: str
    as_of: datetime
    now: datetime
    quote: str = "USD"
    quote_usd: float | None = 1.0
    close_rule: str = "reserve-half"
    form: Form = PLAIN


class _Balance(msgspec.Struct, frozen=True):
    account: str
    asset: str
    side: str
    amount: float
    price: float
    lt: float
    bonus: float
    factor: str
    factor_price: float | None = None


def snapshot_rows(
    columns: Sequence[str],
    lines: Sequence[Sequence[Any]],
    mapping: Mapping[str, str],
    terms: Terms,
) -> list[Row]:
    """The rows of one imported snapshot.

    `mapping` is ours → theirs. Raises UsageError naming the line (the first after the heading is
    line 2) and the column that does not fit; then nothing is returned at all.
    """
    where = _Columns(_positions(columns, mapping), terms.form)
    if all(c in where for c in BALANCE_COLUMNS):
        balances = [b for n, line in _numbered(lines) for b in _from_balance(where, line, n)]
    elif all(c in where for c in ACCOUNT_COLUMNS):
        balances = [b for n, line in _numbered(lines) for b in _from_account(where, line, n)]
    else:
        raise UsageError(
            f"it needs the columns {', '.join(BALANCE_COLUMNS)} (a row per balance) or "
            f"{', '.join(ACCOUNT_COLUMNS)} (a row per account); it has "
            f"{', '.join(visible(c, 40) for c in columns) or 'none'}: "
            "name them with --map OURS=THEIRS"
        )
    if not balances:
        raise UsageError("it holds no positions")
    return _rows(balances, terms)


def _positions(columns: Sequence[str], mapping: Mapping[str, str]) -> dict[str, int]:
    for ours, theirs in mapping.items():
        if ours not in KNOWN_COLUMNS:
            raise UsageError(
                f"--map knows no column {ours!r} of ours; there are {', '.join(KNOWN_COLUMNS)}"
            )
        if theirs not in columns:
            raise UsageError(f"--map {ours}={theirs}: the file has no column {visible(theirs)!r}")
    where = {c: columns.index(c) for c in KNOWN_COLUMNS if c in columns}
    for fraction in ("liquidation_threshold", "bonus"):
        both = {fraction, f"{fraction}_bps"}
        named = both & mapping.keys()
        if both <= (named or where.keys()):
            raise UsageError(
                f"it has {fraction} and {fraction}_bps: name the one that counts with --map"
            )
        if named:
            where = {c: place for c, place in where.items() if c not in both}
    return where | {ours: columns.index(theirs) for ours, theirs in mapping.items()}


def _numbered(lines: Sequence[Sequence[Any]]) -> Iterator[tuple[int, Sequence[Any]]]:
    yield from ((n, line) for n, line in enumerate(lines, start=2) if line)


class _Columns(dict[str, int]):
    """Where each column is, and how its file writes numbers."""

    def __init__(self, where: Mapping[str, int], form: Form) -> None:
        super().__init__(where)
        self.form = form


def _number(
    where: _Columns,
    line: Sequence[Any],
    name: str,
    at: int,
    *,
    default: float | None = None,
) -> float:
    text = line[where[name]] if name in where else None
    if text is None or str(text).strip() == "":
        if default is not None:
            return default
        raise UsageError(f"line {at}: {name} is missing")
    try:
        value = numbers.real(text, where.form)
    except OutOfRange:
        value = -1.0
    except NotReadable:
        told = f"line {at}: {name} is no number: {visible(str(text), 40)!r}"
        if isinstance(text, str) and "," in text and where.form is PLAIN:
            told += " (if the file has decimal commas, say --decimal-comma)"
        raise UsageError(told) from None
    if value < 0:
        raise UsageError(
            f"line {at}: {name} must be 0 or lie between {LEAST:g} and {MOST:g}, "
            f"not {visible(str(text), 40)}"
        )
    return value


def _factor_price(where: _Columns, line: Sequence[Any], at: int) -> float | None:
    return _number(where, line, "factor_price", at, default=0.0) or None


def _share(
    where: _Columns,
    line: Sequence[Any],
    name: str,
    at: int,
    *,
    default: float | None = 0.0,
) -> float:
    """A fraction given as such or in basis points."""
    if f"{name}_bps" in where:
        points = _number(where, line, f"{name}_bps", at, default=default)
        if points > MOST_SHARE * 10_000:
            raise UsageError(
                f"line {at}: {name}_bps is {MOST_SHARE * 10_000:.0f} at the most (8300 is 83 %), "
                f"not {points:g}"
            )
        return points / 10_000
    value = _number(where, line, name, at, default=default)
    if value > MOST_SHARE:
        raise UsageError(
            f"line {at}: {name} is a fraction such as 0.83, not {value:g}; if it is in basis "
            f"points, map it to {name}_bps"
        )
    return value


def _threshold(where: _Columns, line: Sequence[Any], at: int, held: float) -> float:
    """The liquidation threshold of collateral: a 0 must be told, unless nothing is held."""
    return _share(where, line, "liquidation_threshold", at, default=None if held else 0.0)


def _text(where: _Columns, line: Sequence[Any], name: str, at: int, default: str) -> str:
    value = line[where[name]] if name in where else None
    text = visible(str(value).strip()) if value is not None else ""
    if len(text) > NAME_LENGTH:
        raise UsageError(
            f"line {at}: {name} has {len(text)} characters, {NAME_LENGTH} are the most: "
            f"{visible(text, 40)!r}"
        )
    if not text and not default:
        raise UsageError(f"line {at}: {name} is missing")
    return text.lower() if _ADDRESS.fullmatch(text) else text or default


def _from_balance(where: _Columns, line: Sequence[Any], at: int) -> Iterator[_Balance]:
    side = _text(where, line, "side", at, "").lower()
    if side not in ("collateral", "debt"):
        raise UsageError(f"line {at}: side is collateral or debt, not {side!r}")
    asset = _text(where, line, "asset", at, "")
    debt = side == "debt"
    amount = _number(where, line, "amount", at)
    yield _Balance(
        account=_text(where, line, "account", at, ""),
        asset=asset,
        side=side,
        amount=amount,
        price=_number(where, line, "price", at),
        lt=0.0 if debt else _threshold(where, line, at, amount),
        bonus=0.0 if debt else _share(where, line, "bonus", at),
        factor=_text(where, line, "factor", at, asset),
        factor_price=_factor_price(where, line, at),
    )


def _from_account(where: _Columns, line: Sequence[Any], at: int) -> Iterator[_Balance]:
    account = _text(where, line, "account", at, "")
    collateral = _text(where, line, "collateral_asset", at, COLLATERAL)
    debt = _text(where, line, "debt_asset", at, DEBT)
    held = _number(where, line, "collateral", at)
    yield _Balance(
        account=account,
        asset=collateral,
        side="collateral",
        amount=held,
        price=1.0,
        lt=_threshold(where, line, at, held),
        bonus=_share(where, line, "bonus", at),
        factor=_text(where, line, "factor", at, collateral),
        factor_price=_factor_price(where, line, at),
    )
    owed = _number(where, line, "debt", at)
    if owed:
        yield _Balance(account, debt, "debt", owed, 1.0, 0.0, 0.0, debt)


def _rows(balances: Sequence[_Balance], terms: Terms) -> list[Row]:
    snapshot = f"{terms.market}:imported:{terms.now:%Y%m%dT%H%M%S%fZ}"
    prices: dict[str, tuple[float, str]] = {}
    for balance in balances:
        known = prices.setdefault(balance.asset, (balance.price, balance.factor))
        if known != (balance.price, balance.factor):
            raise UsageError(
                f"{balance.asset} has two prices or factors: "
                f"{known[0]:g} ({known[1]}) and {balance.price:g} ({balance.factor})"
            )
    by_account: dict[str, list[_Balance]] = {}
    for balance in balances:
        by_account.setdefault(balance.account, []).append(balance)
    common: dict[str, Any] = {"snapshot": snapshot, "market": terms.market}
    rows: list[Row] = []
    levels = _factor_levels(balances, prices)
    for number, (asset, (price, _)) in enumerate(prices.items()):
        rows.append(
            Reserve(
                **common,
                block_number=0,
                asset=asset,
                reserve_id=number,
                symbol=asset,
                decimals=18,
                price=round(price * BASE_UNIT) if price else None,
                price_usd=price * terms.quote_usd if price and terms.quote_usd else None,
                price_status="ok" if price else "n/a (price 0)",
                oracle="",
                ltv_bps=0.0,
                lt_bps=max((b.lt for b in balances if b.asset == asset), default=0.0) * 1e4,
                bonus_bps=max((b.bonus for b in balances if b.asset == asset), default=0.0) * 1e4,
            )
        )
    for asset, (_, factor) in prices.items():
        rows.append(
            Factor(
                **common,
                block_number=0,
                asset=asset,
                factor=factor,
                beta=1.0,
                kind="unknown" if factor in (COLLATERAL, DEBT) else "feed",
                feed="",
                description=f"imported from {terms.source}",
                factor_price=_in_usd(levels[factor], terms),
            )
        )
    failed = 0
    for account, held in by_account.items():
        rows += _account_rows(common, account, held, terms)
        failed += any(not b.price for b in held)
    rows.append(
        Snapshot(
            **common,
            protocol="imported",
            provenance="imported",
            chain_id=0,
            block_number=0,
            block_hash="",
            block_time=terms.as_of,
            read_at=terms.now,
            revision=0,
            profile="imported",
            hf_rule="weighted",
            close_rule=terms.close_rule,
            base_decimals=BASE_DECIMALS,
            quote=terms.quote,
            quote_usd=terms.quote_usd,
            scope="all",
            accounts=len(by_account),
            accounts_read=len(by_account),
            accounts_failed=failed,
            based_on=None,
            endpoint=terms.source,
        )
    )
    return rows


def _factor_levels(
    balances: Sequence[_Balance], prices: Mapping[str, tuple[float, str]]
) -> dict[str, float | None]:
    """What each factor stands at, in the quote currency; None where the file leaves it open."""
    stated: dict[str, set[float]] = {}
    for balance in balances:
        found = stated.setdefault(balance.factor, set())
        if balance.factor_price is not None:
            found.add(balance.factor_price)
    levels: dict[str, float | None] = {}
    for factor, told in stated.items():
        if len(told) > 1:
            raise UsageError(
                f"factor {factor} has two values: "
                + " and ".join(f"{value:g}" for value in sorted(told)[:2])
            )
        moved = {price for price, its in prices.values() if its == factor}
        own = prices.get(factor)
        known = told or ({own[0]} if own and own[1] == factor else moved)
        levels[factor] = next(iter(known)) if len(known) == 1 else None
    return levels


def _in_usd(value: float | None, terms: Terms) -> float | None:
    return value * terms.quote_usd if value and terms.quote_usd else None


def _account_rows(
    common: Mapping[str, Any], account: str, held: Sequence[_Balance], terms: Terms
) -> Iterator[Row]:
    collateral = sum(b.amount * b.price for b in held if b.side == "collateral")
    weighted = sum(b.amount * b.price * b.lt for b in held if b.side == "collateral")
    debt = sum(b.amount * b.price for b in held if b.side == "debt")
    priced = all(b.price for b in held)
    hf = weighted / debt if debt and priced else None

    def usd(value: float) -> float | None:
        return None if terms.quote_usd is None or not priced else value * terms.quote_usd

    def base(side: str) -> int | None:
        return sum(_base(b) for b in held if b.side == side) if priced else None

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
    merged: dict[tuple[str, str], _Balance] = {}
    for balance in held:
        key = (balance.asset, balance.side)
        if key in merged:
            raise UsageError(
                f"account {account} has two rows of {balance.side} in {balance.asset}: add them up"
            )
        merged[key] = balance
        value = balance.amount * balance.price
        yield Leg(
            **common,
            account=account,
            asset=balance.asset,
            side=balance.side,
            scaled=round(balance.amount * BASE_UNIT),
            raw=round(balance.amount * BASE_UNIT),
            value=_base(balance) if balance.price else None,
            amount=balance.amount,
            usd=value * terms.quote_usd if balance.price and terms.quote_usd else None,
            lt_bps=balance.lt * 1e4,
            bonus_bps=balance.bonus * 1e4,
        )


def _base(balance: _Balance) -> int:
    """A balance's value in base units."""
    return round(balance.amount * balance.price * BASE_UNIT)
