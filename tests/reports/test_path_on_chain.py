"""The path of liquidations on real bytecode: a bot lowers the feed itself and calls what pays most.

The bot knows no close rule and no formula of a price. It halves the feed's answer between healthy
and liquidatable with the contract's own health factor, has the contract try every pair of assets,
sends the call that pays most, and reads from the tokens what it took. All in one block time: no
interest accrues between the reading of the lake and the last call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from eth_utils.crypto import keccak

from chainwatch.demo import aave, plans
from chainwatch.demo.aave import RESERVES, AaveMarket
from chainwatch.demo.chain import DEPLOYER, MAX_UINT, Chain, Tx, encode
from chainwatch.demo.node import Toolchain
from chainwatch.lake.store import Store
from tests.amounts import sample_size
from tests.builders import WAD, Watched, ask
from tests.evm import aave_v2_market, aave_v36_market
from tests.evm.aave_v2_market import ETHER, STAKING_RATIO, USD, AaveV2Market

pytestmark = pytest.mark.contracts("published")

BLOCK_SECONDS = 12
BANK, LIQUIDATOR = plans.address(16, 10_000), plans.address(16, 10_001)
# A unit of a token of 8 decimals would be worth more than a millionth of the smallest calls.
LISTED = tuple(replace(it, decimals=18) if it.symbol == "WBTC" else it for it in RESERVES)
# The factor that each protocol's feed of an asset carries: in Aave v2 that of WBTC is in ETH.
FACTORS = {
    "aave-v2": {"WETH": "ETH", "WBTC": "WBTC"},
    "aave-v3": {"WETH": "ETH", "WBTC": "BTC"},
}
LIQUIDATION = keccak(text="LiquidationCall(address,address,address,uint256,uint256,address,bool)")
FULL_CLOSE = {"aave-v2": 0, "aave-v3": 95 * WAD // 100}
LEVEL_NOW = WAD - 1
SLOT = "0x" + "00" * 32  # of the answer in the feed contract
CLOSE = 1e-6
HALVINGS = 45

Market = AaveMarket | AaveV2Market


@dataclass
class Ground:
    """A deployed market, and what its feeds answer at a price of one factor."""

    version: str
    market: Market
    usd: dict[str, int] = field(default_factory=dict)  # prices now, 8 decimals

    @property
    def protocol(self) -> str:
        return self.version.partition(".")[0]

    def watched(self, home: Path) -> Watched:
        """A lake beside the market, with its figures in USD."""
        entry = {} if isinstance(self.market, AaveMarket) else {"quote_feed": self.market.eth_feed}
        return Watched(home, self.market, protocol=self.protocol, **entry)

    def answers(self, moving: str, price: int) -> dict[str, int]:
        """Feed → answer, where an asset costs so much (USD, 8 decimals) and the others stay."""
        market = self.market
        if isinstance(market, AaveMarket):
            return {market.listed[moving].feed: price}
        usd = self.prices(moving, price)
        changed = {market.eth_feed: usd["WETH"]} if moving == "WETH" else {}
        for symbol, reserve in market.listed.items():
            if symbol != "WETH" and moving in ("WETH", symbol):
                changed[reserve.feed] = usd[symbol] * ETHER // usd["WETH"]
        return changed

    def prices(self, moving: str, price: int) -> dict[str, int]:
        """Price of each asset where one costs so much; USD, 8 decimals."""
        usd = self.usd | {moving: price}
        return usd | {"wstETH": usd["WETH"] * STAKING_RATIO // ETHER}


@dataclass
class Trade:
    """A call that was made, or tried; USD at the price of the call."""

    price: int
    collateral: str
    debt: str
    amount: int = MAX_UINT  # that is sent
    repaid: float = 0.0
    seized: float = 0.0
    units: float = 0.0  # of the collateral token

    @property
    def bonus(self) -> float:
        """What the account loses above its debt."""
        return self.seized - self.repaid


@dataclass
class Position:
    """What the bot knows of an account."""

    account: str
    price: int  # of the factor, where the account is now
    held: dict[str, int]
    owed: dict[str, int]
    held_first: dict[str, int] = field(default_factory=dict)
    owed_first: dict[str, int] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    end: str = ""
    left: float = 0.0


class Terms(NamedTuple):
    """What the bot minds."""

    moving: str  # the asset whose price moves
    end: float  # multiple of the price at which it stops
    gas: float
    dust: float
    order: str


class Span(NamedTuple):
    """Two prices of the factor between which an account's state changes."""

    account: str
    near: int
    far: int


State = tuple[int, int]  # health factor in wad, average threshold in basis points


class Bot:
    """Follows accounts of a market to the end of a fall, each on its own."""

    def __init__(self, ground: Ground, terms: Terms) -> None:
        self.ground, self.terms = ground, terms
        self.market, self.chain = ground.market, ground.market.chain
        self.start = ground.usd[terms.moving]
        self.end = round(self.start * terms.end)

    def follow(self, accounts: Sequence[str]) -> list[Position]:
        """All calls that pay, as (account → trades); the accounts' balances are the chain's."""
        followed = [Position(account, self.start, {}, {}) for account in accounts]
        self.read(followed)
        for it in followed:
            it.held_first, it.owed_first = dict(it.held), dict(it.owed)
        live = followed
        while live:
            prices = self.first_prices([(it.account, it.price) for it in live], LEVEL_NOW)
            due = [replace_price(it, price) for it, price in zip(live, prices, strict=True)]
            live = self.make_calls([it for it in due if it is not None])
        return followed

    # --- the contract's own figures -------------------------------------------------------------

    def states(self, cases: Sequence[tuple[str, int]]) -> list[State]:
        """What getUserAccountData says of accounts while the factor costs so much."""
        requests = [
            self._request(i, "eth_call", [self._account_data(account), "latest", self._put(price)])
            for i, (account, price) in enumerate(cases)
        ]
        return [(word(data, 5), word(data, 3)) for data in self._post(requests)]

    def halve(
        self, spans: Sequence[Span], is_far: Callable[[int, State], bool]
    ) -> list[tuple[int, int]]:
        """The two neighbouring prices between which each account passes to the far side."""
        ends = [(span.near, span.far) for span in spans]
        while open_ones := [i for i, (near, far) in enumerate(ends) if abs(near - far) > 1]:
            middles = [sum(ends[i]) // 2 for i in open_ones]
            states = self.states(
                [(spans[i].account, at) for i, at in zip(open_ones, middles, strict=True)]
            )
            for i, at, state in zip(open_ones, middles, states, strict=True):
                ends[i] = (ends[i][0], at) if is_far(i, state) else (at, ends[i][1])
        return ends

    def first_prices(self, cases: Sequence[tuple[str, int]], level: int) -> list[int | None]:
        """The first price on the way to the end at which a health factor is at `level` or below.

        The contract cuts the average threshold to basis points: it goes down in steps or in the
        teeth of a saw. Without the cut it would be at most one basis point above, and moves to one
        side only: no earlier price than where it is `margin` above the level can be the first.
        """
        now = self.states(cases)
        last = self.states([(account, self.end) for account, _ in cases])
        firsts: list[int | None] = [
            price if hf <= level else None for (_, price), (hf, _) in zip(cases, now, strict=True)
        ]

        def is_near(state: State) -> bool:
            return state[0] - level > level * 3 // (2 * max(state[1], 1))

        open_ones = [i for i, first in enumerate(firsts) if first is None and not is_near(last[i])]
        spans = [Span(cases[i][0], cases[i][1], self.end) for i in open_ones]
        passed = [last[i][0] <= level for i in open_ones]
        lows = self.halve(
            [s if p else Span(s.account, s.far, s.far) for s, p in zip(spans, passed, strict=True)],
            lambda _, state: state[0] <= level,
        )
        highs = self._widen(
            [Span(s.account, s.near, low[1]) for s, low in zip(spans, lows, strict=True)], is_near
        )
        for i, price in zip(open_ones, self._through_teeth(highs, level), strict=True):
            firsts[i] = price
        return firsts

    def _widen(self, spans: Sequence[Span], is_near: Callable[[State], bool]) -> list[Span]:
        """Spans that reach from a price as near as needed to the same far price."""
        widened = list(spans)
        pending, step = list(range(len(spans))), 1e-4
        while pending:
            for i in pending:
                account, near, far = spans[i]
                at = round(far / (1 - step)) if near > far else round(far * (1 - step))
                widened[i] = Span(account, min(at, near) if near > far else max(at, near), far)
            states = self.states([widened[i][:2] for i in pending])
            pending = [
                i
                for i, state in zip(pending, states, strict=True)
                if not is_near(state) and widened[i].near != spans[i].near
            ]
            step = min(step * 2, 0.9)
        return widened

    def _through_teeth(self, spans: Sequence[Span], level: int) -> list[int | None]:
        """The first price of each span at which the health factor is at `level` or below."""
        near = self.states([span[:2] for span in spans])
        far = self.states([(span.account, span.far) for span in spans])
        edges = [
            (i, threshold)
            for i in range(len(spans))
            for threshold in steps_between(near[i][1], far[i][1])
        ]
        at_edges = self.halve(
            [spans[i] for i, _ in edges],
            lambda k, state: (
                (state[1] - edges[k][1]) * (far[edges[k][0]][1] - near[edges[k][0]][1]) >= 0
            ),
        )
        marks: list[list[int]] = [[span.near] for span in spans]
        for (i, _), pair in zip(edges, at_edges, strict=True):
            marks[i] += pair
        for i, span in enumerate(spans):
            marks[i].append(span.far)
        places = [(i, price) for i, prices in enumerate(marks) for price in prices]
        states = self.states([(spans[i].account, price) for i, price in places])
        below: dict[int, Span] = {}
        before = 0
        for (i, price), (hf, _) in zip(places, states, strict=True):
            if hf <= level and i not in below:
                below[i] = Span(
                    spans[i].account, before if price != spans[i].near else price, price
                )
            before = price
        order = list(below)
        exact = self.halve([below[i] for i in order], lambda _, state: state[0] <= level)
        firsts: list[int | None] = [None] * len(spans)
        for i, (_, price) in zip(order, exact, strict=True):
            firsts[i] = price
        return firsts

    # --- calls ----------------------------------------------------------------------------------

    def make_calls(self, due: Sequence[Position]) -> list[Position]:
        """Call once on each account at its price; the accounts that were called."""
        best = self.best_trades([(it, it.price) for it in due])
        waiting = [it for it, trade in zip(due, best, strict=True) if trade is None]
        if (level := FULL_CLOSE[self.ground.protocol]) and waiting:
            # A call may pay where all may be repaid.
            lower = self.first_prices([(it.account, it.price) for it in waiting], level)
            patient = [(it, p) for it, p in zip(waiting, lower, strict=True) if p is not None]
            later = dict(
                zip([it.account for it, _ in patient], self.best_trades(patient), strict=True)
            )
            best = [trade or later.get(it.account) for it, trade in zip(due, best, strict=True)]
        called = [(it, trade) for it, trade in zip(due, best, strict=True) if trade is not None]
        for it, trade in zip(due, best, strict=True):
            if trade is None:
                # A unit that stays by rounding is no collateral to the pool.
                is_empty = self._worth(it.held, it.price) < CLOSE
                it.end = "bad debt" if is_empty else "unprofitable"
                it.left = self._worth(it.owed, it.price)
        if not called:
            return []
        steps: list[Tx] = []
        for it, trade in called:
            steps += [
                Tx(DEPLOYER, feed, encode("setAnswer(int256)", answer))
                for feed, answer in self.ground.answers(self.terms.moving, trade.price).items()
            ]
            steps.append(self._liquidate(it, trade))
        receipts = [it for it in self.chain.send_all(steps) if repayments(it.logs)]
        before = [(dict(it.held), dict(it.owed)) for it, _ in called]
        self.read([it for it, _ in called])
        for (it, trade), receipt, (held, owed) in zip(called, receipts, before, strict=True):
            it.price = trade.price
            seized = held[trade.collateral] - it.held[trade.collateral]
            it.trades.append(self._made(trade, receipt.logs, seized))
            # From 3.3 on the pool writes off what no collateral is left for, in the same call.
            left = self._worth(owed, it.price) - it.trades[-1].repaid
            if not any(it.owed.values()) and left > 1e-6 * it.trades[-1].repaid:
                it.end, it.left = "bad debt", left
        return [it for it, _ in called if any(it.owed.values())]

    def best_trades(self, cases: Sequence[tuple[Position, int]]) -> list[Trade | None]:
        """What pays most of all pairs, tried by the contract at a price; None: nothing pays."""
        terms = self.terms
        pairs = [
            (it, Trade(price, collateral, debt))
            for it, price in cases
            for collateral in it.held
            for debt in it.owed
            if it.held[collateral] and it.owed[debt]
        ]
        best: dict[str, tuple[tuple[float, ...], Trade]] = {}
        for (it, _), trade in zip(pairs, self.largest_trades(pairs), strict=True):
            if trade is None or trade.repaid < terms.dust or trade.bonus < terms.gas:
                continue
            held = self._worth({trade.collateral: it.held[trade.collateral]}, trade.price)
            owed = self._worth({trade.debt: it.owed[trade.debt]}, trade.price)
            # Where pairs are equal the lower addresses are taken, as the query does.
            lower = [
                -int(self.market.listed[it].token, 16) for it in (trade.collateral, trade.debt)
            ]
            rank = (owed if terms.order == "largest" else trade.bonus, held, owed, *lower)
            if it.account not in best or is_more(rank, best[it.account][0]):
                best[it.account] = rank, trade
        return [best[it.account][1] if it.account in best else None for it, _ in cases]

    def largest_trades(self, pairs: Sequence[tuple[Position, Trade]]) -> list[Trade | None]:
        """The trades with the largest amount that the contract accepts; None: it accepts none.

        It cuts an amount to what may be repaid, or refuses it for what it would leave.
        """
        made = self.try_trades(pairs)
        refused = [i for i, trade in enumerate(made) if trade is None]
        ends = {i: (0, pairs[i][0].owed[pairs[i][1].debt]) for i in refused}
        for _ in range(HALVINGS):
            middles = {i: sum(ends[i]) // 2 for i in refused}
            again = self.try_trades(
                [(pairs[i][0], replace(pairs[i][1], amount=middles[i])) for i in refused]
            )
            for i, trade in zip(refused, again, strict=True):
                low, high = ends[i]
                ends[i] = (low, middles[i]) if trade is None else (middles[i], high)
                made[i] = trade or made[i]
        return made

    def try_trades(self, pairs: Sequence[tuple[Position, Trade]]) -> list[Trade | None]:
        """What each trade would move if it were made at its price; None: the contract reverts."""
        requests = []
        for number, (it, trade) in enumerate(pairs):
            call = self._liquidate(it, trade)
            token = self.market.listed[trade.collateral].a_token
            balance = {"to": token, "data": encode("balanceOf(address)", it.account)}
            calls = [{"from": call.sender, "to": call.to, "data": call.data}, balance]
            block = {"stateOverrides": self._put(trade.price), "calls": calls}
            requests.append(
                self._request(number, "eth_simulateV1", [{"blockStateCalls": [block]}, "latest"])
            )
        made: list[Trade | None] = []
        for (it, trade), blocks in zip(pairs, self._post(requests), strict=True):
            called, balance = blocks[0]["calls"]
            if int(called["status"], 16):
                seized = it.held[trade.collateral] - word(balance["returnData"], 0)
                made.append(self._made(trade, called["logs"], seized))
            else:
                made.append(None)
        return made

    def _liquidate(self, position: Position, trade: Trade) -> Tx:
        return self.market.liquidate(
            LIQUIDATOR, trade.collateral, trade.debt, position.account, trade.amount
        )

    def read(self, positions: Sequence[Position]) -> None:
        """Set the balances of accounts to what the tokens say."""
        listed = self.market.listed
        calls = [
            (token, it.account)
            for it in positions
            for reserve in listed.values()
            for token in (reserve.a_token, reserve.variable_debt)
        ]
        balances = iter(self.chain.call_each("balanceOf(address)(uint256)", calls))
        for it in positions:
            for symbol in listed:
                it.held[symbol], it.owed[symbol] = next(balances), next(balances)

    def _made(self, trade: Trade, logs: Sequence[dict[str, Any]], seized: int) -> Trade:
        """The trade with what it moved: the pool's event, and units of the collateral."""
        (repaid,) = repayments(logs)
        return replace(
            trade,
            repaid=self._worth({trade.debt: repaid}, trade.price),
            seized=self._worth({trade.collateral: seized}, trade.price),
            units=seized / 10 ** self.market.listed[trade.collateral].reserve.decimals,
        )

    def _worth(self, amounts: dict[str, int], price: int) -> float:
        """USD of token amounts where the factor costs so much."""
        prices = self.ground.prices(self.terms.moving, price)
        return sum(
            amount / 10 ** self.market.listed[symbol].reserve.decimals * prices[symbol] / USD
            for symbol, amount in amounts.items()
        )

    def _put(self, price: int) -> dict[str, Any]:
        """State overrides that make the feeds answer as if the factor cost so much."""
        return {
            feed: {"stateDiff": {SLOT: f"0x{answer:064x}"}}
            for feed, answer in self.ground.answers(self.terms.moving, price).items()
        }

    def _account_data(self, account: str) -> dict[str, str]:
        data = encode("getUserAccountData(address)", account)
        return {"from": DEPLOYER, "to": self.market.pool, "data": data}

    @staticmethod
    def _request(number: int, method: str, values: list[Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": number, "method": method, "params": values}

    def _post(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        results: list[Any] = []
        for start in range(0, len(requests), 500):
            replies = self.chain.post(list(requests[start : start + 500]))
            for reply in sorted(replies, key=lambda it: int(it["id"])):
                assert "error" not in reply, reply
                results.append(reply["result"])
        return results


def word(data: str, index: int) -> int:
    """A 32-byte word of returned data."""
    return int(data[2 + 64 * index : 66 + 64 * index], 16)


def repayments(logs: Sequence[dict[str, Any]]) -> list[int]:
    """The debts that calls repaid, in units of their tokens, as the pool's events say."""
    return [word(log["data"], 0) for log in logs if log["topics"][0] == f"0x{LIQUIDATION.hex()}"]


def is_more(rank: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether a rank is the higher one; what differs by the rounding of tokens is equal."""
    for value, against in zip(rank, other, strict=True):
        if value != pytest.approx(against, rel=1e-7):
            return value > against
    return False


def steps_between(near: int, far: int) -> range:
    """The thresholds that are passed on the way from one to another."""
    return range(near + 1, far + 1) if far > near else range(near - 1, far - 1, -1)


def replace_price(position: Position, price: int | None) -> Position | None:
    if price is None:
        return None
    position.price = price
    return position


# --- worlds -------------------------------------------------------------------------------------


# The contracts of v3.6 are compiled on first use.
VERSIONS = ["aave-v2", "aave-v3.0", pytest.param("aave-v3.6", marks=pytest.mark.full)]


@pytest.fixture(scope="module", params=VERSIONS)
def ground(
    request: pytest.FixtureRequest, file_chain: Chain, toolchain: Toolchain
) -> Iterator[Ground]:
    """A market with a bank that lends, and a liquidator who can repay everything."""
    before = file_chain.snapshot()
    market: Market
    if request.param == "aave-v2":
        market = aave_v2_market.deploy(file_chain, aave_v2_market.artifacts(), LISTED)
    elif request.param == "aave-v3.0":
        market = aave.deploy(file_chain, toolchain.artifacts, LISTED)
    else:
        market = aave_v36_market.deploy(file_chain, aave_v36_market.artifacts(), LISTED)
    steps = []
    for symbol, reserve in market.listed.items():
        plenty = 10**10 * 10**reserve.reserve.decimals
        steps += [
            market.mint(symbol, BANK, 2 * plenty),
            market.approve(BANK, symbol),
            market.supply(BANK, symbol, plenty),
            market.mint(symbol, LIQUIDATOR, plenty),
            market.approve(LIQUIDATOR, symbol),
        ]
    file_chain.send_all(steps)
    yield Ground(request.param, market)
    file_chain.revert(before)


def populate(ground: Ground, chance: Random, terms: Terms, accounts: int) -> list[str]:
    """Set thresholds, bonuses and prices, and make accounts near their thresholds."""
    market = ground.market
    kinds = list(market.listed)
    prices = {
        "WETH": round(chance.uniform(1_000, 5_000) * USD),
        "WBTC": round(chance.uniform(20_000, 120_000) * USD),
        **{symbol: round(chance.uniform(0.98, 1.02) * USD) for symbol in ("USDC", "DAI", "USDT")},
    }
    market.set_prices(prices)
    ground.usd = prices
    ground.usd = ground.prices("WETH", prices["WETH"])
    thresholds = {}
    for symbol in kinds:
        bonus = chance.randint(200, 1_200)
        thresholds[symbol] = threshold = min(
            chance.randint(6_000, 9_300), 10_000**2 // (10_001 + bonus)
        )
        market.set_limits(symbol, threshold, threshold, 10_000 + bonus)
    made, steps = [], []
    for i in range(accounts):
        account = plans.address(16, i)
        size = 10 ** chance.uniform(2.5, 7)
        # What moves is on the side that it hurts.
        hurt = terms.moving if chance.random() < 0.7 else ""
        held = {
            it: size * chance.uniform(0.1, 1)
            for it in draw(chance, kinds, [1, 2, 2, 3], hurt if terms.end < 1 else "")
        }
        power = sum(usd * thresholds[symbol] / 10_000 for symbol, usd in held.items())
        parts = {
            it: chance.uniform(0.1, 1)
            for it in draw(chance, kinds, [1, 1, 2], hurt if terms.end > 1 else "")
        }
        level = chance.uniform(0.7, 0.995)
        for symbol, usd in held.items():
            steps.append(market.supply(BANK, symbol, amount(ground, symbol, usd), account))
        for symbol, part in parts.items():
            usd = power * level * part / sum(parts.values())
            steps.append(market.borrow(account, symbol, amount(ground, symbol, usd)))
        made.append(account)
    market.chain.send_all(steps)
    return made


def draw(chance: Random, kinds: Sequence[str], numbers: Sequence[int], first: str) -> list[str]:
    """Some of the assets; `first` is one of them, unless it is empty."""
    others = [kind for kind in kinds if kind != first]
    number = chance.choice(numbers)
    return [first, *chance.sample(others, number - 1)] if first else chance.sample(others, number)


def amount(ground: Ground, symbol: str, usd: float) -> int:
    unit: int = 10 ** ground.market.listed[symbol].reserve.decimals
    return round(usd * USD) * unit // ground.usd[symbol]


WORLDS = sample_size(quick=1, full=20, torture=200)
ACCOUNTS = 12


@pytest.mark.sampled
@pytest.mark.parametrize("seed", range(WORLDS))
def test_paths_equal_a_bot_that_calls_on_the_chain(
    ground: Ground, empty_lake: Store, seed: int
) -> None:
    """Prices, pairs, repaid and seized amounts of all calls, and where nobody calls any more."""
    chance = Random(seed)
    chain, market = ground.market.chain, ground.market
    direction, end = chance.choice([("down", 0.25), ("down", 0.25), ("up", 3.0)])
    terms = Terms(
        chance.choice(["WETH", "WBTC"]),
        end,
        chance.choice([2.0, 20.0, 200.0]),
        10.0,
        "largest" if seed % 5 == 4 else "profit",
    )
    before = chain.snapshot()
    try:
        made = populate(ground, chance, terms, ACCOUNTS)
        # Some are liquidatable now.
        moved = ground.usd[terms.moving] * chance.randint(92, 108) // 100
        ground.usd = ground.prices(terms.moving, moved)
        market.set_prices({terms.moving: moved})
        chain.rpc("anvil_setBlockTimestampInterval", 0)
        watched = ground.watched(empty_lake.home)
        watched.collect()
        rows = ask(
            watched.store,
            "path_steps",
            factor=FACTORS[ground.protocol][terms.moving],
            direction=direction,
            end=end,
            order=terms.order,
            gas_usd=terms.gas,
            dust_usd=terms.dust,
        )
        bot = Bot(ground, terms)
        began = chain.timestamp()
        followed = bot.follow(made)
        assert chain.timestamp() == began
    finally:
        chain.revert(before)
        chain.rpc("anvil_setBlockTimestampInterval", BLOCK_SECONDS)
    compare(ground, terms, rows, followed, bot.start)
    # So that repeated calls are what is compared.
    assert sum(len(it.trades) for it in followed) > sum(bool(it.trades) for it in followed)


def compare(
    ground: Ground, terms: Terms, rows: list[dict[str, Any]], followed: list[Position], start: int
) -> None:
    """Every row is a call or an end of the bot's; no account gives more than it has."""
    symbols = {reserve.token: symbol for symbol, reserve in ground.market.listed.items()}
    by_account: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["number"]):
        by_account.setdefault(row["account"], []).append(row)
    for it in followed:
        path = by_account.pop(it.account, [])
        calls = [row for row in path if row["step"] == "call"]
        where = (it.account, path, it.trades, it.end)
        ours = [(symbols[row["collateral_asset"]], symbols[row["debt_asset"]]) for row in calls]
        assert ours == [(trade.collateral, trade.debt) for trade in it.trades], where
        for row, trade in zip(calls, it.trades, strict=True):
            assert row["x"] == pytest.approx(trade.price / start, rel=CLOSE), where
            assert row["repaid_usd"] == pytest.approx(trade.repaid, rel=CLOSE), where
            assert row["seize_usd"] == pytest.approx(trade.seized, rel=CLOSE), where
            if trade.collateral == terms.moving:
                assert row["units"] == pytest.approx(trade.units, rel=CLOSE), where
        ends = [row for row in path if row["step"] != "call"]
        assert [row["step"] for row in ends] == ([it.end] if it.end else []), where
        for row in ends:
            assert row["left0"] + row["left1"] * row["x"] == pytest.approx(it.left, rel=CLOSE), (
                where
            )
        for symbol in ground.market.listed:
            # In units: what path_steps takes in USD, at the prices of its calls.
            seized = sum(
                row["seize_usd"] * USD / ground.prices(terms.moving, trade.price)[symbol]
                for row, trade in zip(calls, it.trades, strict=True)
                if trade.collateral == symbol
            )
            repaid = sum(
                row["repaid_usd"] * USD / ground.prices(terms.moving, trade.price)[symbol]
                for row, trade in zip(calls, it.trades, strict=True)
                if trade.debt == symbol
            )
            unit = 10 ** ground.market.listed[symbol].reserve.decimals
            assert seized <= it.held_first[symbol] / unit * (1 + 1e-9), where
            assert repaid <= it.owed_first[symbol] / unit * (1 + 1e-9), where
    assert not by_account
