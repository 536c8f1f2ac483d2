"""A market of Aave v3.6 on the local node, compiled from the sources that npm's package carries.

The package (BUSL-1.1) is installed and compiled in the ignored cache when its test is asked for;
nothing of it is in the repository. Stable debt is gone in v3.6: whoever asks for it gets variable
debt, so that the accounts of `chainwatch.demo.accounts` act on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chainwatch.demo.aave import (
    CATEGORIES,
    MULTICALL,
    RESERVES,
    TREASURY,
    VARIABLE,
    ZERO,
    AaveMarket,
    ListedReserve,
    ReserveSpec,
)
from chainwatch.demo.chain import DEPLOYER, Chain, Tx, encode, hardhat_artifact, own_artifact
from tests.evm import packages

LIBRARIES = (
    *("BorrowLogic", "FlashLoanLogic", "LiquidationLogic"),
    *("PoolLogic", "SupplyLogic", "ConfiguratorLogic"),
)
INIT_RESERVES = "initReserves((address,address,address,string,string,string,string,bytes,bytes)[])"
# Basis points: optimal usage, base rate, slopes.
RATES = (9_000, 0, 400, 6_000)


def artifacts() -> Path:
    """The folder of the compiled contracts, made on first use; skips as `toolchain` does."""
    return packages.compiled("aave_v36_package.json", "aave_v36_compile.js", "Aave v3.6")


@dataclass
class AaveV36Market(AaveMarket):
    """A running market; what v3.6 has otherwise than v3.0."""

    def add(self, reserve: ReserveSpec, *, token: str = "", feed: str = "") -> ListedReserve:
        chain, symbol = self.chain, reserve.symbol
        token = token or chain.deploy(own_artifact("TestToken"), symbol, symbol, reserve.decimals)
        feed = feed or self._new_feed(reserve)
        chain.send(self.oracle, "setAssetSources(address[],address[])", [token], [feed])
        names = (f"Aave {symbol}", f"a{symbol}", f"Aave debt {symbol}", f"variableDebt{symbol}")
        rates = bytes.fromhex(encode("f(uint16,uint32,uint32,uint32)", *RATES)[10:])
        a_token, _, variable_debt = self.implementations
        listing = (a_token, variable_debt, token, *names, b"", rates)
        chain.send(self.configurator, INIT_RESERVES, [listing])
        limits = (reserve.ltv_bps, reserve.threshold_bps, reserve.bonus_bps)
        levers: list[tuple[str, tuple[object, ...]]] = [
            ("configureReserveAsCollateral(address,uint256,uint256,uint256)", limits),
            ("setReserveBorrowing(address,bool)", (True,)),
            ("setReserveFactor(address,uint256)", (1000,)),
            ("setLiquidationProtocolFee(address,uint256)", (1000,)),
        ]
        if reserve.category:
            levers += [
                ("setAssetCollateralInEMode(address,uint8,bool)", (reserve.category, True)),
                ("setAssetBorrowableInEMode(address,uint8,bool)", (reserve.category, True)),
            ]
        chain.send_all(
            [
                Tx(DEPLOYER, self.configurator, encode(lever, token, *values))
                for lever, values in levers
            ]
        )
        signature = "getReserveTokensAddresses(address)(address,address,address)"
        tokens = chain.call(self.data_provider, signature, token)
        order = chain.call(self.pool, "getReservesList()(address[])")
        self.listed[symbol] = ListedReserve(reserve, order.index(token), token, feed, *tokens)
        return self.listed[symbol]

    def borrow(self, sender: str, symbol: str, amount: int, mode: int = VARIABLE) -> Tx:
        return super().borrow(sender, symbol, amount)

    def repay(
        self, sender: str, symbol: str, amount: int, mode: int = VARIABLE, account: str = ""
    ) -> Tx:
        return super().repay(sender, symbol, amount, account=account)


def deploy(chain: Chain, folder: Path, reserves: Sequence[ReserveSpec] = RESERVES) -> AaveV36Market:
    """Deploy a market with two e-mode categories and the reserves."""

    def create(name: str, *arguments: object, libraries: dict[str, str] | None = None) -> str:
        return chain.deploy(hardhat_artifact(folder, name), *arguments, libraries=libraries)

    provider = create("PoolAddressesProvider", "TEST", DEPLOYER)
    deployment_block = chain.block_number()
    libraries: dict[str, str] = {}
    for name in LIBRARIES:
        libraries[name] = create(name, libraries=libraries)
    strategy = create("DefaultReserveInterestRateStrategyV2", provider)
    pool = create("PoolInstance", provider, strategy, libraries=libraries)
    configurator = create("PoolConfiguratorInstance", libraries=libraries)
    chain.send(provider, "setACLAdmin(address)", DEPLOYER)
    acl = create("ACLManager", provider)
    chain.send(provider, "setACLManager(address)", acl)
    chain.send(acl, "addPoolAdmin(address)", DEPLOYER)
    chain.send(acl, "addEmergencyAdmin(address)", DEPLOYER)
    oracle = create("AaveOracle", provider, [], [], ZERO, ZERO, 10**8)
    chain.send(provider, "setPriceOracle(address)", oracle)
    chain.send(provider, "setPoolImpl(address)", pool)
    chain.send(provider, "setPoolConfiguratorImpl(address)", configurator)
    data_provider = create("AaveProtocolDataProvider", provider)
    chain.send(provider, "setPoolDataProvider(address)", data_provider)
    proxy: str = chain.call(provider, "getPool()(address)")
    market = AaveV36Market(
        chain=chain,
        deployment_block=deployment_block,
        provider=provider,
        pool=proxy,
        configurator=chain.call(provider, "getPoolConfigurator()(address)"),
        oracle=oracle,
        data_provider=data_provider,
        strategy=strategy,
        implementations=(
            create("ATokenInstance", proxy, ZERO, TREASURY),
            ZERO,
            create("VariableDebtTokenInstance", proxy, ZERO),
        ),
        category_price_source=ZERO,
    )
    signature = "setEModeCategory(uint8,uint16,uint16,uint16,string)"
    for category, terms in CATEGORIES.items():
        chain.send(market.configurator, signature, category, *terms)
    for reserve in reserves:
        market.add(reserve)
    chain.set_code(MULTICALL, own_artifact("TestMulticall").runtime)
    return market
