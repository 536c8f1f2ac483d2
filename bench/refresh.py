"""What an incremental refresh costs: it follows the accounts that changed, not all of them.

The alternative is reading every account of the same market again (`collect --full`). The seconds
beside hold what does not shrink: every health factor is computed anew at the block's prices, and
the node on loopback answers in no time, where a public endpoint takes the longer the more is asked.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.chain import market_with
from chainwatch.collect import runner
from chainwatch.collect.feed import Job
from chainwatch.collect.registry import find
from chainwatch.demo.aave import AaveMarket
from chainwatch.lake.store import Store
from chainwatch.settings import Settings
from chainwatch.tables.lending import Snapshot

SIZES = (1_000, 4_000)
DIRTY = (0, 20, 200)


class Quiet:
    def note(self, text: str) -> None: ...

    def progress(self, what: str, done: float, total: float | None = None) -> None: ...


def touch(deployed: AaveMarket, accounts: list[str]) -> None:
    """Let the first accounts do something: each is given a little more collateral."""
    bank = "0x" + "ba" * 20
    deployed.chain.send_all(
        [
            deployed.mint("USDC", bank, 10**6 * len(accounts)),
            deployed.approve(bank, "USDC"),
            *(deployed.supply(bank, "USDC", 10**6, account) for account in accounts),
        ]
    )


def run(cache: Path) -> list[dict[str, Any]]:
    lines = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder, market_with(cache, size) as built:
            url, market, accounts, deployed = built
            home = Path(folder)
            (home / "markets.toml").write_text(
                f'[markets.bench]\nprotocol = "aave-v3"\nchain = "local"\nchain_id = 31337\n'
                f'pool = "{market.pool}"\nrpc = ["{url}"]\nlag = 0\n'
                f"deployment_block = {market.deployment_block}\n"
            )
            settings = Settings({"home": folder}, environ={}, dotenv=home / ".env")

            def read(**options: str) -> tuple[float, float, int]:
                job = Job(find("aave-v3"), target="bench", options={"accounts": "all", **options})
                begin, cpu = time.perf_counter(), time.process_time()
                done = asyncio.run(runner.collect(Store(home), settings, [job], Quiet()))  # noqa: B023
                runner.raise_failures(done)
                seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
                newest = max(Store(home).rows(Snapshot), key=lambda s: s.read_at)  # noqa: B023
                return seconds, cpu, newest.accounts_read

            read()
            for dirty in DIRTY:
                touch(deployed, accounts[:dirty])
                deployed.chain.mine()
                seconds, cpu, count = read()
                deployed.chain.mine()
                full_seconds, full_cpu, full_count = read(full="yes")
                lines.append(
                    {
                        "benchmark": f"refresh with {dirty} changed of {size} accounts",
                        "unit": "accounts read from the chain",
                        "ours": count,
                        "seconds": round(seconds, 3),
                        "cpu_seconds": round(cpu, 3),
                        "alternative": full_count,
                        "alternative_seconds": round(full_seconds, 3),
                        "alternative_cpu_seconds": round(full_cpu, 3),
                        "ratio": round(full_count / max(count, 1), 2),
                    }
                )
    return lines
