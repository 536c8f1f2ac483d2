"""The ledger that tests of the client read: a contract with balances and logs, and helpers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from chainwatch.chain.client import Rpc
from chainwatch.chain.types import Block, Call, Log
from chainwatch.demo.chain import Chain, encode
from tests.evm.rpc_proxy import Answer, fault
from tests.evm.rpc_proxy import Call as ProxyCall
from tests.places import FIXTURES

CHAIN_ID = 31337
PROBE = "0x00000000000000000000000000000000000000b0"
CODE = FIXTURES / "rpc" / "Probe.hex"
BLOCKS = 60
ACCOUNTS = [f"0x{0xACC00000 + i:040x}" for i in range(300)]
GENESIS = 1_700_000_000


def balance_of(account: str) -> bytes:
    return bytes.fromhex(encode("scaledBalanceOf(address)", account)[2:])


BALANCES: list[Call] = [(PROBE, balance_of(account)) for account in ACCOUNTS]
WORTH = [(7 * i).to_bytes(32) for i in range(len(ACCOUNTS))]
FAIL_LOUDLY = bytes.fromhex(encode("failLoudly()")[2:])
FAIL_SILENTLY = bytes.fromhex(encode("failSilently()")[2:])
NO_PRICE = bytes.fromhex("08c379a0" + f"{32:064x}" + f"{8:064x}" + b"no price".hex().ljust(64, "0"))


def burn(gas: int) -> bytes:
    return bytes.fromhex(encode("burn(uint256)", gas)[2:])


Connect = Callable[..., Rpc]


async def collect(
    rpc: Rpc, first: int = 0, last: int = BLOCKS, addresses: tuple[str, ...] = (PROBE,)
) -> list[Log]:
    """All logs of the probe, after a check that the ranges adjoin and cover everything."""
    logs: list[Log] = []
    expected = first
    async for part in rpc.logs(addresses, [], first, last):
        assert part.first == expected
        assert part.last >= part.first
        assert all(part.first <= log.block_number <= part.last for log in part.logs)
        expected = part.last + 1
        logs += part.logs
    assert expected == last + 1
    return logs


def truth(chain: Chain, first: int = 0, last: int = BLOCKS) -> list[Log]:
    return [
        Log(
            raw["address"],
            tuple(raw["topics"]),
            raw["data"],
            int(raw["blockNumber"], 16),
            raw["blockHash"],
            int(raw["logIndex"], 16),
            raw["transactionHash"],
        )
        for raw in chain.logs(PROBE, first=first, last=last)
    ]


def head(chain: Chain) -> Block:
    raw = chain.rpc("eth_getBlockByNumber", "latest", False)
    return Block(int(raw["number"], 16), raw["hash"], int(raw["timestamp"], 16))


def is_method(method: str, answer: Answer) -> Callable[[ProxyCall], Answer | None]:
    return lambda call: answer if call["method"] == method else None


def codes(count: int) -> list[tuple[str, list[Any]]]:
    """That many calls with answers that tell them apart."""
    data = [balance_of(account).hex() for account in ACCOUNTS[:count]]
    return [("eth_call", [{"to": PROBE, "data": "0x" + code}, "latest"]) for code in data]


def worth(count: int) -> list[str]:
    return ["0x" + value.hex() for value in WORTH[:count]]


def refuse_batches(limit: int, refusal: Callable[[Any], web.Response]) -> Callable[[Any], Any]:
    return lambda body: refusal(body) if isinstance(body, list) and len(body) > limit else None


def behind(top: int) -> Callable[[ProxyCall], Answer | None]:
    """An endpoint whose node has only the blocks up to `top`: what it says, silence included."""

    def rule(call: ProxyCall) -> Answer | None:
        method, params = call["method"], call["params"]
        if method == "eth_getBlockByNumber":
            if params[0] == "latest":
                params[0] = hex(top)
            return {"result": None} if int(params[0], 16) > top else None
        if method == "eth_blockNumber":
            return {"result": hex(top)}
        if method == "eth_getLogs":
            if int(params[0]["fromBlock"], 16) > top:
                return {"result": []}
            params[0]["toBlock"] = hex(min(top, int(params[0]["toBlock"], 16)))
        if method == "eth_call" and isinstance(params[1], dict):
            return fault(-32000, "header for hash not found")
        if method == "eth_getCode" and int(params[1], 16) > top:
            return {"result": "0x"}
        return None

    return rule


class Limit:
    """An endpoint that serves `blocks` at most, or `logs` at most, and says so in its words."""

    def __init__(
        self, text: str, code: int, blocks: int = 10_000, logs: int = 10_000, status: int = 200
    ) -> None:
        self.text = text
        self.code = code
        self.blocks = blocks
        self.logs = logs
        self.refusals = 0

    def __call__(self, call: ProxyCall, answer: Answer) -> None:
        if call["method"] != "eth_getLogs":
            return
        first = int(call["params"][0]["fromBlock"], 16)
        last = int(call["params"][0]["toBlock"], 16)
        if last - first + 1 > self.blocks or len(answer["result"]) > self.logs:
            self.refusals += 1
            end = first + self.blocks - 1
            message = self.text.format(
                n=self.blocks, a=first, b=last, asked=last - first + 1, end=end, logs=self.logs
            )
            answer.clear()
            answer.update(fault(self.code, message))


STATED = [
    # protocols.md section 9, first table
    ("Alchemy", -32602, "Log response size exceeded. You can make eth_getLogs requests with up to "
     "a 2K block range and no limit on the response size, or you can request any block range with "
     "a cap of 10K logs in the response. Based on your parameters and the response size limit, "
     "this block range should work: [{a:#x}, {end:#x}]"),
    ("Alchemy free", -32600, "Under the Free tier plan, you can make eth_getLogs requests with up "
     "to a {n} block range. Based on your parameters, this block range should work: "
     "[{a:#x}, {end:#x}]"),
    ("Infura results", -32005, "query returned more than 10000 results. Try with this block range "
     "[{a:#X}, {end:#X}]."),
    ("Infura range", -32602, "range {asked} exceeds limit of {n}"),
    ("zkSync", -32602, "Query returned more than 10000 results. Try with this block range "
     "[{a:#x}, {end:#x}]."),
    ("QuickNode", -32614, "eth_getLogs is limited to a {n:,} range"),
    ("1rpc", -32001, "eth_getLogs is limited to a {n:,} blocks range"),
    ("BlockPI", -32602, "eth_getLogs is limited to {n} block"),
    ("publicnode", -32701, "exceed maximum block range: {n}"),
    ("Avalanche", -32000, "requested too many blocks from {a} to {b}, maximum is set to {n}"),
    ("Cloudflare", -32047, "Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too large. "
     "Max range: {n}"),
    ("thirdweb", -32602, "Maximum allowed number of requested blocks is {n}"),
    ("erigon", -32000, "query block range exceeds server limit, narrow your filter: {n}"),
    ("Aurora", -32602, "up to a {n} block range"),
    ("Coinbase", -32602, "please limit the query to at most {n} blocks"),
    ("Blast", -32600, "exceeds the range allowed for your plan ({asked} > {n})"),
    ("Hyperliquid", -32602, "query exceeds max block range {n}"),
    ("Arc", -32600, "Query exceeds max block range of {n}"),
    ("Swell", -32005, "block range greater than {n} max"),
    ("Somnia", -32000, "block range exceeds {n}"),
    ("Ankr TAC", -32602, "maximum [from, to] blocks distance: {n}"),
    ("reth", -32602, "query exceeds max results 20000, retry with the range {a}-{end}"),
    # seen in ponder's tests
    ("Harmony", -32000, "query must be smaller than size {n}"),
    ("Moonriver", -32603, "block range is too wide (maximum {n})"),
]  # fmt: skip
UNSTATED = [
    # protocols.md section 9, second list
    ("Infura", -32005, "query returned more than {logs} results"),
    ("Ankr", -32602, "query exceeds max results"),
    ("Alchemy", -32602, "Log response size exceeded. Please reduce query block range."),
    ("1rpc", -32000, "response size should not greater than 10000000 bytes"),
    ("Optimism", -32020, "backend response too large"),
    ("Optimism range", -32000, "Block range is too large"),
    ("Base", -32614, "block range too large"),
    ("Ankr range", -32600, "block range is too wide"),
    ("Chainstack", -32005, "Block range limit exceeded."),
    ("Arbitrum", -32000, "logs matched by query exceeds limit of {logs}"),
    ("drpc", 35, "ranges over 10000 blocks are not supported on freetier"),
    ("erigon", -32000, "query returns too many logs, narrow your filter: {logs}"),
    ("merkle", -32005, "eth_getLogs range is too large, max is 10k blocks"),
    ("geth", -32002, "request timed out"),
    ("a text nobody knows", -32000, "this is more than we like"),
]
