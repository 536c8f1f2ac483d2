"""What several test files start from: hand-made snapshots, and a lake beside a local market."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chainwatch.collect import runner
from chainwatch.collect.feed import Job, Outcome
from chainwatch.collect.predictions import PredictedWall
from chainwatch.collect.registry import find
from chainwatch.demo.aave import AaveMarket
from chainwatch.demo.chain import DEPLOYER, decode, encode
from chainwatch.errors import ConfigError, Exit, NetworkError
from chainwatch.lake import query
from chainwatch.lake.engine import Result
from chainwatch.lake.store import Store
from chainwatch.lending.close_rules import RESERVE_HALF, CloseRule
from chainwatch.lending.integers import percent_mul, wad_div
from chainwatch.lending.protocol import name_of
from chainwatch.lending.slots import with_slots
from chainwatch.reports.wall_proof import predict_walls
from chainwatch.settings import Settings
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Depth
from chainwatch.tables.lending import (
    Account,
    EMode,
    Factor,
    Leg,
    Mismatch,
    Orphan,
    Reserve,
    Scan,
    Snapshot,
    Verification,
    WallProof,
)
from chainwatch.tables.log import Load
from tests.evm.rpc_proxy import Proxy, standing

BASE = 10**8  # base units of a USD
WAD = 10**18
UINT_MAX = 2**256 - 1
NOBODY = "0x" + "00" * 20
FIRST_BLOCK_TIME = datetime(2026, 1, 29, tzinfo=UTC)


class Silent:
    """A voice that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, what: str, done: float, total: float | None = None) -> None:
        pass


# --- hand-made snapshots ------------------------------------------------------------------------

_made = count(1)


@dataclass
class Asset:
    """One reserve of a hand-made market; `betas` is factor → beta, a factor A/B is a ratio."""

    symbol: str
    price: float | None
    lt: float = 0.8
    bonus: float = 0.05
    betas: Mapping[str, float] = field(default_factory=dict)
    kind: str = "feed"
    # None: the asset's own price
    factor_price: float | Mapping[str, float] | None = None
    cap_x: float | None = None
    blocked: str | None = None

    def price_of(self, factor: str) -> float | None:
        """What one of its factors stands at."""
        if isinstance(self.factor_price, Mapping):
            return self.factor_price[factor]
        return self.price if self.factor_price is None else self.factor_price

    @property
    def address(self) -> str:
        return f"0x{self.symbol.encode().hex():0>40}"


class Book:
    """One snapshot made by hand: reserves, factors and accounts as a collector would store them.

    Amounts are whole tokens. Everything the queries read is derived from them here, in plain
    Python, so that what a query returns can be compared with what went in.
    """

    def __init__(
        self,
        *assets: Asset,
        market: str = "m",
        block: int = 100,
        time: datetime | None = None,
        truncates_lt: bool = False,
        close_rule: CloseRule = RESERVE_HALF,
        slots: bool = True,
    ) -> None:
        self.assets = {a.symbol: a for a in assets}
        self.market = market
        self.block = block
        self.time = time or FIRST_BLOCK_TIME + timedelta(seconds=12 * block)
        self.truncates_lt = truncates_lt
        self.close_rule = close_rule
        # False: as a snapshot that was stored without slots.
        self.slots = slots
        self.snapshot = f"{market}:{block}:{next(_made)}"
        self.accounts: list[Account] = []
        self.legs: list[Leg] = []

    def account(
        self,
        name: str,
        collateral: Mapping[str, float] | None = None,
        debt: Mapping[str, float] | None = None,
        *,
        lt: Mapping[str, float] | None = None,
        bonus: Mapping[str, float] | None = None,
        emode: int = 0,
        status: str = "",
    ) -> str:
        """Add an account; `lt` and `bonus` replace the assets' own. Returns its address."""
        address = f"0x{name.encode().hex():0>40}"
        legs = [
            self._leg(address, symbol, amount, side, lt or {}, bonus or {})
            for side, amounts in (("collateral", collateral or {}), ("debt", debt or {}))
            for symbol, amount in amounts.items()
        ]
        unpriced = any(leg.usd is None for leg in legs)
        sums = {
            side: sum(leg.value or 0 for leg in legs if leg.side == side)
            for side in ("collateral", "debt")
        }
        weighted = sum((leg.value or 0) * leg.lt_bps for leg in legs if leg.side == "collateral")
        average = weighted // sums["collateral"] if sums["collateral"] else 0
        hf = None
        if sums["debt"] and self.truncates_lt:
            hf = wad_div(percent_mul(sums["collateral"], average), sums["debt"])
        elif sums["debt"]:
            hf = wad_div(weighted, sums["debt"]) // 10_000
        status = status or (
            "n/a (oracle reverted)" if unpriced else "ok" if hf is not None else "no debt"
        )
        is_known = not status.startswith("n/a")
        self.legs += legs
        self.accounts.append(
            Account(
                snapshot=self.snapshot,
                market=self.market,
                block_number=self.block,
                account=address,
                emode=emode,
                status=status,
                collateral_base=sums["collateral"] if is_known else None,
                debt_base=sums["debt"] if is_known else None,
                hf_wad=hf if is_known else None,
                lt_bps=average if is_known else None,
                collateral_usd=sums["collateral"] / BASE if is_known else None,
                debt_usd=sums["debt"] / BASE if is_known else None,
                hf=hf / WAD if is_known and hf is not None else None,
                legs=len(legs),
                read_block=self.block,
            )
        )
        return address

    def _leg(
        self,
        account: str,
        symbol: str,
        amount: float,
        side: str,
        lt: Mapping[str, float],
        bonus: Mapping[str, float],
    ) -> Leg:
        asset = self.assets[symbol]
        usd = None if asset.price is None else amount * asset.price
        counts = side == "collateral"
        return Leg(
            snapshot=self.snapshot,
            market=self.market,
            account=account,
            asset=asset.address,
            side=side,
            scaled=round(amount * WAD),
            raw=round(amount * WAD),
            value=None if usd is None else round(usd * BASE),
            amount=amount,
            usd=usd,
            lt_bps=round(lt.get(symbol, asset.lt) * 10_000) if counts else 0,
            bonus_bps=round(bonus.get(symbol, asset.bonus) * 10_000) if counts else 0,
        )

    def rows(self) -> list[Row]:
        """Everything of the snapshot in the order in which a collector delivers it."""
        reserves: list[Row] = [self._reserve(i, a) for i, a in enumerate(self.assets.values())]
        factors: list[Row] = [
            Factor(
                snapshot=self.snapshot,
                market=self.market,
                block_number=self.block,
                asset=asset.address,
                factor=name,
                beta=beta,
                kind="ratio" if "/" in name and beta > 0 else asset.kind,
                feed=NOBODY,
                description=f"{name} / USD",
                factor_price=asset.price_of(name),
                cap_x=asset.cap_x,
            )
            for asset in self.assets.values()
            for name, beta in asset.betas.items()
        ]
        emodes: list[Row] = [
            EMode(
                snapshot=self.snapshot,
                market=self.market,
                block_number=self.block,
                category=1,
                label="ETH",
                ltv_bps=9300,
                lt_bps=9500,
                bonus_bps=100,
                price_source=NOBODY,
            )
        ]
        scan = Scan(
            market=self.market,
            scope="all",
            from_block=0,
            to_block=self.block,
            to_hash=f"0x{self.block:064x}",
            events=len(self.accounts),
        )
        rows = [scan, *reserves, *emodes, *factors, *self.accounts, *self.legs, self.head()]
        return with_slots(rows) if self.slots else rows

    def _reserve(self, number: int, asset: Asset) -> Reserve:
        price = None if asset.price is None else round(asset.price * BASE)
        return Reserve(
            snapshot=self.snapshot,
            market=self.market,
            block_number=self.block,
            asset=asset.address,
            reserve_id=number,
            symbol=asset.symbol,
            decimals=18,
            price=price,
            price_usd=asset.price,
            price_status="ok" if price is not None else "n/a (oracle reverted)",
            oracle=NOBODY,
            liquidity_index=10**27,
            debt_index=10**27,
            liquidity_rate=0,
            variable_rate=0,
            ltv_bps=0,
            lt_bps=round(asset.lt * 10_000),
            bonus_bps=round(asset.bonus * 10_000),
            protocol_fee_bps=1000,
            emode=0,
            active=True,
            frozen=False,
            paused=False,
            blocked_collateral=asset.blocked,
            blocked_debt=asset.blocked,
            borrowing=True,
            a_token=NOBODY,
            stable_debt_token=NOBODY,
            variable_debt_token=NOBODY,
        )

    def head(self, **changes: Any) -> Snapshot:
        """The row that makes the snapshot count."""
        values: dict[str, Any] = {
            "snapshot": self.snapshot,
            "market": self.market,
            "protocol": "aave-v3",
            "provenance": "chain",
            "chain_id": 1,
            "block_number": self.block,
            "block_hash": f"0x{self.block:064x}",
            "block_time": self.time,
            "read_at": self.time + timedelta(seconds=3),
            "revision": 1,
            "profile": "3.0",
            "truncates_lt": self.truncates_lt,
            **msgspec.structs.asdict(self.close_rule),
            "base_decimals": 8,
            "scope": "all",
            "accounts": len(self.accounts),
            "accounts_read": len(self.accounts),
            "accounts_failed": sum(a.status.startswith("n/a") for a in self.accounts),
            "endpoint": "http://node.example",
        }
        return Snapshot(**values | changes)

    def verified(self, *, checked: int | None = None, mismatched: int = 0) -> Verification:
        """That the snapshot was compared with the chain."""
        return Verification(
            snapshot=self.snapshot,
            market=self.market,
            block_number=self.block,
            verified_at=self.time + timedelta(minutes=1),
            method="getUserAccountData",
            accounts=len(self.accounts),
            checked=len(self.accounts) if checked is None else checked,
            mismatched=mismatched,
            max_abs_error=mismatched,
            endpoint="http://node.example",
        )

    def mismatch(self, account: str) -> Mismatch:
        """One figure in which the snapshot and the chain differ."""
        return Mismatch(
            snapshot=self.snapshot,
            market=self.market,
            block_number=self.block,
            verified_at=self.time + timedelta(minutes=1),
            account=account,
            figure="debt",
            ours="1",
            chain="2",
        )

    def orphan(self) -> Orphan:
        """That the snapshot's block left the chain."""
        return Orphan(
            snapshot=self.snapshot, market=self.market, detected_at=self.time + timedelta(hours=1)
        )

    def store(self, store: Store) -> Book:
        """Write the snapshot as one load."""
        store.create()
        store.append(self.rows(), source="aave-v3", target=self.market)
        return self


def close_rule(snapshot: Snapshot) -> CloseRule:
    """The close rule that a snapshot's columns state."""
    values = {name: getattr(snapshot, name) for name in CloseRule.__struct_fields__}
    return CloseRule(**values)


def depth(
    points: Sequence[tuple[float, float]],
    *,
    factor: str = "BTC",
    venue: str = "v",
    time: datetime = FIRST_BLOCK_TIME,
    mid_price: float = 90_000.0,
    side: str = "bid",
    volume_24h: float | None = None,
) -> list[Row]:
    """One side of an order book as (distance from the mid price, units up to there)."""
    return [
        Depth(
            factor=factor,
            venue=venue,
            symbol=f"{factor}/USD",
            kind="spot",
            side=side,
            distance=distance,
            units=units,
            quote_amount=units * mid_price * (1 - distance / 2),
            mid_price=mid_price,
            best_bid=mid_price * 0.9999,
            best_ask=mid_price * 1.0001,
            reach=max(d for d, _ in points),
            volume_24h=volume_24h,
            time=time,
            received_at=time,
        )
        for distance, units in points
    ]


def ask(store: Store, name: str, **values: object) -> list[dict[str, Any]]:
    """The rows of a query of the catalog; `p_` is put before the names of the values."""
    with query.open_catalog(store) as catalog:
        return query.run(
            catalog, query.find(name), {f"p_{k}": v for k, v in values.items()}
        ).dicts()


def sql(store: Store, text: str) -> Result:
    """What a statement returns over the catalog."""
    with query.open_catalog(store) as catalog:
        return catalog.run(text)


# --- a lake beside a local market ---------------------------------------------------------------


class Watched:
    """A local market and a lake of its own that is filled as the product fills it."""

    def __init__(self, home: Path, market: AaveMarket, *, scope: str = "all", **entry: Any) -> None:
        self.market = market
        self.chain = market.chain
        self.home = home
        self.scope = scope
        self.voice = Silent()
        home.mkdir(parents=True, exist_ok=True)
        values: dict[str, Any] = {
            "protocol": "aave-v3",
            "chain": "local",
            "chain_id": 31_337,
            "pool": market.pool,
            "rpc": [market.chain.url],
            "lag": 0,
            "provenance": "chain",
        } | entry
        self.protocol = values["protocol"]
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        (home / "markets.toml").write_text("\n".join(["[markets.local]", *lines, ""]))
        # Endpoints that are down are given up soon.
        self.settings = Settings(
            {"home": str(home), "timeout": "20"}, environ={}, dotenv=home / ".env"
        )
        self.store = Store(home)

    def job(self, **options: str) -> Job:
        wanted = {"accounts": self.scope} | options
        return Job(find(self.protocol), target="local", options=wanted)

    def run(self, **options: str) -> Outcome:
        """Collect once; what failed is in the outcome."""
        (outcome,) = asyncio.run(
            runner.collect(self.store, self.settings, [self.job(**options)], self.voice)
        )
        return outcome

    def collect(self, **options: str) -> Snapshot:
        """Collect once and return the newest snapshot; raises what failed."""
        runner.raise_failures([self.run(**options)])
        return self.snapshot()

    def verify(
        self,
        sample: int | None = None,
        independent: bool = False,
        walls: Sequence[PredictedWall] = (),
    ) -> tuple[Verification, list[Row]]:
        return asyncio.run(
            runner.verify(
                self.store,
                self.settings,
                self.job(),
                self.voice,
                sample=sample,
                independent=independent,
                walls=walls,
            )
        )

    def walls(self) -> list[PredictedWall]:
        """What the newest snapshot predicts."""
        return predict_walls(self.store, self.settings, self.job())

    def prove(
        self, walls: Sequence[PredictedWall] | None = None
    ) -> tuple[list[WallProof], list[Mismatch]]:
        """Have the contracts asked at other prices; by default at those of all walls."""
        if walls is None:
            walls = self.walls()
        _, rows = self.verify(walls=walls)
        return (
            [row for row in rows if isinstance(row, WallProof)],
            [row for row in rows if isinstance(row, Mismatch)],
        )

    def snapshot(self) -> Snapshot:
        """The newest snapshot that is no orphan."""
        gone = {row.snapshot for row in self.store.rows(Orphan)}
        rows = [row for row in self.store.rows(Snapshot) if row.snapshot not in gone]
        return max(rows, key=lambda row: (row.block_number, row.read_at))

    def accounts(self, snapshot: Snapshot | None = None) -> dict[str, Account]:
        of_snapshot = snapshot or self.snapshot()
        rows = self.store.rows(Account, "snapshot = $s", {"s": of_snapshot.snapshot})
        return {name_of(row): row for row in rows}

    def legs(self, snapshot: Snapshot | None = None) -> dict[tuple[str, str, str], Leg]:
        of_snapshot = snapshot or self.snapshot()
        rows = self.store.rows(Leg, "snapshot = $s", {"s": of_snapshot.snapshot})
        return {(name_of(row), row.asset, row.side): row for row in rows}

    def cli(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the command line in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "chainwatch.cli", *arguments],
            env=clean_environment(self.home) | environ,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
        )


def clean_environment(home: Path) -> dict[str, str]:
    """This process's environment without its CHAINWATCH_ settings, the home folder set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CHAINWATCH_")}
    return kept | {"CHAINWATCH_HOME": str(home)}


ACCOUNT_DATA = "getUserAccountData(address)(uint256,uint256,uint256,uint256,uint256,uint256)"
Figures = tuple[int, int, int]  # collateral, debt, health factor


def chain_figures(market: AaveMarket, accounts: Sequence[str]) -> dict[str, Figures | None]:
    """What getUserAccountData returns at the latest block, None where it reverts.

    Asked through the local chain's own client, which shares nothing with the product's.
    """
    by_account: dict[str, Figures | None] = {}
    for start in range(0, len(accounts), 500):
        part = accounts[start : start + 500]
        requests = [
            {
                "jsonrpc": "2.0",
                "id": i,
                "method": "eth_call",
                "params": [
                    {
                        "from": DEPLOYER,
                        "to": market.pool,
                        "data": encode("getUserAccountData(address)", account),
                    },
                    "latest",
                ],
            }
            for i, account in enumerate(part)
        ]
        for answer in market.chain.post(requests):
            account = part[answer["id"]]
            if "error" in answer:
                assert answer["error"]["code"] == 3, answer  # a revert, and nothing else
                by_account[account] = None
            else:
                row = decode(ACCOUNT_DATA, answer["result"])
                by_account[account] = (row[0], row[1], row[5])
    return by_account


def our_figures(accounts: Mapping[str, Account]) -> dict[str, Figures | None]:
    """The stored figures in the same form."""
    by_account: dict[str, Figures | None] = {}
    for address, row in accounts.items():
        if row.status.startswith("n/a"):
            assert row.collateral_base is row.debt_base is row.hf_wad is None
            by_account[address] = None
        else:
            assert row.collateral_base is not None
            assert row.debt_base is not None
            assert (row.status == "no debt") == (row.hf_wad is None)
            hf = UINT_MAX if row.hf_wad is None else row.hf_wad
            by_account[address] = (row.collateral_base, row.debt_base, hf)
    return by_account


def content(rows: dict[Any, Any]) -> dict[Any, dict[str, Any]]:
    """Rows without what names the reading they came from."""
    reading = {"snapshot", "read_block"}
    return {
        key: {k: v for k, v in msgspec.structs.asdict(row).items() if k not in reading}
        for key, row in rows.items()
    }


def refusal(watched: Watched, kind: type[Exception] = ConfigError) -> str:
    """The one line of a collection that fails, which left the lake as it was."""
    before = len(watched.store.rows(Load)) if watched.store.exists else 0
    with pytest.raises(kind) as caught:
        watched.collect()
    assert (len(watched.store.rows(Load)) if watched.store.exists else 0) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def refused_everywhere(watched: Watched) -> str:
    """The same where the command line says it, too."""
    text = refusal(watched)
    done = watched.cli("--quiet", "collect", watched.protocol, "--market", "local")
    assert (done.returncode, done.stderr.splitlines()) == (Exit.USAGE, [f"chainwatch: {text}"])
    return text


def walls_hold(watched: Watched) -> int:
    """Verdicts and figures of all walls are the contracts'; how many were decided."""
    proofs, mismatches = watched.prove()
    differ = [(m.account, m.position, m.figure, m.ours, m.chain) for m in mismatches]
    assert differ == [], f"{len(differ)} of {sum(p.checked for p in proofs)}: {differ[:8]}"
    assert {proof.status for proof in proofs} == {"ok"}
    return sum(proof.checked - proof.undecided for proof in proofs)


def missing_logs_are_refused(make: Callable[..., Watched], fill: Callable[[], object]) -> None:
    """A market without debt is read; one with debt is not read as empty by an endpoint that answers
    eth_getLogs with an empty list. `fill` makes the first debts.
    """
    lake = make()
    assert lake.collect().accounts == 0
    assert lake.verify()[0].checked == 0
    done = lake.cli("health")
    assert "no accounts to verify" in done.stdout
    assert "0/0" not in done.stdout
    fill()
    with standing(Proxy(lake.chain.url)) as proxy:
        proxy.rules.append(lambda c: {"result": []} if c["method"] == "eth_getLogs" else None)
        watched = make(rpc=[proxy.url])
        text = refusal(watched, NetworkError)
        assert text.startswith("local: no event of blocks ")
        assert f"127.0.0.1:{proxy.url.rsplit(':')[-1]} keeps no event logs" in text
        done = watched.cli("--quiet", "collect", watched.protocol, "--market", "local")
        assert (done.returncode, done.stderr.splitlines()) == (
            Exit.NETWORK,
            [f"chainwatch: {text}"],
        )
        assert not watched.store.exists or not watched.store.rows(Scan)
        proxy.rules.clear()
        outcomes = watched.collect()
        assert outcomes.accounts > 0
    # What was read while nobody was there is read again.
    assert lake.collect().accounts == outcomes.accounts
    assert lake.verify()[0].mismatched == 0


def tampered(watched: Watched, account: str, change: Callable[[Row], Row]) -> str:
    """Store a copy of the newest snapshot in which rows of one account are changed; its name."""
    head = watched.snapshot()
    name = f"{head.snapshot}:tampered"
    rows: list[Row] = []
    for table in (Reserve, EMode, Factor, Account, Leg):
        for row in watched.store.rows(table, "snapshot = $s", {"s": head.snapshot}):
            copied = msgspec.structs.replace(row, snapshot=name)
            own = isinstance(row, Account | Leg) and name_of(row) == account
            rows.append(change(copied) if own else copied)
    copy = msgspec.structs.replace(head, snapshot=name, read_at=head.read_at + timedelta(seconds=1))
    watched.store.append(with_slots([*rows, copy]), source=watched.protocol, target="local")
    return name


def more(row: Row, side: str, by: int = 1) -> Row:
    """A leg of that side with more of it."""
    wrong = isinstance(row, Leg) and row.side == side
    return msgspec.structs.replace(row, scaled=row.scaled + by) if wrong else row


def other_verdict(row: Row) -> Row:
    """An account that is liquidatable where it was not."""
    wrong = isinstance(row, Account)
    return msgspec.structs.replace(row, liquidatable=not row.liquidatable) if wrong else row


def tampering_is_found(
    watched: Watched, account: str, change: Callable[[Row], Row], figures: set[str]
) -> None:
    """`verify` names the figures that differ, and its exit code says so."""
    name = tampered(watched, account, change)
    result, mismatches = watched.verify()
    assert (result.snapshot, result.mismatched) == (name, 1)
    assert {m.figure for m in mismatches if isinstance(m, Mismatch)} == figures
    assert watched.cli("verify").returncode == Exit.CHECK_FAILED


def same_positions(first: Watched, other: Watched) -> None:
    """Two lakes hold the same accounts and the same legs, column by column."""
    assert content(first.accounts()) == content(other.accounts())
    assert content(first.legs()) == content(other.legs())


@contextlib.contextmanager
def small_file_system(folder: Path) -> Iterator[str]:
    """A file system of 3 MB at a folder; yields why there is none, or an empty text."""
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True, text=True
    )
    if mount.returncode:
        yield f"no small file system here ({mount.stderr.strip()})"
        return
    try:
        yield ""
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, leave: int = 0) -> None:
    """Take the last byte of a file system, in a file `filler`; or leave so many."""
    with (folder / "filler").open("wb", buffering=0) as file:
        block = bytes(65_536)
        while block:
            try:
                file.write(block)
            except OSError:
                block = block[: len(block) // 2]
        file.truncate(file.tell() - leave)
