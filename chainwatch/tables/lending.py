"""Tables of lending protocols: snapshots, positions, liquidations, and what verified them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from chainwatch.tables.base import Row, Uint

Position = Annotated[str, "which of its positions: Morpho Blue: id of the market, else empty"]

# --- snapshots --------------------------------------------------------------------------------


class Scan(Row, frozen=True, kw_only=True):
    """One range of blocks whose event logs were read completely."""

    table = "scans"
    key = ("market", "scope", "from_block", "to_block", "to_hash")

    market: Annotated[str, "market the events belong to"]
    scope: Annotated[str, "events read: borrowers (Borrow only) or all (every balance change)"]
    from_block: Annotated[int, "first block of the range"]
    to_block: Annotated[int, "last block of the range"]
    to_hash: Annotated[str, "hash of the last block when it was read"]
    events: Annotated[int, "number of event logs"]


class Touch(Row, frozen=True, kw_only=True):
    """An account that events in a range of blocks name: it is in scope and is read again."""

    table = "touches"
    key = ("market", "account", "position", "block_number", "to_hash")

    market: Annotated[str, "market the events belong to"]
    account: Annotated[str, "account address, lower case"]
    position: Position = ""
    block_number: Annotated[int, "last block of the range in which an event names the account"]
    to_hash: Annotated[str, "hash of the range's last block, as in scans"]
    borrowed: Annotated[bool, "one of the events is a Borrow on the account's behalf"]


class Snapshot(Row, frozen=True, kw_only=True):
    """One market read at one block; rows that belong to it count only if this row is there."""

    table = "snapshots"
    key = ("snapshot",)
    repeats = False

    snapshot: Annotated[str, "id: market, block, hash and reading time"]
    market: Annotated[str, "market, e.g. ethereum"]
    protocol: Annotated[str, "protocol family, e.g. aave-v3"]
    provenance: Annotated[str, "chain, demo, recording or imported"]
    chain_id: Annotated[int, "EIP-155 chain id"]
    block_number: Annotated[int, "block everything was read at"]
    block_hash: Annotated[str, "hash of that block"]
    block_time: Annotated[datetime, "time stamp of that block"]
    read_at: Annotated[datetime, "when reading ended"]
    revision: Annotated[int, "POOL_REVISION() of the pool at that block; 0 where there is none"]
    profile: Annotated[str, "rule set used for the integers, e.g. aave 3.0"]
    truncates_lt: Annotated[
        bool, "the average liquidation threshold is truncated to 1 bp; false: the exact sum counts"
    ] = False
    close_factor: Annotated[float, "share of a debt that one liquidation may repay, 0.5 or 1"]
    close_basis: Annotated[
        str, "debt it is a share of: reserve (the one repaid) or position (all of the account)"
    ]
    full_close_below_hf: Annotated[
        float | None, "health factor from which down all of a debt may be repaid; null: none"
    ] = None
    full_close_below_usd: Annotated[
        float | None, "collateral or debt below which all of it may be repaid, USD; null: none"
    ] = None
    min_leftover_usd: Annotated[
        float | None,
        "collateral and debt that must be left where neither is taken whole, USD; with a target: "
        "debt, else all of it is repaid; null: any",
    ] = None
    target_hf: Annotated[
        float | None, "health factor up to which a liquidation may repay; null: no such limit"
    ] = None
    absorbs: Annotated[bool, "the protocol takes over the whole account"] = False
    blocked_reason: Annotated[
        str | None, "why the contracts refuse every liquidation of the market; null: they do not"
    ] = None
    blocked_above_hf: Annotated[
        float | None, "health factor from which up they do, below it they do not; null: all of them"
    ] = None
    base_decimals: Annotated[
        int,
        "decimals of the base currency that values are counted in; Morpho Blue: 0, each position "
        "counts in units of its own loan token",
    ]
    quote: Annotated[str, "base currency: USD, or the asset whose units the oracle counts in"] = (
        "USD"
    )
    quote_usd: Annotated[
        float | None, "USD per unit of the base currency; null if no feed for it is known"
    ] = 1.0
    scope: Annotated[str, "accounts in scope: borrowers (all that ever borrowed) or all"]
    accounts: Annotated[int, "accounts in the snapshot"]
    accounts_read: Annotated[
        int, "accounts whose balances were read for this snapshot; others are carried over"
    ]
    accounts_failed: Annotated[int, "accounts whose health factor is n/a"]
    reserves_usd: Annotated[
        float | None, "Compound III: the protocol's own reserves; null if unknown or not used"
    ] = None
    target_reserves_usd: Annotated[
        float | None, "Compound III: reserves from which on absorbed collateral is not sold"
    ] = None
    based_on: Annotated[str | None, "snapshot from which unchanged balances were taken"] = None
    endpoint: Annotated[str, "host that answered, keys removed"]


class Orphan(Row, frozen=True, kw_only=True):
    """A snapshot whose block left the chain in a reorganisation: excluded from every report."""

    table = "orphans"
    key = ("snapshot",)

    snapshot: Annotated[str, "snapshot that no longer counts"]
    market: Annotated[str, "its market"]
    detected_at: Annotated[datetime, "when the replacement was noticed"]


class Reserve(Row, frozen=True, kw_only=True):
    """One asset of a market: price, indices and parameters at the snapshot's block."""

    table = "reserves"
    key = ("snapshot", "asset")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block of the snapshot"]
    asset: Annotated[str, "address of the underlying token, lower case; Compound v2: of the cToken"]
    reserve_id: Annotated[int, "bit position in the user configuration"]
    symbol: Annotated[str, "token symbol, control characters made visible; a label, never a key"]
    decimals: Annotated[int, "token decimals"]
    price: Annotated[Uint | None, "oracle price in base units; null if the oracle fails"]
    price_usd: Annotated[float | None, "oracle price of one whole token in USD"]
    price_status: Annotated[str, "ok, or why there is no usable price"]
    oracle: Annotated[str, "address of the price source"]
    liquidity_index: Annotated[
        Uint | None, "supply index accrued to the block, as the protocol scales it (Aave: ray)"
    ] = None
    debt_index: Annotated[
        Uint | None, "debt index accrued to the block, as the protocol scales it (Aave: ray)"
    ] = None
    liquidity_rate: Annotated[Uint | None, "supply rate, ray per year"] = None
    variable_rate: Annotated[Uint | None, "variable borrow rate, ray per year"] = None
    ltv_bps: Annotated[float, "loan to value (borrow factor), basis points"]
    lt_bps: Annotated[float, "liquidation threshold (liquidate factor), basis points"]
    bonus_bps: Annotated[float, "liquidation bonus above the principal, basis points (500 = 5 %)"]
    protocol_fee_bps: Annotated[float | None, "protocol's share of the bonus, basis points"] = None
    emode: Annotated[int, "e-mode category of the asset (Aave up to 3.1), 0 = none"] = 0
    active: Annotated[bool, "reserve is active"] = True
    frozen: Annotated[bool, "reserve takes no new supply or borrow"] = False
    paused: Annotated[bool, "reserve is paused: no liquidation either"] = False
    blocked_collateral: Annotated[
        str | None, "why no liquidation may take the asset at the block; null: it may be taken"
    ] = None
    blocked_debt: Annotated[
        str | None, "why no liquidation may repay the asset at the block; null: it may be repaid"
    ] = None
    borrowing: Annotated[bool, "borrowing is enabled"] = True
    a_token: Annotated[str | None, "address of the aToken (Aave)"] = None
    stable_debt_token: Annotated[str | None, "address of the stable debt token (Aave)"] = None
    variable_debt_token: Annotated[str | None, "address of the variable debt token (Aave)"] = None


class DebtCoverage(Row, frozen=True, kw_only=True):
    """What the accounts of a snapshot owe of an asset, beside what the contract says is owed."""

    table = "debt_coverage"
    key = ("snapshot", "asset", "measure")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block of the snapshot"]
    asset: Annotated[str, "asset that is owed, as in reserves"]
    measure: Annotated[str, "what is added up, in the contract's own unit"]
    account_sum: Annotated[Uint, "sum over the accounts of the snapshot"]
    contract_total: Annotated[Uint, "the contract's own sum over all accounts"]
    total_usd: Annotated[float | None, "debt that this total stands for; null without a price"]


class EMode(Row, frozen=True, kw_only=True):
    """One e-mode category of a market at the snapshot's block."""

    table = "emodes"
    key = ("snapshot", "category")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block of the snapshot"]
    category: Annotated[int, "category id, 1 … 255"]
    label: Annotated[str, "name of the category, control characters made visible"]
    ltv_bps: Annotated[int, "loan to value in the category, basis points"]
    lt_bps: Annotated[int, "liquidation threshold in the category, basis points"]
    bonus_bps: Annotated[int, "liquidation bonus in the category above the principal, basis points"]
    price_source: Annotated[str, "price source for the category's assets, zero address = none"]
    price: Annotated[Uint | None, "price from that source in base units; null if none"] = None
    collateral_bitmap: Annotated[
        Uint | None, "bit per reserve id: collateral in the category (revisions from 3.2)"
    ] = None


class Factor(Row, frozen=True, kw_only=True):
    """How an asset's oracle price depends on a factor: price(x) = price · (1 - beta + beta x).

    An inverse factor divides: price(x) = price / x.
    """

    table = "factors"
    key = ("snapshot", "asset", "factor")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block of the snapshot"]
    asset: Annotated[str, "address of the underlying token"]
    factor: Annotated[
        str, "name of the factor: BTC, ETH, USDC, a ratio such as wstETH/ETH, feed:0x…"
    ]
    beta: Annotated[float, "move of the price per move of the factor, 1 = one to one"]
    kind: Annotated[
        str, "feed, ratio, inverse, nonlinear, fixed or unknown: what the factor is to the price"
    ]
    feed: Annotated[str, "addresses of the contracts that carry the factor, usually one"]
    description: Annotated[str, "description that this contract returns"]
    factor_price: Annotated[float | None, "the factor's value now: USD for a feed, else the ratio"]
    cap_x: Annotated[
        float | None, "multiple of the factor's value above which the price stops following it"
    ] = None
    floor_x: Annotated[
        float | None, "multiple of the factor's value below which the price stops following it"
    ] = None
    evidence: Annotated[
        str,
        "measured (the feed was made to answer otherwise), inferred (by getters of the price "
        "source) or unknown: how it is known what moves the price",
    ] = "inferred"
    step: Annotated[
        float, "relative error of the price by rounding: one unit of its last decimal, or more"
    ] = 0.0
    deviation: Annotated[
        float | None,
        "move of the factor, as a share, at which its feed answers anew, as the market file states "
        "it; null: not stated",
    ] = None
    heartbeat: Annotated[
        int | None, "seconds after which its feed answers anew at the latest; null: not stated"
    ] = None


class Account(Row, frozen=True, kw_only=True):
    """One account of a market at the snapshot's block, integers as the contract returns them."""

    table = "account_health"
    key = ("snapshot", "account", "position")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block of the snapshot"]
    account: Annotated[str, "account address, lower case"]
    position: Position = ""
    emode: Annotated[int, "e-mode category chosen by the account, 0 = none"]
    status: Annotated[str, "ok, no debt, or n/a (reason)"]
    collateral_base: Annotated[Uint | None, "collateral in base units; null if status is n/a"]
    debt_base: Annotated[Uint | None, "debt in base units; null if status is n/a"]
    hf_wad: Annotated[
        Uint | None, "health factor, 1e18 = 1; null without debt or if n/a; derived for Compound"
    ]
    liquidatable: Annotated[
        bool | None, "may be liquidated, as the contract itself says at the block; null if n/a"
    ] = None
    liquidatable_accrued: Annotated[
        bool | None, "Compound: the same once interest is accrued, as a liquidation does first"
    ] = None
    blocked_reason: Annotated[
        str | None,
        "why the contracts let nobody liquidate an account that is liquidatable; null: they do, or "
        "it is not",
    ] = None
    lt_bps: Annotated[int | None, "average liquidation threshold as the contract truncates it"]
    collateral_usd: Annotated[float | None, "collateral in USD"]
    debt_usd: Annotated[float | None, "debt in USD"]
    hf: Annotated[float | None, "health factor; null without debt or if n/a"]
    legs: Annotated[int, "balances that count: flagged collateral and debts"]
    read_block: Annotated[int, "block at which the balances were last read from the chain"]
    in_slots: Annotated[
        bool | None, "account_slots has the balances that count; null: only legs has them"
    ] = None


class Leg(Row, frozen=True, kw_only=True):
    """One balance of one account: collateral that counts, or debt, in one asset."""

    table = "legs"
    key = ("snapshot", "account", "position", "asset", "side")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    account: Annotated[str, "account address, lower case"]
    position: Position = ""
    asset: Annotated[str, "address of the underlying token, lower case"]
    side: Annotated[str, "collateral or debt"]
    scaled: Annotated[Uint, "scaled balance (variable debt or aToken), as stored on chain"]
    stable_principal: Annotated[Uint | None, "stable debt: principal at its last update"] = None
    stable_rate: Annotated[Uint | None, "stable debt: the account's rate, ray per year"] = None
    stable_since: Annotated[int | None, "stable debt: time of its last update, Unix seconds"] = None
    premium_shares: Annotated[Uint | None, "Aave v4 debt: premium shares"] = None
    premium_offset: Annotated[
        Uint | None,
        "Aave v4 debt: part of the premium shares that is not owed, token units and ray",
    ] = None
    config_key: Annotated[
        int | None, "Aave v4: key of the reserve's terms that apply to the account"
    ] = None
    raw: Annotated[Uint, "balance at the block in token units, interest included"]
    value: Annotated[Uint | None, "balance in base units as the contract counts it; null if n/a"]
    amount: Annotated[float, "balance in whole tokens"]
    usd: Annotated[float | None, "balance in USD"]
    lt_bps: Annotated[float, "liquidation threshold that applies to this account; 0 for debt"]
    bonus_bps: Annotated[float, "liquidation bonus that applies to this account; 0 for debt"]
    category_priced: Annotated[
        bool, "valued at its e-mode category's own price: the asset's oracle does not move it"
    ] = False
    in_slots: Annotated[
        bool | None, "account_slots has what counts of the account; null: only its legs have it"
    ] = None


class SlotTerm(Row, frozen=True, kw_only=True):
    """The terms of a balance in a slot of account_slots: its asset, side, threshold and bonus."""

    table = "slot_terms"
    key = ("snapshot", "term_id")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    term_id: Annotated[int, "number of the terms in account_slots, from 1"]
    asset: Annotated[str, "address of the underlying token, lower case"]
    side: Annotated[str, "collateral or debt"]
    lt_bps: Annotated[float, "liquidation threshold that applies to the balance; 0 for debt"]
    bonus_bps: Annotated[float, "liquidation bonus that applies to the balance; 0 for debt"]
    category_priced: Annotated[
        bool, "valued at its e-mode category's own price: the asset's oracle does not move it"
    ]


_Term = Annotated[int, "number of its terms in slot_terms; 0: the slot is empty"]
_Worth = Annotated[float, "its worth in USD, or in units of the market where that is not known"]
_Amount = Annotated[float, "the balance in whole tokens"]


class AccountSlots(Row, frozen=True, kw_only=True):
    """The balances of one account side by side: up to four of collateral and two of debt.

    Each side is sorted by worth, largest first. Accounts with more balances, or with one that has
    no worth, have legs only. What accounts are computed from as prices move reads one row here
    instead of several legs.
    """

    table = "account_slots"
    key = ("snapshot", "account", "position")
    repeats = False

    snapshot: Annotated[str, "snapshot it belongs to"]
    market: Annotated[str, "market"]
    account: Annotated[str, "account address, lower case"]
    position: Position = ""
    in_usd: Annotated[bool, "the worths are in USD; else in units of the market"]
    has_several_lts: Annotated[bool, "its collaterals have different liquidation thresholds"]
    liquidatable: Annotated[
        bool | None, "the contract's verdict, with accrued interest where it is known; null if n/a"
    ]
    is_below_one: Annotated[bool | None, "health factor below 1; null without debt or if n/a"]
    blocked_reason: Annotated[
        str | None, "why the contracts let nobody liquidate it, as in account_health"
    ]
    collateral1_term_id: _Term
    collateral1_worth: _Worth
    collateral1_amount: _Amount
    collateral2_term_id: _Term
    collateral2_worth: _Worth
    collateral2_amount: _Amount
    collateral3_term_id: _Term
    collateral3_worth: _Worth
    collateral3_amount: _Amount
    collateral4_term_id: _Term
    collateral4_worth: _Worth
    collateral4_amount: _Amount
    debt1_term_id: _Term
    debt1_worth: _Worth
    debt1_amount: _Amount
    debt2_term_id: _Term
    debt2_worth: _Worth
    debt2_amount: _Amount


class ChainLiquidation(Row, frozen=True, kw_only=True):
    """One liquidation event of a lending protocol: debt repaid and collateral seized.

    Compound III has the two sides in separate events (absorb-debt, absorb-collateral) and sells
    the collateral later (sale); a deficit is debt without any collateral left. Morpho Blue has both
    in one event, which makes two rows.
    """

    table = "chain_liquidations"
    key = ("chain_id", "block_hash", "log_index", "kind")

    market: Annotated[str, "market"]
    protocol: Annotated[str, "protocol family"]
    chain_id: Annotated[int, "EIP-155 chain id"]
    block_number: Annotated[int, "block of the event"]
    block_hash: Annotated[str, "hash of that block"]
    block_time: Annotated[datetime, "time stamp of that block"]
    tx_hash: Annotated[str, "transaction"]
    log_index: Annotated[int, "position of the log in its block"]
    kind: Annotated[str, "liquidation, absorb-debt, absorb-collateral, sale or deficit"]
    account: Annotated[str, "account that was liquidated; empty for a sale"]
    position: Position = ""
    liquidator: Annotated[str, "address that repaid, absorbed or bought; empty if not in the event"]
    debt_asset: Annotated[str | None, "asset that was repaid"] = None
    debt_symbol: Annotated[str | None, "its symbol, a label"] = None
    debt_repaid_raw: Annotated[Uint | None, "debt repaid (deficit: debt written off), token units"]
    debt_repaid: Annotated[float | None, "the same in whole tokens"] = None
    debt_repaid_usd: Annotated[float | None, "the same at the oracle price of that block"] = None
    coll_asset: Annotated[str | None, "asset that was seized or sold"] = None
    coll_symbol: Annotated[str | None, "its symbol, a label"] = None
    coll_seized_raw: Annotated[Uint | None, "collateral seized, token units"]
    coll_seized: Annotated[float | None, "the same in whole tokens"] = None
    coll_seized_usd: Annotated[float | None, "the same at the oracle price of that block"] = None
    bonus_bps: Annotated[float | None, "bonus the protocol allowed, basis points"] = None
    protocol_fee_bps: Annotated[
        float | None, "protocol's share of the bonus, which the liquidator does not get"
    ] = None
    status: Annotated[str, "ok, or why a figure is n/a"] = "ok"


# --- verification -----------------------------------------------------------------------------


class Verification(Row, frozen=True, kw_only=True):
    """One comparison of a snapshot with the chain's own answers at the same block."""

    table = "verifications"
    key = ("snapshot", "verified_at")

    snapshot: Annotated[str, "snapshot that was checked"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block at which the chain was asked"]
    verified_at: Annotated[datetime, "when the check ended"]
    method: Annotated[str, "the chain's function, and the codec that read it"]
    accounts: Annotated[int, "accounts in the snapshot"]
    checked: Annotated[int, "accounts compared: collateral, debt and health factor as integers"]
    mismatched: Annotated[int, "accounts in which any of the three differs"]
    max_abs_error: Annotated[Uint, "largest difference of any of the three, in its own unit"]
    endpoint: Annotated[str, "host that answered, keys removed"]


class WallProof(Row, frozen=True, kw_only=True):
    """A factor moved within a call on the chain's own contracts: accounts as predicted, or not."""

    table = "wall_proofs"
    key = ("snapshot", "factor", "x", "verified_at")

    snapshot: Annotated[str, "snapshot whose triggers were checked"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block at which the contracts were asked"]
    factor: Annotated[str, "factor that was moved; empty where nothing could be asked"]
    x: Annotated[float | None, "price over the price now; null where nothing could be asked"]
    feeds: Annotated[str, "contracts that were made to answer x times as much"] = ""
    verified_at: Annotated[datetime, "when the check ended"]
    checked: Annotated[int, "accounts compared: verdict, and the figures of the protocol's views"]
    mismatched: Annotated[int, "accounts in which any of them differs"]
    undecided: Annotated[
        int, "accounts whose verdict is not predicted: at their trigger, or without one"
    ]
    status: Annotated[str, "ok, or why nothing could be asked"] = "ok"
    endpoint: Annotated[str, "host that answered, keys removed"]


class Mismatch(Row, frozen=True, kw_only=True):
    """One figure in which a snapshot and the chain differ."""

    table = "mismatches"
    key = ("snapshot", "verified_at", "account", "position", "factor", "x", "figure")

    snapshot: Annotated[str, "snapshot that was checked"]
    market: Annotated[str, "market"]
    block_number: Annotated[int, "block at which the chain was asked"]
    verified_at: Annotated[datetime, "when the check ended"]
    account: Annotated[str, "account address"]
    position: Position = ""
    factor: Annotated[
        str, "factor that was moved, as in wall_proofs; empty: at the block's own prices"
    ] = ""
    x: Annotated[
        float | None,
        "price over the price now at which the contracts were asked; null: at the block's own "
        "prices",
    ] = None
    figure: Annotated[str, "collateral, debt, health factor or verdict"]
    ours: Annotated[str, "integer computed here, or n/a (reason)"]
    chain: Annotated[str, "the chain's integer, or the error of its call"]
