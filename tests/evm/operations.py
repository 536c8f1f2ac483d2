"""Random actions of accounts on a local Aave market: what users do between two snapshots."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from chainwatch.demo.aave import CATEGORIES, STABLE, VARIABLE, AaveMarket
from chainwatch.demo.accounts import (
    ReserveHolding,
    liquidation_calls,
    provide,
    read_flags,
    read_holdings,
)
from chainwatch.demo.chain import MAX_UINT, Tx
from chainwatch.demo.plans import SPEC, USD, units

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


@dataclass(frozen=True)
class Tally:
    """How many actions of each kind went through, and how many were reverted."""

    done: Counter[str] = field(default_factory=Counter)
    reverted: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Move:
    """One action of an account with an asset."""

    kind: str
    account: str
    symbol: str
    collateral: str  # of a liquidation
    other: str  # receiver of a transfer
    available: int  # to borrow, USD with 8 decimals
    holding: ReserveHolding


def random_operations(market: AaveMarket, accounts: Sequence[str], rng: Random, k: int) -> Tally:
    """Let random accounts do k random actions; a reverted one is counted, not an error."""
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


def _moves(market: AaveMarket, accounts: Sequence[str], rng: Random, k: int) -> Iterable[Move]:
    """Draw the actions: which account, kind and asset, from what the accounts have on chain."""
    kinds = rng.choices(list(ACTIONS), list(ACTIONS.values()), k=k)
    actors = rng.choices(accounts, k=k)
    flags = read_flags(market, actors)
    symbols = []
    for kind, (collaterals, debts) in zip(kinds, flags, strict=True):
        own = {"repay": debts, "rate": debts, "liquidate": debts}.get(kind, collaterals)
        anything = not own or kind in ("supply", "borrow") or rng.random() < 0.05
        symbols.append(rng.choice(list(SPEC) if anything else own))
    data = market.account_data(actors)
    holdings = read_holdings(market, list(zip(actors, symbols, strict=True)))
    for index, kind in enumerate(kinds):
        collateral = rng.choice(flags[index][0] or list(SPEC))
        row = (kind, actors[index], symbols[index], collateral, rng.choice(accounts))
        yield Move(*row, available=data[index][2], holding=holdings[index])


def _step(market: AaveMarket, rng: Random, move: Move, prices: dict[str, int]) -> list[Tx]:
    """Encode one action; its own transaction comes last."""
    account, symbol, holding = move.account, move.symbol, move.holding
    mode, owed = (STABLE, holding.stable) if holding.stable else (VARIABLE, holding.variable)
    share = rng.uniform(0.05, 0.6)
    everything = rng.random() < 0.15
    match move.kind:
        case "supply":
            amount = rng.randint(1, 10 ** (SPEC[symbol].decimals + 1))
            return [
                *provide(market, account, symbol, amount),
                market.supply(account, symbol, amount),
            ]
        case "borrow":
            amount = units(symbol, min(move.available / USD, 1e6) * share, prices)
            mode = rng.choice([STABLE, VARIABLE]) if SPEC[symbol].stable_rate else VARIABLE
            return [market.borrow(account, symbol, amount, mode)]
        case "repay":
            amount = MAX_UINT if everything else int(owed * share) + 1
            funds = provide(market, account, symbol, 2 * owed + 1)
            return [*funds, market.repay(account, symbol, amount, mode)]
        case "withdraw":
            amount = MAX_UINT if everything else int(holding.supplied * share) + 1
            return [market.withdraw(account, symbol, amount)]
        case "transfer":
            amount = holding.supplied if everything else int(holding.supplied * share)
            return [market.transfer(account, symbol, move.other, amount)]
        case "flag":
            return [market.use_as_collateral(account, symbol, not holding.flagged)]
        case "e-mode":
            return [market.set_emode(account, rng.choice([0, *CATEGORIES]))]
        case "rate":
            return [market.swap_rate(account, symbol, mode)]
        case _:
            owed = holding.stable + holding.variable
            return liquidation_calls(market, rng, account, move.collateral, symbol, owed)
