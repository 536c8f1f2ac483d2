"""The rows of a snapshot: every account with its legs, the factors, and the snapshot itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chainwatch.chain.markets import Market
from chainwatch.lending.blocked_liquidations import BlockedLiquidations, blocked_liquidations
from chainwatch.lending.columns import account_columns, leg_columns, slot, slot_columns
from chainwatch.lending.completeness import debt_coverage
from chainwatch.lending.exposures import FIXED, NONLINEAR, Exposure
from chainwatch.lending.integers import WAD, unit_of
from chainwatch.lending.protocol import AccountValues, DebtTotal, MarketView, Valued, name_parts
from chainwatch.lending.slots import with_slots
from chainwatch.lending.snapshots import Stamp
from chainwatch.tables.base import Row
from chainwatch.tables.columns import Columns
from chainwatch.tables.lending import Account, Factor, Leg, Reserve, SlotTerm, Snapshot

INVERSE = "inverse"  # a factor that divides: the price follows 1/x
# Assets without a price that a note names one by one.
NAMED_ASSETS = 5


def snapshot_rows(
    stamp: Stamp,
    revision: int,
    view: MarketView,
    exposures: Mapping[str, Sequence[Exposure]],
    totals: Sequence[DebtTotal],
    values: AccountValues,
) -> tuple[list[Row], list[Columns]]:
    """The market's rows, each account with its legs, then the Snapshot row; and rows in columns."""
    valued = values.single
    rows: list[Row] = [
        msgspec.structs.replace(row, snapshot=stamp.snapshot)
        for row in (*view.reserves, *view.emodes)
    ]
    rows += _factor_rows(stamp, exposures, {r.asset: r.price for r in view.reserves})
    legs = (figures.legs for _, _, figures in valued)
    rows += debt_coverage(stamp, view, totals, legs, values.owed)
    units = _units(view)
    blocked = blocked_liquidations(view)
    accounts = failed = 0
    for name, read_block, figures in valued:
        account = _account_row(stamp, view, name, read_block, figures, blocked)
        rows.append(account)
        rows += _leg_rows(stamp, view, name, units, figures)
        accounts += 1
        failed += account.status.startswith("n/a")
    accounts += sum(len(part.accounts) for part in values.columns)
    rows.append(_snapshot_row(stamp, revision, view, accounts, failed))
    parts = [(part, slot(part)) for part in values.columns]
    rows = with_slots(rows, {terms for _, slotted in parts for terms in slotted.used})
    ids = {
        (row.asset, row.side, row.lt_bps, row.bonus_bps, row.category_priced): row.term_id
        for row in rows
        if isinstance(row, SlotTerm)
    }
    columns: list[Columns] = []
    for part, slotted in parts:
        columns += [
            account_columns(stamp, view, part, slotted),
            leg_columns(stamp, part, slotted),
            slot_columns(stamp, view, part, slotted, ids),
        ]
    return rows, [part for part in columns if part.count]


def account_rows(
    stamp: Stamp, view: MarketView, name: str, read_block: int, valued: Valued
) -> tuple[Account, list[Leg]]:
    """An account's row and those of its balances."""
    return (
        _account_row(stamp, view, name, read_block, valued, blocked_liquidations(view)),
        _leg_rows(stamp, view, name, _units(view), valued),
    )


def _units(view: MarketView) -> dict[str, int]:
    """Token units in one whole token, by asset."""
    return {reserve.asset: unit_of(reserve.decimals) for reserve in view.reserves}


def missing_prices(market: Market, reserves: Sequence[Reserve]) -> list[str]:
    """A line about the assets without a price; none where all have one."""
    unpriced = [r for r in reserves if r.price is None]
    if not unpriced:
        return []
    names = ", ".join(dict.fromkeys(r.symbol for r in unpriced[:NAMED_ASSETS]))
    more = f" and {len(unpriced) - NAMED_ASSETS} more" if len(unpriced) > NAMED_ASSETS else ""
    return [
        f"{market.name}: the oracle gives no price for {names}{more}; accounts that use "
        f"{'it' if len(unpriced) == 1 else 'them'} are n/a"
    ]


def _snapshot_row(
    stamp: Stamp, revision: int, view: MarketView, accounts: int, failed: int
) -> Snapshot:
    market, at = stamp.reading.market, stamp.reading.block
    return Snapshot(
        snapshot=stamp.snapshot,
        market=market.name,
        protocol=market.protocol,
        provenance=market.provenance,
        chain_id=market.chain_id,
        block_number=at.number,
        block_hash=at.hash,
        block_time=at.moment,
        read_at=stamp.read_at,
        revision=revision,
        scope=stamp.scope,
        accounts=accounts,
        accounts_read=stamp.accounts_read,
        accounts_failed=failed,
        based_on=stamp.based_on,
        endpoint=stamp.reading.rpc.host,
        **view.rules.columns,
    )


def _factor_rows(
    stamp: Stamp,
    exposures: Mapping[str, Sequence[Exposure]],
    prices: Mapping[str, int | None],
) -> list[Factor]:
    """What moves each asset's price, by asset; `prices` are the oracle's integers."""
    return [
        Factor(
            snapshot=stamp.snapshot,
            market=stamp.reading.market.name,
            block_number=stamp.reading.block.number,
            asset=asset,
            factor=exposure.factor,
            beta=exposure.beta,
            kind=INVERSE if exposure.beta < 0 and exposure.kind != NONLINEAR else exposure.kind,
            feed=exposure.feed,
            description=exposure.description,
            factor_price=exposure.price,
            cap_x=exposure.cap_x,
            floor_x=exposure.floor_x,
            evidence=exposure.evidence,
            step=_step(exposure, prices.get(asset)),
            deviation=rule.deviation if rule else None,
            heartbeat=rule.heartbeat if rule else None,
        )
        for asset, asset_exposures in exposures.items()
        for exposure in asset_exposures
        for rule in [stamp.reading.market.feeds.get(exposure.factor)]
    ]


def _step(exposure: Exposure, price: int | None) -> float:
    """The price's relative error by rounding: at least one unit of its last decimal."""
    if exposure.kind == FIXED:
        return 0.0
    return max(exposure.step, 1 / price if price else 0.0)


def _account_row(
    stamp: Stamp,
    view: MarketView,
    name: str,
    read_block: int,
    valued: Valued,
    blocked: BlockedLiquidations,
) -> Account:
    """An account's row; its figures are left out where it cannot be valued.

    It is marked as one in slots, as nearly all are; `with_slots` marks it as it is.
    """
    currency = valued.currency or view.currency
    collateral: int | None = valued.collateral
    debt: int | None = valued.debt
    hf, lt_bps = valued.hf, valued.lt_bps
    status = "no debt" if hf is None else "ok"
    if valued.failure:
        collateral = debt = hf = lt_bps = None
        status = f"n/a ({valued.failure})"
    return Account(
        snapshot=stamp.snapshot,
        market=stamp.reading.market.name,
        block_number=stamp.reading.block.number,
        account=name_parts(name)[0],
        position=name_parts(name)[1],
        emode=valued.emode,
        status=status,
        collateral_base=collateral,
        debt_base=debt,
        hf_wad=hf,
        liquidatable=valued.liquidatable,
        liquidatable_accrued=valued.liquidatable_accrued,
        blocked_reason=blocked.reason_for(valued),
        lt_bps=lt_bps,
        collateral_usd=currency.worth(collateral),
        debt_usd=currency.worth(debt),
        hf=None if hf is None else hf / WAD,
        legs=sum([leg.side != "idle" for leg in valued.legs]),
        read_block=read_block,
        in_slots=True,
    )


def _leg_rows(
    stamp: Stamp, view: MarketView, name: str, units: Mapping[str, int], valued: Valued
) -> list[Leg]:
    currency = valued.currency or view.currency
    account, position = name_parts(name)
    snapshot, market = stamp.snapshot, stamp.reading.market.name
    return [
        Leg(
            snapshot=snapshot,
            market=market,
            account=account,
            position=position,
            asset=leg.asset,
            side=leg.side,
            scaled=leg.scaled,
            raw=leg.raw,
            value=leg.value,
            amount=leg.raw / units[leg.asset],
            usd=currency.worth(leg.value),
            lt_bps=leg.lt_bps,
            bonus_bps=leg.bonus_bps,
            in_slots=True,
            **leg.stored,
        )
        for leg in valued.legs
    ]
