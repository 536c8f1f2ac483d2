"""Price sources resolved to factors, on adapters deployed to a real node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from chainwatch.demo.aave import MULTICALL
from chainwatch.demo.chain import Chain, own_artifact
from chainwatch.net import Http
from chainwatch.oracles import FIXED, Exposure, resolve
from chainwatch.rpc import Rpc

Resolve = Callable[..., tuple[Exposure, ...]]


@pytest.fixture
def resolved(chain: Chain) -> Resolve:
    """Resolves one price source on the node's newest block."""
    chain.set_code(MULTICALL, own_artifact("TestMulticall").runtime)

    def ask(address: str, label: str = "TOKEN") -> tuple[Exposure, ...]:
        async def run() -> tuple[Exposure, ...]:
            async with Http() as http:
                rpc = Rpc(http, [chain.url], chain="local", chain_id=31_337)
                chain.mine()
                at = await rpc.pin()
                return (await resolve(rpc, {address.lower(): label}, at))[address.lower()]

        return asyncio.run(run())

    return ask


def feed(chain: Chain, price: float, description: str, decimals: int = 8) -> str:
    answer = int(price * 10**decimals)
    return chain.deploy(own_artifact("TestFeed"), answer, decimals, description)


def summary(found: tuple[Exposure, ...]) -> list[tuple[str, str, float | None]]:
    return [(e.factor, e.kind, e.price) for e in found]


def test_a_plain_feed_names_its_factor_itself(chain: Chain, resolved: Resolve) -> None:
    assert summary(resolved(feed(chain, 90_000, "BTC / USD"))) == [("BTC", "feed", 90_000.0)]


def test_two_assets_on_one_feed_share_its_factor_whatever_they_are_called(
    chain: Chain, resolved: Resolve
) -> None:
    shared = feed(chain, 90_000, "BTC / USD")
    assert resolved(shared, "cbBTC") == resolved(shared, "tBTC")


def test_a_staking_adapter_is_its_base_times_a_ratio(chain: Chain, resolved: Resolve) -> None:
    base = feed(chain, 3_000, "ETH / USD")
    adapter = chain.deploy(
        own_artifact("TestRatioFeed"), base, 12 * 10**17, 18, "Capped wstETH / ETH / USD"
    )
    found = resolved(adapter, "wstETH")
    assert summary(found) == [("ETH", "feed", 3_000.0), ("wstETH/ETH", "ratio", 1.2)]
    assert found[0].feed == base.lower()


def test_a_capped_stablecoin_follows_its_feed_up_to_the_cap(
    chain: Chain, resolved: Resolve
) -> None:
    inner = feed(chain, 0.9995, "USDC / USD")
    adapter = chain.deploy(own_artifact("TestCapFeed"), inner, 104_000_000, "Capped USDC / USD")
    (found,) = resolved(adapter, "USDC")
    assert (found.factor, found.kind, found.price) == ("USDC", "feed", 0.9995)
    assert found.cap_x == pytest.approx(1.04 / 0.9995)


def test_a_price_at_its_cap_cannot_rise_any_further(chain: Chain, resolved: Resolve) -> None:
    inner = feed(chain, 1.2, "USDC / USD")
    adapter = chain.deploy(own_artifact("TestCapFeed"), inner, 104_000_000, "Capped USDC / USD")
    (found,) = resolved(adapter)
    assert (found.price, found.cap_x) == (1.04, 1.0)


def test_a_fixed_price_has_no_factor_that_moves_it(chain: Chain, resolved: Resolve) -> None:
    adapter = chain.deploy(own_artifact("TestFixedFeed"), 10**8, 8, "GHO / USD")
    (found,) = resolved(adapter)
    assert (found.factor, found.beta, found.price) == (FIXED, 0.0, 1.0)


def test_multiplied_feeds_are_both_factors(chain: Chain, resolved: Resolve) -> None:
    wrapped = feed(chain, 0.998, "WBTC / BTC")
    bitcoin = feed(chain, 90_000, "BTC / USD")
    product = chain.deploy(own_artifact("TestProductFeed"), wrapped, bitcoin, 8, "WBTC / USD")
    found = summary(resolved(product))
    assert found == [("WBTC/BTC", "ratio", 0.998), ("BTC", "feed", 90_000.0)]


def test_an_adapter_over_an_adapter_is_followed_down_to_its_feeds(
    chain: Chain, resolved: Resolve
) -> None:
    base = feed(chain, 3_000, "ETH / USD")
    staked = chain.deploy(own_artifact("TestRatioFeed"), base, 11 * 10**17, 18, "stETH / USD")
    wrapped = chain.deploy(own_artifact("TestRatioFeed"), staked, 12 * 10**17, 18, "wrapped / USD")
    factors = [e.factor for e in resolved(wrapped, "wrapped")]
    assert factors == ["ETH", "stETH/ETH", "wrapped/ETH"]


def test_an_unknown_adapter_is_a_factor_of_its_own(chain: Chain, resolved: Resolve) -> None:
    odd = feed(chain, 5, "something else entirely")
    (found,) = resolved(odd, "WBTC")
    assert (found.factor, found.kind) == (f"feed:{odd.lower()}", "unknown")


def test_a_description_that_attacks_the_terminal_stays_unknown(
    chain: Chain, resolved: Resolve
) -> None:
    hostile = feed(chain, 5, "BTC\x1b[31m / USD")
    (found,) = resolved(hostile)
    assert found.kind == "unknown"
    assert "\x1b" not in found.description


@pytest.mark.parametrize("answer", [0, -1, -(2**255)])
def test_a_feed_without_a_usable_answer_has_no_price(
    chain: Chain, resolved: Resolve, answer: int
) -> None:
    broken = chain.deploy(own_artifact("TestFeed"), answer, 8, "BTC / USD")
    (found,) = resolved(broken)
    assert (found.factor, found.price) == ("BTC", None)


def test_an_address_without_code_is_unknown(chain: Chain, resolved: Resolve) -> None:
    (found,) = resolved("0x" + "12" * 20)
    assert (found.kind, found.price) == ("unknown", None)
