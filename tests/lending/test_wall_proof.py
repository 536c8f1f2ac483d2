"""Walls and debts held against the contracts: what is wrong is found, each kind by its message."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.collect.predictions import PredictedTrigger, PredictedWall
from chainwatch.commands.collect import mismatch_summary
from chainwatch.demo import comet
from chainwatch.demo.chain import Chain, encode, own_artifact
from chainwatch.demo.comet import CometMarket
from chainwatch.errors import Exit
from chainwatch.lending.probing import RATES
from chainwatch.lending.wall_proof import feed_moves, predicted_verdict, prices_to_ask
from chainwatch.tables.lending import DebtCoverage, Factor
from tests.builders import ask, walls_hold
from tests.evm.rpc_proxy import Proxy, fault, standing
from tests.lending.protocols.test_compound_v3_on_chain import (
    OTHER,
    PRICES,
    THIRD,
    USD,
    USER,
    Lakes,
    borrow,
    lake,
    market,
    shelf,
)

__all__ = ["lake", "market"]

pytestmark = pytest.mark.contracts("stand-in")

ETHER = 10**18


def trigger(**values: Any) -> PredictedTrigger:
    fields: dict[str, Any] = {
        "account": USER,
        "position": "",
        "direction": "down",
        "x": 0.8,
        "tolerance": 1e-8,
        "recovers_at": None,
        "x_min": 0.0,
        "x_max": None,
    }
    return PredictedTrigger(**fields | values)


# --- what is asked, and what is predicted ---------------------------------------------------------


@given(st.lists(st.floats(0.05, 0.999), max_size=60), st.lists(st.floats(1.001, 20), max_size=60))
def test_prices_are_asked_for_where_verdicts_are_clear(
    falls: list[float], rises: list[float]
) -> None:
    """Few accounts have their trigger at a price that is asked for, however they are spread."""
    triggers = [trigger(x=x) for x in falls] + [trigger(x=x, direction="up") for x in rises]
    prices = prices_to_ask(triggers)
    assert 0 < len(prices) <= 10
    assert any(x < 1 for x in prices)
    assert any(x > 1 for x in prices)
    for x in prices:
        undecided = [t for t in triggers if predicted_verdict(t, x) is None]
        decided = [t for t in triggers if predicted_verdict(t, x) is not None]
        assert all(abs(x / (t.x or 0) - 1) < 1e-3 for t in undecided)
        for t in decided:
            assert t.x is not None
            expected = x < t.x if t.direction == "down" else x > t.x
            assert predicted_verdict(t, x) == expected


@pytest.mark.parametrize(
    ("values", "x", "expected"),
    [
        ({"direction": "never", "x": None}, 0.5, False),
        ({"direction": "flat", "x": None}, 0.5, False),
        ({"direction": "outside", "x": None}, 0.5, None),
        ({"direction": "n/a", "x": None}, 0.5, None),
        ({"x_min": 0.6}, 0.5, None),
        ({"direction": "up", "x": 1.2, "x_max": 1.3}, 1.4, None),
        ({"direction": "now", "x": 1.0, "recovers_at": 1.25}, 1.2, True),
        ({"direction": "now", "x": 1.0, "recovers_at": 1.25}, 1.3, False),
        ({"direction": "now", "x": 1.0, "recovers_at": 0.8}, 0.9, True),
        ({"direction": "now", "x": 1.0, "recovers_at": 0.8}, 0.7, False),
        ({"direction": "now", "x": 1.0}, 0.7, None),
    ],
)
def test_a_verdict_is_predicted_where_prices_are_linear(
    values: dict[str, Any], x: float, expected: bool | None
) -> None:
    assert predicted_verdict(trigger(**values), x) is expected


def factor(name: str, feed: str, description: str, **values: Any) -> Factor:
    fields: dict[str, Any] = {
        "snapshot": "s",
        "market": "m",
        "block_number": 1,
        "asset": feed,
        "beta": 1.0,
        "kind": "feed",
        "factor_price": 1.0,
    }
    return Factor(**fields | values, factor=name, feed=feed, description=description)


def test_each_feed_is_multiplied_by_what_its_answer_means() -> None:
    half = Fraction(1, 2)
    rows = [
        factor("ETH", "0xeth", "ETH / USD", kind="fixed"),
        factor("USDC", "0xusdc", "USDC / ETH"),
        factor("stETH/ETH", "0xsteth", "stETH / ETH", kind="ratio"),
        factor("BTC", "0xbtc 0xbtc2", "BTC / USD"),
    ]
    assert feed_moves(rows, "BTC", half, None, {}) == {"0xbtc": half, "0xbtc2": half}
    # In a market that counts in USD only the factor's own feed moves; in one that counts in ETH
    # what is priced in ETH falls as ETH rises, and a kind of ETH does not.
    assert feed_moves(rows, "ETH", half, None, {}) == {"0xeth": half}
    assert feed_moves(rows, "ETH", half, "0xeth", {}) == {"0xeth": half, "0xusdc": 2}
    # A price at its cap falls once the feed is below it.
    capped = factor("USDC", "0xusdc", "USDC / USD", factor_price=1.04, cap_x=1.0)
    moves = feed_moves([capped], "USDC", half, None, {"0xusdc": 1.3})
    assert float(moves["0xusdc"]) == pytest.approx(0.5 * 1.04 / 1.3)
    below = msgspec.structs.replace(capped, cap_x=1.2)
    assert feed_moves([below], "USDC", half, None, {"0xusdc": 1.3}) == {"0xusdc": half}


# --- walls ----------------------------------------------------------------------------------------


def test_a_planted_wrong_sign_is_found(market: CometMarket, lake: Lakes) -> None:
    borrow(market, USER, "WETH", 10 * ETHER, 20_000 * 10**6)
    borrow(market, OTHER, "WETH", 10 * ETHER, 15_000 * 10**6)
    watched = lake(market)
    watched.collect()
    assert walls_hold(watched) > 10
    (wall,) = [w for w in watched.walls() if w.factor == "WETH"]
    (own,) = [t for t in wall.triggers if t.account == USER]
    assert (own.direction, own.x) == ("down", pytest.approx(20_000 / 27_000))
    turned = msgspec.structs.replace(own, direction="up", x=1 / (own.x or 1))
    others = [t for t in wall.triggers if t.account != USER]
    proofs, mismatches = watched.prove([PredictedWall("WETH", [turned, *others])])
    assert sum(p.mismatched for p in proofs) == len(mismatches) > 0
    assert {(m.account, m.ours, m.chain) for m in mismatches} == {
        (USER, "liquidatable", "not liquidatable"),
        (USER, "not liquidatable", "liquidatable"),
    }
    assert {(m.factor, m.figure) for m in mismatches} == {("WETH", "verdict")}
    assert {m.x for m in mismatches} <= {p.x for p in proofs}
    assert mismatch_summary(mismatches) == "1 account(s) are not as the wall says at other prices"
    (stored, *_) = ask(watched.store, "verification_mismatches")
    assert (stored["factor"], stored["figure"]) == ("WETH", "verdict")
    assert stored["x"] in {p.x for p in proofs}
    # What was found stands above every report until it is proven otherwise.
    done = watched.cli("triggers", "WETH")
    assert "WRONG: triggers" in done.stdout


@pytest.fixture
def rated(chain: Chain) -> CometMarket:
    """A stand-in that takes a vault's token, whose price is ETH's times the vault's rate."""
    tokens = shelf(chain, [("USDC", 6, USD), ("ETH", 18, 3_000 * USD), ("vETH", 18, 3_300 * USD)])
    feed = chain.deploy(own_artifact("TestVaultFeed"), tokens.listed["ETH"].feed, 8, "vETH / USD")
    rate = chain.call(feed, "rateProvider()(address)")
    chain.send(rate, "setRate(uint256)", 11 * 10**17)
    return comet.deploy(tokens, listings=[comet.Listing("vETH", 83, 90, 95)], feeds={"vETH": feed})


def test_an_adapter_that_getters_do_not_explain_is_measured_or_found(
    rated: CometMarket,
    lake: Lakes,
) -> None:
    borrow(rated, USER, "vETH", 10 * ETHER, 20_000 * 10**6)
    watched = lake(rated)
    watched.collect()
    (row,) = ask(watched.store, "triggers", factor="ETH")
    assert (row["direction"], row["x"]) == ("down", pytest.approx(20_000 / 29_700))
    assert walls_hold(watched) > 5
    # An endpoint without access lists leaves the getters: ETH is said to move nothing.
    with standing(Proxy(rated.chain.url)) as proxy:
        refusal = fault(-32601, "the method eth_createAccessList does not exist")
        proxy.rules.append(lambda c: refusal if c["method"] == "eth_createAccessList" else None)
        blind = lake(rated, rpc=[proxy.url])
        blind.collect()
        factors = {f.factor: f.evidence for f in blind.store.rows(Factor)}
        assert "ETH" not in factors
        assert set(factors.values()) == {"inferred", "unknown"}
        # Its price is a factor of its own, and as such it is proven.
        assert walls_hold(blind) > 0


def test_without_overrides_the_wall_is_not_proven_and_says_so(
    market: CometMarket,
    lake: Lakes,
) -> None:
    borrow(market, USER, "WETH", 10 * ETHER, 20_000 * 10**6)
    with standing(Proxy(market.chain.url)) as proxy:
        refusal = fault(-32602, "too many arguments, want at most 2")
        proxy.rules.append(lambda c: refusal if len(c.get("params", ())) > 2 else None)
        watched = lake(market, rpc=[proxy.url])
        watched.collect()
        proofs, mismatches = watched.prove()
        assert [(p.x, p.checked) for p in proofs] == [(None, 0)]
        assert mismatches == []
        done = watched.cli("verify", "--wall")
        assert done.returncode == 0
        assert "triggers not proven: n/a (the endpoint takes no state overrides)" in done.stdout


def test_a_feed_is_read_once_for_all_prices_of_its_factor(
    market: CometMarket,
    lake: Lakes,
) -> None:
    borrow(market, USER, "WETH", 10 * ETHER, 20_000 * 10**6)
    with standing(Proxy(market.chain.url)) as proxy:
        watched = lake(market, rpc=[proxy.url])
        watched.collect()
        (wall,) = [w for w in watched.walls() if w.factor == "WETH"]
        (feed,) = {f.feed for f in watched.store.rows(Factor) if f.factor == "WETH"}

        def reads() -> tuple[int, int]:
            """Requests for the feed's code, and calls of its own answers (without overrides)."""
            plain = [
                c["params"][0]["data"] for c in proxy.calls("eth_call") if len(c["params"]) < 3
            ]
            return (
                sum(c["params"][0] == feed for c in proxy.calls("eth_getCode")),
                sum(data.count(feed[2:]) for data in plain),
            )

        proxy.received.clear()
        watched.prove([])
        without = reads()
        proxy.received.clear()
        proofs, _ = watched.prove([wall])
        assert len(proofs) == 5
        assert {p.feeds for p in proofs} == {feed}
        codes, answers = (a - b for a, b in zip(reads(), without, strict=True))
        assert codes == 1
        # Each function that may give a price or a rate is called once at the most.
        assert 0 < answers <= 4 + len(RATES)


@pytest.mark.full
def test_a_cap_of_gas_changes_no_measurement_and_no_proof(
    market: CometMarket,
    lake: Lakes,
) -> None:
    """A call may take 50 million gas, as on many nodes: it is cut into smaller ones."""
    comet.populate(market, PRICES, 400, 6)

    def capped(call: Any) -> None:
        if call["method"] == "eth_call":
            call["params"][0]["gas"] = hex(50_000_000)

    with standing(Proxy(market.chain.url)) as proxy:
        proxy.rules.append(capped)
        limited, free = lake(market, rpc=[proxy.url]), lake(market)
        for watched in (limited, free):
            watched.collect()
        terms = [
            {(f.asset, f.factor, f.beta, f.evidence) for f in watched.store.rows(Factor)}
            for watched in (limited, free)
        ]
        assert terms[0] == terms[1]
        assert walls_hold(limited) == walls_hold(free) > 1_000
        assert limited.verify()[0].mismatched == 0


def test_verify_wall_is_a_command_with_an_exit_code(
    market: CometMarket,
    lake: Lakes,
) -> None:
    borrow(market, USER, "WETH", 10 * ETHER, 20_000 * 10**6)
    watched = lake(market)
    done = watched.cli("collect", "compound-v3", "--market", "local", "--verify")
    assert done.returncode == 0, done.stderr
    done = watched.cli("verify", "--wall")
    assert done.returncode == 0, done.stderr
    assert "as the contracts at" in done.stdout
    assert "100.00 % of the debt found" in done.stdout


# --- debts ----------------------------------------------------------------------------------------


def without(account: str) -> Callable[[Any, Any], None]:
    """What drops the logs that name an account from answers to eth_getLogs."""
    topic = f"0x{account[2:]:0>64}"

    def edit(call: Any, answer: Any) -> None:
        if call["method"] == "eth_getLogs" and "result" in answer:
            answer["result"] = [log for log in answer["result"] if topic not in log["topics"]]

    return edit


def test_a_borrower_that_no_log_names_is_missed(market: CometMarket, lake: Lakes) -> None:
    """An endpoint that leaves out logs loses an account, and the contract's own sum shows it."""
    borrow(market, USER, "WETH", 10 * ETHER, 15_000 * 10**6)
    borrow(market, OTHER, "WETH", 10 * ETHER, 5_000 * 10**6)
    with standing(Proxy(market.chain.url)) as proxy:
        proxy.edits.append(without(OTHER))
        watched = lake(market, rpc=[proxy.url])
        watched.collect()
        (row,) = watched.store.rows(DebtCoverage)
        assert row.account_sum / row.contract_total == pytest.approx(0.75)
        assert row.total_usd == pytest.approx(20_000)
        assert "only 75.00% of the borrow principal of USDC" in " ".join(watched.voice.notes)
        done = watched.cli("verify")
        assert done.returncode == Exit.CHECK_FAILED
        assert "only 75.00% of the borrow principal of USDC was found" in done.stderr
        printed = watched.cli("walls", "WETH").stdout
        assert "INCOMPLETE: 75.00 % of the debt found" in printed
        assert "accounts in no sum: accounts not found (debt 5,000 USD)" in printed
        proxy.edits.clear()
        watched.collect(full="yes")
    assert watched.store.rows(DebtCoverage)
    assert "100.00 % of the debt found" in watched.cli("health").stdout


def test_balances_that_change_without_an_event_are_read_again(
    market: CometMarket,
    lake: Lakes,
) -> None:
    """As those of a rebasing token do; here a storage slot is set."""
    for account in (USER, OTHER, THIRD):
        borrow(market, account, "WETH", 10 * ETHER, 5_000 * 10**6)
    watched = lake(market)
    watched.collect()
    chain, token = market.chain, market.tokens["WETH"]
    data = encode("userCollateral(address,address)", OTHER, token)
    access = chain.rpc("eth_createAccessList", {"to": market.comet, "data": data}, "latest")
    (slots,) = [a["storageKeys"] for a in access["accessList"]]
    for slot in slots:
        if chain.storage(market.comet, int(slot, 16)) == 10 * ETHER:
            chain.set_storage(market.comet, int(slot, 16), 12 * ETHER)
    chain.mine()
    snapshot = watched.collect()
    legs = {leg.account: leg.raw for leg in watched.legs(snapshot).values() if leg.side != "debt"}
    assert legs[OTHER] == 12 * ETHER
    assert snapshot.accounts_read == 3
    assert watched.verify()[0].mismatched == 0
    assert any("changed without an event" in note for note in watched.voice.notes)
