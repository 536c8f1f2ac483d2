"""An incremental refresh of ten markets on one node: three of Aave v3, seven stand-ins for Compound
III, read in one run, against reading each of their accounts again.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.refresh import Quiet, touch
from chainwatch.collect import runner
from chainwatch.collect.feed import Job
from chainwatch.collect.registry import find
from chainwatch.demo import aave, accounts, comet
from chainwatch.demo.chain import Chain
from chainwatch.demo.node import Node, install
from chainwatch.lake.store import Store
from chainwatch.settings import Settings
from chainwatch.tables.lending import Snapshot

AAVE, COMETS, EACH, DIRTY = 3, 7, 300, 10


def run(cache: Path) -> list[dict[str, Any]]:
    tools = install(cache, lambda text: None)
    with (
        tempfile.TemporaryDirectory() as folder,
        Node(tools.anvil) as node,
        Chain(node.url, block_seconds=1) as chain,
    ):
        pools = [aave.deploy(chain, tools.artifacts) for _ in range(AAVE)]
        made = [accounts.populate(pool, EACH, seed) for seed, pool in enumerate(pools)]
        stands = [comet.deploy(pools[0]) for _ in range(COMETS)]
        owing = [
            comet.populate(stand, pools[0].prices(), EACH, 100 + seed)
            for seed, stand in enumerate(stands)
        ]
        places = [("aave-v3", p.pool, p.deployment_block) for p in pools]
        places += [("compound-v3", s.comet, s.deployment_block) for s in stands]
        home = Path(folder)
        (home / "markets.toml").write_text(
            "\n".join(
                f'[markets.m{i}]\nprotocol = "{protocol}"\nchain = "local"\nchain_id = 31337\n'
                f'pool = "{pool}"\nrpc = ["{node.url}"]\nlag = 0\ndeployment_block = {block}\n'
                for i, (protocol, pool, block) in enumerate(places)
            )
        )
        settings = Settings({"home": folder}, environ={}, dotenv=home / ".env")
        store = Store(home)

        def read(**options: str) -> tuple[float, int]:
            """Seconds, and accounts that were read from the chain."""
            jobs = [
                Job(find(protocol), target=f"m{i}", options={"accounts": "all", **options})
                for i, (protocol, _, _) in enumerate(places)
            ]
            before = {s.snapshot for s in store.rows(Snapshot)} if store.exists else set()
            begin = time.perf_counter()
            done = asyncio.run(runner.collect(store, settings, jobs, Quiet()))
            seconds = time.perf_counter() - begin
            runner.raise_failures(done)
            new = [s for s in store.rows(Snapshot) if s.snapshot not in before]
            assert len(new) == len(places)
            return seconds, sum(s.accounts_read for s in new)

        read()
        for pool, names in zip(pools, made, strict=True):
            touch(pool, names[:DIRTY])
        for stand, names in zip(stands, owing, strict=True):
            chain.send_all(
                [tx for name in names[:DIRTY] for tx in stand.supply(name, "WETH", 10**15)]
            )
        seconds, count = read()
        chain.mine()
        full_seconds, full_count = read(full="yes")
    return [
        {
            "benchmark": f"refresh of {len(places)} markets with {EACH} accounts each, "
            f"{DIRTY} changed in each",
            "unit": "accounts read from the chain",
            "ours": count,
            "seconds": round(seconds, 3),
            "alternative": full_count,
            "alternative_seconds": round(full_seconds, 3),
            "ratio": round(full_count / count, 2),
        }
    ]
