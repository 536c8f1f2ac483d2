"""Exposures measured on a real node, against moving each feed for real."""

from __future__ import annotations

import pytest

from chainwatch.demo.chain import Chain, own_artifact
from chainwatch.lending.exposures import FIXED, MEASURED, NONLINEAR, Exposure
from tests.lending.test_oracles import Resolve, feed, measured, powers, resolved  # noqa: F401

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
