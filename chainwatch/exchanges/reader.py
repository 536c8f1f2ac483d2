"""Orders, fills and trades as rows: one identity per order, however often it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, TypeVar

import msgspec
from msgspec.structs import replace

from chainwatch.exchanges.contracts import PEGGED, READ_ERRORS, Contract, Number
from chainwatch.numbers import MOST, NotReadable, instant, real
from chainwatch.tables.exchange import ExchangeLiquidation
from chainwatch.text import visible

A = TypeVar("A")
B = TypeVar("B")
# A clock here may be wrong by minutes; a frame from further ahead is not believed.
MAX_AHEAD = timedelta(hours=1)
_SYMBOL_LENGTH = 64
_IDENTITY_LENGTH = 200
_MOST_ALIKE = 4_096
# A time that says its zone: without one it would be read as this machine's own.
Zoned = Annotated[datetime, msgspec.Meta(tz=True)]


class Seen(msgspec.Struct, frozen=True):
    """What one frame means. `rejects` are pairs of what could not be read and why."""

    rows: Sequence[ExchangeLiquidation] = ()
    rejects: Sequence[tuple[str, str]] = ()
    canary: bool = False
    acked: tuple[str, ...] = ()
    refused: str = ""
    reply: str = ""


NOTHING = Seen()
CANARY = Seen(canary=True)


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
        self.received = datetime.now(UTC)
        # Contracts that frames named and the list did not, with such a frame.
        self.unlisted: dict[str, str] = {}
        self._twins: dict[str, int] = {}
        # What rows of a contract have alike: copying costs a quarter of making each anew.
        self._alike: dict[tuple[str, ...], tuple[Contract | None, ExchangeLiquidation, bool]] = {}

    def begin(self, raw: bytes) -> str:
        """A frame's text; equal rows are told apart from here on."""
        self._twins.clear()
        return raw.decode("utf-8", "replace")

    def only(
        self, raw: bytes, read: Callable[[A, B, Reader, str], ExchangeLiquidation], one: A, two: B
    ) -> Seen:
        """The row of a frame that holds one liquidation and nothing else."""
        text = self.begin(raw)
        try:
            return Seen((read(one, two, self, text),))
        except READ_ERRORS as failure:
            return Seen(rejects=((text, reason_of(failure)),))

    def each(
        self,
        frame: str,
        elements: Sequence[msgspec.Raw],
        read: Callable[[msgspec.Raw, str], Sequence[ExchangeLiquidation]],
        envelope: Callable[[msgspec.Raw], bytes],
        *,
        whole: bool = True,
    ) -> Seen:
        """The rows of a frame's elements; one that cannot be read does not cost the others.

        `read` gets an element and the text to keep as `raw`: the frame itself where it has no
        other element (`whole`: these are all it has), else what `envelope` puts around this one.
        """
        rows: list[ExchangeLiquidation] = []
        rejects: list[tuple[str, str]] = []
        single = whole and len(elements) == 1
        for element in elements:
            text = frame if single else envelope(element).decode("utf-8", "replace")
            try:
                rows += read(element, text)
            except READ_ERRORS as failure:
                rejects.append((text, reason_of(failure)))
        return Seen(rows, rejects)

    def row(
        self,
        *,
        symbol: str,
        side: str,
        raw_side: str,
        at_ms: Number,
        price: Number,
        price_kind: str,
        raw: str,
        identity: Sequence[str] = (),
        event: str = "",
        sent_ms: Number | None = None,
        market: str = "",
        kind: str = "order",
        contracts: Number | None = None,
        base: Number | None = None,
        quote: Number | None = None,
        quote_currency: str | None = None,
    ) -> ExchangeLiquidation:
        """One liquidation as a row; ValueError says what of it cannot be.

        The size is given in base, in quote or in contracts, as the venue gives it; contracts also
        beside one of the others. `event` is the venue's own id; without one, `identity` are the
        raw strings that tell this liquidation from others, and equal ones in one frame are
        counted apart.
        """
        contract = self.contracts.get(symbol)
        if contract is None:
            _require_symbol(symbol)
            if self.contracts:
                self.unlisted.setdefault(symbol, raw)
        made_of = (symbol, market, kind, price_kind, quote_currency or "")
        known = self._alike.get(made_of)
        if known is None or known[0] is not contract:
            if len(self._alike) >= _MOST_ALIKE:
                self._alike.clear()
            row = self._common(symbol, contract, market, kind, price_kind, quote_currency)
            known = contract, row, not row.usd_rule.startswith("n/a")
            self._alike[made_of] = known
        _, alike, in_usd = known
        received = self.received
        time = _moment(at_ms, "time", received)
        if sent_ms is None:
            sent_at = None
        else:
            sent_at = time if sent_ms == at_ms else _moment(sent_ms, "sending time", received)
        level = _positive(price, "price")
        size, kind_of = (contract.size, contract.kind) if contract is not None else (None, "")
        if size is not None and not 0 < size <= MOST:
            raise ValueError(f"contract size is {size:g}")
        count = None if contracts is None else _positive(contracts, "size")
        amount = value = None
        if base is not None:
            amount = _positive(base, "size")
            value = amount * level
        elif quote is not None:
            value = _positive(quote, "size")
            amount = value / level
        elif count is not None and size is not None and kind_of == "linear":
            amount = count * size
            value = amount * level
        elif count is not None and size is not None and kind_of == "inverse":
            value = count * size
            amount = value / level
        usd, rule = None, alike.usd_rule
        if amount is None or value is None:
            rule = _no_value(contract)
        else:
            if not (amount <= MOST and value <= MOST):
                raise ValueError(f"size times price is larger than {MOST:g}")
            if count is None and size is not None:
                if kind_of == "linear":
                    count = amount / size
                elif kind_of == "inverse":
                    count = value / size
            if in_usd:
                usd = value
        return replace(
            alike,
            event=event or self._event(identity),
            time=time,
            sent_at=sent_at,
            received_at=received,
            side=side,
            raw_side=raw_side,
            contracts=count,
            quantity_base=amount,
            price=level,
            notional_quote=value,
            notional_usd=usd,
            usd_rule=rule,
            raw=raw,
        )

    def _common(
        self,
        symbol: str,
        contract: Contract | None,
        market: str,
        kind: str,
        price_kind: str,
        quote_currency: str | None,
    ) -> ExchangeLiquidation:
        """A row of a contract in which nothing has been filled in of the liquidation itself."""
        currency = contract.quote if contract is not None else quote_currency
        return ExchangeLiquidation(
            venue=self.venue,
            market=market or (contract.market if contract is not None else "") or self.market,
            event="",
            symbol=symbol,
            base=contract.base if contract is not None else None,
            quote=currency,
            settle=contract.settle if contract is not None else None,
            kind=kind,
            time=self.received,
            sent_at=None,
            received_at=self.received,
            side="",
            raw_side="",
            contracts=None,
            quantity_base=None,
            price=0.0,
            price_kind=price_kind,
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
        if text in self._twins:
            twin = self._twins[text] = self._twins[text] + 1
            return f"{text} #{twin}"
        self._twins[text] = 1
        return text


def reason_of(failure: BaseException) -> str:
    """Why something could not be read, in one short line."""
    if isinstance(failure, RecursionError):
        return "nested too deeply"
    return visible(f"{failure}" or type(failure).__name__, 300)


def unread(text: str, reason: str) -> str:
    """What could not be read and why, in one line that may be shown."""
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
        raise ValueError(f"{what} is {visible(str(value), 40)!r}: {refusal}") from None
    if number > 0.0:
        return number
    raise ValueError(f"{what} is {visible(str(value), 40)!r}")


def _moment(value: Number, what: str, received: datetime) -> datetime:
    try:
        return instant(value, "ms", received, MAX_AHEAD)
    except NotReadable as refusal:
        raise ValueError(f"{what} is {visible(str(value), 40)!r}: {refusal}") from None


def _require_symbol(symbol: str) -> None:
    if not symbol or len(symbol) > _SYMBOL_LENGTH or not symbol.isprintable():
        raise ValueError(f"contract is {visible(symbol, 40)!r}")
