"""A recorded chain: block headers, event logs and call answers, served again over JSON-RPC.

The demo uses it where no local node can be installed: the same collector reads it through the
same client as a real chain. It holds answers only, no bytecode. A request it has no answer for
is rejected, so that a reader that requests more than was recorded fails instead of getting nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import zlib
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from chainwatch.chain.multicall import decode_aggregate3
from chainwatch.chain.types import MULTICALL3, PROGRAM, Reverted
from chainwatch.errors import ConfigError, RpcError

if TYPE_CHECKING:
    from chainwatch.demo.chain import Chain

RECORDING = Path(__file__).with_name("recording.json.gz")
_NOT_RECORDED = -32_001
_NO_SUCH_METHOD = -32_601


# Contract → calldata → answer, by block number.
Calls = dict[int, dict[str, dict[str, str]]]
# A recording has no bytecode. A contract's code is the selectors that were asked of it, each as the
# code of a contract has it (PUSH4), and in what was overridden every code is this.
_CODE = "0x00"
_PUSH4 = "63"


class Header(msgspec.Struct, frozen=True):
    """A block header as far as the collector reads it."""

    number: int
    hash: str
    parent_hash: str
    time: int


class DemoMarket(msgspec.Struct, frozen=True):
    """A market of the demo: its protocol, the address and the deployment block of its contract."""

    protocol: str
    pool: str
    deployment_block: int


class Recording(msgspec.Struct):
    """What a chain answered. `calls` is block number → contract → calldata → answer.

    An answer is 0x hex; one that starts with "!" is the data of a revert. `accesses` is the same
    for access lists: calldata → contract → number of slots. `overridden` are calls under a state
    override: block number → what was overridden → contract → calldata → answer. `stops` are the
    block numbers at which the story pauses, `markets` is name → where it stands.
    """

    chain_id: int
    markets: dict[str, DemoMarket]
    stops: list[int]
    headers: list[Header]
    logs: list[dict[str, Any]]
    calls: Calls
    accesses: dict[int, dict[str, dict[str, dict[str, int]]]] = {}
    overridden: dict[int, dict[str, dict[str, dict[str, str]]]] = {}
    note: str = ""


def load(path: Path = RECORDING) -> Recording:
    """Read a recording; ConfigError where it is missing or damaged."""
    try:
        return msgspec.json.decode(gzip.decompress(path.read_bytes()), type=Recording)
    except (OSError, EOFError, zlib.error, msgspec.DecodeError) as failure:
        raise ConfigError(f"the recorded chain {path} cannot be read: {failure}") from None


def save(recording: Recording, path: Path = RECORDING) -> None:
    """Write a recording; the same content gives the same bytes, in whatever order it was asked."""
    data = msgspec.json.encode(_sorted(msgspec.to_builtins(recording)))
    path.write_bytes(gzip.compress(data, compresslevel=9, mtime=0))


def _sorted(value: Any) -> Any:
    """The same with the keys of every mapping in order."""
    if isinstance(value, dict):
        return {key: _sorted(inner) for key, inner in sorted(value.items())}
    return [_sorted(inner) for inner in value] if isinstance(value, list) else value


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that closed the connection or sent no JSON."""


class _Server:
    """A JSON-RPC server on loopback in a thread of its own."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length))
                single = isinstance(body, dict)
                answers = [outer.answer(request) for request in ([body] if single else body)]
                text = json.dumps(answers[0] if single else answers).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = _Http(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Refused(Exception):
    """A request that gets a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message} | ({"data": data} if data else {})


class Player(_Server):
    """Serves a recording up to `head`, a block number that the story moves on."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording
        self.head = recording.stops[0]
        self._by_hash = {h.hash: h for h in recording.headers}
        self._by_number = {h.number: h for h in recording.headers}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        envelope = {"jsonrpc": "2.0", "id": request.get("id")}
        try:
            return envelope | {"result": self._result(request["method"], request["params"])}
        except _Refused as refused:
            return envelope | {"error": refused.body}

    def _result(self, method: str, params: list[Any]) -> Any:
        match method:
            case "eth_chainId":
                return hex(self.recording.chain_id)
            case "eth_blockNumber":
                return hex(self.head)
            case "eth_getBlockByNumber":
                header = self._by_number.get(self._number(params[0]))
                return None if header is None or header.number > self.head else _wire(header)
            case "eth_getLogs":
                return self._logs(params[0])
            case "eth_getCode":
                return self._code(params[0], self._number(params[1]))
            case "eth_call" | "eth_createAccessList" if "to" not in params[0]:
                raise _Refused(_NOT_RECORDED, "a recording creates no contracts")
            case "eth_call":
                return self._call(*params)
            case "eth_createAccessList":
                return self._access(params[0], self._number(params[1]))
        raise _Refused(_NO_SUCH_METHOD, f"a recording does not know {method}")

    def _number(self, where: Any) -> int:
        if isinstance(where, dict):
            header = self._by_hash.get(where.get("blockHash", ""))
            if header is None or header.number > self.head:
                raise _Refused(-32_000, "header not found")
            return header.number
        return self.head if where in ("latest", "safe", "finalized") else int(where, 16)

    def _logs(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        first, last = self._number(query["fromBlock"]), self._number(query["toBlock"])
        addresses = query.get("address", [])
        wanted = {a.lower() for a in ([addresses] if isinstance(addresses, str) else addresses)}
        (kinds,) = query.get("topics") or [None]
        return [
            log
            for log in self.recording.logs
            if first <= int(log["blockNumber"], 16) <= min(last, self.head)
            and (not wanted or log["address"] in wanted)
            and (kinds is None or log["topics"][0] in kinds)
        ]

    def _code(self, address: str, number: int) -> str:
        there = address.lower() == MULTICALL3.lower() or any(
            address.lower() == place.pool and number >= place.deployment_block
            for place in self.recording.markets.values()
        )
        there = there or address.lower() in self.recording.accesses.get(number, {}).get("code", {})
        if not there:
            return "0x"
        calls = self.recording.calls.get(number, {}).get(address.lower(), {})
        return _CODE + "".join(f"{_PUSH4}{s}" for s in sorted({data[2:10] for data in calls}))

    def _access(self, call: dict[str, str], number: int) -> dict[str, Any]:
        kept = self.recording.accesses.get(number, {}).get(call["to"].lower(), {})
        access = kept.get(call["data"])
        if access is None:
            raise _Refused(_NOT_RECORDED, f"no access list recorded at block {number}")
        slots = {a: [f"0x{i:064x}" for i in range(n)] for a, n in access.items()}
        return {"accessList": [{"address": a, "storageKeys": s} for a, s in slots.items()]}

    def _call(self, call: dict[str, str], where: Any, overrides: Any = None) -> str:
        to, data, number = call["to"], call["data"], self._number(where)
        look_up = self._recorded
        if overrides:
            key = _overrides_key(overrides, {self._code(a, number) for a in overrides})
            if key not in self.recording.overridden.get(number, {}):
                raise _Refused(_NO_SUCH_METHOD, "a recording does not know these overrides")
            look_up = partial(_answer, self.recording.overridden[number][key])
        if to.lower() != MULTICALL3.lower():
            answer = look_up(to, data, number)
            if answer.startswith("!"):
                raise _Refused(3, "execution reverted", answer[1:])
            return answer
        inner = _inner_calls(bytes.fromhex(data[2:]))
        return _aggregate([look_up(target, call_data, number) for target, call_data in inner])

    def _recorded(self, to: str, data: str, number: int) -> str:
        return _answer(self.recording.calls.get(number, {}), to, data, number)


def _answer(answers: dict[str, dict[str, str]], to: str, data: str, number: int) -> str:
    answer = answers.get(to.lower(), {}).get(data)
    if answer is None:
        raise _Refused(_NOT_RECORDED, f"nothing recorded for {data[:10]} at block {number}")
    return answer


class ChainRecorder(_Server):
    """Stands between the collector and a node and keeps every answer."""

    def __init__(self, node: Chain) -> None:
        super().__init__()
        self._node = node
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}
        self._codes: set[str] = set()
        self._recording = Recording(0, {}, [], [], [], {})

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if _runs_program(request):
            # Its calls are recorded one by one, so that they can be played in any other grouping.
            refusal = {"code": _NO_SUCH_METHOD, "message": "a recorder runs no programs"}
            return {"jsonrpc": "2.0", "id": request.get("id"), "error": refusal}
        # Several collectors ask at once, and there is one connection to the node.
        with self._lock:
            answer: dict[str, Any] = self._node.post(request)
            params = request["params"]
            match request["method"]:
                case "eth_call" if len(params) > 2 or params[0].get("data", "0x") != "0x":
                    self._keep(params, answer)
                case "eth_createAccessList" if "result" in answer:
                    self._keep_access(params, answer["result"])
                case "eth_getCode" if answer.get("result", "0x") != "0x":
                    self._codes.add(answer["result"])
                    codes = self._recording.accesses.setdefault(self._number(params[1]), {})
                    codes.setdefault("code", {})[params[0].lower()] = {}
        return answer

    def finish(self, markets: dict[str, DemoMarket], stops: list[int], note: str) -> Recording:
        """Everything needed to play the same again."""
        headers = [
            self._node.rpc("eth_getBlockByNumber", hex(n), False) for n in range(stops[-1] + 1)
        ]
        return Recording(
            chain_id=int(self._node.rpc("eth_chainId"), 16),
            markets=markets,
            stops=stops,
            headers=[
                Header(int(h["number"], 16), h["hash"], h["parentHash"], int(h["timestamp"], 16))
                for h in headers
            ],
            logs=[_log(log, after=stops[0]) for log in self._node.logs(last=stops[-1])],
            calls=self._recording.calls,
            accesses=self._recording.accesses,
            overridden=self._recording.overridden,
            note=note,
        )

    def _keep(self, params: list[Any], answer: dict[str, Any]) -> None:
        to, data = params[0]["to"].lower(), params[0]["data"]
        try:
            number = self._number(params[1])
        except RpcError:
            return  # a probe with a hash that no block has
        kept = self._recording.calls.setdefault(number, {})
        if len(params) > 2:
            key = _overrides_key(params[2], self._codes)
            kept = self._recording.overridden.setdefault(number, {}).setdefault(key, {})
        if to != MULTICALL3.lower():
            reverted = answer.get("error")
            kept.setdefault(to, {})[data] = (
                "!" + reverted.get("data", "0x") if reverted else answer["result"]
            )
            return
        inner = _inner_calls(bytes.fromhex(data[2:]))
        results = decode_aggregate3(bytes.fromhex(answer["result"][2:]), len(inner))
        for (target, call), result in zip(inner, results, strict=True):
            text = (
                f"!0x{result.data.hex()}" if isinstance(result, Reverted) else f"0x{result.hex()}"
            )
            kept.setdefault(target, {})[call] = text

    def _keep_access(self, params: list[Any], answer: dict[str, Any]) -> None:
        if answer.get("error"):
            return
        kept = self._recording.accesses.setdefault(self._number(params[1]), {})
        kept.setdefault(params[0]["to"].lower(), {})[params[0]["data"]] = {
            entry["address"].lower(): len(entry["storageKeys"]) for entry in answer["accessList"]
        }

    def _number(self, where: Any) -> int:
        if where == "latest":
            where = self._node.rpc("eth_blockNumber")
        if isinstance(where, str):
            return int(where, 16)
        block_hash: str = where["blockHash"]
        if block_hash not in self._numbers:
            block = self._node.rpc("eth_getBlockByHash", block_hash, False)
            if block is None:
                raise RpcError(f"no block {block_hash}")
            self._numbers[block_hash] = int(block["number"], 16)
        return self._numbers[block_hash]


def _runs_program(request: dict[str, Any]) -> bool:
    params = request["params"]
    return request["method"] == "eth_call" and len(params) > 2 and params[0]["to"] == PROGRAM


def _overrides_key(overrides: dict[str, dict[str, str]], own: set[str]) -> str:
    """A name for a state override set; `own` are codes of contracts, which no recording has."""
    codes = {a.lower(): _CODE if o["code"] in own else o["code"] for a, o in overrides.items()}
    return hashlib.sha256(json.dumps(codes, sort_keys=True).encode()).hexdigest()[:32]


_LOG_FIELDS = ("address", "topics", "data", "blockNumber", "blockHash", "logIndex", "removed")


def _log(log: dict[str, Any], after: int) -> dict[str, Any]:
    """A log as far as the collector reads it: its transaction only once the story has begun."""
    kept = {k: log[k] for k in _LOG_FIELDS}
    if int(log["blockNumber"], 16) > after:
        kept["transactionHash"] = log["transactionHash"]
    return kept


def _wire(header: Header) -> dict[str, str]:
    return {
        "number": hex(header.number),
        "hash": header.hash,
        "parentHash": header.parent_hash,
        "timestamp": hex(header.time),
    }


def _inner_calls(data: bytes) -> list[tuple[str, str]]:
    """The (contract, calldata) pairs of an aggregate3 call."""
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    try:
        (calls,) = decode(["(address,bool,bytes)[]"], data[4:])
    except DecodingError as failure:
        raise _Refused(-32_602, f"no aggregate3 call: {failure}") from None
    return [(to.lower(), f"0x{inner.hex()}") for to, _, inner in calls]


def _aggregate(answers: list[str]) -> str:
    from eth_abi.abi import encode

    results = [
        (not a.startswith("!"), bytes.fromhex(a.removeprefix("!").removeprefix("0x")))
        for a in answers
    ]
    return "0x" + encode(["(bool,bytes)[]"], [results]).hex()
