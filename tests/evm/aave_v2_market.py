"""A market of Aave v2 on the local node, deployed from the artifacts that npm's package carries.

The package (AGPL) is installed into the ignored cache when a test asks for it; nothing of it is in
the repository. It has the levers and encoders of `chainwatch.demo.aave.AaveMarket`, so that the
same accounts act on both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chainwatch.demo import accounts
from chainwatch.demo.aave import (
    MULTICALL,
    RAY,
    RESERVES,
    TREASURY,
    VARIABLE,
    ZERO,
    ListedReserve,
    ReserveSpec,
)
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
from chainwatch.demo.plans import Plan, draw_plans
from tests.evm import packages

ARTIFACTS = "node_modules/@aave/protocol-v2/artifacts"
ETHER = 10**18
USD = 10**8
STAKING_RATIO = 12 * 10**17  # wstETH in ETH
# Per mille of a ray: optimal usage, base rate, slopes, stable slopes.
RATES = (900, 0, 40, 600, 20, 600)
STABLE_RATES = {"USDC": 39, "DAI": 45}  # what the rate oracle says, per mille of a ray


def artifacts() -> Path:
    """The folder of the package's artifacts, installed on first use; skips as `toolchain` does."""
    check = packages.holding(ARTIFACTS, "Aave v2")
    return packages.installed("aave_v2_package.json", check) / ARTIFACTS


@dataclass
class AaveV2Market:
    """A running market. Prices are given in USD with 8 decimals; its oracle counts in ETH."""

    chain: Chain
    deployment_block: int
    provider: str
    pool: str
    configurator: str
    oracle: str
    rate_oracle: str
    data_provider: str
    strategy: str
    eth_feed: str  # ETH in USD, which the market itself never reads
    folder: Path
    usd: dict[str, int] = field(default_factory=dict)
    listed: dict[str, ListedReserve] = field(default_factory=dict)

    # Levers of the admin.

    def add(self, reserve: ReserveSpec, *, token: str = "") -> ListedReserve:
        """List a reserve; its three tokens are proxies over implementations of its own."""
        chain, symbol = self.chain, reserve.symbol
        token = token or chain.deploy(own_artifact("TestToken"), symbol, symbol, reserve.decimals)
        feed = ZERO
        if symbol != "WETH":
            price = self.usd[symbol] * ETHER // self.usd["WETH"]
            feed = chain.deploy(own_artifact("TestFeed"), price, 18, f"{symbol} / ETH")
            chain.send(self.oracle, "setAssetSources(address[],address[])", [token], [feed])
        if symbol in STABLE_RATES:
            rate = STABLE_RATES[symbol] * RAY // 1000
            chain.send(self.rate_oracle, "setMarketBorrowRate(address,uint256)", token, rate)
        parts = (
            self._create("AToken", self.pool, token, TREASURY, f"a{symbol}", f"a{symbol}", ZERO),
            self._create("StableDebtToken", self.pool, token, f"s{symbol}", f"s{symbol}", ZERO),
            self._create("VariableDebtToken", self.pool, token, f"v{symbol}", f"v{symbol}", ZERO),
        )
        signature = "initReserve(address,address,address,uint8,address)"
        chain.send(self.configurator, signature, *parts, reserve.decimals, self.strategy)
        limits = (reserve.ltv_bps, reserve.threshold_bps, reserve.bonus_bps)
        signature = "configureReserveAsCollateral(address,uint256,uint256,uint256)"
        chain.send(self.configurator, signature, token, *limits)
        signature = "enableBorrowingOnReserve(address,bool)"
        chain.send(self.configurator, signature, token, reserve.stable_rate)
        chain.send(self.configurator, "setReserveFactor(address,uint256)", token, 1000)
        signature = "getReserveTokensAddresses(address)(address,address,address)"
        tokens = chain.call(self.data_provider, signature, token)
        order = chain.call(self.pool, "getReservesList()(address[])")
        self.listed[symbol] = ListedReserve(reserve, order.index(token), token, feed, *tokens)
        return self.listed[symbol]

    def set_prices(self, prices: dict[str, int]) -> list[Receipt]:
        """Set prices in USD in one block; ETH moves every feed in ETH the other way."""
        self.usd |= prices
        if "WETH" in prices:
            self.usd["wstETH"] = prices["WETH"] * STAKING_RATIO // ETHER
        answers = {self.eth_feed: self.usd["WETH"]}
        for symbol, reserve in self.listed.items():
            if symbol != "WETH":
                answers[reserve.feed] = self.usd[symbol] * ETHER // self.usd["WETH"]
        return self.chain.send_all(
            [Tx(DEPLOYER, feed, encode("setAnswer(int256)", a)) for feed, a in answers.items()]
        )

    def set_feed(self, symbol: str, answer: int) -> Receipt:
        """Set the answer of one feed, ETH with 18 decimals, any int256."""
        return self.chain.send(self.listed[symbol].feed, "setAnswer(int256)", answer)

    def set_limits(self, symbol: str, ltv_bps: int, threshold_bps: int, bonus_bps: int) -> Receipt:
        """Change loan to value, liquidation threshold and bonus of a reserve."""
        signature = "configureReserveAsCollateral(address,uint256,uint256,uint256)"
        limits = (ltv_bps, threshold_bps, bonus_bps)
        return self.chain.send(self.configurator, signature, self.listed[symbol].token, *limits)

    def set_stable_rate(self, symbol: str, rate: int) -> Receipt:
        """Set the rate that new stable debt starts from, in ray."""
        signature = "setMarketBorrowRate(address,uint256)"
        return self.chain.send(self.rate_oracle, signature, self.listed[symbol].token, rate)

    def prices(self, symbols: Iterable[str] = ()) -> dict[str, int]:
        """Prices in USD with 8 decimals of all reserves or those named."""
        return {symbol: self.usd[symbol] for symbol in tuple(symbols) or tuple(self.listed)}

    def account_data(self, accounts: Sequence[str]) -> list[tuple[int, ...]]:
        """As `AaveMarket.account_data`: values in USD with 8 decimals, health factor in wad."""
        outputs = ",".join(["uint256"] * 6)
        signature = f"getUserAccountData(address)({outputs})"
        rows = self.chain.call_each(signature, [(self.pool, account) for account in accounts])
        eth = self.usd["WETH"]
        return [(*(value * eth // ETHER for value in row[:3]), *row[3:]) for row in rows]

    # What users do.

    def mint(self, symbol: str, to: str, amount: int) -> Tx:
        return Tx(to, self.listed[symbol].token, encode("mint(address,uint256)", to, amount))

    def approve(self, sender: str, symbol: str, amount: int = MAX_UINT) -> Tx:
        data = encode("approve(address,uint256)", self.pool, amount)
        return Tx(sender, self.listed[symbol].token, data)

    def supply(self, sender: str, symbol: str, amount: int, account: str = "") -> Tx:
        """Deposit, for `account` if that is another one."""
        signature = "deposit(address,uint256,address,uint16)"
        return self._pool(sender, signature, symbol, amount, account or sender, 0)

    def withdraw(self, sender: str, symbol: str, amount: int) -> Tx:
        return self._pool(sender, "withdraw(address,uint256,address)", symbol, amount, sender)

    def borrow(
        self, sender: str, symbol: str, amount: int, mode: int = VARIABLE, account: str = ""
    ) -> Tx:
        """Borrow at the STABLE or VARIABLE rate, on the debt of `account` if that allows it."""
        signature = "borrow(address,uint256,uint256,uint16,address)"
        return self._pool(sender, signature, symbol, amount, mode, 0, account or sender)

    def repay(
        self, sender: str, symbol: str, amount: int, mode: int = VARIABLE, account: str = ""
    ) -> Tx:
        """Repay, for `account` if that is another one."""
        signature = "repay(address,uint256,uint256,address)"
        return self._pool(sender, signature, symbol, amount, mode, account or sender)

    def swap_rate(self, sender: str, symbol: str, mode: int) -> Tx:
        """Turn the whole debt that is in `mode` into the other one."""
        return self._pool(sender, "swapBorrowRateMode(address,uint256)", symbol, mode)

    def rebalance(self, sender: str, symbol: str, account: str) -> Tx:
        """Give another account's stable debt the rate of today; only under high usage."""
        return self._pool(sender, "rebalanceStableBorrowRate(address,address)", symbol, account)

    def use_as_collateral(self, sender: str, symbol: str, flag: bool) -> Tx:
        signature = "setUserUseReserveAsCollateral(address,bool)"
        return self._pool(sender, signature, symbol, flag)

    def set_emode(self, sender: str, category: int) -> Tx:
        """There is no e-mode in v2: the pool refuses."""
        return Tx(sender, self.pool, encode("setUserEMode(uint8)", category))

    def transfer(self, sender: str, symbol: str, to: str, amount: int) -> Tx:
        """Hand aTokens to another account."""
        data = encode("transfer(address,uint256)", to, amount)
        return Tx(sender, self.listed[symbol].a_token, data)

    def liquidate(
        self,
        sender: str,
        collateral: str,
        debt: str,
        account: str,
        amount: int = MAX_UINT,
        receive_a_token: bool = False,
    ) -> Tx:
        """Repay up to `amount` of the account's debt against its collateral."""
        signature = "liquidationCall(address,address,address,uint256,bool)"
        token = self.listed[debt].token
        return self._pool(sender, signature, collateral, token, account, amount, receive_a_token)

    def _pool(self, sender: str, signature: str, symbol: str, *arguments: object) -> Tx:
        return Tx(sender, self.pool, encode(signature, self.listed[symbol].token, *arguments))

    def _create(self, name: str, *arguments: object) -> str:
        return self.chain.deploy(hardhat_artifact(self.folder, name), *arguments)


def deploy(
    chain: Chain,
    folder: Path,
    reserves: Sequence[ReserveSpec] = RESERVES,
    *,
    rates: Sequence[int] = RATES,
) -> AaveV2Market:
    """Deploy a market with the reserves, all of which can be borrowed."""

    def create(name: str, *arguments: object, libraries: dict[str, str] | None = None) -> str:
        return chain.deploy(hardhat_artifact(folder, name), *arguments, libraries=libraries)

    provider = create("LendingPoolAddressesProvider", "TEST")
    deployment_block = chain.block_number()
    libraries = {"GenericLogic": create("GenericLogic"), "ReserveLogic": create("ReserveLogic")}
    libraries["ValidationLogic"] = create("ValidationLogic", libraries=libraries)
    pool = create("LendingPool", libraries=libraries)
    chain.send(provider, "setPoolAdmin(address)", DEPLOYER)
    chain.send(provider, "setEmergencyAdmin(address)", DEPLOYER)
    chain.send(provider, "setLendingPoolImpl(address)", pool)
    configurator = create("LendingPoolConfigurator")
    chain.send(provider, "setLendingPoolConfiguratorImpl(address)", configurator)
    manager = create("LendingPoolCollateralManager")
    chain.send(provider, "setLendingPoolCollateralManager(address)", manager)
    rate_oracle = create("LendingRateOracle")
    chain.send(provider, "setLendingRateOracle(address)", rate_oracle)
    prices = {reserve.symbol: reserve.price for reserve in reserves}
    prices |= {
        reserve.symbol: prices[reserve.base] * reserve.ratio_wad // ETHER
        for reserve in reserves
        if reserve.base
    }
    weth = chain.deploy(own_artifact("TestToken"), "WETH", "WETH", 18)
    oracle = create("AaveOracle", [], [], ZERO, weth)
    chain.send(provider, "setPriceOracle(address)", oracle)
    market = AaveV2Market(
        chain=chain,
        deployment_block=deployment_block,
        provider=provider,
        pool=chain.call(provider, "getLendingPool()(address)"),
        configurator=chain.call(provider, "getLendingPoolConfigurator()(address)"),
        oracle=oracle,
        rate_oracle=rate_oracle,
        data_provider=create("AaveProtocolDataProvider", provider),
        strategy=create(
            "DefaultReserveInterestRateStrategy",
            provider,
            *(per_mille * RAY // 1000 for per_mille in rates),
        ),
        eth_feed=chain.deploy(own_artifact("TestFeed"), prices["WETH"], 8, "ETH / USD"),
        folder=folder,
        usd=prices,
    )
    for reserve in reserves:
        market.add(reserve, token=weth if reserve.symbol == "WETH" else "")
    chain.set_code(MULTICALL, own_artifact("TestMulticall").runtime)
    return market


def plans(n: int, seed: int, prices: dict[str, int]) -> list[Plan]:
    """n accounts of every shape that needs no e-mode."""
    drawn = draw_plans(2 * n, seed, prices)
    return [plan for plan in drawn if not plan.category][:n]


def populate(market: AaveV2Market, n: int, seed: int) -> list[str]:
    """Create n accounts on chain, with enough liquidity behind them; returns their addresses."""
    drawn = plans(n, seed, market.prices())
    bank, steps = accounts.BANK, []
    for symbol, reserve in market.listed.items():
        supplied = sum(plan.supplies.get(symbol, 0) for plan in drawn)
        owed = [amount for plan in drawn for (it, _), amount in plan.debts.items() if it == symbol]
        worth = 5_000_000 * USD * 10**reserve.reserve.decimals // market.usd[symbol]
        depth = 2 * sum(owed) + worth
        steps += [
            market.mint(symbol, bank, supplied + 2 * sum(owed) + depth),
            market.approve(bank, symbol),
            market.supply(bank, symbol, depth, accounts.PROVIDERS[0]),
        ]
    for plan in drawn:
        for symbol, amount in plan.supplies.items():
            steps.append(market.supply(bank, symbol, amount, plan.account))
    for plan in drawn:
        for symbol in plan.unflagged:
            steps.append(market.use_as_collateral(plan.account, symbol, False))
        for (symbol, mode), amount in plan.debts.items():
            steps.append(market.borrow(plan.account, symbol, amount, mode))
        for symbol, amount in plan.withdrawals.items():
            steps.append(market.withdraw(plan.account, symbol, amount))
        if plan.repays:
            for (symbol, mode), amount in plan.debts.items():
                steps.append(market.repay(bank, symbol, 2 * amount, mode, plan.account))
    market.chain.send_all(steps)
    return [plan.account for plan in drawn]
