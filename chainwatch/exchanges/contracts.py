"""The contracts that a venue lists: which side moves the price, what one is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from chainwatch.numbers import NotReadable, real
from chainwatch.tables.exchange import Instrument

# Currencies that count as one US dollar in sums; `usd_rule` states it.
PEGGED = frozenset(
    ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "DAI", "USDE", "USDS", "USD1", "PYUSD", "RLUSD")
)

# Any failure of parsing a venue's bytes costs the frame, never the stream. Where the same call asks
# the network, NetworkError is caught before.
READ_ERRORS = (Exception,)

Number = str | int | float


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """One contract as its venue lists it.

    `size` is one contract in base (linear) or in quote (inverse); None if not listed. `family` is
    what the venue's history is requested by, where that is not the contract; it is not stored.
    """

    symbol: str
    base: str
    quote: str
    settle: str
    kind: str
    size: float | None
    market: str = ""
    family: str = ""


def parse_contracts(
    elements: Sequence[msgspec.Raw], read: Callable[[msgspec.Raw], Contract | None]
) -> list[Contract]:
    """The contracts of a venue's list; one that cannot be parsed costs only itself.

    None is a contract to leave out. Where none can be parsed the list has an unknown form: raises
    what the first one raised.
    """
    parsed: list[Contract | None] = []
    first: Exception | None = None
    for element in elements:
        try:
            parsed.append(read(element))
        except READ_ERRORS as failure:
            first = first or failure
    if first is not None and not parsed:
        raise first
    return [contract for contract in parsed if contract is not None]


def instrument(
    source: str, venue: str, contract: Contract, market: str, since: datetime
) -> Instrument:
    """A listed contract as a row."""
    return Instrument(
        source=source,
        venue=venue,
        market=contract.market or market,
        symbol=contract.symbol,
        base=contract.base,
        quote=contract.quote,
        settle=contract.settle,
        kind=contract.kind,
        contract_size=contract.size,
        valid_from=since,
    )


def contract_of(row: Instrument) -> Contract:
    """A stored instrument as the contract it was listed as."""
    return Contract(
        symbol=row.symbol,
        base=row.base,
        quote=row.quote,
        settle=row.settle,
        kind=row.kind,
        size=row.contract_size,
        market=row.market,
    )


def contract_size(value: Number | None) -> float | None:
    """A contract's size from the list of contracts; None where it is not a number above 0."""
    try:
        size = real(value)
    except NotReadable:
        return None
    return size if size > 0 else None


def is_zero(value: Number | None) -> bool:
    """Whether this is the number 0, however it is written."""
    try:
        return real(value) == 0
    except NotReadable:
        return False
