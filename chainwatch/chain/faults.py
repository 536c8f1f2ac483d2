"""Errors of endpoints, classified by their text: ask later, for less, elsewhere, or a revert."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import msgspec

from chainwatch.text import visible


class RpcFault(msgspec.Struct, frozen=True):
    """An endpoint's error in place of a result."""

    code: int
    message: str
    data: str | None = None  # revert data in hex, or more text

    def __str__(self) -> str:
        return f"{visible(self.message, 300)} (error {self.code})"


# --- kinds of errors ------------------------------------------------------------------


class Kind(Enum):
    EVM = "the call itself failed on the chain"
    TOO_MUCH = "asking for less helps"
    SLOW = "asking for less, later, may help"
    BUSY = "asking later helps"
    BEHIND = "the endpoint does not have the block yet"
    PRUNED = "the endpoint no longer has the state of the block"
    OTHER = "the text fits no other kind"


# A contract chooses the text of its revert, so this comes before every other pattern.
_EVM = re.compile(
    r"\brevert|invalid opcode|opcode not defined|EVM error|VM execution|out ?of ?gas"
    r"|gas required exceeds|bad instruction|bad jump|invalid jump|stack (?:under|over)flow",
    re.IGNORECASE,
)
_BATCH = re.compile(r"\bbatch", re.IGNORECASE)
_TOO_MUCH = re.compile(
    r"more than [\d,.]+ (?:results|logs)|max(?:imum)? (?:results|logs)|size exceeded|response size"
    r"|(?:response|request|content|entity|body)(?: is| length)? too (?:large|big)"
    r"|range (?:is )?too (?:large|wide|big)|range limit exceeded|query exceeds limit|ranges? over"
    r"|too many (?:logs|blocks|results)|narrow your filter|intrinsic gas",
    re.IGNORECASE,
)
_SLOW = re.compile(r"tim(?:ed|e)[ -]?out|deadline exceeded|took too long|\baborted", re.IGNORECASE)
_BUSY = re.compile(
    r"rate.?limit|too many requests|limit exceeded|requests? limit|capacity|throttl|quota|credits"
    r"|compute units|overload|try again|temporar|service unavailable|no backend|per second"
    r"|internal (?:server |json-rpc )?error",
    re.IGNORECASE,
)
_BUSY_CODES = {-32005, 429}
_BEHIND = re.compile(
    r"\b(?:header|block)(?! range)(?: \w+){0,3} not (?:yet )?(?:found|available)|unknown block"
    r"|beyond (?:the )?current|BlockOutOfRange|future block|resource not found",
    re.IGNORECASE,
)
_PRUNED = re.compile(
    r"missing trie node|state (?:is )?(?:not|un)[ -]?available|state unavailable|prun(?:ed|ing)"
    r"|historical state|state histor|archive (?:state|node|data|request)|state already discarded",
    re.IGNORECASE,
)
NO_SUCH_METHOD = -32601

# The known texts of eth_getLogs limits. A stated range is a hint for this query; a stated number
# of blocks holds for all.
_STATED_RANGE = re.compile(
    r"\[\s*0x([0-9a-f]+)\s*,\s*0x([0-9a-f]+)\s*\]|range (\d+)\s*-\s*(\d+)", re.IGNORECASE
)
_STATED_BLOCKS = re.compile(
    r"(?:limited to (?:a |at most )?|range \d+ exceeds limit of |up to an? |at most "
    r"|max(?:imum)? (?:block )?range(?: of)?:? |max(?:imum)? (?:is |is set to )"
    r"|requested blocks is |range exceeds server limit, narrow your filter: |\(\d+ > "
    r"|range greater than |range exceeds |blocks distance: |smaller than size |\(max(?:imum)? )"
    r"(\d[\d,.]*+)( ?k\b)?+(?! ?(?:results|logs|events|bytes|[mk]b|req|calls|times|per|/))",
    re.IGNORECASE,
)


def kind_of(fault: RpcFault) -> Kind:
    text = answer_text(fault)
    if fault.code == 3 or _EVM.search(text):
        return Kind.EVM
    if _PRUNED.search(text):
        return Kind.PRUNED
    if _TOO_MUCH.search(text):
        return Kind.TOO_MUCH
    if _SLOW.search(text):
        return Kind.SLOW
    if fault.code in _BUSY_CODES or _BUSY.search(text):
        return Kind.BUSY
    if _BEHIND.search(text):
        return Kind.BEHIND
    return Kind.OTHER


def answer_text(fault: RpcFault) -> str:
    """The message with what some servers put beside it."""
    return f"{fault.message} {fault.data}" if fault.data else fault.message


def stated_blocks(text: str) -> tuple[int, bool] | None:
    """How many blocks a refusal says may be asked for, and whether that holds for every query."""
    if match := _STATED_RANGE.search(text):
        base = 16 if match[1] else 10
        first, last = int(match[1] or match[3], base), int(match[2] or match[4], base)
        return (last - first + 1, False) if first <= last else None
    if match := _STATED_BLOCKS.search(text):
        digits = match[1].rstrip(".,").replace(",", "").replace(".", "")
        return int(digits) * (1000 if match[2] else 1), True
    return None


class Trouble(Exception):
    """An endpoint could not do its part; another one, or the same one later, may."""

    def __init__(
        self,
        text: str,
        *,
        cools: bool = True,
        answered: bool = True,
        final: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text)
        self.cools = cools  # leave the endpoint alone for a while
        self.answered = answered  # the endpoint answered; False for a failure of the network
        self.final = final  # asking this endpoint again cannot help
        self.retry_after = retry_after


class Behind(Trouble):
    """The endpoint does not have the block yet."""

    def __init__(self, text: str) -> None:
        super().__init__(text, cools=False)


class Pruned(Trouble):
    """The endpoint no longer has the state of so old a block; another one behind it may."""

    def __init__(self, text: str) -> None:
        super().__init__(text, cools=False)


class CutOff(Trouble):
    """No complete answer in time."""


class TooMuch(Trouble):
    """The endpoint wants to be asked for less."""

    def __init__(self, text: str, stated: tuple[int, bool] | None = None) -> None:
        super().__init__(text, cools=False)
        self.stated = stated or (None, False)


class TooManyCalls(TooMuch):
    """The endpoint wants fewer calls in one batch."""


def batch_refusal(fault: RpcFault, calls: int) -> Trouble:
    """What an error in place of a whole batch means."""
    text = answer_text(fault)
    if _BATCH.search(text):
        sizes = [n for n in map(int, re.findall(r"\d+", text)) if 0 < n < calls]
        if sizes:
            return TooManyCalls(str(fault), (min(sizes), True))
        refused = re.search(r"not (?:supported|allowed|enabled)|disabled|unsupported", text)
        return TooManyCalls(str(fault), (1, True) if refused else None)
    if stated := stated_blocks(text):
        return TooMuch(str(fault), stated)
    if kind_of(fault) is Kind.OTHER:
        return TooManyCalls(str(fault), (1, True))
    return refusal(fault)


def refusal(fault: RpcFault) -> Trouble:
    """What an error in place of a result means for the endpoint that sent it."""
    match kind_of(fault):
        case Kind.TOO_MUCH:
            return TooMuch(str(fault))
        case Kind.SLOW:
            return CutOff(str(fault))
        case Kind.BEHIND:
            return Behind(str(fault))
        case Kind.PRUNED:
            return Pruned(str(fault))
        case Kind.BUSY:
            return Trouble(str(fault))
        case _:
            return Trouble(str(fault), cools=False, final=fault.code == NO_SUCH_METHOD)


def log_refusal(fault: RpcFault) -> Trouble:
    """The same for eth_getLogs, where an unknown text is most likely one more limit."""
    stated = stated_blocks(answer_text(fault))
    unknown = kind_of(fault) in (Kind.OTHER, Kind.EVM) and fault.code != NO_SUCH_METHOD
    return TooMuch(str(fault), stated) if stated or unknown else refusal(fault)


def asks_again(answer: Any, alone: bool) -> bool:
    if not isinstance(answer, RpcFault):
        return False
    kind = kind_of(answer)
    return kind is not Kind.EVM and not (kind is Kind.TOO_MUCH and alone)


def revert_data(fault: RpcFault) -> bytes:
    """The hex in the fault's data: alone (geth) or among words (Parity: "Reverted 0x…")."""
    match = re.search(r"0x((?:[0-9a-fA-F]{2})*)", fault.data or "")
    return bytes.fromhex(match[1]) if match else b""
