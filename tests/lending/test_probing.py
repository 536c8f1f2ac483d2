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
    (found,) = measured(source)
    assert (found.factor, found.kind, found.beta, found.price) == ("BTC", "feed", 1, 90_000)
    assert (found.feed, found.known, found.cap_x) == (source.lower(), MEASURED, None)


def test_a_proxy_and_what_is_behind_it_are_one(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    proxy = chain.deploy(own_artifact("TestProxyFeed"), 3_000 * 10**8, 8, "ETH / USD")
    (found,) = measured(proxy)
    assert (found.factor, found.beta, found.feed, found.known) == (
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
    found = by_name(measured(source, "rETH"))
    assert found.pop("ETH").beta == 1
    (rate,) = found.values()
    assert (rate.beta, rate.known) == (1, MEASURED)
    assert rate.factor == ("rETH/ETH" if listed else f"feed:{rate.feed}")


def test_a_sum_is_shared(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    ether, bitcoin = feed(chain, 3_000, "ETH / USD"), feed(chain, 90_000, "BTC / USD")
    source = chain.deploy(own_artifact("TestSumFeed"), ether, bitcoin, 25, 0, "basket")
    found = by_name(measured(source))
    assert found["ETH"].beta == pytest.approx(750 / 68_250, rel=1e-6)
    assert found["BTC"].beta == pytest.approx(67_500 / 68_250, rel=1e-6)
    assert {e.kind for e in found.values()} == {"feed"}


def test_a_floor(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    ether = feed(chain, 3_000, "ETH / USD")
    floor = 2_800 * 10**8
    (found,) = measured(chain.deploy(own_artifact("TestSumFeed"), ether, ether, 50, floor, "x"))
    assert (found.beta, found.kind) == (1, "feed")
    assert found.floor_x == pytest.approx(2_800 / 3_000)


def test_a_square_is_not_linear(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    ether = feed(chain, 3_000, "ETH / USD")
    (found,) = measured(chain.deploy(own_artifact("TestProductFeed"), ether, ether, 8, "x"))
    assert (found.beta, found.kind) == (2, NONLINEAR)


def test_a_cached_price_is_its_own_leaf(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    ether = feed(chain, 3_000, "ETH / USD")
    source = chain.deploy(own_artifact("TestCachedFeed"), ether, "ETH / USD")
    (found,) = measured(source)
    assert (found.factor, found.feed, found.beta) == ("ETH", source.lower(), 1)


def test_a_constant_moves_nothing(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    (found,) = measured(chain.deploy(own_artifact("TestConstantFeed"), 8, 10**8))
    assert (found.factor, found.beta, found.price) == (FIXED, 0, 1)


def test_a_cap_and_what_is_above_it(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    inner = feed(chain, 0.9995, "USDC / USD")
    (found,) = measured(
        chain.deploy(own_artifact("TestCapFeed"), inner, 104_000_000, "Capped USDC / USD")
    )
    assert (found.factor, found.kind, found.price) == ("USDC", "feed", 0.9995)
    assert found.cap_x == pytest.approx(1.04 / 0.9995)
    inner = feed(chain, 1.2, "USDC / USD")
    (found,) = measured(
        chain.deploy(own_artifact("TestCapFeed"), inner, 104_000_000, "Capped USDC / USD")
    )
    assert found.cap_x == 1
    assert found.price == pytest.approx(1.04)


def test_the_growth_of_a_rate_is_capped(chain: Chain, measured: Resolve) -> None:  # noqa: F811
    base = feed(chain, 3_000, "ETH / USD")
    adapter = chain.deploy(
        own_artifact("TestRatioFeed"), base, 12 * 10**17, 18, 1_000, "Capped wstETH / ETH / USD"
    )
    found = by_name(measured(adapter, "wstETH"))
    assert found["ETH"].beta == 1
    assert found["wstETH/ETH"].price == 1.2


@pytest.mark.parametrize("method", ["eth_createAccessList", "overrides"])
def test_without_a_node_that_can_it_is_inferred(
    chain: Chain,
    measured: Resolve,  # noqa: F811
    method: str,
) -> None:
    source = feed(chain, 90_000, "BTC / USD")
    (found,) = measured(source, refuses=method)
    assert (found.factor, found.beta, found.known) == ("BTC", 1, "inferred")
