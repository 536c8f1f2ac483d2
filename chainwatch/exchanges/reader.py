"""Orders, fills and trades of venues as rows: the same order gives the same row each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from chainwatch.exchanges.contracts import PEGGED, READ_ERRORS, Contract, Number
from chainwatch.numbers import MOST, NotReadable, instant, real
from chainwatch.tables.exchange import ExchangeLiquidation
from chainwatch.text import visible

A = TypeVar("A")
B = TypeVar("B")
# A clock here may be wrong by minutes; a frame from further ahead is rejected.
MAX_AHEAD = timedelta(hours=1)
_SYMBOL_LENGTH = 64
_IDENTITY_LENGTH = 200
_MOST_TEMPLATES = 4_096
# A time with its zone: without one it would be taken for this machine's.
Zoned = Annotated[datetime, msgspec.Meta(tz=True)]


class ParsedMessage(msgspec.Struct, frozen=True):
    """What one frame or answer of a venue means.

    `rejects` are pairs of a text that could not be parsed and the reason. `acked` are the tokens of
    requests that the message acknowledges or, where `refused` is a reason, refuses. `reply` is to
    be sent back.
    """

    rows: Sequence[ExchangeLiquidation] = ()
    rejects: Sequence[tuple[str, str]] = ()
    heartbeat: bool = False
    acked: tuple[str, ...] = ()
    refused: str = ""
    reply: str = ""


IGNORED = ParsedMessage()
HEARTBEAT = ParsedMessage(heartbeat=True)


class MessageForm(msgspec.Struct, frozen=True):
    """A form in which a venue sent liquidations: from the UTC day `begins`, until `retired`.

    Both are the latest days on which that was so, as the venue or its clients date them; `retired`
    None: in force. A recording is read by the forms that were in force when it was made.
    """

    name: str
    begins: date
    retired: date | None = None


class VenueLiquidation(msgspec.Struct, kw_only=True, gc=False):
    """One liquidation as its venue states it: what a parser fills in.

    The size is in `base`, in `quote` or in `contracts`, as the venue gives it; `contracts` also
    beside one of the others. `event` is the venue's own id; without one, `identity` are the raw
    strings that distinguish this liquidation from others, and equal ones in one frame are numbered.
    `market` and `quote_currency` are given where the list of contracts may not have the contract.
    """

    symbol: str
    side: str
    raw_side: str
    at_ms: Number
    price: Number
    price_kind: str
    raw: str
    identity: Sequence[str] = ()
    event: str = ""
    sent_ms: Number | None = None
    market: str = ""
    kind: str = "order"
    contracts: Number | None = None
    base: Number | None = None
    quote: Number | None = None
    quote_currency: str | None = None


class _Template(NamedTuple):
    """A row of a contract in which nothing of the liquidation itself is filled in."""

    contract: Contract | None
    row: ExchangeLiquidation
    in_usd: bool


class Reader:
    """Builds rows for one channel; `received` is when the frame at hand arrived."""

    def __init__(
        self,
        source: str,
        venue: str,
        market: str,
        *,
        delivery: str = "stream",
        provenance: str = "live",
        contracts: Iterable[Contract] = (),
    ) -> None:
        self.source = source
        self.venue = venue
        self.market = market
        self.delivery = delivery
        self.provenance = provenance
        self.contracts: dict[str, Contract] = {c.symbol: c for c in contracts}
        # Addresses of the venue itself whose fills are read, in lower case.
        self.accounts: frozenset[str] = frozenset()
        self.received = datetime.now(UTC)
        # Contracts that frames named and the list did not, with such a frame.
        self.unlisted: dict[str, str] = {}
        self._equal_in_frame: dict[str, int] = {}
        # Copying a template costs a quarter of making each row anew.
        self._templates: dict[tuple[str, ...], _Template] = {}

    def require(self, form: MessageForm) -> None:
        """ValueError where a form was retired before the frame at hand arrived."""
        if form.retired is not None and self.received.date() >= form.retired:
            raise ValueError(f"{form.name} was retired on {form.retired}: not a form of today")

    def start_frame(self, raw: bytes) -> str:
        """The text of a frame; equal liquidations are numbered from here on."""
        self._equal_in_frame.clear()
        return raw.decode("utf-8", "replace")

    def parse_one(
        self,
        raw: bytes,
        read: Callable[[A, B, Reader, str], ExchangeLiquidation],
        element: A,
        envelope: B,
    ) -> ParsedMessage:
        """The row of a frame that holds one liquidation and nothing else."""
        text = self.start_frame(raw)
        try:
            return ParsedMessage((read(element, envelope, self, text),))
        except READ_ERRORS as failure:
            return ParsedMessage(rejects=((text, reason_of(failure)),))

    def parse_each(
        self,
        frame: str,
        elements: Sequence[msgspec.Raw],
        read: Callable[[msgspec.Raw, str], Sequence[ExchangeLiquidation]],
        envelope: Callable[[msgspec.Raw], bytes],
        *,
        complete: bool = True,
    ) -> ParsedMessage:
        """The rows of a frame's elements; one that cannot be parsed does not cost the others.

        `read` gets an element and the text to keep as `raw`: the frame itself where it has no
        other element (`complete`: these are all it has), else what `envelope` puts around this one.
        """
        rows: list[ExchangeLiquidation] = []
        rejects: list[tuple[str, str]] = []
        single = complete and len(elements) == 1
        for element in elements:
            text = frame if single else envelope(element).decode("utf-8", "replace")
            try:
                rows += read(element, text)
            except READ_ERRORS as failure:
                rejects.append((text, reason_of(failure)))
        return ParsedMessage(rows, rejects)

    def build_row(self, stated: VenueLiquidation) -> ExchangeLiquidation:
        """A liquidation as a row; ValueError says which of its figures cannot be."""
        contract = self.contracts.get(stated.symbol)
        if contract is None:
            _require_symbol(stated.symbol)
            if self.contracts:
                self.unlisted.setdefault(stated.symbol, stated.raw)
        template = self._template(stated, contract)
        received = self.received
        time = _moment(stated.at_ms, "time", received)
        if stated.sent_ms is None:
            sent_at = None
        elif stated.sent_ms == stated.at_ms:
            sent_at = time
        else:
            sent_at = _moment(stated.sent_ms, "sending time", received)
        price = _positive(stated.price, "price")
        contracts, base, quote = _sizes(stated, contract, price)
        usd, usd_rule = None, template.row.usd_rule
        if quote is None:
            usd_rule = _no_value(contract)
        elif template.in_usd:
            usd = quote
        return replace(
            template.row,
            event=stated.event or self._event(stated.identity),
            time=time,
            sent_at=sent_at,
            received_at=received,
            side=stated.side,
            raw_side=stated.raw_side,
            contracts=contracts,
            quantity_base=base,
            price=price,
            notional_quote=quote,
            notional_usd=usd,
            usd_rule=usd_rule,
            raw=stated.raw,
        )

    def _template(self, stated: VenueLiquidation, contract: Contract | None) -> _Template:
        key = (
            stated.symbol,
            stated.market,
            stated.kind,
            stated.price_kind,
            stated.quote_currency or "",
        )
        template = self._templates.get(key)
        if template is None or template.contract is not contract:
            if len(self._templates) >= _MOST_TEMPLATES:
                self._templates.clear()
            row = self._empty_row(stated, contract)
            template = _Template(contract, row, not row.usd_rule.startswith("n/a"))
            self._templates[key] = template
        return template

    def _empty_row(
        self, stated: VenueLiquidation, contract: Contract | None
    ) -> ExchangeLiquidation:
        currency = contract.quote if contract is not None else stated.quote_currency
        listed_market = contract.market if contract is not None else ""
        return ExchangeLiquidation(
            venue=self.venue,
            market=stated.market or listed_market or self.market,
            event="",
            symbol=stated.symbol,
            base=contract.base if contract is not None else None,
            quote=currency,
            settle=contract.settle if contract is not None else None,
            kind=stated.kind,
            time=self.received,
            sent_at=None,
            received_at=self.received,
            side="",
            raw_side="",
            contracts=None,
            quantity_base=None,
            price=0.0,
            price_kind=stated.price_kind,
            notional_quote=None,
            notional_usd=None,
            usd_rule=_usd_rule(currency),
            source=self.source,
            delivery=self.delivery,
            provenance=self.provenance,
            raw="",
        )

    def _event(self, identity: Sequence[str]) -> str:
        text = " ".join(identity)
        if len(text) > _IDENTITY_LENGTH:
            text = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        if text in self._equal_in_frame:
            number = self._equal_in_frame[text] = self._equal_in_frame[text] + 1
            return f"{text} #{number}"
        self._equal_in_frame[text] = 1
        return text


def _sizes(
    stated: VenueLiquidation, contract: Contract | None, price: float
) -> tuple[float | None, float | None, float | None]:
    """The size in contracts, in base and in quote, from the one that the venue states."""
    unit, kind = (contract.size, contract.kind) if contract is not None else (None, "")
    if unit is not None and not 0 < unit <= MOST:
        raise ValueError(f"expected a contract size above 0, got {unit:g}")
    contracts = None if stated.contracts is None else _positive(stated.contracts, "size")
    if stated.base is not None:
        base = _positive(stated.base, "size")
        quote = base * price
    elif stated.quote is not None:
        quote = _positive(stated.quote, "size")
        base = quote / price
    elif contracts is not None and unit is not None and kind == "linear":
        base = contracts * unit
        quote = base * price
    elif contracts is not None and unit is not None and kind == "inverse":
        quote = contracts * unit
        base = quote / price
    else:
        return contracts, None, None
    if not (base <= MOST and quote <= MOST):
        raise ValueError(
            f"expected sizes up to {MOST:g}, got {base:g} in base and {quote:g} in quote"
        )
    if contracts is None and unit is not None:
        if kind == "linear":
            contracts = base / unit
        elif kind == "inverse":
            contracts = quote / unit
    return contracts, base, quote


def reason_of(failure: BaseException) -> str:
    """Why something could not be parsed, in one short line."""
    if isinstance(failure, RecursionError):
        return "nested too deeply"
    return visible(f"{failure}" or type(failure).__name__, 300)


def describe_reject(text: str, reason: str) -> str:
    """What could not be parsed and why, in one line that may be shown."""
    return f"a frame or row cannot be parsed: {reason}; it begins {visible(text, 160)!r}"


def _usd_rule(currency: str | None) -> str:
    """How a value in a currency is one in USD, or why it is none."""
    if currency == "USD":
        return "USD"
    if currency in PEGGED:
        return f"{currency} = 1 USD"
    return f"n/a (quoted in {currency})" if currency else "n/a (contract not listed)"


def _no_value(contract: Contract | None) -> str:
    """Why what was liquidated has no value in its quote currency."""
    if contract is None:
        return "n/a (contract not listed)"
    quanto = contract.kind == "quanto"
    return f"n/a ({'quanto contract' if quanto else 'contract size unknown'})"


def _positive(value: Number, what: str) -> float:
    try:
        number = real(value)
    except NotReadable as refusal:
        raise ValueError(f"expected a {what}, got {visible(str(value), 40)!r}: {refusal}") from None
    if number > 0.0:
        return number
    raise ValueError(f"expected a {what} above 0, got {visible(str(value), 40)!r}")


def _moment(value: Number, what: str, received: datetime) -> datetime:
    try:
        return instant(value, "ms", received, MAX_AHEAD)
    except NotReadable as refusal:
        raise ValueError(f"expected a {what}, got {visible(str(value), 40)!r}: {refusal}") from None


def _require_symbol(symbol: str) -> None:
    if not symbol or len(symbol) > _SYMBOL_LENGTH or not symbol.isprintable():
        raise ValueError(
            f"expected a symbol of 1 to {_SYMBOL_LENGTH} printable characters, got "
            f"{visible(symbol, 40)!r}"
        )
