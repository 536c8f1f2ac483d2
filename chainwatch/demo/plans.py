"""Plans of demo accounts: shapes, collateral and debt, drawn with a seed for given prices."""

import math
from dataclasses import dataclass, field
from random import Random

from chainwatch.demo.aave import (
    CATEGORIES,
    ETH_CORRELATED,
    RESERVES,
    STABLE,
    STABLECOINS,
    VARIABLE,
    ReserveSpec,
)

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


@dataclass(frozen=True)
class Plan:
    """What one account will do. Amounts are in base units of the token."""

    account: str
    shape: str
    supplies: dict[str, int]
    debts: dict[tuple[str, int], int] = field(default_factory=dict)  # (symbol, rate mode)
    withdrawals: dict[str, int] = field(default_factory=dict)  # after borrowing
    unflagged: tuple[str, ...] = ()  # supplied, but not as collateral
    category: int = 0
    repays: bool = False  # everything, at the end


def address(seed: int, index: int) -> str:
    """Return the address of account `index` of a seed."""
    from eth_utils.crypto import keccak

    return f"0x{keccak(text=f'chainwatch demo {seed} {index}')[-20:].hex()}"


def draw_plans(n: int, seed: int, prices: dict[str, int]) -> list[Plan]:
    """Draw n accounts for these oracle prices (USD with 8 decimals)."""
    rng = Random(seed)
    shapes = [*SHAPES, *rng.choices(list(SHAPES), list(SHAPES.values()), k=n)][:n]
    return [_draw(address(seed, index), shape, rng, prices) for index, shape in enumerate(shapes)]


def _draw(account: str, shape: str, rng: Random, prices: dict[str, int]) -> Plan:
    """Draw one account of a shape: collateral of the value that its health factor requires."""
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
    shares = {symbol: w / sum(weights) for symbol, w in zip(collaterals, weights, strict=True)}
    ltv, threshold = (sum(shares[it] * _limits(it, category)[i] for it in shares) for i in (0, 1))
    wanted_usd = debt_usd * health / threshold
    # The pool lends up to the loan to value; a withdrawal then lowers the health factor further.
    supplied_usd = max(wanted_usd, 1.002 * debt_usd / ltv)
    supplies = {it: units(it, shares[it] * supplied_usd, prices) for it in shares}
    kept = {it: units(it, shares[it] * wanted_usd, prices) for it in shares}
    unflagged: tuple[str, ...] = ()
    if shape == "flag off":
        unflagged = (rng.choice([it for it in SPEC if it not in shares]),)
        supplies[unflagged[0]] = units(unflagged[0], debt_usd * rng.uniform(0.1, 2), prices)
    if shape == "supplier":
        return Plan(account, shape, supplies)
    owed = {(it, mode): units(it, debt_usd / len(debts), prices) for it in debts}
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
    supplied = max(1, units(collateral, math.exp(rng.uniform(math.log(1e-6), 0)) * 0.95, prices))
    worth_usd = supplied * prices[collateral] / 10 ** SPEC[collateral].decimals / USD
    owed = units(debt, worth_usd * _limits(collateral, 0)[0] * 0.9, prices)
    if worth_usd < 1 / USD or owed == 0:
        # One base unit of DAI is worth nothing at the oracle's eight decimals.
        supplied, debt, owed = max(supplied, units(collateral, 2e-8, prices)), "DAI", 1
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
    spec: ReserveSpec = SPEC[symbol]
    if category and spec.category == category:
        return CATEGORIES[category][0] / 10_000, CATEGORIES[category][1] / 10_000
    return spec.ltv_bps / 10_000, spec.threshold_bps / 10_000


def units(symbol: str, usd: float, prices: dict[str, int]) -> int:
    """Return base units of a token of this value at these oracle prices."""
    unit: int = 10 ** SPEC[symbol].decimals
    return int(usd * USD) * unit // prices[symbol]
