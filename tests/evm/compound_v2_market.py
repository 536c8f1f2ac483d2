"""A market of Compound v2's kind on the local node: a stand-in of this project, or Venus's own.

Stand-ins have the ABI, units and rounding of Compound v2. Venus's contracts (BSD) are a fork of it;
their artifacts come with npm's package into the ignored cache. Tokens, feeds and the price oracle
are this project's in both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from chainwatch.demo.aave import MULTICALL
from chainwatch.demo.chain import (
    DEPLOYER,
    MAX_UINT,
    Chain,
    Receipt,
    Tx,
    encode,
    hardhat_artifact,
    own_artifact,
)
from tests.evm import packages

MANTISSA = 10**18
USD = 10**8
RATE = 10**9  # interest per block, 1e18
INCENTIVE = 108 * 10**16
LENDER = "0x" + "1e" * 20
LIQUIDATOR = "0x" + "1a" * 20
ACCESS = "0x" + "ac" * 20
ALLOWS_ALL = "600160005260206000f3"  # returns 1 to every call
VAI = "0x4bd17003473389a42daf6a0a729f6fdb328bbbd7"
VENUS_ARTIFACTS = "node_modules/@venusprotocol/venus-protocol/artifacts"
VENUS_BLOCKS = 60 * 60 * 24 * 365 // 3  # a year of its rate models
LIQUIDATED = "LiquidateBorrow(address,address,uint256,address,uint256)"
# symbol, decimals, price (8 decimals), collateral factor in percent
LISTED = (
    ("USDC", 6, USD, 85),
    ("WETH", 18, 3_000 * USD, 80),
    ("WBTC", 8, 90_000 * USD, 70),
    ("DAI", 18, USD, 78),
)


@dataclass
class CompoundMarket:
    """A running market and encoders of what its users do; amounts in token units."""

    chain: Chain
    comptroller: str
    oracle: str
    decimals: dict[str, int]
    tokens: dict[str, str]
    feeds: dict[str, str]
    c_tokens: dict[str, str]
    factors: dict[str, int]  # percent
    vai_controller: str = ""  # of Venus, once VAI is minted there

    def supply(self, sender: str, symbol: str, amount: int) -> list[Tx]:
        """Mint the token, mint cTokens for it and let them count as collateral."""
        token, c_token = self.tokens[symbol], self.c_tokens[symbol]
        return [
            Tx(sender, token, encode("mint(address,uint256)", sender, amount)),
            Tx(sender, token, encode("approve(address,uint256)", c_token, MAX_UINT)),
            Tx(sender, c_token, encode("mint(uint256)", amount)),
            self.enter(sender, symbol),
        ]

    def enter(self, sender: str, symbol: str) -> Tx:
        data = encode("enterMarkets(address[])", [self.c_tokens[symbol]])
        return Tx(sender, self.comptroller, data)

    def leave(self, sender: str, symbol: str) -> Tx:
        return Tx(sender, self.comptroller, encode("exitMarket(address)", self.c_tokens[symbol]))

    def borrow(self, sender: str, symbol: str, amount: int) -> Tx:
        return Tx(sender, self.c_tokens[symbol], encode("borrow(uint256)", amount))

    def redeem(self, sender: str, symbol: str, c_tokens: int) -> Tx:
        return Tx(sender, self.c_tokens[symbol], encode("redeem(uint256)", c_tokens))

    def hand(self, sender: str, symbol: str, to: str, c_tokens: int) -> Tx:
        data = encode("transfer(address,uint256)", to, c_tokens)
        return Tx(sender, self.c_tokens[symbol], data)

    def repay(self, sender: str, symbol: str, borrower: str, amount: int) -> list[Tx]:
        """Repay with tokens minted for it; MAX_UINT repays all."""
        token, c_token = self.tokens[symbol], self.c_tokens[symbol]
        minted = min(amount, 10**30)
        return [
            Tx(sender, token, encode("mint(address,uint256)", sender, minted)),
            Tx(sender, token, encode("approve(address,uint256)", c_token, MAX_UINT)),
            Tx(sender, c_token, encode("repayBorrowBehalf(address,uint256)", borrower, amount)),
        ]

    def liquidate(self, borrower: str, debt: str, amount: int, collateral: str) -> list[Tx]:
        token, c_token = self.tokens[debt], self.c_tokens[debt]
        signature = "liquidateBorrow(address,uint256,address)"
        data = encode(signature, borrower, amount, self.c_tokens[collateral])
        return [
            Tx(LIQUIDATOR, token, encode("mint(address,uint256)", LIQUIDATOR, amount)),
            Tx(LIQUIDATOR, token, encode("approve(address,uint256)", c_token, MAX_UINT)),
            Tx(LIQUIDATOR, c_token, data),
        ]

    def set_rate(self, per_block: int) -> list[Tx]:
        """Set the interest per block of all markets, 1e18."""
        data = encode("setRate(uint256)", per_block)
        return [Tx(DEPLOYER, c, data) for c in self.c_tokens.values()]

    def accrue(self) -> list[Tx]:
        return [Tx(DEPLOYER, c, encode("accrueInterest()")) for c in self.c_tokens.values()]

    def set_prices(self, prices: dict[str, int]) -> None:
        """Set feeds' answers, 8 decimals, in one block."""
        self.chain.send_all(
            [
                Tx(DEPLOYER, self.feeds[symbol], encode("setAnswer(int256)", price))
                for symbol, price in prices.items()
            ]
        )

    def set_oracle(self, oracle: str) -> None:
        self.chain.send(self.comptroller, "_setPriceOracle(address)", oracle)

    def liquidated(self, receipt: Receipt) -> bool:
        """Whether a liquidation went through: Venus's contracts refuse without reverting."""
        from eth_utils.crypto import keccak

        topic = f"0x{keccak(text=LIQUIDATED).hex()}"
        return receipt.ok and any(log["topics"][0] == topic for log in receipt.logs)

    def snapshot_of(self, account: str, symbol: str) -> tuple[int, int, int]:
        """cTokens, borrow and exchange rate as stored."""
        signature = "getAccountSnapshot(address)(uint256,uint256,uint256,uint256)"
        words: tuple[int, ...] = self.chain.call(self.c_tokens[symbol], signature, account)
        return words[1], words[2], words[3]


def deploy(
    chain: Chain,
    listed: Sequence[tuple[str, int, int, int]] = LISTED,
    stand_in: str = "MiniComptroller",
) -> CompoundMarket:
    """Deploy a stand-in with a feed per asset, and a lender of a billion dollars of each."""
    chain.set_code(MULTICALL, own_artifact("TestMulticall").runtime)
    oracle = chain.deploy(own_artifact("MiniPriceOracle"))
    arguments = (oracle, MANTISSA // 2, INCENTIVE)
    comptroller = chain.deploy(own_artifact(stand_in), *arguments)
    market = CompoundMarket(chain, comptroller, oracle, {}, {}, {}, {}, {})
    for symbol, decimals, price, factor in listed:
        token = chain.deploy(own_artifact("TestToken"), symbol, symbol, decimals)
        feed = chain.deploy(own_artifact("TestFeed"), price, 8, f"{symbol} / USD")
        first_rate = 2 * 10 ** (16 + decimals - 8)
        terms = (f"c{symbol}", comptroller, token, first_rate, RATE)
        c_token = chain.deploy(own_artifact("MiniCToken"), *terms)
        chain.send(oracle, "setFeed(address,uint8,address)", c_token, decimals, feed)
        market.decimals[symbol], market.tokens[symbol] = decimals, token
        market.feeds[symbol] = feed
        _list(market, symbol, c_token, factor)
    _lend(market, listed)
    return market


@dataclass
class VenusMarket(CompoundMarket):
    """A running market of Venus's own contracts; its rate models are contracts of their own."""

    folder: Path = Path()

    def add_vai(self, per_block: int) -> None:
        """Let accounts mint VAI, with interest per block in 1e18; the DEPLOYER may mint it, too."""
        chain = self.chain
        controller = chain.deploy(hardhat_artifact(self.folder, "VAIUnitroller"))
        rules = chain.deploy(hardhat_artifact(self.folder, "VAIController"))
        chain.send(controller, "_setPendingImplementation(address)", rules)
        chain.send(rules, "_become(address)", controller)
        chain.send(controller, "initialize()")
        chain.send(controller, "_setComptroller(address)", self.comptroller)
        chain.send(controller, "setAccessControl(address)", ACCESS)
        chain.send(controller, "setReceiver(address)", LENDER)
        chain.send(controller, "setBaseRate(uint256)", per_block * VENUS_BLOCKS)
        chain.send(self.comptroller, "_setVAIController(address)", controller)
        chain.send(self.comptroller, "_setVAIMintRate(uint256)", 10_000)
        # Its address is part of the controller's code.
        chain.set_code(VAI, hardhat_artifact(self.folder, "VAI").runtime)
        for minter in (controller, DEPLOYER):
            chain.set_storage(VAI, _slot_of(minter), 1)
        self.vai_controller = controller

    def mint_vai(self, sender: str, amount: int) -> Tx:
        return Tx(sender, self.vai_controller, encode("mintVAI(uint256)", amount))

    def fund_vai(self, sender: str, amount: int) -> list[Tx]:
        return [
            Tx(DEPLOYER, VAI, encode("mint(address,uint256)", sender, amount)),
            Tx(sender, VAI, encode("approve(address,uint256)", self.vai_controller, MAX_UINT)),
        ]

    def repay_vai(self, sender: str, amount: int) -> list[Tx]:
        data = encode("repayVAI(uint256)", amount)
        return [*self.fund_vai(sender, amount), Tx(sender, self.vai_controller, data)]

    def liquidate_vai(self, borrower: str, amount: int, collateral: str) -> list[Tx]:
        signature = "liquidateVAI(address,uint256,address)"
        data = encode(signature, borrower, amount, self.c_tokens[collateral])
        return [*self.fund_vai(LIQUIDATOR, amount), Tx(LIQUIDATOR, self.vai_controller, data)]

    def set_rate(self, per_block: int) -> list[Tx]:
        model = _rate_model(self.chain, self.folder, per_block)
        data = encode("_setInterestRateModel(address)", model)
        return [Tx(DEPLOYER, c, data) for c in self.c_tokens.values()]


def _slot_of(minter: str) -> int:
    """Where VAI keeps that an address may mint it: a mapping in its first slot."""
    from eth_utils.crypto import keccak

    return int.from_bytes(keccak(bytes(12) + bytes.fromhex(minter[2:]) + bytes(32)))


def venus_artifacts() -> Path:
    """The folder of the package's artifacts, installed on first use; skips as `toolchain` does."""
    check = packages.holding(VENUS_ARTIFACTS, "Venus")
    return packages.installed("venus_package.json", check) / VENUS_ARTIFACTS


def deploy_venus(
    chain: Chain, folder: Path, listed: Sequence[tuple[str, int, int, int]] = LISTED
) -> VenusMarket:
    """The same market of Venus's contracts: a comptroller behind its proxy, a vToken per asset."""
    chain.set_code(MULTICALL, own_artifact("TestMulticall").runtime)
    chain.set_code(ACCESS, ALLOWS_ALL)
    oracle = chain.deploy(own_artifact("MiniPriceOracle"))
    comptroller = chain.deploy(hardhat_artifact(folder, "Unitroller"))
    rules = chain.deploy(hardhat_artifact(folder, "Comptroller"))
    chain.send(comptroller, "_setPendingImplementation(address)", rules)
    chain.send(rules, "_become(address)", comptroller)
    lens = chain.deploy(hardhat_artifact(folder, "ComptrollerLens"))
    for signature, value in (
        ("_setAccessControl(address)", ACCESS),
        ("_setComptrollerLens(address)", lens),
        ("_setPriceOracle(address)", oracle),
        ("_setCloseFactor(uint256)", MANTISSA // 2),
        ("_setLiquidationIncentive(uint256)", INCENTIVE),
    ):
        chain.send(comptroller, signature, value)
    market = VenusMarket(chain, comptroller, oracle, {}, {}, {}, {}, {}, folder=folder)
    model = _rate_model(chain, folder, RATE)
    for symbol, decimals, price, factor in listed:
        token = chain.deploy(own_artifact("TestToken"), symbol, symbol, decimals)
        feed = chain.deploy(own_artifact("TestFeed"), price, 8, f"{symbol} / USD")
        first_rate = 2 * 10 ** (16 + decimals - 8)
        names = (f"c{symbol}", f"c{symbol}", 8)
        terms = (token, comptroller, model, first_rate, *names, DEPLOYER)
        c_token = chain.deploy(hardhat_artifact(folder, "VBep20Immutable"), *terms)
        chain.send(oracle, "setFeed(address,uint8,address)", c_token, decimals, feed)
        market.decimals[symbol], market.tokens[symbol] = decimals, token
        market.feeds[symbol] = feed
        _list(market, symbol, c_token, factor)
        signature = "_setMarketSupplyCaps(address[],uint256[])"
        chain.send(comptroller, signature, [c_token], [MAX_UINT])
        chain.send(c_token, "_setReserveFactor(uint256)", MANTISSA // 10)
    _lend(market, listed)
    return market


def _rate_model(chain: Chain, folder: Path, per_block: int) -> str:
    """A rate model with the same interest per block, 1e18, whatever is borrowed."""
    contract = hardhat_artifact(folder, "WhitePaperInterestRateModel")
    return chain.deploy(contract, per_block * VENUS_BLOCKS, 0)


def _list(market: CompoundMarket, symbol: str, c_token: str, factor: int) -> None:
    chain, comptroller = market.chain, market.comptroller
    chain.send(comptroller, "_supportMarket(address)", c_token)
    signature = "_setCollateralFactor(address,uint256)"
    chain.send(comptroller, signature, c_token, factor * MANTISSA // 100)
    market.c_tokens[symbol] = c_token
    market.factors[symbol] = factor


def _lend(market: CompoundMarket, listed: Sequence[tuple[str, int, int, int]]) -> None:
    """A lender brings a billion dollars of each."""
    steps = []
    for symbol, decimals, price, _ in listed:
        steps += market.supply(LENDER, symbol, 10**9 * USD * 10**decimals // price)[:3]
    market.chain.send_all(steps)


def address(seed: int, index: int) -> str:
    from eth_utils.crypto import keccak

    return f"0x{keccak(text=f'chainwatch compound v2 {seed} {index}')[-20:].hex()}"


def populate(market: CompoundMarket, prices: dict[str, int], n: int, seed: int) -> list[str]:
    """Make n accounts: one to three collaterals, one or two debts, dust, and none at all."""
    rng = Random(seed)
    symbols = sorted(market.c_tokens)
    accounts = [address(seed, i) for i in range(n)]
    steps: list[Tx] = []
    for i, account in enumerate(accounts):
        worth = min(rng.lognormvariate(math.log(15_000), 1.5), 1_000_000.0)
        if i % 17 == 5:
            worth = rng.uniform(0.01, 1.0)  # dust
        limit = 0.0
        falling = i % 4 > 0  # most hold what falls, and owe what does not
        collaterals = rng.sample(["WBTC", "WETH"] if falling else symbols, rng.choice((1, 2)))
        for symbol in collaterals:
            amount = (
                int(worth / len(collaterals) * USD)
                * 10 ** market.decimals[symbol]
                // prices[symbol]
            )
            if amount:
                steps += market.supply(account, symbol, amount)
                limit += worth / len(collaterals) * market.factors[symbol] / 100
        if i % 13 == 7:
            continue  # collateral without a debt
        owed = rng.sample(["DAI", "USDC"] if falling else symbols, rng.choice((1, 1, 2)))
        for symbol in owed:
            debt = limit * rng.uniform(0.3, 0.98) / len(owed)
            amount = int(debt * USD) * 10 ** market.decimals[symbol] // prices[symbol]
            if amount:
                steps.append(market.borrow(account, symbol, amount))
    market.chain.send_all(steps)
    return accounts
