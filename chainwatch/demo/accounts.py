"""Accounts of many shapes on a local market, what they do next, and what a crash does to them.

Everything is a real call of the pool. The same seed on the same chain gives the same accounts.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from chainwatch.demo.aave import (
    CATEGORIES,
    ETH_CORRELATED,
    RESERVES,
    STABLE,
    STABLECOINS,
    VARIABLE,
    AaveMarket,
    Reserve,
)
from chainwatch.demo.chain import MAX_UINT, Tx, decode

BANK = "0x" + "ba" * 20  # funds and supplies for the others
PROVIDERS = tuple(f"0x{'1b' * 19}{number:02x}" for number in range(3))
LIQUIDATORS = tuple(f"0x{'11' * 19}{number:02x}" for number in range(3))
VOLATILE = ("WETH", "WBTC")
STABLES = ("USDC", "DAI", "USDT")
USD = 10**8
SPEC = {reserve.symbol: reserve for reserve in RESERVES}
# Share of the accounts in percent. The first accounts take one shape each, in this order.
SHAPES = {
    "single": 26,
    "several collaterals": 14,
    "several debts": 12,
    "e-mode": 10,
    "short": 10,
    "stable rate": 7,
    "dust": 5,
    "flag off": 6,
    "supplier": 6,
    "former borrower": 4,
}
ACTIONS = {
    "supply": 3,
    "borrow": 4,
    "repay": 4,
    "withdraw": 3,
    "transfer": 3,
    "flag": 2,
    "e-mode": 2,
    "rate": 2,
    "liquidate": 1,
}
LIQUIDATION_CALL = "0xe413a321e8681d831f4dbccbca790d2952b56f977908e45be37335533e005286"


@dataclass(frozen=True)
class Plan:
    """What one account is going to do. Amounts are in base units of the token."""

    account: str
    shape: str
    supplies: dict[str, int]
    debts: dict[tuple[str, int], int] = field(default_factory=dict)  # (symbol, rate mode)
    withdrawals: dict[str, int] = field(default_factory=dict)  # after borrowing
    unflagged: tuple[str, ...] = ()  # supplied, but not as collateral
    category: int = 0
    repays: bool = False  # everything, at the end


@dataclass(frozen=True)
class Liquidation:
    """A liquidation as its event tells it; amounts in base units of the tokens."""

    account: str
    collateral: str
    debt: str
    repaid: int
    seized: int
    liquidator: str
    receive_a_token: bool
    block: int


@dataclass(frozen=True)
class Tally:
    """How many actions of each kind went through, and how many the pool refused."""

    done: Counter[str] = field(default_factory=Counter)
    reverted: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Holding:
    supplied: int
    stable: int
    variable: int
    flagged: bool


@dataclass(frozen=True)
class _Move:
    kind: str
    account: str
    symbol: str
    collateral: str  # of a liquidation
    other: str  # receiver of a transfer
    available: int  # to borrow, USD with 8 decimals
    holding: _Holding


def address(seed: int, index: int) -> str:
    """Return the address of account `index` of a seed."""
    from eth_utils.crypto import keccak

    return f"0x{keccak(text=f'chainwatch demo {seed} {index}')[-20:].hex()}"


def plan(n: int, seed: int, prices: dict[str, int]) -> list[Plan]:
    """Draw n accounts for these oracle prices (USD with 8 decimals)."""
    rng = Random(seed)
    shapes = [*SHAPES, *rng.choices(list(SHAPES), list(SHAPES.values()), k=n)][:n]
    return [_draw(address(seed, index), shape, rng, prices) for index, shape in enumerate(shapes)]


def populate(market: AaveMarket, n: int, seed: int, *, tolerate: bool = False) -> list[str]:
    """Create n accounts on chain, with enough liquidity behind them; returns their addresses.

    `tolerate` lets the pool refuse: one that rounds debt up does so for positions of single units.
    """
    prices = market.prices(SPEC)
    plans = plan(n, seed, prices)
    steps = [*_funding(market, plans, prices), *_actions(market, plans)]
    market.chain.send_all(steps, tolerate=tolerate)
    return [each.account for each in plans]


def crash(market: AaveMarket, factor: float) -> None:
    """Multiply the prices of BTC and ETH, and with ETH that of its staking token."""
    prices = market.prices(VOLATILE)
    market.set_prices({symbol: int(price * factor) for symbol, price in prices.items()})


def random_operations(market: AaveMarket, accounts: Sequence[str], rng: Random, k: int) -> Tally:
    """Let random accounts do k random things; what the pool refuses is counted, not an error."""
    prices = market.prices(SPEC)
    transactions: list[Tx] = []
    last: list[tuple[str, int]] = []  # kind, and position of the action's own transaction
    for move in _moves(market, accounts, rng, k):
        transactions += _step(market, rng, move, prices)
        last.append((move.kind, len(transactions) - 1))
    receipts = market.chain.send_all(transactions, tolerate=True)
    tally = Tally()
    for kind, position in last:
        (tally.done if receipts[position].ok else tally.reverted)[kind] += 1
    return tally


def liquidate(
    market: AaveMarket, accounts: Sequence[str], rng: Random, limit: int
) -> list[Liquidation]:
    """Liquidate up to `limit` of the accounts below 1, some in part, some for aTokens."""
    data = market.account_data(accounts)
    below = [account for account, row in zip(accounts, data, strict=True) if row[5] < 10**18]
    chosen = rng.sample(below, min(limit, len(below)))
    pairs = [
        (account, rng.choice(collaterals), rng.choice(debts))
        for account, (collaterals, debts) in zip(chosen, _flags(market, chosen), strict=True)
        if collaterals and debts
    ]
    holdings = _holdings(market, [(account, debt) for account, _, debt in pairs])
    transactions: list[Tx] = []
    for (account, collateral, debt), holding in zip(pairs, holdings, strict=True):
        owed = holding.stable + holding.variable
        transactions += _liquidation(market, rng, account, collateral, debt, owed)
    receipts = market.chain.send_all(transactions, tolerate=True)
    logs = [log for receipt in receipts for log in receipt.logs]
    return [_liquidated(market, log) for log in logs if log["topics"][0] == LIQUIDATION_CALL]


def _draw(account: str, shape: str, rng: Random, prices: dict[str, int]) -> Plan:
    """Draw one account of a shape: collateral worth what its health factor asks for its debt."""
    debt_usd = min(rng.lognormvariate(math.log(8_000), 1.7), 500_000)
    whale = rng.random() < 0.02 and shape in ("single", "several collaterals", "short")
    if whale:
        debt_usd = rng.uniform(1e6, 2e7)
    health, category, mode = _health(rng), 0, VARIABLE
    collaterals = rng.choices(["WETH", "WBTC", "wstETH"], [4, 4, 2])
    debts = rng.choices(STABLES, [5, 2, 3])
    match shape:
        case "dust":
            return _dust(account, rng, prices)
        case "supplier":
            collaterals = rng.sample(list(SPEC), rng.randint(1, 2))
        case "several collaterals":
            collaterals = rng.sample(["WETH", "WBTC", "wstETH", "USDC", "DAI"], rng.randint(2, 4))
        case "several debts":
            debts = rng.sample(["USDC", "DAI", "USDT", "WETH"], rng.randint(2, 3))
            collaterals = rng.choices(["WBTC", "wstETH"])
        case "e-mode" if rng.random() < 0.8:
            category, collaterals, debts = ETH_CORRELATED, ["wstETH"], ["WETH"]
            health = rng.uniform(1.02, 1.1)
        case "e-mode":
            category, collaterals, debts = STABLECOINS, ["USDC"], ["USDT"]
            health = rng.uniform(1.02, 1.1)
        case "short":
            collaterals, debts = rng.choices(STABLES), rng.choices(VOLATILE)
        case "stable rate":
            debts, mode = rng.choices(["DAI", "USDC"]), STABLE
    weights = [rng.uniform(0.2, 1) for _ in collaterals]
    shares = {each: w / sum(weights) for each, w in zip(collaterals, weights, strict=True)}
    ltv, threshold = (sum(shares[it] * _limits(it, category)[i] for it in shares) for i in (0, 1))
    wanted_usd = debt_usd * health / threshold
    # The pool lends up to the loan to value only; nearer to 1 one gets by withdrawing afterwards.
    supplied_usd = max(wanted_usd, 1.002 * debt_usd / ltv)
    supplies = {it: _units(it, shares[it] * supplied_usd, prices) for it in shares}
    kept = {it: _units(it, shares[it] * wanted_usd, prices) for it in shares}
    unflagged: tuple[str, ...] = ()
    if shape == "flag off":
        unflagged = (rng.choice([it for it in SPEC if it not in shares]),)
        supplies[unflagged[0]] = _units(unflagged[0], debt_usd * rng.uniform(0.1, 2), prices)
    if shape == "supplier":
        return Plan(account, shape, supplies)
    owed = {(it, mode): _units(it, debt_usd / len(debts), prices) for it in debts}
    if shape == "stable rate" and rng.random() < 0.5:
        part = owed[debts[0], STABLE] // 3
        owed = {(debts[0], STABLE): part, (debts[0], VARIABLE): part}
    return Plan(
        account,
        shape,
        supplies,
        owed,
        {it: supplies[it] - kept[it] for it in kept if supplies[it] > kept[it]},
        unflagged,
        category,
        repays=shape == "former borrower",
    )


def _dust(account: str, rng: Random, prices: dict[str, int]) -> Plan:
    """Draw a position between a millionth of a dollar and one dollar."""
    collateral, debt = rng.choice(["USDC", "WETH", "WBTC", "DAI"]), rng.choice(STABLES)
    supplied = max(1, _units(collateral, math.exp(rng.uniform(math.log(1e-6), 0)) * 0.95, prices))
    worth_usd = supplied * prices[collateral] / 10 ** SPEC[collateral].decimals / USD
    owed = _units(debt, worth_usd * _limits(collateral, 0)[0] * 0.9, prices)
    if worth_usd < 1 / USD or owed == 0:
        # One base unit of DAI is worth nothing at the oracle's eight decimals.
        supplied, debt, owed = max(supplied, _units(collateral, 2e-8, prices)), "DAI", 1
    return Plan(account, "dust", {collateral: supplied}, {(debt, VARIABLE): owed})


def _health(rng: Random) -> float:
    kind = rng.random()
    if kind < 0.08:
        return rng.uniform(1.01, 1.05)
    if kind < 0.70:
        return 1.05 + 0.55 * rng.betavariate(1.2, 1.6)
    return rng.uniform(1.6, 2.5) if kind < 0.9 else rng.uniform(2.5, 6)


def _limits(symbol: str, category: int) -> tuple[float, float]:
    """Return loan to value and threshold as fractions."""
    spec: Reserve = SPEC[symbol]
    if category and spec.category == category:
        return CATEGORIES[category][0] / 10_000, CATEGORIES[category][1] / 10_000
    return spec.ltv_bps / 10_000, spec.threshold_bps / 10_000


def _units(symbol: str, usd: float, prices: dict[str, int]) -> int:
    unit: int = 10 ** SPEC[symbol].decimals
    return int(usd * USD) * unit // prices[symbol]


def _funding(market: AaveMarket, plans: Sequence[Plan], prices: dict[str, int]) -> list[Tx]:
    """Give the bank what it will hand out, and the pool twice what will be borrowed."""
    supplied: Counter[str] = Counter()
    borrowed: Counter[str] = Counter()
    for each in plans:
        supplied.update(each.supplies)
        for (symbol, _), amount in each.debts.items():
            borrowed[symbol] += amount
    transactions = []
    for symbol in SPEC:
        depth = 2 * borrowed[symbol] + _units(symbol, 5e6, prices)
        need = supplied[symbol] + 2 * borrowed[symbol] + len(PROVIDERS) * depth
        transactions += [market.mint(symbol, BANK, need), market.approve(BANK, symbol)]
        part = depth // len(PROVIDERS)
        transactions += [market.supply(BANK, symbol, part, account) for account in PROVIDERS]
    return transactions


def _actions(market: AaveMarket, plans: Sequence[Plan]) -> Iterable[Tx]:
    for each in plans:
        for symbol, amount in each.supplies.items():
            yield market.supply(BANK, symbol, amount, each.account)
    for each in plans:
        for symbol in each.unflagged:
            yield market.use_as_collateral(each.account, symbol, False)
        if each.category:
            yield market.set_emode(each.account, each.category)
        for (symbol, mode), amount in each.debts.items():
            yield market.borrow(each.account, symbol, amount, mode)
        for symbol, amount in each.withdrawals.items():
            yield market.withdraw(each.account, symbol, amount)
        if each.repays:
            for (symbol, mode), amount in each.debts.items():
                # More than is owed: the pool takes the debt with its interest and no more.
                yield market.repay(BANK, symbol, 2 * amount, mode, each.account)


def _moves(market: AaveMarket, accounts: Sequence[str], rng: Random, k: int) -> Iterable[_Move]:
    """Draw who does what with which asset, from what the chain says they have."""
    kinds = rng.choices(list(ACTIONS), list(ACTIONS.values()), k=k)
    actors = rng.choices(accounts, k=k)
    flags = _flags(market, actors)
    symbols = []
    for kind, (collaterals, debts) in zip(kinds, flags, strict=True):
        own = {"repay": debts, "rate": debts, "liquidate": debts}.get(kind, collaterals)
        anything = not own or kind in ("supply", "borrow") or rng.random() < 0.05
        symbols.append(rng.choice(list(SPEC) if anything else own))
    data = market.account_data(actors)
    holdings = _holdings(market, list(zip(actors, symbols, strict=True)))
    for index, kind in enumerate(kinds):
        collateral = rng.choice(flags[index][0] or list(SPEC))
        row = (kind, actors[index], symbols[index], collateral, rng.choice(accounts))
        yield _Move(*row, available=data[index][2], holding=holdings[index])


def _step(market: AaveMarket, rng: Random, move: _Move, prices: dict[str, int]) -> list[Tx]:
    """Encode one action; its own transaction comes last."""
    account, symbol, holding = move.account, move.symbol, move.holding
    mode, owed = (STABLE, holding.stable) if holding.stable else (VARIABLE, holding.variable)
    share = rng.uniform(0.05, 0.6)
    whole = rng.random() < 0.15
    match move.kind:
        case "supply":
            amount = rng.randint(1, 10 ** (SPEC[symbol].decimals + 1))
            return [
                *_provide(market, account, symbol, amount),
                market.supply(account, symbol, amount),
            ]
        case "borrow":
            amount = _units(symbol, min(move.available / USD, 1e6) * share, prices)
            mode = rng.choice([STABLE, VARIABLE]) if SPEC[symbol].stable_rate else VARIABLE
            return [market.borrow(account, symbol, amount, mode)]
        case "repay":
            amount = MAX_UINT if whole else int(owed * share) + 1
            funds = _provide(market, account, symbol, 2 * owed + 1)
            return [*funds, market.repay(account, symbol, amount, mode)]
        case "withdraw":
            amount = MAX_UINT if whole else int(holding.supplied * share) + 1
            return [market.withdraw(account, symbol, amount)]
        case "transfer":
            amount = holding.supplied if whole else int(holding.supplied * share)
            return [market.transfer(account, symbol, move.other, amount)]
        case "flag":
            return [market.use_as_collateral(account, symbol, not holding.flagged)]
        case "e-mode":
            return [market.set_emode(account, rng.choice([0, *CATEGORIES]))]
        case "rate":
            return [market.swap_rate(account, symbol, mode)]
        case _:
            owed = holding.stable + holding.variable
            return _liquidation(market, rng, account, move.collateral, symbol, owed)


def _liquidation(
    market: AaveMarket, rng: Random, account: str, collateral: str, debt: str, owed: int
) -> list[Tx]:
    liquidator = rng.choice(LIQUIDATORS)
    amount = MAX_UINT if rng.random() < 0.6 else int(owed * rng.uniform(0.02, 0.6)) + 1
    a_token = rng.random() < 0.25
    return [
        *_provide(market, liquidator, debt, 2 * owed + 1),
        market.liquidate(liquidator, collateral, debt, account, amount, a_token),
    ]


def _provide(market: AaveMarket, account: str, symbol: str, amount: int) -> list[Tx]:
    return [market.mint(symbol, account, amount), market.approve(account, symbol)]


def _flags(market: AaveMarket, accounts: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Return per account the symbols it uses as collateral and those it has borrowed."""
    calls = [(market.pool, account) for account in accounts]
    found = market.chain.call_each("getUserConfiguration(address)(uint256)", calls)
    listed = market.listed
    return [
        (
            [symbol for symbol in listed if bits >> 2 * listed[symbol].id + 1 & 1],
            [symbol for symbol in listed if bits >> 2 * listed[symbol].id & 1],
        )
        for bits in found
    ]


def _holdings(market: AaveMarket, pairs: Sequence[tuple[str, str]]) -> list[_Holding]:
    """Read what accounts have in a reserve each: pairs of account and symbol."""
    outputs = "uint256,uint256,uint256,uint256,uint256,uint256,uint256,uint40,bool"
    signature = f"getUserReserveData(address,address)({outputs})"
    calls = [(market.data_provider, market.listed[symbol].token, who) for who, symbol in pairs]
    rows = market.chain.call_each(signature, calls)
    return [_Holding(row[0], row[1], row[2], row[8]) for row in rows]


def _liquidated(market: AaveMarket, log: dict[str, Any]) -> Liquidation:
    symbols = {listed.token: symbol for symbol, listed in market.listed.items()}
    collateral, debt, account = (f"0x{topic[26:]}" for topic in log["topics"][1:])
    repaid, seized, liquidator, a_token = decode("f()(uint256,uint256,address,bool)", log["data"])
    return Liquidation(
        account,
        symbols[collateral],
        symbols[debt],
        repaid,
        seized,
        liquidator,
        a_token,
        int(log["blockNumber"], 16),
    )
