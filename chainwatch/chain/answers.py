"""Requests and answers of JSON-RPC as they are on the wire."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, TypeVar

import msgspec

from chainwatch.chain.faults import (
    CutOff,
    RpcFault,
    TooManyCalls,
    TooMuch,
    Trouble,
    answer_text,
    batch_refusal,
    refusal,
    stated_blocks,
)
from chainwatch.chain.types import Access, Block, Log, Overrides
from chainwatch.net import retry
from chainwatch.net.http import Response
from chainwatch.urls import scrub

T = TypeVar("T")
_LONGEST_TEXT = 2000  # characters of an error text that are kept


# --- wire formats ---------------------------------------------------------------------------

_Hash = Annotated[str, msgspec.Meta(pattern=r"\A0x[0-9a-fA-F]{64}\Z")]
_Address = Annotated[str, msgspec.Meta(pattern=r"\A0x[0-9a-fA-F]{40}\Z")]
_Bytes = Annotated[str, msgspec.Meta(pattern=r"\A0x[0-9a-fA-F]*\Z")]
Quantity = Annotated[str, msgspec.Meta(pattern=r"\A0x[0-9a-fA-F]{1,64}\Z")]

_NOTHING = msgspec.Raw()


class _WireAnswer(msgspec.Struct):
    id: int | str | None = None
    result: msgspec.Raw = _NOTHING
    error: Any = None


class WireBlock(msgspec.Struct, rename="camel"):
    number: Quantity
    hash: _Hash
    parent_hash: _Hash
    timestamp: Quantity


class _WireLog(msgspec.Struct, rename="camel"):
    address: _Address
    topics: tuple[_Hash, ...]
    data: _Bytes
    block_number: Quantity
    block_hash: _Hash
    log_index: Quantity
    transaction_hash: _Hash | None = None
    removed: bool = False


class _WireAccess(msgspec.Struct, rename="camel"):
    address: _Address
    storage_keys: list[str] = []


class _WireAccessList(msgspec.Struct, rename="camel"):
    access_list: list[_WireAccess]
    error: str | None = None  # of the call itself


_ONE = msgspec.json.Decoder(_WireAnswer)
_MANY = msgspec.json.Decoder(list[_WireAnswer])
_HEADER: msgspec.json.Decoder[WireBlock | None] = msgspec.json.Decoder(WireBlock | None)
_LOGS = msgspec.json.Decoder(list[_WireLog])
_ACCESS = msgspec.json.Decoder(_WireAccessList)
_TEXT = msgspec.json.Decoder(str)
_HEX = re.compile(r"0x[0-9a-fA-F]*").fullmatch
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)

Request = tuple[str, list[Any]]  # method, params
Answer = msgspec.Raw | RpcFault


# --- requests and answers -------------------------------------------------------------------


def read_access(answer: Answer) -> Access | None:
    """The contracts that a call touches; None for a failed call or any other answer."""
    try:
        access_list = decode_answer(_ACCESS, answer, "an access list")
    except Trouble:
        return None
    if access_list.error:
        return None
    return {a.address.lower(): len(a.storage_keys) for a in access_list.access_list}


def header_request(number: int | str) -> Request:
    tag = hex(number) if isinstance(number, int) else number
    return "eth_getBlockByNumber", [tag, False]


def call_request(
    to: str, data: bytes, where: int | str, overrides: Overrides | None = None
) -> Request:
    """`where` is a block number or a block hash; `overrides` are set for this call alone."""
    pin = {"blockHash": where, "requireCanonical": True}
    block = hex(where) if isinstance(where, int) else pin
    parameters: list[Any] = [{"to": to, "data": "0x" + data.hex()}, block]
    if overrides:
        parameters.append({a: {"code": "0x" + code.hex()} for a, code in overrides.items()})
    return "eth_call", parameters


def open_answer(response: Response, ids: Sequence[int], urls: Sequence[str]) -> list[Answer]:
    """The answers to the calls with these ids, in their order.

    An entry of a batch that is missing is a fault of its own. What is not JSON-RPC, or answers
    something that was not asked, makes the whole response unusable.
    """
    if response.status in (429, 503):
        wait = retry.retry_after(response.headers)
        raise Trouble(f"HTTP {response.status}", retry_after=wait)
    try:
        if len(ids) == 1:
            return [_open_call(response, ids[0], urls)]
        return _open_batch(response, ids, urls)
    except _UNREADABLE:
        raise _unreadable(response, len(ids)) from None


def _open_call(response: Response, call_id: int, urls: Sequence[str]) -> Answer:
    entry = _ONE.decode(response.body)
    answer = _value(entry, urls)
    # An endpoint that could not parse the request does not know its id.
    without_id = entry.id is None and isinstance(answer, RpcFault)
    if entry.id != call_id and not without_id:
        raise Trouble("an answer to something that was not asked")
    if response.status == 413 and isinstance(answer, RpcFault):
        raise TooMuch(str(answer), stated_blocks(answer_text(answer)))
    return answer


def _open_batch(response: Response, ids: Sequence[int], urls: Sequence[str]) -> list[Answer]:
    if response.body.lstrip()[:1] != b"[":
        answer = _value(_ONE.decode(response.body), urls)
        if isinstance(answer, RpcFault):
            raise batch_refusal(answer, len(ids))
        raise Trouble("a single result for a batch")
    entries = _MANY.decode(response.body)
    answers: dict[int | str | None, Answer] = {}
    for entry in entries:
        answer = _value(entry, urls)
        # geth refuses a batch with an error for its first call only.
        if isinstance(answer, RpcFault) and (entry.id is None or len(entries) == 1):
            raise batch_refusal(answer, len(ids))
        if entry.id not in ids or entry.id in answers:
            raise Trouble("an answer to something that was not asked, or two to one call")
        answers[entry.id] = answer
    missing = RpcFault(0, "no answer to this entry of the batch")
    return [answers.get(i, missing) for i in ids]


def _value(entry: _WireAnswer, urls: Sequence[str]) -> Answer:
    error = entry.error
    if error is None:
        return RpcFault(0, "neither result nor error") if entry.result is _NOTHING else entry.result
    if not isinstance(error, dict):
        return RpcFault(0, _foreign(error, urls))
    code, data = error.get("code"), error.get("data")
    if isinstance(data, dict):  # Hardhat nests it once more
        data = data.get("data")
    if not isinstance(data, str):
        data = None
    elif not _HEX(data):
        data = _foreign(data, urls)
    message = _foreign(error.get("message", "an error without a message"), urls)
    return RpcFault(code if type(code) is int else 0, message, data)


def _foreign(text: object, urls: Sequence[str]) -> str:
    return scrub(str(text)[:_LONGEST_TEXT], urls)


def _unreadable(response: Response, calls: int) -> Trouble:
    status, body = response.status, response.body.lstrip()
    if status == 413:
        return TooMuch("HTTP 413")
    if 400 <= status < 500 and status not in (408, 425):
        if calls > 1:
            return TooManyCalls(f"HTTP {status}", (1, True))
        return Trouble(f"HTTP {status}", final=True)
    if status in (408, 504, 524):
        return CutOff(f"HTTP {status}")
    if status >= 400:
        return Trouble(f"HTTP {status}")
    if not body:
        return Trouble("an empty answer")
    if body[:1] == b"<":
        return Trouble("HTML instead of JSON")
    if body[:1] not in (b"{", b"["):
        return Trouble("text instead of JSON")
    return Trouble("JSON that is cut or no JSON-RPC answer")


def decode_answer(decoder: msgspec.json.Decoder[T], answer: Answer, what: str) -> T:
    if isinstance(answer, RpcFault):
        raise refusal(answer)
    try:
        return decoder.decode(answer)
    except _UNREADABLE:
        raise Trouble(f"{what} that cannot be parsed") from None


def hex_bytes(answer: Answer) -> bytes:
    text = decode_answer(_TEXT, answer, "a result")
    try:
        if text.startswith("0x"):
            return bytes.fromhex(text[2:])
    except ValueError:
        pass
    raise Trouble("a result that is not hex data")


def read_header(answer: Answer, number: int | str) -> WireBlock | None:
    wire = decode_answer(_HEADER, answer, "a block header")
    if wire is not None and isinstance(number, int) and int(wire.number, 16) != number:
        raise Trouble(f"another block than the {number} that was asked for")
    return wire


def read_logs(
    answer: msgspec.Raw, addresses: frozenset[str], first: int, header: Block
) -> list[Log]:
    """The logs of first … header, in order; Trouble where any of them cannot belong there."""
    wires = decode_answer(_LOGS, answer, "logs")
    logs = [
        Log(
            wire.address.lower(),
            tuple([topic.lower() for topic in wire.topics]),
            wire.data.lower(),
            int(wire.block_number, 16),
            wire.block_hash.lower(),
            int(wire.log_index, 16),
            (wire.transaction_hash or "").lower(),
        )
        for wire in wires
    ]
    logs.sort(key=lambda log: (log.block_number, log.index))
    if any(wire.removed for wire in wires):
        raise Trouble("logs of a block that left the chain")
    if logs and not first <= logs[0].block_number <= logs[-1].block_number <= header.number:
        raise Trouble("logs of blocks that were not asked for")
    if addresses and not addresses.issuperset(log.address for log in logs):
        raise Trouble("logs of contracts that were not asked for")
    if logs and logs[-1].block_number == header.number and logs[-1].block_hash != header.hash:
        raise Trouble("logs of another fork than the header's")
    for log, following in pairwise(logs):
        if log.block_number == following.block_number and (
            log.index == following.index or log.block_hash != following.block_hash
        ):
            raise Trouble("the same log twice, or logs of two forks")
    return logs
