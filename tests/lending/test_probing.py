"""Exposures measured on a real node, against moving each feed for real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from chainwatch.chain.reading import Reading
from chainwatch.demo.aave import MULTICALL
from chainwatch.demo.chain import Chain, TransactionReverted, encode, own_artifact
from chainwatch.lending.exposures import FIXED, MEASURED, NONLINEAR, UNKNOWN, Exposure
from chainwatch.lending.oracles import Price, resolve
from tests.amounts import sample_size
from tests.lending.test_oracles import Resolve, ask, feed, measured, powers, resolved  # noqa: F401

pytestmark = pytest.mark.contracts("plain")


def by_name(exposures: tuple[Exposure, ...]) -> dict[str, Exposure]:
    return {e.factor: e for e in exposures}


def test_a_plain_feed(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    source = feed(chain, 90_000, "BTC / USD")
    (exposure,) = measured(source)
    assert (exposure.factor, exposure.kind, exposure.beta, exposure.price) == (
        "BTC",
        "feed",
        1,
        90_000,
    )
    assert (exposure.feed, exposure.evidence, exposure.cap_x) == (source.lower(), MEASURED, None)


def test_a_proxy_and_what_is_behind_it_are_one(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    proxy = chain.deploy(own_artifact("TestProxyFeed"), 3_000 * 10**8, 8, "ETH / USD")
    (exposure,) = measured(proxy)
    assert (exposure.factor, exposure.beta, exposure.feed, exposure.evidence) == (
        "ETH",
        1,
        proxy.lower(),
        MEASURED,
    )


def test_product_and_quotient(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    bitcoin, ether = feed(chain, 90_000, "BTC / USD"), feed(chain, 3_000, "ETH / USD")
    divided = chain.deploy(own_artifact("TestQuotientFeed"), bitcoin, ether, 8, "cbBTC / ETH")
    multiplied = chain.deploy(own_artifact("TestProductFeed"), bitcoin, ether, 8, "odd")
    assert powers(measured(divided)) == {"BTC": 1, "ETH": -1}
    assert powers(measured(multiplied)) == {"BTC": 1, "ETH": 1}


@pytest.mark.parametrize("listed", [True, False])
def test_a_rate_oracle_that_nobody_listed(
    chain: Chain,
    measured: Resolve,  # noqa: F811
    listed: bool,
) -> None:
    ether = feed(chain, 3_000, "ETH / USD")
    source = chain.deploy(own_artifact("TestRateFeed"), 11 * 10**17, ether, listed)
    factors = by_name(measured(source, "rETH"))
    assert factors.pop("ETH").beta == 1
    (rate,) = factors.values()
    assert (rate.beta, rate.evidence) == (1, MEASURED)
    assert rate.factor == ("rETH/ETH" if listed else f"feed:{rate.feed}")


def test_a_sum_is_shared(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    ether, bitcoin = feed(chain, 3_000, "ETH / USD"), feed(chain, 90_000, "BTC / USD")
    source = chain.deploy(own_artifact("TestSumFeed"), ether, bitcoin, 25, 0, "basket")
    factors = by_name(measured(source))
    assert factors["ETH"].beta == pytest.approx(750 / 68_250, rel=1e-6)
    assert factors["BTC"].beta == pytest.approx(67_500 / 68_250, rel=1e-6)
    assert {e.kind for e in factors.values()} == {"feed"}


def test_a_floor(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    ether = feed(chain, 3_000, "ETH / USD")
    floor = 2_800 * 10**8
    (exposure,) = measured(chain.deploy(own_artifact("TestSumFeed"), ether, ether, 50, floor, "x"))
    assert (exposure.beta, exposure.kind) == (1, "feed")
    assert exposure.floor_x == pytest.approx(2_800 / 3_000)


def test_a_square_is_not_linear(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    ether = feed(chain, 3_000, "ETH / USD")
    (exposure,) = measured(chain.deploy(own_artifact("TestProductFeed"), ether, ether, 8, "x"))
    assert (exposure.beta, exposure.kind) == (2, NONLINEAR)


def test_what_rises_twice_has_no_cap(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    """As the feed to 1.19, flat to 1.44, on to 1.57 and flat again: probes beside see one cap."""
    ether = feed(chain, 3_000, "ETH / USD")

    def floored(share: int) -> str:
        return chain.deploy(
            own_artifact("TestSumFeed"), ether, ether, 50, share * 3_000 * 10**6, "x"
        )

    inner = chain.deploy(own_artifact("TestCapFeed"), floored(144), 157 * 3_000 * 10**6, "x")
    flat = chain.deploy(own_artifact("TestBaseToPegFeed"), floored(119), ether, 8, "x")
    (exposure,) = measured(chain.deploy(own_artifact("TestBaseToPegFeed"), inner, flat, 8, "x"))
    assert (exposure.factor, exposure.kind) == ("ETH", NONLINEAR)


def test_a_cached_price_is_its_own_leaf(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    ether = feed(chain, 3_000, "ETH / USD")
    source = chain.deploy(own_artifact("TestCachedFeed"), ether, "ETH / USD")
    (exposure,) = measured(source)
    assert (exposure.factor, exposure.feed, exposure.beta) == ("ETH", source.lower(), 1)


def test_a_constant_moves_nothing(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    (exposure,) = measured(chain.deploy(own_artifact("TestConstantFeed"), 8, 10**8))
    assert (exposure.factor, exposure.beta, exposure.price) == (FIXED, 0, 1)


def test_a_cap_and_what_is_above_it(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    inner = feed(chain, 0.9995, "USDC / USD")
    (exposure,) = measured(
        chain.deploy(own_artifact("TestCapFeed"), inner, 104_000_000, "Capped USDC / USD")
    )
    assert (exposure.factor, exposure.kind, exposure.price) == ("USDC", "feed", 0.9995)
    assert exposure.cap_x == pytest.approx(1.04 / 0.9995)
    inner = feed(chain, 1.2, "USDC / USD")
    (exposure,) = measured(
        chain.deploy(own_artifact("TestCapFeed"), inner, 104_000_000, "Capped USDC / USD")
    )
    assert exposure.cap_x == 1
    assert exposure.price == pytest.approx(1.04)


def test_the_growth_of_a_rate_is_capped(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    base = feed(chain, 3_000, "ETH / USD")
    adapter = chain.deploy(
        own_artifact("TestRatioFeed"), base, 12 * 10**17, 18, 1_000, "Capped wstETH / ETH / USD"
    )
    factors = by_name(measured(adapter, "wstETH"))
    assert factors["ETH"].beta == 1
    assert factors["wstETH/ETH"].price == 1.2


@pytest.mark.parametrize("method", ["eth_createAccessList", "overrides"])
def test_without_a_node_that_can_it_is_inferred(
    chain: Chain,
    measured: Resolve,  # noqa: F811
    method: str,
) -> None:
    source = feed(chain, 90_000, "BTC / USD")
    (exposure,) = measured(source, refuses=method)
    assert (exposure.factor, exposure.beta, exposure.evidence) == ("BTC", 1, "inferred")


def test_forty_reserves_cost_few_calls(chain: Chain) -> None:
    """Contracts that are behind no price in common are probed in one call."""
    chain.set_code(MULTICALL, own_artifact("TestMulticall").runtime)
    ether = feed(chain, 3_000, "ETH / USD")
    prices = {}
    for i in range(40):
        source = chain.deploy(own_artifact("TestRateFeed"), 10**18 + i, ether, i % 2 == 0)
        consumer = chain.deploy(own_artifact("TestConsumer"), source)
        call = (consumer.lower(), bytes.fromhex(encode("price()")[2:]))
        prices[str(i)] = Price(call, source.lower(), f"st{i}")
    methods: dict[str, int] = {}

    async def question(reading: Reading) -> tuple[Exposure, ...]:
        before = dict(reading.rpc.stats.methods)
        exposures = await resolve(reading, prices)
        assert {len(own) for own in exposures.values()} == {2}
        assert {e.evidence for own in exposures.values() for e in own} == {MEASURED}
        sent = reading.rpc.stats.methods
        methods.update({name: sent[name] - before.get(name, 0) for name in sent})
        return ()

    ask(chain, question)
    assert methods["eth_call"] < 80
    assert methods["eth_createAccessList"] < 200
    assert methods["eth_getCode"] < 200


# --- random markets -------------------------------------------------------------------------------

SET_ANSWER = "setAnswer(int256)"
ROUND_DATA = "latestRoundData()(uint80,int256,uint256,uint256,uint80)"
MOVES = ((1, 2), (17, 20), (103, 100), (13, 10), (19, 10))
DECIMALS = 18


class Oracles:
    """Price sources nested in each other; `move` moves a leaf on the chain."""

    def __init__(self, chain: Chain, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.chain = chain
        self.draw = draw
        # By factor for feeds, by contract for rates: what is sent where, and the value.
        self.leaves: dict[str, tuple[str, str, int]] = {}
        # No cap, floor or sum, and no leaf twice: the price is a product of powers.
        self.plain = True

    def answer(self, source: str) -> int:
        """As a consumer asks."""
        try:
            value: int = self.chain.call(source, "latestAnswer()(int256)")
        except TransactionReverted:
            value = self.chain.call(source, ROUND_DATA)[1]
        return value

    def move(self, leaf: str, numerator: int, denominator: int) -> float:
        """Set a leaf to a multiple of its value; that multiple."""
        to, signature, value = self.leaves[leaf]
        moved = value * numerator // denominator
        self.chain.send(to, signature, moved)
        return moved / value

    def _deploy(self, name: str, *arguments: Any) -> str:
        return self.chain.deploy(own_artifact(name), *arguments)

    def leaf(self) -> str:
        """A feed, one behind a proxy, or one of those that are there already."""
        kind = self.draw(st.sampled_from(["feed", "proxy", "again"]))
        feeds = [to for to, signature, _ in self.leaves.values() if signature == SET_ANSWER]
        if kind == "again" and feeds:
            self.plain = False
            return self.draw(st.sampled_from(sorted(feeds)))
        value = self.draw(st.integers(3 * 10**17, 3 * 10**18))
        contract = "TestProxyFeed" if kind == "proxy" else "TestFeed"
        name = chr(ord("A") + len(self.leaves))
        source = self._deploy(contract, value, DECIMALS, f"{name} / USD")
        self.leaves[name] = (source, SET_ANSWER, value)
        return source

    def asked_for_its_answer(self, depth: int) -> str:
        """A source that has latestAnswer(), as Aave's have."""
        kinds = ["leaf"]
        if depth:
            kinds += ["times", "over", "rate", "cap", "floor", "sum"]
        kind = self.draw(st.sampled_from(kinds))
        if kind == "leaf":
            return self.leaf()
        inner = self.asked_for_its_answer(depth - 1)
        if kind in ("times", "over"):
            contract = {"times": "TestPegFeed", "over": "TestBaseToPegFeed"}[kind]
            other = self.asked_for_its_answer(depth - 1)
            return self._deploy(contract, inner, other, DECIMALS, "made")
        if kind == "rate":
            return self._rate(inner)
        self.plain = False
        value, weight = self.answer(inner), 100
        level = self.draw(st.integers(40, 170))
        if kind == "cap":
            return self._deploy("TestCapFeed", inner, value * level // 100, "capped")
        if kind == "sum":
            weight, level = self.draw(st.integers(20, 80)), 0
        other = self.asked_for_its_answer(depth - 1) if kind == "sum" else inner
        return self._deploy("TestSumFeed", inner, other, weight, value * level // 100, "sum")

    def _rate(self, inner: str) -> str:
        listed = self.draw(st.booleans())
        rate = self.draw(st.integers(10**18, 2 * 10**18))
        source = self._deploy("TestRateFeed", rate, inner, listed)
        getter = "token" if listed else "unlisted"
        token = self.chain.call(source, f"{getter}()(address)").lower()
        self.leaves[token] = (source, "setRate(uint256)", rate)
        return source

    def asked_for_its_round(self, depth: int) -> str:
        """A source that has latestRoundData(), as Comet's have."""
        kinds = ["leaf", "constant"]
        if depth:
            kinds += ["times", "over", "scaled"]
        kind = self.draw(st.sampled_from(kinds))
        if kind == "leaf":
            return self.leaf()
        if kind == "constant":
            return self._deploy("TestConstantFeed", DECIMALS, self.draw(st.integers(1, 5)) * 10**17)
        inner = self.asked_for_its_round(depth - 1)
        if kind == "scaled":
            return self._deploy("TestScalingFeed", inner, self.draw(st.integers(14, 24)))
        contract = {"times": "TestProductFeed", "over": "TestQuotientFeed"}[kind]
        other = self.asked_for_its_round(depth - 1)
        return self._deploy(contract, inner, other, DECIMALS, "made")


def predicted(exposure: Exposure, x: float) -> float:
    """The price as a multiple of itself, where its factor is x times what it is."""
    x = min(x, exposure.cap_x or x)
    x = max(x, exposure.floor_x or 0)
    return 1 / x if exposure.beta == -1 else 1 + exposure.beta * (x - 1)


@pytest.mark.sampled
@settings(
    max_examples=sample_size(quick=3, full=50, torture=1_000),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_measured_is_what_moving_each_feed_gives(
    chain: Chain,
    measured: Resolve,  # noqa: F811
    data: st.DataObject,
) -> None:
    """Each leaf is moved on the chain, by half to nearly the double: the price is as predicted."""
    # A node keeps the state of every block: those of an example go with it.
    fork = chain.snapshot()
    try:
        _hold_against_the_chain(chain, measured, data)
    finally:
        chain.revert(fork)


def _hold_against_the_chain(
    chain: Chain,
    measured: Resolve,  # noqa: F811
    data: st.DataObject,
) -> None:
    oracles = Oracles(chain, data.draw)
    grow = data.draw(st.sampled_from([oracles.asked_for_its_answer, oracles.asked_for_its_round]))
    source = grow(3)
    before = oracles.answer(source)
    if before < 10**6:
        return
    factors = measured(source)
    # What nothing moves may still hold a price of its own.
    unmoved = {e.evidence for e in factors} == {UNKNOWN}
    assert unmoved or {e.evidence for e in factors} == {MEASURED}
    assert not (unmoved and oracles.plain)
    exposures = {
        e.factor if e.factor in oracles.leaves else e.feed: e
        for e in factors
        if e.kind != FIXED and not unmoved
    }
    # Where a feed cancels out, what is made of it may be a factor in its place.
    adapters = exposures.keys() - oracles.leaves.keys()
    assert not (oracles.plain and adapters)
    for leaf, (to, signature, value) in oracles.leaves.items():
        exposure = exposures.get(leaf)
        if exposure is not None and exposure.kind == NONLINEAR:
            event("refused")
            assert not oracles.plain or abs(exposure.beta) > 1
            continue
        if exposure is None and adapters:
            event("in an adapter")
            continue
        event("nothing" if exposure is None else "linear")
        # A source past its cap counts as the cap.
        scale = 1.0
        if exposure is not None and exposure.price is not None:
            scale = exposure.price / (value / 10**DECIMALS)
        for numerator, denominator in MOVES:
            x = oracles.move(leaf, numerator, denominator)
            actual = oracles.answer(source) / before
            expected = 1.0 if exposure is None else predicted(exposure, x / scale)
            step = 0.0 if exposure is None else exposure.step
            assert actual == pytest.approx(expected, rel=1e-6 + 16 * step), (leaf, x, exposure)
        chain.send(to, signature, value)
