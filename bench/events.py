"""Decoding events: liquidations as rows of the lake, against web3's decoder on the same logs."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random
from typing import Any

from chainwatch.chain.client import Rpc
from chainwatch.chain.contract import read_abi
from chainwatch.chain.markets import Market
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Block, Log
from chainwatch.lending.liquidations import decode_liquidations
from chainwatch.lending.protocols.aave_v3.pool import V3
from chainwatch.lending.protocols.aave_v3.reader import LIQUIDATION_CALL, AavePool
from chainwatch.net.http import Http

OURS, THEIRS = 50_000, 2_000
POOL = "0x" + "87" * 20
AT = Block(number=20_000_000, hash="0x" + "ab" * 32, time=1_769_650_000)
MARKET = Market(
    protocol="aave-v3", chain="ethereum", chain_id=1, pool=POOL, name="bench", rpc=(), lag=0
)


def made(count: int) -> list[Log]:
    """LiquidationCall logs as the JSON-RPC client hands them on."""
    rng = Random(1)
    logs = []
    for i in range(count):
        words = [rng.randrange(10**22), rng.randrange(10**20), rng.randrange(2**160), i % 2]
        data = "".join(f"{word:064x}" for word in words)
        topics = [LIQUIDATION_CALL.topic, *(f"0x{rng.randrange(2**160):064x}" for _ in range(3))]
        logs.append(Log(POOL, tuple(topics), f"0x{data}", AT.number, AT.hash, i, f"0x{i:064x}"))
    return logs


def wire(log: Log) -> Any:
    """The same as web3 hands it to its decoder."""
    from hexbytes import HexBytes
    from web3 import Web3
    from web3.datastructures import AttributeDict

    return AttributeDict(
        {
            "address": Web3.to_checksum_address(log.address),
            "topics": [HexBytes(topic) for topic in log.topics],
            "data": HexBytes(log.data),
            "blockNumber": log.block_number,
            "blockHash": HexBytes(log.block_hash),
            "logIndex": log.index,
            "transactionHash": HexBytes(log.transaction),
            "transactionIndex": 0,
            "removed": False,
        }
    )


def run(cache: Path) -> list[dict[str, Any]]:
    from web3 import Web3

    logs = made(OURS)
    lending = AavePool(V3)
    reading = Reading(Rpc(Http(), ["http://127.0.0.1"], chain="ethereum", chain_id=1), MARKET, AT)
    begin = time.perf_counter()
    rows = [e.row for log in logs for e in decode_liquidations(lending, reading, log)]
    ours = OURS / (time.perf_counter() - begin)

    abi = [{"anonymous": False, **entry} for entry in read_abi("aave_v3_pool")]
    event = Web3().eth.contract(abi=abi).events.LiquidationCall()
    wires = [wire(log) for log in logs[:THEIRS]]
    begin = time.perf_counter()
    decoded = [event.process_log(wire) for wire in wires]
    theirs = THEIRS / (time.perf_counter() - begin)
    for row, other in zip(rows, decoded, strict=False):
        arguments = other["args"]
        assert (row.debt_repaid_raw, row.coll_seized_raw) == (
            arguments["debtToCover"],
            arguments["liquidatedCollateralAmount"],
        )
        assert row.account == arguments["user"].lower()
        assert row.liquidator == arguments["liquidator"].lower()
    return [
        {
            "benchmark": "decoding liquidation events into rows, against web3's process_log",
            "unit": "events per second",
            "ours": round(ours),
            "alternative": round(theirs),
            "ratio": round(ours / theirs, 1),
        }
    ]
