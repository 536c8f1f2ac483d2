"""A small synchronous client for the local node: calls, bulk transactions, time and snapshots.

It is independent of the product's own client on purpose: what a test expects is read through here.
Addresses, hashes and data are lower-case 0x strings.
"""

import http.client
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from chainwatch.errors import RpcError

DEPLOYER = "0x00000000000000000000000000000000000d391e"
MAX_UINT = 2**256 - 1
# The node needs time quadratic in the size of a block to hand out its receipts.
BLOCK_TRANSACTIONS = 250
BATCH = 500
GAS = hex(30_000_000)


class TransactionReverted(RpcError):
    """A transaction or call on the local chain reverted; the message ends with the reason."""


class Tx(NamedTuple):
    """A transaction to be sent; any sender is accepted, the node signs for all of them."""

    sender: str
    to: str  # empty: `data` creates a contract
    data: str


@dataclass(frozen=True)
class Receipt:
    """What became of a transaction."""

    hash: str
    block: int
    ok: bool
    created: str  # address of the new contract, or empty
    logs: list[dict[str, Any]]  # as the node returns them


@dataclass(frozen=True)
class Artifact:
    """A compiled contract."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str  # hex without 0x; zeros or placeholders where libraries go
    runtime: str
    links: dict[str, list[int]] = field(default_factory=dict)  # library -> byte positions

    def creation(self, arguments: Sequence[Any], libraries: dict[str, str]) -> str:
        """Return the data of the transaction that creates the contract."""
        from eth_abi.abi import encode as encode_abi
        from eth_utils.abi import collapse_if_tuple

        code = self.bytecode
        for library, positions in self.links.items():
            for position in positions:
                start = 2 * position
                code = code[:start] + libraries[library][2:] + code[start + 40 :]
        constructor = [item for item in self.abi if item["type"] == "constructor"]
        types = [
            collapse_if_tuple(parameter) for item in constructor for parameter in item["inputs"]
        ]
        return f"0x{code}{encode_abi(types, arguments).hex()}"


def own_artifact(name: str) -> Artifact:
    """Return one of the project's own test contracts."""
    text = files("chainwatch.demo.contracts").joinpath("contracts.json").read_text()
    contract = json.loads(text)["contracts"][name]
    return Artifact(name, contract["abi"], contract["bytecode"], contract["runtime"])


def hardhat_artifact(folder: Path, name: str) -> Artifact:
    """Return a contract from a Hardhat artifacts folder, wherever it lies in it."""
    artifact = json.loads(next(folder.glob(f"contracts/**/{name}.sol/{name}.json")).read_text())
    links = {
        library: [place["start"] for place in places]
        for libraries in artifact["linkReferences"].values()
        for library, places in libraries.items()
    }
    return Artifact(
        name, artifact["abi"], artifact["bytecode"][2:], artifact["deployedBytecode"][2:], links
    )


@cache
def _parsed(signature: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Split "f(uint256)(address)" into selector, input types and output types."""
    from eth_abi.grammar import parse
    from eth_utils.crypto import keccak

    depth = 0
    for end in range(signature.index("("), len(signature)):
        depth += {"(": 1, ")": -1}.get(signature[end], 0)
        if depth == 0:
            break
    head, outputs = signature[: end + 1], signature[end + 1 :] or "()"
    inputs = head[head.index("(") :]
    types = [
        () if group == "()" else tuple(part.to_type_str() for part in parse(group).components)
        for group in (inputs, outputs)
    ]
    return f"0x{keccak(text=head)[:4].hex()}", types[0], types[1]


def encode(signature: str, *arguments: Any) -> str:
    """Return the call data of `signature`, e.g. "transfer(address,uint256)"."""
    from eth_abi.abi import encode as encode_abi

    selector, inputs, _ = _parsed(signature)
    return selector + encode_abi(inputs, arguments).hex()


def decode(signature: str, data: str) -> Any:
    """Decode what a call of "f(…)(outputs)" returned: one value, or a tuple of several."""
    from eth_abi.abi import decode as decode_abi

    values = decode_abi(_parsed(signature)[2], bytes.fromhex(data[2:]))
    return values[0] if len(values) == 1 else values


class Chain:
    """A connection to a local anvil node, which mines on request only.

    Each block is `block_seconds` after the one before it, whatever the time is, so that the
    same actions give the same chain. Raises RpcError when the node refuses a request.
    """

    def __init__(self, url: str, *, block_seconds: int = 12) -> None:
        self.url = url
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self.rpc("evm_setAutomine", False)
        self.rpc("anvil_setBlockTimestampInterval", block_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next request would open another."""
        self._connection.close()

    def rpc(self, method: str, *parameters: Any) -> Any:
        """Ask the node and return the result."""
        return _result(method, self.post(_request(method, parameters)))

    def batch(self, method: str, parameters: Iterable[Sequence[Any]]) -> list[Any]:
        """Send one method with many parameters; reads only, as the node reorders a batch."""
        requests = [_request(method, values, number) for number, values in enumerate(parameters)]
        answers: list[dict[str, Any]] = []
        for start in range(0, len(requests), BATCH):
            answers += self.post(requests[start : start + BATCH])
        return [_result(method, answer) for answer in sorted(answers, key=lambda it: it["id"])]

    def call(
        self, to: str, signature: str, *arguments: Any, sender: str = DEPLOYER, block: int = -1
    ) -> Any:
        """Call "f(inputs)(outputs)" and decode: one value, or a tuple of several."""
        request = {"from": sender, "to": to, "data": encode(signature, *arguments)}
        answer = self.rpc("eth_call", request, hex(block) if block >= 0 else "latest")
        return decode(signature, answer)

    def call_each(
        self, signature: str, calls: Iterable[tuple[Any, ...]], *, sender: str = DEPLOYER
    ) -> list[Any]:
        """Call the same function for many (to, *arguments) at the latest block."""
        requests = (
            ({"from": sender, "to": to, "data": encode(signature, *arguments)}, "latest")
            for to, *arguments in calls
        )
        return [decode(signature, answer) for answer in self.batch("eth_call", requests)]

    def send(self, to: str, signature: str, *arguments: Any, sender: str = DEPLOYER) -> Receipt:
        """Send one transaction in a block of its own; raises TransactionReverted."""
        return self.send_all([Tx(sender, to, encode(signature, *arguments))])[0]

    def send_all(self, transactions: Sequence[Tx], *, tolerate: bool = False) -> list[Receipt]:
        """Send transactions in this order, hundreds to a block; returns a receipt for each.

        Raises TransactionReverted on the first that reverts unless `tolerate` is set.
        """
        receipts: list[Receipt] = []
        for start in range(0, len(transactions), BLOCK_TRANSACTIONS):
            chunk = transactions[start : start + BLOCK_TRANSACTIONS]
            receipts += self._send_block(chunk)
            failed = next((receipt for receipt in receipts[start:] if not receipt.ok), None)
            if failed and not tolerate:
                reason = self.reason(failed.hash)
                raise TransactionReverted(f"transaction {failed.hash} reverted: {reason}")
        return receipts

    def deploy(
        self,
        artifact: Artifact,
        *arguments: Any,
        libraries: dict[str, str] | None = None,
        sender: str = DEPLOYER,
    ) -> str:
        """Create a contract and return its address; raises TransactionReverted."""
        data = artifact.creation(arguments, libraries or {})
        return self.send_all([Tx(sender, "", data)])[0].created

    def reason(self, transaction: str) -> str:
        """Return why a transaction reverted; Aave's reasons are the numbers in its Errors.sol.

        Read off the trace: repeated as a call it would meet another state.
        """
        options = {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}
        trace = self.rpc("debug_traceTransaction", transaction, options)
        output = trace.get("output", "0x")
        if output.startswith("0x08c379a0"):
            return str(decode("Error()(string)", "0x" + output[10:]))
        return f"{trace.get('error', 'no reason')} {output}"

    def mine(self, blocks: int = 1) -> None:
        """Mine blocks."""
        self.rpc("anvil_mine", hex(blocks))

    def increase_time(self, seconds: int) -> None:
        """Mine a block that many seconds after the latest one."""
        self.set_next_timestamp(self.timestamp() + seconds)
        self.mine()

    def set_next_timestamp(self, timestamp: int) -> None:
        """Set the time of the next block, in seconds since 1970."""
        self.rpc("evm_setNextBlockTimestamp", timestamp)

    def block_number(self) -> int:
        """Return the number of the latest block."""
        return int(self.rpc("eth_blockNumber"), 16)

    def timestamp(self) -> int:
        """Return the time of the latest block, in seconds since 1970."""
        return int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def snapshot(self) -> str:
        """Save the state of the chain; the id is valid for one revert."""
        identifier: str = self.rpc("evm_snapshot")
        return identifier

    def revert(self, snapshot: str) -> None:
        """Go back to a snapshot."""
        if not self.rpc("evm_revert", snapshot):
            raise RpcError(f"snapshot {snapshot} does not exist; each one is valid for one revert")

    def logs(
        self,
        address: str | Sequence[str] | None = None,
        topics: Sequence[Any] = (),
        first: int = 0,
        last: int | None = None,
    ) -> list[dict[str, Any]]:
        """Return the logs of a block range as the node gives them."""
        wanted: dict[str, Any] = {
            "fromBlock": hex(first),
            "toBlock": "latest" if last is None else hex(last),
            "topics": list(topics),
        }
        if address is not None:
            wanted["address"] = address
        logs: list[dict[str, Any]] = self.rpc("eth_getLogs", wanted)
        return logs

    def storage(self, address: str, slot: int) -> int:
        """Return a storage word."""
        return int(self.rpc("eth_getStorageAt", address, hex(slot), "latest"), 16)

    def set_storage(self, address: str, slot: int, word: int) -> None:
        """Overwrite a storage word."""
        self.rpc("anvil_setStorageAt", address, hex(slot), f"0x{word:064x}")

    def set_code(self, address: str, runtime: str) -> None:
        """Put runtime code (hex without 0x) at an address."""
        self.rpc("anvil_setCode", address, f"0x{runtime}")

    def _send_block(self, transactions: Sequence[Tx]) -> list[Receipt]:
        senders = list(dict.fromkeys(tx.sender for tx in transactions))
        counts = self.batch("eth_getTransactionCount", [(sender, "latest") for sender in senders])
        nonces = {sender: int(count, 16) for sender, count in zip(senders, counts, strict=True)}
        hashes = []
        # One request each, because the node reorders the entries of a batch.
        for tx in transactions:
            request = {"from": tx.sender, "data": tx.data, "gas": GAS, "gasPrice": "0x0"}
            if tx.to:
                request["to"] = tx.to
            request["nonce"] = hex(nonces[tx.sender])
            nonces[tx.sender] += 1
            hashes.append(self.rpc("eth_sendTransaction", request))
        self.mine()
        mined = self.rpc("eth_getBlockReceipts", "latest") if hashes else []
        receipts = {receipt["transactionHash"]: receipt for receipt in mined}
        if len(receipts) != len(hashes):
            raise RpcError(f"the node mined {len(receipts)} of {len(hashes)} transactions")
        return [_receipt(receipts[tx_hash]) for tx_hash in hashes]

    def post(self, payload: Any) -> Any:
        """Send a JSON-RPC request, or a list of them, as it is and return the node's answer."""
        body = json.dumps(payload)
        headers = {"Content-Type": "application/json"}
        try:
            self._connection.request("POST", "/", body, headers)
            return json.loads(self._connection.getresponse().read())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise RpcError(f"the local node at {self.url} does not answer: {error}") from error


def _receipt(raw: dict[str, Any]) -> Receipt:
    return Receipt(
        hash=raw["transactionHash"],
        block=int(raw["blockNumber"], 16),
        ok=int(raw["status"], 16) == 1,
        created=raw.get("contractAddress") or "",
        logs=raw["logs"],
    )


def _request(method: str, parameters: Sequence[Any], number: int = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(parameters)}


def _result(method: str, answer: dict[str, Any]) -> Any:
    error = answer.get("error")
    if error is None:
        return answer["result"]
    if error.get("code") == 3:
        raise TransactionReverted(f"{method}: {error['message']} ({error.get('data', 'no data')})")
    raise RpcError(f"{method}: {error.get('message')}")
