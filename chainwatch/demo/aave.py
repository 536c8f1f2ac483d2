"""A market of Aave v3.0, deployed from the published artifacts onto the local node."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

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

ZERO = "0x" + "00" * 20
TREASURY = "0x" + "7e" * 20
MULTICALL = "0xca11bde05977b3631167028862be2a173976ca11"
RAY = 10**27
STABLE, VARIABLE = 1, 2
ETH_CORRELATED, STABLECOINS = 1, 2

LIBRARIES = (
    "BorrowLogic",
    "BridgeLogic",
    "EModeLogic",
    "LiquidationLogic",
    "SupplyLogic",
    "PoolLogic",
    "ConfiguratorLogic",
    "FlashLoanLogic",  # links BorrowLogic
)
# Per mille of a ray: optimal usage, base rate, slopes, stable slopes, offsets, stable ratio.
RATES = (900, 0, 40, 600, 5, 600, 10, 80, 200)
INIT_RESERVES = (
    "initReserves((address,address,address,uint8,address,address,address,address,"
    "string,string,string,string,string,string,bytes)[])"
)
# How fast a staking token's ratio may grow in a year, as on Ethereum for wstETH.
RATIO_GROWTH_BPS = 968
# category -> (loan to value, threshold, bonus, label), in basis points
CATEGORIES = {
    ETH_CORRELATED: (9300, 9500, 10100, "ETH correlated"),
    STABLECOINS: (9000, 9300, 10200, "Stablecoins"),
}


@dataclass(frozen=True)
class ReserveSpec:
    """What is listed. Ratios are in basis points, prices in USD with 8 decimals."""

    symbol: str
    decimals: int
    price: int  # of the feed at the start; for a staking token see `base`
    ltv_bps: int
    threshold_bps: int  # 0: cannot be collateral
    bonus_bps: int  # with the principal: 10500 is 5 %
    category: int = 0
    stable_rate: bool = False
    base: str = ""  # a staking token: symbol whose feed it multiplies by `ratio_wad`
    ratio_wad: int = 0


RESERVES = (
    ReserveSpec("WETH", 18, 3_000 * 10**8, 8050, 8300, 10500, ETH_CORRELATED),
    ReserveSpec("WBTC", 8, 90_000 * 10**8, 7300, 7800, 10500),
    ReserveSpec("USDC", 6, 10**8, 7500, 7800, 10450, STABLECOINS, stable_rate=True),
    ReserveSpec("DAI", 18, 10**8, 6300, 7700, 10500, stable_rate=True),
    ReserveSpec(
        "wstETH", 18, 0, 7850, 8100, 10600, ETH_CORRELATED, base="WETH", ratio_wad=12 * 10**17
    ),
    ReserveSpec("USDT", 6, 10**8, 7500, 7800, 10450, STABLECOINS),
)
FEED_NAMES = {"WETH": "ETH", "WBTC": "BTC"}


@dataclass(frozen=True)
class ListedReserve:
    """A reserve and where its contracts are."""

    reserve: ReserveSpec
    id: int  # position in the pool's list
    token: str
    feed: str
    a_token: str
    stable_debt: str
    variable_debt: str


@dataclass
class AaveMarket:
    """A running market: addresses, the admin's levers, and encoders of what users do.

    The encoders return a Tx each, to be sent in bulk with `chain.send_all`. Amounts are in base
    units of the token; MAX_UINT means everything where the pool allows it.
    """

    chain: Chain
    deployment_block: int
    provider: str
    pool: str
    configurator: str
    oracle: str
    data_provider: str
    strategy: str
    implementations: tuple[str, str, str]  # aToken, stable debt, variable debt
    category_price_source: str  # feed of category 2, or the zero address
    listed: dict[str, ListedReserve] = field(default_factory=dict)

    # Levers of the admin; each is a block of its own.

    def add(self, reserve: ReserveSpec, *, token: str = "", feed: str = "") -> ListedReserve:
        """List a reserve; `token` and `feed` replace the contracts made for it otherwise.

        The pool gets `reserve.decimals`, whatever the token's own decimals are.
        """
        chain, symbol = self.chain, reserve.symbol
        token = token or chain.deploy(own_artifact("TestToken"), symbol, symbol, reserve.decimals)
        feed = feed or self._new_feed(reserve)
        chain.send(self.oracle, "setAssetSources(address[],address[])", [token], [feed])
        names = [
            *(f"Aave {symbol}", f"a{symbol}"),
            *(f"Aave variable debt {symbol}", f"variableDebt{symbol}"),
            *(f"Aave stable debt {symbol}", f"stableDebt{symbol}"),
        ]
        parts = (*self.implementations, reserve.decimals, self.strategy, token, TREASURY, ZERO)
        chain.send(self.configurator, INIT_RESERVES, [(*parts, *names, b"")])
        levers: list[tuple[str, tuple[object, ...]]] = [
            ("configureReserveAsCollateral(address,uint256,uint256,uint256)", _limits(reserve)),
            ("setReserveBorrowing(address,bool)", (True,)),
            ("setReserveStableRateBorrowing(address,bool)", (reserve.stable_rate,)),
            ("setReserveFactor(address,uint256)", (1000,)),
            ("setLiquidationProtocolFee(address,uint256)", (1000,)),
            ("setAssetEModeCategory(address,uint8)", (reserve.category,)),
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

    def set_price(self, symbol: str, price: int) -> Receipt:
        """Set a feed's answer: USD with 8 decimals, any int256."""
        return self.set_prices({symbol: price})[0]

    def set_prices(self, prices: dict[str, int]) -> list[Receipt]:
        """Set the answers of several feeds in one block."""
        return self.chain.send_all(
            [
                Tx(DEPLOYER, self.listed[symbol].feed, encode("setAnswer(int256)", price))
                for symbol, price in prices.items()
            ]
        )

    def set_ratio(self, symbol: str, ratio_wad: int) -> Receipt:
        """Set the ratio of a staking token to its base, with 18 decimals."""
        return self.chain.send(self.listed[symbol].feed, "setRatio(int256)", ratio_wad)

    def set_category_price(self, price: int) -> Receipt:
        """Set the common price of category 2, if it was deployed with one."""
        return self.chain.send(self.category_price_source, "setAnswer(int256)", price)

    def set_limits(self, symbol: str, ltv_bps: int, threshold_bps: int, bonus_bps: int) -> Receipt:
        """Change loan to value, liquidation threshold and bonus of a reserve."""
        signature = "configureReserveAsCollateral(address,uint256,uint256,uint256)"
        return self._configure(signature, symbol, ltv_bps, threshold_bps, bonus_bps)

    def set_category(
        self,
        category: int,
        ltv_bps: int,
        threshold_bps: int,
        bonus_bps: int,
        label: str,
        price_source: str = ZERO,
    ) -> Receipt:
        """Define an e-mode category; the price source is a key of the oracle, not a feed."""
        signature = "setEModeCategory(uint8,uint16,uint16,uint16,address,string)"
        limits = (ltv_bps, threshold_bps, bonus_bps)
        return self.chain.send(self.configurator, signature, category, *limits, price_source, label)

    def set_asset_category(self, symbol: str, category: int) -> Receipt:
        """Put a reserve into an e-mode category; 0 takes it out."""
        return self._configure("setAssetEModeCategory(address,uint8)", symbol, category)

    def pause(self, symbol: str, paused: bool = True) -> Receipt:
        """Stop every action on a reserve, liquidation included."""
        return self._configure("setReservePause(address,bool)", symbol, paused)

    def freeze(self, symbol: str, frozen: bool = True) -> Receipt:
        """Stop new supplies and borrows of a reserve."""
        return self._configure("setReserveFreeze(address,bool)", symbol, frozen)

    def prices(self, symbols: Iterable[str] = ()) -> dict[str, int]:
        """Return the oracle's prices, USD with 8 decimals, of all reserves or those named.

        Raises Reverted where a feed answers 0 or less, as the pool itself does.
        """
        wanted = tuple(symbols) or tuple(self.listed)
        tokens = [self.listed[symbol].token for symbol in wanted]
        answers = self.chain.call(self.oracle, "getAssetsPrices(address[])(uint256[])", tokens)
        return dict(zip(wanted, answers, strict=True))

    def account_data(self, accounts: Sequence[str]) -> list[tuple[int, ...]]:
        """Return per account: collateral, debt and available in USD with 8 decimals, average
        threshold and loan to value in basis points, health factor with 18 decimals."""
        outputs = ",".join(["uint256"] * 6)
        signature = f"getUserAccountData(address)({outputs})"
        return self.chain.call_each(signature, [(self.pool, account) for account in accounts])

    # What users do.

    def mint(self, symbol: str, to: str, amount: int) -> Tx:
        """Give out new tokens of the underlying."""
        return Tx(to, self.listed[symbol].token, encode("mint(address,uint256)", to, amount))

    def approve(self, sender: str, symbol: str, amount: int = MAX_UINT) -> Tx:
        """Let the pool take the underlying from `sender`."""
        data = encode("approve(address,uint256)", self.pool, amount)
        return Tx(sender, self.listed[symbol].token, data)

    def supply(self, sender: str, symbol: str, amount: int, account: str = "") -> Tx:
        """Supply, for `account` if that is another one."""
        signature = "supply(address,uint256,address,uint16)"
        return self._pool(sender, signature, symbol, amount, account or sender, 0)

    def withdraw(self, sender: str, symbol: str, amount: int, to: str = "") -> Tx:
        """Withdraw what was supplied."""
        signature = "withdraw(address,uint256,address)"
        return self._pool(sender, signature, symbol, amount, to or sender)

    def borrow(self, sender: str, symbol: str, amount: int, mode: int = VARIABLE) -> Tx:
        """Borrow at the STABLE or VARIABLE rate."""
        signature = "borrow(address,uint256,uint256,uint16,address)"
        return self._pool(sender, signature, symbol, amount, mode, 0, sender)

    def repay(
        self, sender: str, symbol: str, amount: int, mode: int = VARIABLE, account: str = ""
    ) -> Tx:
        """Repay, for `account` if that is another one."""
        signature = "repay(address,uint256,uint256,address)"
        return self._pool(sender, signature, symbol, amount, mode, account or sender)

    def swap_rate(self, sender: str, symbol: str, mode: int) -> Tx:
        """Turn the whole debt that is in `mode` into the other one."""
        return self._pool(sender, "swapBorrowRateMode(address,uint256)", symbol, mode)

    def use_as_collateral(self, sender: str, symbol: str, flag: bool) -> Tx:
        """Set the flag that makes supplied tokens count as collateral."""
        signature = "setUserUseReserveAsCollateral(address,bool)"
        return self._pool(sender, signature, symbol, flag)

    def set_emode(self, sender: str, category: int) -> Tx:
        """Enter an e-mode category; 0 leaves."""
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

    def _configure(self, signature: str, symbol: str, *arguments: object) -> Receipt:
        token = self.listed[symbol].token
        return self.chain.send(self.configurator, signature, token, *arguments)

    def _new_feed(self, reserve: ReserveSpec) -> str:
        pair = f"{FEED_NAMES.get(reserve.symbol, reserve.symbol)} / USD"
        if reserve.base:
            base = self.listed[reserve.base].feed
            ratio_feed = own_artifact("TestRatioFeed")
            return self.chain.deploy(
                ratio_feed, base, reserve.ratio_wad, 18, RATIO_GROWTH_BPS, pair
            )
        return self.chain.deploy(own_artifact("TestFeed"), reserve.price, 8, pair)


def deploy(
    chain: Chain,
    artifacts: Path,
    reserves: Sequence[ReserveSpec] = RESERVES,
    *,
    category_price: int | None = None,
) -> AaveMarket:
    """Deploy a market with two e-mode categories and the reserves.

    `category_price` (USD with 8 decimals) gives category 2 a price source of its own, which then
    prices the assets of every account inside that category.
    """

    def create(name: str, *arguments: object, libraries: dict[str, str] | None = None) -> str:
        return chain.deploy(hardhat_artifact(artifacts, name), *arguments, libraries=libraries)

    provider = create("PoolAddressesProvider", "TEST", DEPLOYER)
    deployment_block = chain.block_number()
    libraries: dict[str, str] = {}
    for name in LIBRARIES:
        libraries[name] = create(name, libraries=libraries)
    pool = create("Pool", provider, libraries=libraries)
    configurator = create("PoolConfigurator", libraries=libraries)

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
    rates = (per_mille * RAY // 1000 for per_mille in RATES)
    market = AaveMarket(
        chain=chain,
        deployment_block=deployment_block,
        provider=provider,
        pool=proxy,
        configurator=chain.call(provider, "getPoolConfigurator()(address)"),
        oracle=oracle,
        data_provider=data_provider,
        strategy=create("DefaultReserveInterestRateStrategy", provider, *rates),
        implementations=(
            create("AToken", proxy),
            create("StableDebtToken", proxy),
            create("VariableDebtToken", proxy),
        ),
        category_price_source=_price_source(chain, oracle, category_price),
    )
    for category, (ltv, threshold, bonus, label) in CATEGORIES.items():
        source = market.category_price_source if category == STABLECOINS else ZERO
        market.set_category(category, ltv, threshold, bonus, label, source)
    for reserve in reserves:
        market.add(reserve)
    chain.set_code(MULTICALL, own_artifact("TestMulticall").runtime)
    return market


def _price_source(chain: Chain, oracle: str, price: int | None) -> str:
    """Register a feed under its own address, since the pool asks the oracle for that key."""
    if price is None:
        return ZERO
    feed = chain.deploy(own_artifact("TestFeed"), price, 8, "Stablecoins / USD")
    chain.send(oracle, "setAssetSources(address[],address[])", [feed], [feed])
    return feed


def _limits(reserve: ReserveSpec) -> tuple[int, int, int]:
    return reserve.ltv_bps, reserve.threshold_bps, reserve.bonus_bps
