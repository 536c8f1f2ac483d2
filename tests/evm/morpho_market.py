"""Morpho Blue on the local node: a stand-in of this project, or the contract that was published.

The published one (BUSL-1.1) is compiled in the ignored cache from the sources that npm's package
carries, with the settings it was deployed with; nothing of it is in the repository. Tokens, oracles
and rate models are this project's in both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from chainwatch.demo.aave import MULTICALL
from chainwatch.demo.chain import (
    DEPLOYER,
    MAX_UINT,
    Chain,
    Tx,
    encode,
    hardhat_artifact,
    own_artifact,
)
from tests.evm import packages

WAD = 10**18
USD = 10**8
NOBODY = "0x" + "00" * 20
LENDER = "0x" + "1e" * 20
LIQUIDATOR = "0x" + "1a" * 20
RATE = 1_585_489_599  # 5 % a year per second, 1e18
PARAMS = "(address,address,address,address,uint256)"
Params = tuple[str, str, str, str, int]


def artifacts() -> Path:
    """The folder of the compiled contract, made on first use; skips as `toolchain` does."""
    return packages.compiled("morpho_package.json", "morpho_compile.js", "Morpho Blue")


@dataclass
class Pair:
    """One market: its id and terms, and the decimals of both tokens."""

    market_id: str
    params: Params
    decimals: tuple[int, int]  # loan, collateral

    @property
    def loan(self) -> str:
        return self.params[0]

    @property
    def collateral(self) -> str:
        return self.params[1]

    @property
    def oracle(self) -> str:
        return self.params[2]

    def position_name(self, account: str) -> str:
        """The name of an account's position in this market."""
        return f"{account}:{self.market_id}"


@dataclass
class MorphoMarket:
    """A running contract and encoders of what its users do; amounts in token units."""

    chain: Chain
    morpho: str
    irm: str
    tokens: dict[str, str]
    decimals: dict[str, int]
    feeds: dict[str, str]
    pairs: dict[str, Pair]

    def call(self, sender: str, signature: str, pair: Pair, *rest: Any) -> Tx:
        """A call whose first argument is the market's terms."""
        text = signature.replace("(", f"({PARAMS},", 1)
        return Tx(sender, self.morpho, encode(text, pair.params, *rest))

    def fund(self, sender: str, token: str, amount: int) -> list[Tx]:
        return [
            Tx(sender, token, encode("mint(address,uint256)", sender, amount)),
            Tx(sender, token, encode("approve(address,uint256)", self.morpho, MAX_UINT)),
        ]

    def lend(self, pair: Pair, amount: int) -> list[Tx]:
        steps = self.fund(LENDER, pair.loan, amount)
        signature = "supply(uint256,uint256,address,bytes)"
        return [*steps, self.call(LENDER, signature, pair, amount, 0, LENDER, b"")]

    def supply(self, sender: str, pair: Pair, amount: int) -> list[Tx]:
        """Supply collateral."""
        signature = "supplyCollateral(uint256,address,bytes)"
        steps = self.fund(sender, pair.collateral, amount)
        return [*steps, self.call(sender, signature, pair, amount, sender, b"")]

    def withdraw(self, sender: str, pair: Pair, amount: int) -> Tx:
        signature = "withdrawCollateral(uint256,address,address)"
        return self.call(sender, signature, pair, amount, sender, sender)

    def borrow(self, sender: str, pair: Pair, amount: int) -> Tx:
        signature = "borrow(uint256,uint256,address,address)"
        return self.call(sender, signature, pair, amount, 0, sender, sender)

    def repay(self, sender: str, pair: Pair, shares: int, account: str) -> list[Tx]:
        signature = "repay(uint256,uint256,address,bytes)"
        steps = self.fund(sender, pair.loan, shares)
        return [*steps, self.call(sender, signature, pair, 0, shares, account, b"")]

    def liquidate(self, pair: Pair, account: str, seized: int, shares: int) -> list[Tx]:
        """Either `seized` collateral or `shares` of the debt is given, the other 0."""
        signature = "liquidate(address,uint256,uint256,bytes)"
        steps = self.fund(LIQUIDATOR, pair.loan, 10**30)
        return [*steps, self.call(LIQUIDATOR, signature, pair, account, seized, shares, b"")]

    def accrue(self, pair: Pair) -> Tx:
        return Tx(DEPLOYER, self.morpho, encode(f"accrueInterest({PARAMS})", pair.params))

    def position(self, pair: Pair, account: str) -> tuple[int, int]:
        """Collateral and borrow shares."""
        signature = "position(bytes32,address)(uint256,uint128,uint128)"
        words = self.chain.call(self.morpho, signature, bytes.fromhex(pair.market_id[2:]), account)
        return words[2], words[1]

    def totals(self, pair: Pair) -> tuple[int, int]:
        """Borrowed assets and shares as stored."""
        signature = "market(bytes32)(uint128,uint128,uint128,uint128,uint128,uint128)"
        words = self.chain.call(self.morpho, signature, bytes.fromhex(pair.market_id[2:]))
        return words[2], words[3]

    def set_prices(self, prices: dict[str, int]) -> None:
        """Set feeds' answers, 8 decimals, in one block."""
        self.chain.send_all(
            [
                Tx(DEPLOYER, self.feeds[symbol], encode("setAnswer(int256)", price))
                for symbol, price in prices.items()
            ]
        )

    def list(self, name: str, loan: str, collateral: str, lltv: int, feeds: Sequence[str]) -> Pair:
        """Create a market; `feeds` are two of the base and two of the quote, empty = none."""
        addresses = [self.feeds.get(feed, NOBODY) for feed in feeds]
        answers = sum(8 if a != NOBODY else 0 for a in addresses[2:])
        answers -= sum(8 if a != NOBODY else 0 for a in addresses[:2])
        scale = 10 ** (36 + self.decimals[loan] - self.decimals[collateral] + answers)
        oracle = self.chain.deploy(own_artifact("MiniMorphoOracle"), *addresses, scale)
        return self.create(name, loan, collateral, lltv, oracle)

    def create(self, name: str, loan: str, collateral: str, lltv: int, oracle: str) -> Pair:
        from eth_abi.abi import encode as encode_abi
        from eth_utils.crypto import keccak

        params = (self.tokens[loan], self.tokens[collateral], oracle, self.irm, lltv)
        if not self.chain.call(self.morpho, "isLltvEnabled(uint256)(bool)", lltv):
            self.chain.send(self.morpho, "enableLltv(uint256)", lltv)
        self.chain.send(self.morpho, f"createMarket({PARAMS})", params)
        market_id = f"0x{keccak(encode_abi([PARAMS], [params])).hex()}"
        pair = Pair(market_id, params, (self.decimals[loan], self.decimals[collateral]))
        self.pairs[name] = pair
        self.chain.send_all(self.lend(pair, 10**8 * 10 ** self.decimals[loan]))
        return pair


PRICES = {"USDC": USD, "WETH": 3_000 * USD, "WBTC": 90_000 * USD, "wstETH/ETH": 12 * USD // 10}


def deploy(chain: Chain, folder: Path | None = None) -> MorphoMarket:
    """Three markets: WETH and WBTC for USDC, and wstETH for WETH.

    Of the contract in a folder of artifacts; without one, of the stand-in.
    """
    chain.set_code(MULTICALL, own_artifact("TestMulticall").runtime)
    contract = hardhat_artifact(folder, "Morpho") if folder else own_artifact("MiniMorpho")
    morpho = chain.deploy(contract, DEPLOYER)
    irm = chain.deploy(own_artifact("MiniIrm"), RATE)
    chain.send(morpho, "enableIrm(address)", irm)
    market = MorphoMarket(chain, morpho, irm, {}, {}, {}, {})
    for symbol, decimals in (("USDC", 6), ("WETH", 18), ("WBTC", 8), ("wstETH", 18)):
        market.tokens[symbol] = chain.deploy(own_artifact("TestToken"), symbol, symbol, decimals)
        market.decimals[symbol] = decimals
    for name, price in PRICES.items():
        description = "wstETH / ETH" if "/" in name else f"{name.removeprefix('W')} / USD"
        market.feeds[name] = chain.deploy(own_artifact("TestFeed"), price, 8, description)
    market.list("weth", "USDC", "WETH", 86 * WAD // 100, ("WETH", "", "USDC", ""))
    market.list("wbtc", "USDC", "WBTC", 77 * WAD // 100, ("WBTC", "", "", ""))
    market.list("steth", "WETH", "wstETH", 945 * WAD // 1000, ("wstETH/ETH", "", "", ""))
    return market


def address(seed: int, index: int) -> str:
    from eth_utils.crypto import keccak

    return f"0x{keccak(text=f'chainwatch morpho {seed} {index}')[-20:].hex()}"


WORTH = {"weth": 3_000.0, "wbtc": 90_000.0, "steth": 1.2}  # loan tokens per collateral token


def populate(market: MorphoMarket, n: int, seed: int) -> list[str]:
    """Make n positions, some addresses in several markets: borrowers, dust, and no debt."""
    rng = Random(seed)
    names = sorted(market.pairs)
    steps: list[Tx] = []
    made = []
    for i in range(n):
        name = names[i % len(names)]
        pair, account = market.pairs[name], address(seed, i * 2 // 3)
        worth = min(rng.lognormvariate(math.log(15_000), 1.5), 300_000.0)
        if i % 17 == 5:
            worth = rng.uniform(0.01, 1.0)  # dust
        if name == "steth":
            worth /= 3_000
        held = max(int(worth / WORTH[name] * 10 ** pair.decimals[1]), 1)
        steps += market.supply(account, pair, held)
        made.append(pair.position_name(account))
        debt = worth * pair.params[4] / WAD * rng.uniform(0.3, 0.99)
        amount = int(debt * 10 ** pair.decimals[0])
        if i % 13 != 7 and amount:
            steps.append(market.borrow(account, pair, amount))
    market.chain.send_all(steps, tolerate=True)
    return made
