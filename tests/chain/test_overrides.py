"""State overrides, access lists and codes through endpoints like public ones, on a real node."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chainwatch.chain.contract import keccak
from chainwatch.chain.overrides import scaled
from chainwatch.chain.types import MULTICALL3, Overrides, Reverted
from chainwatch.demo.chain import Chain, encode, own_artifact
from chainwatch.errors import NetworkError
from tests.amounts import sample_size
from tests.chain.ledger import ACCOUNTS, BALANCES, FAIL_LOUDLY, PROBE, WORTH, Connect, is_method
from tests.evm.rpc_proxy import Answer, Proxy, fault
from tests.evm.rpc_proxy import Call as ProxyCall

pytestmark = pytest.mark.contracts("plain")

# PUSH1 42 PUSH1 0 MSTORE PUSH1 32 PUSH1 0 RETURN
FORTY_TWO: Overrides = {PROBE: bytes.fromhex("602a60005260206000f3")}
ANSWER = (42).to_bytes(32)
REFUSAL = fault(-32602, "too many arguments, want at most 2")
MISSING = fault(-32000, "missing trie node 6d1f (path ) state 0x6d1f is not available")

Rule = Callable[[ProxyCall], Answer | None]


def has_overrides(call: ProxyCall) -> bool:
    return call["method"] == "eth_call" and len(call["params"]) > 2


def refuses(refusal: Answer = REFUSAL) -> Rule:
    return lambda call: refusal if has_overrides(call) else None


def ignores(call: ProxyCall) -> None:
    """As an endpoint that drops parameters it does not know."""
    if has_overrides(call):
        call["params"].pop()


# --- calls under overrides -----------------------------------------------------------------------


@pytest.mark.parametrize("multicall", [True, False])
async def test_code_is_replaced_within_these_calls_alone(
    connect: Connect, chain: Chain, multicall: bool
) -> None:
    if not multicall:
        chain.set_code(MULTICALL3, "")
        chain.mine()
    rpc = connect(chain.url, multicall=100)
    at = await rpc.pin()
    assert await rpc.read(BALANCES, at, FORTY_TWO) == [ANSWER] * len(BALANCES)
    assert await rpc.read(BALANCES, at) == WORTH


async def test_a_call_that_reverts_under_overrides_is_reverted(
    connect: Connect, ledger: Chain
) -> None:
    rpc = connect(ledger.url)
    reverts = {PROBE: bytes.fromhex("60006000fd")}
    answers = await rpc.read([BALANCES[1], (MULTICALL3, b"")], await rpc.pin(), reverts)
    assert answers[0] == Reverted(b"")


@pytest.mark.parametrize("rule", [refuses(), ignores], ids=["refuses", "ignores"])
@pytest.mark.parametrize("multicall", [True, False])
async def test_an_endpoint_that_cannot_gives_no_answer(
    connect: Connect, proxy: Proxy, chain: Chain, rule: Rule, multicall: bool
) -> None:
    """Neither an answer of the code as it is, nor one of the code given."""
    if not multicall:
        chain.set_code(MULTICALL3, "")
        chain.mine()
    proxy.rules.append(rule)
    rpc = connect(proxy)
    at = await rpc.pin()
    assert not await rpc.can_override()
    for _ in range(2):
        with pytest.raises(NetworkError, match="takes no state overrides"):
            await rpc.read(BALANCES[:3], at, FORTY_TWO)
    assert await rpc.read(BALANCES, at) == WORTH
    tried = [call for call in proxy.calls("eth_call") if call["params"][0]["to"] != MULTICALL3]
    assert len([call for call in tried if call["params"][0]["to"].startswith("0xc4a1")]) == 1


async def test_the_endpoint_that_can_is_asked(connect: Connect, proxy: Proxy, other: Proxy) -> None:
    proxy.rules.append(ignores)
    rpc = connect(proxy, other)
    at = await rpc.pin()
    assert await rpc.can_override()
    assert await rpc.read(BALANCES, at, FORTY_TWO) == [ANSWER] * len(BALANCES)
    assert await rpc.read(BALANCES, at) == WORTH
    assert len([c for c in other.calls("eth_call") if has_overrides(c)]) > 1


async def test_an_endpoint_that_is_busy_is_asked_again(connect: Connect, proxy: Proxy) -> None:
    busy = [fault(-32005, "limit exceeded")]
    proxy.rules.append(lambda call: busy.pop() if busy and has_overrides(call) else None)
    rpc = connect(proxy)
    assert await rpc.can_override()


async def test_calls_under_overrides_share_a_gas_cap(connect: Connect, proxy: Proxy) -> None:
    def cap(call: ProxyCall) -> None:
        if call["method"] == "eth_call":
            call["params"][0]["gas"] = hex(800_000)

    proxy.rules.append(cap)
    rpc = connect(proxy)
    at = await rpc.pin()
    x = Fraction(3, 2)
    code = (await rpc.codes([PROBE], at))[PROBE]
    places = {BALANCES[0][1][:4]: 0}
    answers = await rpc.read(BALANCES, at, scaled(PROBE, code, x, places))
    assert [int.from_bytes(a) for a in answers if isinstance(a, bytes)] == [
        int.from_bytes(w) * 3 // 2 for w in WORTH
    ]


async def test_code_that_is_too_much_spoils_no_later_read(connect: Connect, proxy: Proxy) -> None:
    """A request that is too large because of its code says nothing of how many calls fit."""

    def too_large(body: Any) -> web.Response | None:
        text = json.dumps(body)
        return web.Response(status=413) if len(text) > 600_000 else None

    proxy.gate = too_large
    rpc = connect(proxy, tries=2)
    at = await rpc.pin()
    huge = FORTY_TWO | {f"0x{i + 1:040x}": bytes(24_000) for i in range(15)}
    with pytest.raises(NetworkError, match="413"):
        await rpc.read(BALANCES, at, huge)
    sent = len(proxy.calls("eth_call"))
    assert await rpc.read(BALANCES, at) == WORTH
    assert len(proxy.calls("eth_call")) - sent == 1
    fits = FORTY_TWO | {f"0x{i + 1:040x}": bytes(24_000) for i in range(10)}
    assert await rpc.read(BALANCES[:3], at, fits) == [ANSWER] * 3


# --- access lists and codes ----------------------------------------------------------------------


async def test_a_call_touches_contracts_and_their_slots(connect: Connect, chain: Chain) -> None:
    feed = chain.deploy(own_artifact("TestFeed"), 5, 8, "A / USD").lower()
    consumer = chain.deploy(own_artifact("TestConsumer"), feed).lower()
    price, rounds, nothing = (
        bytes.fromhex(encode(f"{name}()")[2:]) for name in ("price", "latestRoundData", "nothing")
    )
    rpc = connect(chain.url)
    accesses = await rpc.accesses(
        [(consumer, price), (feed, rounds), (consumer, nothing)], await rpc.pin()
    )
    # The answer; the answer, its round and its time; no such function.
    assert accesses == [{feed: 1}, {feed: 3}, None]
    assert await rpc.accesses([], await rpc.pin()) == []


@pytest.mark.parametrize(
    "refusal",
    [fault(-32601, "the method eth_createAccessList does not exist"), MISSING],
    ids=["refuses", "missing trie node"],
)
async def test_without_access_lists_nothing_is_known_to_be_touched(
    connect: Connect, proxy: Proxy, other: Proxy, refusal: Answer
) -> None:
    proxy.rules.append(is_method("eth_createAccessList", refusal))
    at = await connect(proxy).pin()
    assert await connect(proxy).accesses(BALANCES[:3], at) == [None] * 3
    assert len(proxy.calls("eth_createAccessList")) == 3, "asked once"
    assert await connect(proxy, other).accesses(BALANCES[:3], at) == [{PROBE: 1}] * 3


async def test_codes_are_those_of_the_chain(connect: Connect, proxy: Proxy, ledger: Chain) -> None:
    rpc = connect(proxy)
    at = await rpc.pin()
    codes = await rpc.codes([PROBE, MULTICALL3, ACCOUNTS[0]], at)
    assert codes[ACCOUNTS[0]] == b""
    for address in (PROBE, MULTICALL3):
        assert "0x" + codes[address].hex() == ledger.rpc("eth_getCode", address, "latest")
    assert await rpc.codes([], at) == {}
    proxy.rules.append(is_method("eth_getCode", MISSING))
    with pytest.raises(NetworkError, match="missing trie node"):
        await connect(proxy, tries=1).codes([PROBE], at)


# --- code that scales answers --------------------------------------------------------------------

WORD = 32


def selector(signature: str) -> bytes:
    return keccak(signature)[:4]


def words_of(chain: Chain, to: str, data: str, overrides: Overrides) -> list[int]:
    """The words that a call answers under overrides."""
    codes = {address: {"code": "0x" + code.hex()} for address, code in overrides.items()}
    raw = bytes.fromhex(chain.rpc("eth_call", {"to": to, "data": data}, "latest", codes)[2:])
    return [int.from_bytes(raw[i : i + WORD], signed=True) for i in range(0, len(raw), WORD)]


def code_of(chain: Chain, address: str) -> bytes:
    return bytes.fromhex(chain.rpc("eth_getCode", address, "latest")[2:])


def toward_zero(value: int, x: Fraction) -> int:
    size = abs(value) * x.numerator // x.denominator
    return size if value >= 0 else -size


@pytest.mark.sampled
@settings(
    max_examples=sample_size(quick=5, full=100, torture=2_000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    answer=st.integers(-(2**200), 2**200),
    x=st.fractions(Fraction(1, 100), 100, max_denominator=1_000),
    words=st.sets(st.integers(0, 4)),
)
def test_one_word_of_an_answer_is_multiplied(
    chain: Chain, answer: int, x: Fraction, words: set[int]
) -> None:
    """Any word of any function that is named, rounded toward zero, and nothing else."""
    feed = chain.deploy(own_artifact("TestFeed"), answer, 8, "A / USD")
    code, rounds = code_of(chain, feed), encode("latestRoundData()")
    plain = words_of(chain, feed, rounds, {})
    assert plain[1] == answer
    for word in words:
        places: Mapping[bytes, int] = {selector("latestRoundData()"): word}
        overrides = scaled(feed, code, x, places)
        expected = [toward_zero(v, x) if i == word else v for i, v in enumerate(plain)]
        assert words_of(chain, feed, rounds, overrides) == expected
        assert words_of(chain, feed, encode("latestAnswer()"), overrides) == [answer]
    both = {selector("latestAnswer()"): 0, selector("latestRoundData()"): 1}
    overrides = scaled(feed, code, x, both)
    assert words_of(chain, feed, encode("latestAnswer()"), overrides) == [toward_zero(answer, x)]
    assert words_of(chain, feed, rounds, overrides)[1] == toward_zero(answer, x)
    assert words_of(chain, feed, encode("decimals()"), overrides) == [8]


LATEST_ROUND_SLOT = 2  # of TestFeed
LIMITS = [1 << 16, 1 << 112, 1_400_000_000, 2_400_000_000]


@pytest.mark.sampled
@settings(
    max_examples=sample_size(quick=5, full=100, torture=2_000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    value=st.one_of(
        st.integers(0, 2**256 - 1),
        st.integers(0, 2**120),
        st.builds(lambda limit, off: limit + off, st.sampled_from(LIMITS), st.integers(-2, 2)),
    )
)
def test_any_number_is_no_flag_address_or_time(chain: Chain, value: int) -> None:
    """A small word is a flag or decimals, a large one an address or a hash, some are times."""
    feed = chain.deploy(own_artifact("TestFeed"), 1, 8, "A / USD")
    chain.set_storage(feed, LATEST_ROUND_SLOT, value)
    x = Fraction(11, 10)
    small, large, first, last = LIMITS
    is_number = small < value < large and not first < value < last
    signed = value - (1 << 256) if value >> 255 else value
    data = encode("latestRound()")
    code = code_of(chain, feed)
    overrides = scaled(feed, code, x, {}, any_number=True)
    assert words_of(chain, feed, data, overrides) == [value * 11 // 10 if is_number else signed]
    assert words_of(chain, feed, data, scaled(feed, code, x, {})) == [signed]


def test_what_takes_arguments_or_reverts_is_as_it_was(chain: Chain) -> None:
    token = chain.deploy(own_artifact("TestToken"), "T", "T", 18)
    holder = ACCOUNTS[0]
    chain.send(token, "mint(address,uint256)", holder, 10**20)
    overrides = scaled(token, code_of(chain, token), Fraction(2), {}, any_number=True)
    balance = encode("balanceOf(address)", holder)
    assert words_of(chain, token, balance, overrides) == [10**20]
    assert words_of(chain, token, encode("totalSupply()"), overrides) == [2 * 10**20]
    overrides = scaled(PROBE, code_of(chain, PROBE), Fraction(2), {}, any_number=True)
    with pytest.raises(Exception, match="no price"):
        words_of(chain, PROBE, "0x" + FAIL_LOUDLY.hex(), overrides)
