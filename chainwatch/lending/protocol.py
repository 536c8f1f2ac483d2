"""What a lending protocol gives: what to watch, state, market, value, the chain's view, events.

Everything else is the same for all of them: which accounts are read and which are carried over
(`survey`), rows (`valuation`), comparison with the chain (`verify`), liquidations
(`liquidations`), registration (`sources`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from chainwatch.chain.contract import Event, Places, Request
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Log
from chainwatch.lending.close_rules import CloseRule
from chainwatch.lending.exposures import Exposure
from chainwatch.lending.slots import Terms
from chainwatch.tables.columns import Holdings, Words
from chainwatch.tables.lending import Account, ChainLiquidation, EMode, Leg, Reserve, Touch

NO_ADDRESS = "0x" + "00" * 20
# The end of a message about a contract of another kind.
FIX_MARKET = "correct `pool` or `chain` in markets.toml"

P = TypeVar("P")
# Called with what is counted, how many are done, and of how many.
Progress = Callable[[str, float, float | None], None]


class Watch(msgspec.Struct, frozen=True):
    """Which events name accounts.

    `accounts`: topic0 → where the event names accounts whose balances or flags changed. `borrows`:
    the topic0s that make an account a possible borrower, emitted by `lender`; `contracts` emit any
    of them. `part`: the topic that is part of the account's name, for a contract in which one
    address has many separate positions: see `scoped_name`.
    """

    lender: str
    contracts: tuple[str, ...]
    accounts: Mapping[str, Places]
    borrows: frozenset[str]
    excluded: frozenset[str] = frozenset()  # addresses in events that are not accounts
    part: int | None = None


class Opened(msgspec.Struct, frozen=True):
    """A market checked at a block: the revision of its rules, its events, and what the protocol
    needs again when it reads (`context`)."""

    revision: int
    watch: Watch
    context: Any = None


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a market at a block; the fields, and those of `close_rule`, are a Snapshot's.

    `blocked_reason` says why no liquidation is let through: none at all, or, with
    `blocked_above_hf`, none of an account with that health factor or a higher one. `stored` are
    further columns of the Snapshot row.
    """

    profile: str
    close_rule: CloseRule
    truncates_lt: bool = False
    base_decimals: int
    quote: str = "USD"
    quote_usd: float | None = 1.0
    blocked_reason: str | None = None
    blocked_above_hf: float | None = None
    stored: Mapping[str, Any] = {}

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a Snapshot row."""
        columns = msgspec.structs.asdict(self)
        rule, stored = columns.pop("close_rule"), columns.pop("stored")
        return columns | msgspec.structs.asdict(rule) | dict(stored)


class Figure(msgspec.Struct, frozen=True):
    """One figure of one account: ours and the chain's.

    None stands for n/a (ours) and for a call that reverted (the chain's). A verdict is 1 or 0.
    """

    account: str
    name: str
    ours: int | None
    chain: int | None
    why_not_ours: str = "n/a"


class Currency(msgspec.Struct, frozen=True):
    """What values are counted in: `unit` of them are one, worth `usd` (None: not known)."""

    unit: int
    usd: float | None = 1.0

    def worth(self, value: int | None) -> float | None:
        """USD of a value."""
        if value is None or self.usd is None:
            return None
        return value / self.unit * self.usd


class LegValue(msgspec.Struct, frozen=True, kw_only=True):
    """One balance of an account as its protocol counts it.

    `side` is collateral, debt or idle, `scaled` what the contract stores, `raw` token units,
    `value` in the currency of the account. `stored` are further columns of the Leg row.
    """

    asset: str
    side: str
    scaled: int
    raw: int
    value: int | None
    lt_bps: float = 0.0
    bonus_bps: float = 0.0
    stored: Mapping[str, Any] = {}


class Valued(msgspec.Struct, frozen=True, kw_only=True):
    """An account as its protocol counts it.

    `failure` says why there is no figure (empty: there is one); then all figures are left out.
    `hf` has 18 decimals, None without debt. `currency` is set where it is not the market's.
    """

    legs: Sequence[LegValue]
    collateral: int
    debt: int
    hf: int | None
    liquidatable: bool | None
    liquidatable_accrued: bool | None = None
    lt_bps: int | None = None
    emode: int = 0
    failure: str = ""
    currency: Currency | None = None


class MarketView(msgspec.Struct, frozen=True, kw_only=True):
    """A market at a block: its rows, and the `state` by which accounts are valued.

    Rows have no snapshot yet (`Reading.row`). `notes` are what the user is told beside missing
    prices, or with them where `notes_prices` is set.
    """

    state: Any
    reserves: Sequence[Reserve]
    rules: Rules
    currency: Currency
    emodes: Sequence[EMode] = ()
    notes: Sequence[str] = ()
    notes_prices: bool = False


class DebtTotal(msgspec.Struct, frozen=True):
    """What all accounts owe of an asset, by the contract's own sum.

    `measure` says what the sum is of, `column` which column of Leg it adds up: scaled, or one
    that the protocol stores beside it. `raw` is the debt in token units.
    """

    asset: str
    measure: str
    total: int
    raw: int
    column: str = "scaled"


class Stored(msgspec.Struct, Generic[P], frozen=True):
    """An account of a stored snapshot: its row, its legs, and the position they hold."""

    row: Account
    legs: Sequence[Leg]
    position: P


class Liquidation(msgspec.Struct, frozen=True):
    """One event as it was decoded, and one of its rows, not priced yet."""

    row: ChainLiquidation
    event: Event
    arguments: Any


class ValuedColumns(msgspec.Struct, frozen=True, kw_only=True):
    """Accounts as their protocol counts them, in columns.

    `collateral`, `debt`, `hf` and `lt_bps` are integers as in Valued; no account is without its
    figures. `terms` are those of balances, `numbers` the account of each and `kinds` its place in
    `terms`; balances lie in the order of their accounts. `scaled`, `raw` and `value` are exact,
    `amount`, `usd` and `worth` (in units of the market) arrays of floats; `usd` is None where it is
    not known. `stable` are the stable debts by place: principal, rate, time. `blocked` says of
    accounts by place why nobody may liquidate them, where nobody may.
    """

    accounts: Any
    emodes: Any
    read_blocks: Any
    collateral: Sequence[int]
    debt: Sequence[int]
    hf: Sequence[int | None]
    lt_bps: Sequence[int]
    liquidatable: Sequence[bool]
    terms: Sequence[Terms]
    numbers: Any
    kinds: Any
    scaled: Words
    raw: Words
    value: Words
    amount: Any
    usd: Any
    worth: Any
    stable: Mapping[int, tuple[int, int, int]]
    blocked: Mapping[int, str]


class AccountValues(msgspec.Struct, frozen=True):
    """The figures of accounts: of some one by one, of the others in columns.

    `single` are (account, block at which it was read, its figures); `owed` is what the accounts
    in columns owe, by asset and column of Leg.
    """

    single: Sequence[tuple[str, int, Valued]]
    columns: Sequence[ValuedColumns] = ()
    owed: Mapping[tuple[str, str], int] = {}


class Accounts(ABC, Generic[P]):
    """Accounts with their positions; those that were read anew are not carried over any more."""

    def __init__(self, fresh: Mapping[str, P]) -> None:
        self.fresh = dict(fresh)

    @abstractmethod
    def __contains__(self, name: object) -> bool:
        """Whether there is an account with that name."""

    @property
    @abstractmethod
    def carried(self) -> int:
        """How many accounts are carried over."""

    @abstractmethod
    def replace(self, fresh: Mapping[str, P]) -> None:
        """Take positions that were read anew in the place of those that were carried over."""

    @abstractmethod
    def position(self, name: str) -> P:
        """The position of an account."""

    @abstractmethod
    def assets(self, name: str) -> set[str]:
        """The assets that an account which is carried over holds or owes."""

    @abstractmethod
    def holders(self) -> Mapping[tuple[str, str], Sequence[str]]:
        """By asset and side the accounts that are carried over, in ascending order."""

    @abstractmethod
    async def refresh(self, lending: LendingProtocol[P], reading: Reading, opened: Opened) -> None:
        """Read again what changes without an event."""

    @abstractmethod
    def positions(self) -> Mapping[str, P]:
        """All positions."""

    @abstractmethod
    def value(
        self,
        lending: LendingProtocol[P],
        state: Any,
        block: int,
        reason_for: Callable[[Valued], str | None] | None,
    ) -> AccountValues:
        """The figures of all accounts; those that are not carried over were read at `block`.

        `reason_for` says why nobody may liquidate an account, None: nothing is refused.
        """


class LendingProtocol(ABC, Generic[P]):
    """One protocol; P is the position of an account as it was read.

    `summary` and `liquidation_summary` are shown in the list of sources, `docs` and
    `liquidation_docs` are the protocol's own pages, `method` names the views of `chain_figures`.
    """

    protocol: str
    summary: str
    docs: str
    liquidation_summary: str
    liquidation_docs: str
    method: str
    # Its events that are liquidations.
    liquidation_events: Sequence[Event] = ()

    # --- positions --------------------------------------------------------------------------

    @abstractmethod
    async def open(self, reading: Reading) -> Opened:
        """Check that the contract is one of the protocol, and give the events that count.

        Raises ConfigError for another contract, or for rules that are not supported.
        """

    @abstractmethod
    async def evidence_of_accounts(
        self, reading: Reading, opened: Opened, first: int
    ) -> str | None:
        """What shows that there are accounts, though no event since block `first` names one.

        None where nothing does.
        """

    @abstractmethod
    async def read_positions(
        self, reading: Reading, opened: Opened, accounts: Sequence[str]
    ) -> dict[str, P]:
        """The positions of a few hundred accounts, read from the chain."""

    @abstractmethod
    def stored_position(self, account: Account, legs: Sequence[Leg]) -> P:
        """The position that stored rows hold."""

    def balances(self, position: P) -> Any:
        """What is held and owed, equal for positions that are: without what is 0, in no order."""
        return position

    async def refresh(
        self, reading: Reading, opened: Opened, carried: Mapping[str, P]
    ) -> Mapping[str, P]:
        """Positions carried over from a snapshot, with what changes without an event read again."""
        del reading, opened
        return carried

    # Whether its accounts are carried over and valued in columns (`book`).
    in_columns = False

    def book(
        self,
        holdings: Holdings | None,
        rows: Mapping[str, Stored[P]],
        fresh: Mapping[str, P],
    ) -> Accounts[P]:
        """Accounts of a stored snapshot in columns, those that do not fit as rows, and fresh ones.

        `rows` are those that `holdings` names as large.
        """
        raise NotImplementedError

    @abstractmethod
    async def read_market(
        self, reading: Reading, opened: Opened, positions: Mapping[str, P]
    ) -> MarketView:
        """The market's own state, with what the valuation of these positions needs."""

    # Whether a market can be read before its accounts are known: `read_market` gets no positions
    # then, and `complete_market` adds what these need.
    market_first = False

    async def complete_market(
        self, reading: Reading, opened: Opened, view: MarketView, positions: Mapping[str, P]
    ) -> MarketView:
        """The market with what the valuation of these positions needs beyond it."""
        del reading, opened, positions
        return view

    @abstractmethod
    async def debt_totals(
        self, reading: Reading, opened: Opened, view: MarketView
    ) -> Sequence[DebtTotal]:
        """What the contracts say that all accounts owe together, by asset."""

    async def other_debtors(self, reading: Reading, view: MarketView) -> Mapping[str, float]:
        """USD that other contracts owe to the same liquidity, by contract (lower case)."""
        del reading, view
        return {}

    @abstractmethod
    async def read_exposures(
        self, reading: Reading, view: MarketView
    ) -> Mapping[str, Sequence[Exposure]]:
        """What moves the price of each asset."""

    @abstractmethod
    def value(self, state: Any, account: str, position: P) -> Valued:
        """An account's figures by the protocol's integers; `state` is that of `read_market`."""

    # --- the chain's own view -----------------------------------------------------------------

    @abstractmethod
    async def chain_figures(
        self, reading: Reading, opened: Opened, accounts: Mapping[str, Stored[P]]
    ) -> list[Figure]:
        """Stored figures beside those that the contracts give for the same accounts and block."""

    # Whether web3 can read the same figures (`independent_figures`).
    second_reading = False

    async def independent_figures(
        self, reading: Reading, accounts: Mapping[str, Stored[P]], progress: Progress
    ) -> list[Figure]:
        """The same by web3's own transport and codecs."""
        raise NotImplementedError

    # --- liquidations -------------------------------------------------------------------------

    async def liquidation_emitters(self, reading: Reading) -> Sequence[str]:
        """The contracts that emit its liquidations."""
        return [reading.pool]

    @abstractmethod
    def liquidations(
        self, reading: Reading, log: Log, event: Event, e: Any
    ) -> list[ChainLiquidation]:
        """The rows of one event with what it contains; `e` are its arguments by name."""

    @abstractmethod
    async def price_liquidations(
        self, reading: Reading, liquidations: Sequence[Liquidation]
    ) -> list[ChainLiquidation]:
        """The rows of one block's events, priced at that block.

        Raises NetworkError where the endpoint has no state of that block.
        """


def scoped_name(address: str, part: str) -> str:
    """The name of an address within one part of a contract: `0x…:0x…`; the address without one."""
    return f"{address}:{part}" if part else address


def name_parts(name: str) -> tuple[str, str]:
    """(address, part) of a name; the part is empty where an address has one position only."""
    address, _, part = name.partition(":")
    return address, part


def name_of(row: Account | Leg | Touch) -> str:
    """The name of the account that a row belongs to."""
    return scoped_name(row.account, row.position)


async def any_above_zero(reading: Reading, requests: Sequence[Request]) -> bool:
    """Whether any of these calls returns a number above 0."""
    return any(answer for answer in await reading.ask(requests))
