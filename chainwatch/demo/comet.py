"""A Compound III stand-in on the local node: own contract, Comet's ABI and units.

It is not Comet bytecode. It borrows against tokens and feeds of the Aave market beside it, so
that one price drop moves both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from chainwatch.demo.aave import FEED_NAMES, AaveMarket
from chainwatch.demo.chain import DEPLOYER, MAX_UINT, Chain, Tx, encode, own_artifact

FACTOR = 10**18
RATE_PER_SECOND = 1_585_489_599  # 5 % a year, 1e18
STORE_FRONT = 5 * 10**17
ABSORBER = "0x" + "ab" * 20


@dataclass(frozen=True)
class Listing:
    """A collateral's terms in percent: borrow, liquidate, and what absorption credits."""

    symbol: str
    borrow: int
    liquidate: int
    credited: int


LISTINGS = (Listing("WETH", 83, 90, 95), Listing("WBTC", 70, 77, 95), Listing("wstETH", 82, 87, 93))


@dataclass
class CometMarket:
    """A running stand-in and encoders of what its users do; amounts in token units."""

    chain: Chain
    comet: str
    base: str  # symbol of the base asset
    base_decimals: int
    deployment_block: int
    tokens: dict[str, str]
    listings: tuple[Listing, ...]

    def supply(self, sender: str, symbol: str, amount: int, account: str = "") -> list[Tx]:
        """Mint, approve and supply base or collateral, for `account` if that is another one."""
        token = self.tokens[symbol]
        return [
            Tx(sender, token, encode("mint(address,uint256)", sender, amount)),
            Tx(sender, token, encode("approve(address,uint256)", self.comet, MAX_UINT)),
            self._call(
                sender, "supplyTo(address,address,uint256)", account or sender, token, amount
            ),
        ]

    def withdraw(self, sender: str, symbol: str, amount: int) -> Tx:
        """Withdraw; of the base asset beyond the balance it is a borrow."""
        return self._call(sender, "withdraw(address,uint256)", self.tokens[symbol], amount)

    def transfer(self, sender: str, symbol: str, to: str, amount: int) -> Tx:
        """Hand base or collateral to another account."""
        signature = "transferAsset(address,address,uint256)"
        return self._call(sender, signature, to, self.tokens[symbol], amount)

    def absorb(self, accounts: Sequence[str]) -> Tx:
        """Absorb whole accounts."""
        return self._call(ABSORBER, "absorb(address,address[])", ABSORBER, list(accounts))

    def buy(self, sender: str, symbol: str, base_amount: int) -> list[Tx]:
        """Buy absorbed collateral for base."""
        base = self.tokens[self.base]
        signature = "buyCollateral(address,uint256,uint256,address)"
        return [
            Tx(sender, base, encode("mint(address,uint256)", sender, base_amount)),
            Tx(sender, base, encode("approve(address,uint256)", self.comet, MAX_UINT)),
            self._call(sender, signature, self.tokens[symbol], 0, base_amount, sender),
        ]

    def accrue(self) -> Tx:
        """Bring the stored indices up to the block."""
        return self._call(DEPLOYER, "accrueAccount(address)", DEPLOYER)

    def set_rate(self, per_second: int) -> Tx:
        """Set the borrow rate, 1e18 per second."""
        return self._call(DEPLOYER, "setRate(uint64)", per_second)

    def liquidatable(self, accounts: Sequence[str]) -> list[bool]:
        """The contract's verdict on each account."""
        calls = [(self.comet, account) for account in accounts]
        return self.chain.call_each("isLiquidatable(address)(bool)", calls)

    def debts(self, accounts: Sequence[str]) -> list[int]:
        """Debt of each account with interest, base token units."""
        calls = [(self.comet, account) for account in accounts]
        return self.chain.call_each("borrowBalanceOf(address)(uint256)", calls)

    def _call(self, sender: str, signature: str, *arguments: object) -> Tx:
        return Tx(sender, self.comet, encode(signature, *arguments))


def deploy(
    market: AaveMarket,
    *,
    base: str = "USDC",
    listings: Sequence[Listing] = LISTINGS,
    base_feed: str = "",
    feeds: dict[str, str] | None = None,
) -> CometMarket:
    """Deploy a stand-in over the Aave market's tokens; `feeds` replaces price feeds by symbol.

    A Comet cannot read Aave's adapters: a staking token gets a feed of the Comet kind.
    """
    chain = market.chain
    listed = market.listed
    feeds = feeds or {}
    assets = [
        (
            listed[listing.symbol].token,
            feeds.get(listing.symbol) or _feed(market, listing.symbol),
            10 ** listed[listing.symbol].reserve.decimals,
            listing.borrow * FACTOR // 100,
            listing.liquidate * FACTOR // 100,
            listing.credited * FACTOR // 100,
        )
        for listing in listings
    ]
    decimals = listed[base].reserve.decimals
    comet = chain.deploy(
        own_artifact("MiniComet"),
        f"c{base}v3",
        listed[base].token,
        base_feed or listed[base].feed,
        decimals,
        RATE_PER_SECOND,
        STORE_FRONT,
        10**12 * 10**decimals,
        assets,
    )
    return CometMarket(
        chain=chain,
        comet=comet,
        base=base,
        base_decimals=decimals,
        deployment_block=chain.block_number(),
        tokens={symbol: reserve.token for symbol, reserve in listed.items()},
        listings=tuple(listings),
    )


def _feed(market: AaveMarket, symbol: str) -> str:
    """The listed feed, or for a staking token its ratio times the feed of its base."""
    listed = market.listed[symbol]
    base = listed.reserve.base
    if not base:
        return listed.feed
    ratio = market.chain.deploy(
        own_artifact("TestFeed"), listed.reserve.ratio_wad, 18, f"{symbol} / {FEED_NAMES[base]}"
    )
    product = own_artifact("TestProductFeed")
    return market.chain.deploy(product, ratio, market.listed[base].feed, 8, f"{symbol} / USD")


def address(seed: int, index: int) -> str:
    """The address of account `index` of a seed."""
    from eth_utils.crypto import keccak

    return f"0x{keccak(text=f'chainwatch comet {seed} {index}')[-20:].hex()}"


def populate(market: CometMarket, prices: dict[str, int], n: int, seed: int) -> list[str]:
    """Make n accounts: borrowers against one to three collaterals, dust, suppliers of base.

    `prices` of the base and of each collateral, 8 decimals, in the market's quote unit.
    """
    rng = Random(seed)
    chain = market.chain
    accounts = [address(seed, i) for i in range(n)]
    lender = "0x" + "1e" * 20
    steps: list[Tx] = []
    borrows: list[tuple[str, int]] = []
    unit = 10**market.base_decimals
    for i, account in enumerate(accounts):
        worth = min(rng.lognormvariate(math.log(15_000), 1.5), 2_000_000.0)
        if i % 17 == 5:
            worth = rng.uniform(0.001, 1.0)  # dust
        if i % 11 == 3:
            amount = int(worth * 10**8) * unit // prices[market.base]
            steps += market.supply(account, market.base, max(amount, 1))
            continue
        most = len(market.listings)
        collaterals = rng.sample(market.listings, min(most, rng.choice((1, 1, 2, 3))))
        limit = 0.0
        for listing in collaterals:
            part = worth / len(collaterals)
            scale = 10 ** _decimals(market, listing.symbol)
            amount = int(part * 10**8) * scale // prices[listing.symbol]
            if amount == 0:
                continue
            steps += market.supply(account, listing.symbol, amount)
            limit += amount * prices[listing.symbol] // scale * listing.borrow / 100
        if i % 13 == 7:
            continue  # collateral without a debt
        debt = int(limit * rng.uniform(0.4, 0.995)) * unit // prices[market.base]
        if debt:
            borrows.append((account, debt))
    total = sum(debt for _, debt in borrows)
    steps += market.supply(lender, market.base, 2 * total + 10**6 * unit)
    steps += [market.withdraw(account, market.base, debt) for account, debt in borrows]
    chain.send_all(steps)
    return accounts


def _decimals(market: CometMarket, symbol: str) -> int:
    decimals: int = market.chain.call(market.tokens[symbol], "decimals()(uint8)")
    return decimals


def liquidate(market: CometMarket, accounts: Sequence[str], limit: int, seed: int) -> list[str]:
    """Absorb up to `limit` liquidatable accounts and sell part of what was taken."""
    rng = Random(seed)
    flagged = market.liquidatable(accounts)
    below = [a for a, yes in zip(accounts, flagged, strict=True) if yes][:limit]
    if not below:
        return []
    market.chain.send_all([market.absorb([account]) for account in below])
    sales = []
    for listing in market.listings:
        reserve: int = market.chain.call(
            market.comet, "getCollateralReserves(address)(uint256)", market.tokens[listing.symbol]
        )
        for_one: int = market.chain.call(
            market.comet,
            "quoteCollateral(address,uint256)(uint256)",
            market.tokens[listing.symbol],
            10**market.base_decimals,
        )
        if reserve and for_one:
            amount = int(reserve * rng.uniform(0.2, 0.8)) * 10**market.base_decimals // for_one
            sales += market.buy(ABSORBER, listing.symbol, amount)
    market.chain.send_all(sales)
    return below
