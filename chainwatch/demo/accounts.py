"""Accounts on a local market: created, and liquidated after a crash. Every step is a real call.

The same seed on the same chain gives the same accounts.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from chainwatch.chain.contract import Contract
from chainwatch.demo.aave import AaveMarket
from chainwatch.demo.chain import MAX_UINT, Tx, decode
from chainwatch.demo.plans import SPEC, VOLATILE, Plan, draw_plans, units

BANK = "0x" + "ba" * 20  # funds and supplies for the others
PROVIDERS = tuple(f"0x{'1b' * 19}{number:02x}" for number in range(3))
LIQUIDATORS = tuple(f"0x{'11' * 19}{number:02x}" for number in range(3))
LIQUIDATION_CALL = Contract("aave_v3_pool").event("LiquidationCall").topic


@dataclass(frozen=True)
class LiquidationCall:
    """A liquidation as in its event; amounts in base units of the tokens."""

    account: str
    collateral: str
    debt: str
    repaid: int
    seized: int
    liquidator: str
    receive_a_token: bool
    block: int


@dataclass(frozen=True)
class ReserveHolding:
    """What an account has in one reserve, in base units of the token."""

    supplied: int
    stable: int
    variable: int
    flagged: bool


def populate(market: AaveMarket, n: int, seed: int, *, tolerate: bool = False) -> list[str]:
    """Create n accounts on chain, with enough liquidity behind them; returns their addresses.

    `tolerate` accepts reverted calls: a pool that rounds debt up refuses positions of single units.
    """
    prices = market.prices(SPEC)
    plans = draw_plans(n, seed, prices)
    steps = [*_funding(market, plans, prices), *_actions(market, plans)]
    market.chain.send_all(steps, tolerate=tolerate)
    return [plan.account for plan in plans]


def crash(market: AaveMarket, factor: float) -> None:
    """Multiply the prices of BTC and ETH, and with ETH that of its staking token."""
    prices = market.prices(VOLATILE)
    market.set_prices({symbol: int(price * factor) for symbol, price in prices.items()})


def liquidate(
    market: AaveMarket, accounts: Sequence[str], rng: Random, limit: int
) -> list[LiquidationCall]:
    """Liquidate up to `limit` of the accounts below 1, some in part, some for aTokens."""
    data = market.account_data(accounts)
    below = [account for account, row in zip(accounts, data, strict=True) if row[5] < 10**18]
    liquidated = rng.sample(below, min(limit, len(below)))
    pairs = [
        (account, rng.choice(collaterals), rng.choice(debts))
        for account, (collaterals, debts) in zip(
            liquidated, read_flags(market, liquidated), strict=True
        )
        if collaterals and debts
    ]
    holdings = read_holdings(market, [(account, debt) for account, _, debt in pairs])
    transactions: list[Tx] = []
    for (account, collateral, debt), holding in zip(pairs, holdings, strict=True):
        owed = holding.stable + holding.variable
        transactions += liquidation_calls(market, rng, account, collateral, debt, owed)
    receipts = market.chain.send_all(transactions, tolerate=True)
    logs = [log for receipt in receipts for log in receipt.logs]
    return [_liquidated(market, log) for log in logs if log["topics"][0] == LIQUIDATION_CALL]


def _funding(market: AaveMarket, plans: Sequence[Plan], prices: dict[str, int]) -> list[Tx]:
    """Give the bank what it will hand out, and the pool twice what will be borrowed."""
    supplied: Counter[str] = Counter()
    borrowed: Counter[str] = Counter()
    for plan in plans:
        supplied.update(plan.supplies)
        for (symbol, _), amount in plan.debts.items():
            borrowed[symbol] += amount
    transactions = []
    for symbol in SPEC:
        depth = 2 * borrowed[symbol] + units(symbol, 5e6, prices)
        need = supplied[symbol] + 2 * borrowed[symbol] + len(PROVIDERS) * depth
        transactions += [market.mint(symbol, BANK, need), market.approve(BANK, symbol)]
        part = depth // len(PROVIDERS)
        transactions += [market.supply(BANK, symbol, part, account) for account in PROVIDERS]
    return transactions


def _actions(market: AaveMarket, plans: Sequence[Plan]) -> Iterable[Tx]:
    for plan in plans:
        for symbol, amount in plan.supplies.items():
            yield market.supply(BANK, symbol, amount, plan.account)
    for plan in plans:
        for symbol in plan.unflagged:
            yield market.use_as_collateral(plan.account, symbol, False)
        if plan.category:
            yield market.set_emode(plan.account, plan.category)
        for (symbol, mode), amount in plan.debts.items():
            yield market.borrow(plan.account, symbol, amount, mode)
        for symbol, amount in plan.withdrawals.items():
            yield market.withdraw(plan.account, symbol, amount)
        if plan.repays:
            for (symbol, mode), amount in plan.debts.items():
                # More than is owed: the pool takes the debt with its interest and no more.
                yield market.repay(BANK, symbol, 2 * amount, mode, plan.account)


def liquidation_calls(
    market: AaveMarket, rng: Random, account: str, collateral: str, debt: str, owed: int
) -> list[Tx]:
    """Encode a liquidation of all or a part of a debt, with the funds for it before."""
    liquidator = rng.choice(LIQUIDATORS)
    amount = MAX_UINT if rng.random() < 0.6 else int(owed * rng.uniform(0.02, 0.6)) + 1
    a_token = rng.random() < 0.25
    return [
        *provide(market, liquidator, debt, 2 * owed + 1),
        market.liquidate(liquidator, collateral, debt, account, amount, a_token),
    ]


def provide(market: AaveMarket, account: str, symbol: str, amount: int) -> list[Tx]:
    """Encode giving an account tokens that the pool may take."""
    return [market.mint(symbol, account, amount), market.approve(account, symbol)]


def read_flags(market: AaveMarket, accounts: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Return per account the symbols it uses as collateral and those it has borrowed."""
    calls = [(market.pool, account) for account in accounts]
    configurations = market.chain.call_each("getUserConfiguration(address)(uint256)", calls)
    listed = market.listed
    return [
        (
            [symbol for symbol in listed if bits >> 2 * listed[symbol].id + 1 & 1],
            [symbol for symbol in listed if bits >> 2 * listed[symbol].id & 1],
        )
        for bits in configurations
    ]


def read_holdings(market: AaveMarket, pairs: Sequence[tuple[str, str]]) -> list[ReserveHolding]:
    """Read what accounts have in a reserve each: pairs of account and symbol."""
    outputs = "uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint40,bool"
    signature = f"getUserReserveData(address,address)({outputs})"
    calls = [(market.data_provider, market.listed[symbol].token, who) for who, symbol in pairs]
    rows = market.chain.call_each(signature, calls)
    return [ReserveHolding(row[0], row[1], row[2], row[8]) for row in rows]


def _liquidated(market: AaveMarket, log: dict[str, Any]) -> LiquidationCall:
    symbols = {listed.token: symbol for symbol, listed in market.listed.items()}
    collateral, debt, account = (f"0x{topic[26:]}" for topic in log["topics"][1:])
    repaid, seized, liquidator, a_token = decode("f()(uint256,uint256,address,bool)", log["data"])
    return LiquidationCall(
        account,
        symbols[collateral],
        symbols[debt],
        repaid,
        seized,
        liquidator,
        a_token,
        int(log["blockNumber"], 16),
    )
