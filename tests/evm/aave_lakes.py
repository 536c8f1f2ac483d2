"""Lakes beside a market of the Aave family, and what holds for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chainwatch.demo import accounts
from chainwatch.demo.aave import VARIABLE, AaveMarket
from chainwatch.tables.lending import Account, Snapshot
from tests.builders import Watched, chain_figures, our_figures
from tests.evm.aave_v2_market import ETHER, AaveV2Market

USER = "0x" + "ab" * 20


class Lake(Watched):
    """A lake beside a market that the source of its protocol reads."""

    def __init__(self, home: Path, market: Any, source: str = "aave-v2", **entry: Any) -> None:
        super().__init__(home, market, protocol=source, **entry)


def holds(lake: Lake, snapshot: Snapshot) -> dict[str, Account]:
    """The accounts of a snapshot of the newest block, after all of them equal the chain."""
    assert snapshot.block_number == lake.chain.block_number()
    rows = lake.accounts(snapshot)
    assert len(rows) == snapshot.accounts
    expected = chain_figures(lake.market, list(rows))
    assert our_figures(rows) == expected
    assert snapshot.accounts_failed == sum(figures is None for figures in expected.values())
    for account, figures in expected.items():
        assert rows[account].liquidatable == (None if figures is None else figures[2] < ETHER)
    return rows


def supply(market: AaveV2Market | AaveMarket, symbol: str, amount: int, account: str) -> None:
    market.chain.send_all(
        [
            market.mint(symbol, account, amount),
            market.approve(account, symbol),
            market.supply(account, symbol, amount),
        ]
    )


def borrower(
    market: AaveV2Market | AaveMarket, account: str = USER, mode: int = VARIABLE, usd: int = 1_000
) -> None:
    """One ETH against some USDC, which somebody else supplies."""
    supply(market, "USDC", 10**13, accounts.PROVIDERS[0])
    supply(market, "WETH", ETHER, account)
    market.chain.send_all([market.borrow(account, "USDC", usd * 10**6, mode)])


def answers(number: int) -> str:
    """Runtime code of a contract that answers a number to every call."""
    return f"60{number:02x}60005260206000f3"
