"""Price sources resolved to factors, on adapters deployed to a real node."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.chain.client import Rpc
from chainwatch.chain.markets import Market
from chainwatch.chain.reading import Reading
from chainwatch.demo.aave import MULTICALL
from chainwatch.demo.chain import Chain, encode, own_artifact
from chainwatch.lending import price_sources
from chainwatch.lending.exposures import FIXED, Exposure, combine, convert_to_usd
from chainwatch.lending.oracles import Price, infer, resolve
from chainwatch.net.http import Http
from tests.amounts import sample_size
from tests.evm.rpc_proxy import Proxy, fault

pytestmark = pytest.mark.contracts("plain")

MARKET = Market(protocol="test", chain="local", chain_id=31_337, pool="0x" + "11" * 20, name="test")
Resolve = Callable[..., tuple[Exposure, ...]]
Question = Callable[[Reading], Coroutine[Any, Any, tuple[Exposure, ...]]]


def ask(chain: Chain, question: Question, refuses: str = "") -> tuple[Exposure, ...]:
    """The answer to a question about the node's newest block."""

    async def run() -> tuple[Exposure, ...]:
        async with Http() as http, Proxy(chain.url) as proxy:
            if refuses:
                refusal = fault(-32601, f"the method {refuses} does not exist")
                proxy.rules.append(
                    lambda c: (
                        refusal
                        if c["method"] == refuses
                        or (refuses == "overrides" and len(c.get("params", ())) > 2)
                        else None
                    )
                )
            rpc = Rpc(http, [proxy.url], chain="local", chain_id=31_337)
            chain.mine()
            return await question(Reading(rpc, MARKET, await rpc.pin()))

    return asyncio.run(run())


@pytest.fixture
def resolved(chain: Chain) -> Resolve:
    """What the getters of one price source say."""
    chain.set_code(MULTICALL, own_artifact("TestMulticall").runtime)

    def getters(address: str, label: str = "TOKEN", refuses: str = "") -> tuple[Exposure, ...]:
        async def question(reading: Reading) -> tuple[Exposure, ...]:
            return (await infer(reading, {address.lower(): label}))[address.lower()]

        return ask(chain, question, refuses)

    return getters


@pytest.fixture
def measured(chain: Chain) -> Resolve:
    """What moves one price source, measured as its consumer asks for it."""
    chain.set_code(MULTICALL, own_artifact("TestMulticall").runtime)

    def probe(address: str, label: str = "TOKEN", refuses: str = "") -> tuple[Exposure, ...]:
        source = address.lower()

        async def question(reading: Reading) -> tuple[Exposure, ...]:
            consumer = chain.deploy(own_artifact("TestConsumer"), source)
            newest = Reading(reading.rpc, reading.market, await reading.rpc.pin())
            call = (consumer.lower(), bytes.fromhex(encode("price()")[2:]))
            return (await resolve(newest, {"price": Price(call, source, label)}))["price"]

        return ask(chain, question, refuses)

    return probe


def feed(chain: Chain, price: float, description: str, decimals: int = 8) -> str:
    answer = int(price * 10**decimals)
    return chain.deploy(own_artifact("TestFeed"), answer, decimals, description)


def summary(exposures: tuple[Exposure, ...]) -> list[tuple[str, str, float | None]]:
    return [(e.factor, e.kind, e.price) for e in exposures]


COMET_FEED = {"decimals", "description", "version", "latestRoundData"}
PAIR_FEED = COMET_FEED | {"VERSION", "priceFeedA", "priceFeedB", "priceFeedScale"}
PEG_FEED = {"MAX_DECIMALS", "ASSET_TO_PEG", "DECIMALS", "decimals", "description", "latestAnswer"}
# Stand-in → functions of the deployed contract, and what the stand-in has to be set by.
DEPLOYED: dict[str, tuple[set[str], set[str]]] = {
    "TestFeed": (
        {"decimals", "description", "version", "latestAnswer", "latestRound", "latestTimestamp"}
        | {"latestRoundData", "getRoundData", "getAnswer", "getTimestamp"},
        {"setAnswer"},
    ),
    "TestRatioFeed": (
        {"PERCENTAGE_FACTOR", "SCALING_FACTOR", "SECONDS_PER_YEAR", "BASE_TO_USD_AGGREGATOR"}
        | {"ACL_MANAGER", "RATIO_PROVIDER", "DECIMALS", "RATIO_DECIMALS", "MINIMUM_SNAPSHOT_DELAY"}
        | {"MAXIMUM_SNAPSHOT_TERM", "description", "decimals", "latestAnswer", "isCapped"}
        | {"getRatio", "getSnapshotRatio", "getSnapshotTimestamp", "setCapParameters"}
        | {"getMaxYearlyGrowthRatePercent", "getMaxRatioGrowthPerSecond"}
        | {"getMaxRatioGrowthPerSecondScaled"},
        {"setRatio"},
    ),
    "TestCapFeed": (
        {"MAX_STABLE_CAP_VALUE", "ASSET_TO_USD_AGGREGATOR", "ACL_MANAGER", "decimals"}
        | {"description", "latestAnswer", "setPriceCap", "getPriceCap", "isCapped"},
        set(),
    ),
    "TestFixedFeed": (
        {"DECIMALS", "ACL_MANAGER", "description", "price", "decimals", "latestAnswer", "setPrice"},
        set(),
    ),
    "TestCodeFeed": (
        {"DECIMALS", "DESCRIPTION", "PRICE", "decimals", "description", "latestAnswer"},
        set(),
    ),
    "TestPegFeed": (PEG_FEED | {"PEG_TO_BASE", "DENOMINATOR"}, set()),
    "TestBaseToPegFeed": (PEG_FEED | {"BASE_TO_PEG"}, set()),
    "TestDiscountFeed": (
        {"PERCENTAGE_FACTOR", "SECONDS_PER_YEAR", "PENDLE_PRINCIPAL_TOKEN", "ACL_MANAGER"}
        | {"ASSET_TO_USD_AGGREGATOR", "DECIMALS", "MATURITY", "MAX_DISCOUNT_RATE_PER_YEAR"}
        | {"discountRatePerYear", "description", "setDiscountRatePerYear", "latestAnswer"}
        | {"decimals", "getCurrentDiscount"},
        set(),
    ),
    "TestWbtcFeed": (
        COMET_FEED | {"WBTCToBTCPriceFeed", "BTCToUSDPriceFeed", "combinedScale", "priceFeedScale"},
        set(),
    ),
    "TestConstantFeed": (COMET_FEED | {"constantPrice"}, set()),
    "TestScalingFeed": (COMET_FEED | {"underlyingPriceFeed"}, set()),
    "TestProductFeed": (PAIR_FEED | {"combinedScale"}, set()),
    "TestQuotientFeed": (PAIR_FEED | {"priceFeedAScale", "priceFeedBScale"}, set()),
    "TestVaultFeed": (
        COMET_FEED
        | {"VERSION", "rateProvider", "underlyingPriceFeed", "combinedScale"}
        | {"priceFeedScale"},
        set(),
    ),
}


@pytest.mark.parametrize("name", DEPLOYED)
def test_a_stand_in_offers_what_the_deployed_feed_offers(name: str) -> None:
    """No function that the deployed contract lacks, and each of those that are asked."""
    deployed, hooks = DEPLOYED[name]
    abi = own_artifact(name).abi
    offered = {entry["name"] for entry in abi if entry["type"] == "function"}
    assert offered - hooks <= deployed
    read = {*price_sources.GETTERS, "description", "latestRoundData"}
    read |= {getter for terms in price_sources.NESTED_GETTERS.values() for getter in terms}
    assert offered & read == deployed & read


def test_a_plain_feed_names_its_factor_itself(chain: Chain, resolved: Resolve) -> None:
    assert summary(resolved(feed(chain, 90_000, "BTC / USD"))) == [("BTC", "feed", 90_000.0)]


def test_two_assets_on_one_feed_share_its_factor(chain: Chain, resolved: Resolve) -> None:
    """Whatever their symbols are."""
    shared = feed(chain, 90_000, "BTC / USD")
    assert resolved(shared, "cbBTC") == resolved(shared, "tBTC")


def test_a_staking_adapter_is_its_base_times_a_ratio(chain: Chain, resolved: Resolve) -> None:
    base = feed(chain, 3_000, "ETH / USD")
    adapter = chain.deploy(
        own_artifact("TestRatioFeed"), base, 12 * 10**17, 18, 1_000, "Capped wstETH / ETH / USD"
    )
    exposures = resolved(adapter, "wstETH")
    assert summary(exposures) == [("ETH", "feed", 3_000.0), ("wstETH/ETH", "ratio", 1.2)]
    assert exposures[0].feed == base.lower()
    # A tenth a year since the snapshot of a month ago, and not beyond.
    assert exposures[1].cap_x == pytest.approx(1 + 0.1 * 30 / 365, rel=1e-6)
    chain.send(adapter, "setRatio(int256)", 2 * 10**18)
    (_, ratio) = resolved(adapter, "wstETH")
    assert ratio.price == pytest.approx(1.2 * (1 + 0.1 * 30 / 365), rel=1e-6)
    assert ratio.cap_x == 1


def test_a_capped_stablecoin_follows_its_feed_up_to_the_cap(
    chain: Chain, resolved: Resolve
) -> None:
    inner = feed(chain, 0.9995, "USDC / USD")
    adapter = chain.deploy(own_artifact("TestCapFeed"), inner, 104_000_000, "Capped USDC / USD")
    (result,) = resolved(adapter, "USDC")
    assert (result.factor, result.kind, result.price) == ("USDC", "feed", 0.9995)
    assert result.cap_x == pytest.approx(1.04 / 0.9995)


def test_a_price_at_its_cap_cannot_rise_any_further(chain: Chain, resolved: Resolve) -> None:
    inner = feed(chain, 1.2, "USDC / USD")
    adapter = chain.deploy(own_artifact("TestCapFeed"), inner, 104_000_000, "Capped USDC / USD")
    (result,) = resolved(adapter)
    assert (result.price, result.cap_x) == (1.04, 1.0)


def test_a_fixed_price_has_no_factor_that_moves_it(chain: Chain, resolved: Resolve) -> None:
    adapter = chain.deploy(own_artifact("TestFixedFeed"), 10**8, 8, "GHO / USD")
    (result,) = resolved(adapter)
    assert (result.factor, result.beta, result.price) == (FIXED, 0.0, 1.0)


def test_multiplied_feeds_are_both_factors(chain: Chain, resolved: Resolve) -> None:
    wrapped = feed(chain, 0.998, "WBTC / BTC")
    bitcoin = feed(chain, 90_000, "BTC / USD")
    product = chain.deploy(own_artifact("TestProductFeed"), wrapped, bitcoin, 8, "WBTC / USD")
    factors = summary(resolved(product))
    assert factors == [("WBTC/BTC", "ratio", 0.998), ("BTC", "feed", 90_000.0)]


def powers(exposures: tuple[Exposure, ...]) -> dict[str, float]:
    return {e.factor: e.beta for e in exposures}


def test_a_divided_feed_is_distinct_from_a_multiplied_one(chain: Chain, resolved: Resolve) -> None:
    """Both have the getters priceFeedA and priceFeedB; only the answer tells."""
    bitcoin, ether = feed(chain, 90_000, "BTC / USD"), feed(chain, 3_000, "ETH / USD")
    divided = chain.deploy(own_artifact("TestQuotientFeed"), bitcoin, ether, 8, "cbBTC / ETH")
    multiplied = chain.deploy(own_artifact("TestProductFeed"), bitcoin, ether, 8, "odd")
    assert powers(resolved(divided)) == {"BTC": 1, "ETH": -1}
    assert powers(resolved(multiplied)) == {"BTC": 1, "ETH": 1}


def test_a_peg_multiplies_or_divides_as_its_getters_say(chain: Chain, resolved: Resolve) -> None:
    asset, ether = feed(chain, 0.0004, "AMPL / ETH", 18), feed(chain, 3_000, "ETH / USD", 18)
    times = chain.deploy(own_artifact("TestPegFeed"), asset, ether, 8, "AMPL / ETH / USD")
    assert powers(resolved(times)) == {"ETH": 1, "AMPL/ETH": 1}
    euro = feed(chain, 1.17, "EUR / USD", 18)
    over = chain.deploy(own_artifact("TestBaseToPegFeed"), ether, euro, 8, "ETH / USD / EUR")
    assert powers(resolved(over)) == {"ETH": 1, "EUR": -1}


def test_a_discounted_price_is_the_feed_underneath(chain: Chain, resolved: Resolve) -> None:
    inner = feed(chain, 0.9995, "USDT / USD")
    terms = (180 * 86_400, 8 * 10**16, "PT Capped sUSDe")
    discounted = chain.deploy(own_artifact("TestDiscountFeed"), inner, *terms)
    assert summary(resolved(discounted)) == [("USDT", "feed", 0.9995)]


def test_a_wrapped_bitcoin_is_its_rate_times_bitcoin(chain: Chain, resolved: Resolve) -> None:
    wrapped, bitcoin = feed(chain, 0.998, "WBTC / BTC"), feed(chain, 90_000, "BTC / USD")
    source = chain.deploy(own_artifact("TestWbtcFeed"), wrapped, bitcoin, 8)
    assert powers(resolved(source)) == {"WBTC/BTC": 1, "BTC": 1}


def test_at_a_price_of_one_the_scales_tell_a_quotient(chain: Chain, resolved: Resolve) -> None:
    bitcoin, dollar = feed(chain, 90_000, "BTC / USD"), feed(chain, 1, "USDC / USD")
    for contract, power in (("TestQuotientFeed", -1), ("TestProductFeed", 1)):
        source = chain.deploy(own_artifact(contract), bitcoin, dollar, 8, "BTC / USDC")
        assert powers(resolved(source)) == {"BTC": 1, "USDC": power}


def test_a_feed_over_itself_is_fixed(chain: Chain, resolved: Resolve) -> None:
    ether, other = feed(chain, 3_000, "ETH / USD"), feed(chain, 3_000, "ETH / USD")
    (result,) = resolved(chain.deploy(own_artifact("TestQuotientFeed"), ether, other, 8, "one"))
    assert (result.factor, result.beta) == (FIXED, 0)


def test_a_constant_feed_without_latest_answer_is_fixed(chain: Chain, resolved: Resolve) -> None:
    constant = chain.deploy(own_artifact("TestConstantFeed"), 8, 10**8)
    (result,) = resolved(constant)
    assert (result.factor, result.beta, result.price) == (FIXED, 0.0, 1.0)


def test_a_scaled_feed_is_the_feed_underneath(chain: Chain, resolved: Resolve) -> None:
    ratio = feed(chain, 1.08, "CBETH / ETH", decimals=18)
    scaled = chain.deploy(own_artifact("TestScalingFeed"), ratio, 8)
    assert summary(resolved(scaled)) == [("CBETH/ETH", "ratio", 1.08)]


def test_a_source_that_is_not_what_its_getters_say_is_unknown(
    chain: Chain, resolved: Resolve
) -> None:
    """A vault's feed has the getter of a scaled one; its answer holds the vault's rate too."""
    ether = feed(chain, 3_000, "ETH / USD")
    vault = chain.deploy(own_artifact("TestVaultFeed"), ether, 8, "vETH / USD")
    rate = chain.call(vault, "rateProvider()(address)")
    chain.send(rate, "setRate(uint256)", 12 * 10**17)
    (result,) = resolved(vault)
    assert (result.factor, result.kind, result.price) == (
        f"feed:{vault.lower()}",
        "unknown",
        3_600,
    )
    assert result.description == "vETH / USD (its answer is not what its feeds give)"


def test_a_source_that_reads_no_storage_is_fixed(chain: Chain, resolved: Resolve) -> None:
    """Its description is a pair and no getter says constant: only the access list tells."""
    source = chain.deploy(own_artifact("TestCodeFeed"))
    (result,) = resolved(source)
    assert (result.factor, result.beta, result.price) == (FIXED, 0.0, 0.0004625695693)
    (result,) = resolved(source, refuses="eth_createAccessList")
    assert (result.factor, result.kind) == ("REP/ETH", "ratio")


@pytest.mark.sampled
@settings(
    max_examples=sample_size(quick=3, full=12, torture=200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_powers_are_those_of_moving_each_feed(
    chain: Chain, resolved: Resolve, data: st.DataObject
) -> None:
    """Products, quotients and rescaled feeds, nested: each leaf is moved on the chain by 1 %."""
    leaves = {
        name: feed(chain, price, f"{name} / USD", 8)
        for name, price in (("A", 1.7), ("B", 0.6), ("C", 2.3), ("D", 1.1))
    }

    def grow(depth: int) -> str:
        kind = data.draw(
            st.sampled_from(["leaf", "times", "over", "scaled"] if depth else ["leaf"])
        )
        if kind == "leaf":
            return leaves[data.draw(st.sampled_from(sorted(leaves)))]
        if kind == "scaled":
            return chain.deploy(own_artifact("TestScalingFeed"), grow(depth - 1), 16)
        contract = {"times": "TestProductFeed", "over": "TestQuotientFeed"}[kind]
        parts = [grow(depth - 1), grow(depth - 1)]
        return chain.deploy(own_artifact(contract), *parts, 16, "made")

    def answer() -> int:
        signature = "latestRoundData()(uint80,int256,uint256,uint256,uint80)"
        value: int = chain.call(root, signature)[1]
        return value

    root = grow(3)
    betas = powers(resolved(root))
    before = answer()
    for name, leaf in leaves.items():
        old = chain.call(leaf, "latestAnswer()(int256)")
        chain.send(leaf, "setAnswer(int256)", old * 101 // 100)
        moved = math.log(answer() / before) / math.log(old * 101 // 100 / old)
        assert betas.get(name, 0) == pytest.approx(moved, abs=1e-4), name
        chain.send(leaf, "setAnswer(int256)", old)


# --- a market that counts in another currency ---------------------------------------------------

ETHER = Exposure("ETH", 1.0, "feed", "0x1", "ETH / USD", 3_000.0)


def exposure(factor: str, beta: float = 1.0, **more: float) -> Exposure:
    kind = FIXED if factor == FIXED else "ratio" if "/" in factor else "feed"
    return Exposure(factor, beta, kind, "0x2", factor, 1.0, **more)


@pytest.mark.parametrize(
    ("exposures", "in_usd"),
    [
        ([exposure(FIXED, 0)], {"ETH": 1}),
        ([exposure("BTC"), exposure("ETH", -1)], {"BTC": 1}),
        ([exposure("USDC/ETH")], {"USDC": 1}),
        ([exposure("CBETH/ETH")], {"ETH": 1, "CBETH/ETH": 1}),
        ([exposure("WBTC/BTC"), exposure("BTC/ETH")], {"WBTC/BTC": 1, "BTC": 1}),
        ([exposure(FIXED, 0), exposure("ETH", -1)], {FIXED: 0}),
    ],
)
def test_a_price_in_eth_times_eth_is_in_usd(
    exposures: list[Exposure], in_usd: dict[str, float]
) -> None:
    assert powers(convert_to_usd(exposures, ETHER)) == in_usd


def test_a_cap_survives_where_powers_cancel_out() -> None:
    (result,) = combine([exposure("ETH"), exposure("ETH", -1, cap_x=1.5)])
    assert (result.beta, result.cap_x) == (0, 1.5)


# --- sources within sources ---------------------------------------------------------------------


def test_an_adapter_over_an_adapter_is_followed_down_to_its_feeds(
    chain: Chain, resolved: Resolve
) -> None:
    base = feed(chain, 3_000, "ETH / USD")
    adapter = own_artifact("TestRatioFeed")
    staked = chain.deploy(adapter, base, 11 * 10**17, 18, 1_000, "stETH / USD")
    wrapped = chain.deploy(adapter, staked, 12 * 10**17, 18, 1_000, "wrapped / USD")
    factors = [e.factor for e in resolved(wrapped, "wrapped")]
    assert factors == ["ETH", "stETH/ETH", "wrapped/ETH"]


def test_an_unknown_adapter_is_a_factor_of_its_own(chain: Chain, resolved: Resolve) -> None:
    odd = feed(chain, 5, "something else entirely")
    (result,) = resolved(odd, "WBTC")
    assert (result.factor, result.kind) == (f"feed:{odd.lower()}", "unknown")


def test_a_description_that_attacks_the_terminal_stays_unknown(
    chain: Chain, resolved: Resolve
) -> None:
    hostile = feed(chain, 5, "BTC\x1b[31m / USD")
    (result,) = resolved(hostile)
    assert result.kind == "unknown"
    assert "\x1b" not in result.description


@pytest.mark.parametrize("answer", [0, -1, -(2**255)])
def test_a_feed_without_a_usable_answer_has_no_price(
    chain: Chain, resolved: Resolve, answer: int
) -> None:
    broken = chain.deploy(own_artifact("TestFeed"), answer, 8, "BTC / USD")
    (result,) = resolved(broken)
    assert (result.factor, result.price) == ("BTC", None)


def test_an_address_without_code_is_unknown(chain: Chain, resolved: Resolve) -> None:
    (result,) = resolved("0x" + "12" * 20)
    assert (result.kind, result.price) == ("unknown", None)
