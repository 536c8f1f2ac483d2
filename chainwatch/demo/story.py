"""The demo: a market on a local chain is read and verified, prices fall, it is read again; then
what backs the collateral, and the wider market.

The chain is a real node with the real Aave v3.0 bytecode where node and npm are there, else a
recording of that same story. While prices fall, a loopback exchange plays a burst of liquidations
that we made and recorded. Everything after that is the product itself.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chainwatch.collect import runner
from chainwatch.collect.feed import Job, Progress
from chainwatch.collect.registry import find
from chainwatch.demo import exchange, samples
from chainwatch.demo.books import Offer, SpotVenue
from chainwatch.demo.stages import COMET, MARKET, Stage
from chainwatch.errors import CheckFailed, ConfigError, NetworkError
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.faults import writing
from chainwatch.lake.store import Store
from chainwatch.reports import cascade, chart, run
from chainwatch.reports.cascade_basis import CascadeTerms
from chainwatch.reports.wall_proof import predict_walls
from chainwatch.settings import Settings
from chainwatch.show.document import Report
from chainwatch.tables.exchange import ExchangeLiquidation
from chainwatch.tables.lending import Factor, Mismatch, Snapshot, WallProof

# Of each factor's book: units on offer within 1 % and traded in a day, small as the market is.
BOOKS = (("BTC", 0.5, 40.0), ("ETH", 400.0, 60_000.0))
EXPLAINED = 0.955  # of the price of BTC
LARGEST = 8
LISTEN_SECONDS = 30.0
CHAIN_ID = 31_337
# Marks a folder that the demo made: only such a folder is emptied.
MARK = ".chainwatch-demo"


def play(
    stage: Stage,
    home: Path,
    voice: Progress,
    show: Callable[[Report], None],
) -> None:
    """Collect, verify and report; then let prices fall and do it again.

    Raises CheckFailed where any figure differs from the chain.
    """
    _prepare(home, stage)
    settings = Settings({"home": str(home)}, environ={}, dotenv=home / ".env")
    store = Store(home)
    voice.note(f"demo on {stage.words}")

    _read(store, settings, voice, stage)
    before: list[tuple[str, dict[str, object]]] = [
        ("health", {}),
        ("walls", {"p_factor": "BTC", "p_range": 0.2}),
        ("walls", {"p_factor": "ETH", "p_range": 0.2, "p_market": MARKET}),
        ("walls", {"p_factor": "ETH", "p_range": 0.2, "p_market": COMET}),
    ]
    for name, values in before:
        _show(store, show, name, values)
    _cascades(store, voice, show)

    since, until = _watch_the_fall(stage, store, settings, voice)
    _read(store, settings, voice, stage)
    _read_liquidations(store, settings, voice, stage)
    fallen: dict[str, object] = {"p_since": since, "p_until": until}
    after: list[tuple[str, dict[str, object]]] = [
        ("changes", {}),
        ("health", {}),
        ("liquidation_totals", {"p_by": "market"}),
        ("liquidations", fallen),
        ("largest_liquidations", fallen | {"p_limit": LARGEST}),
    ]
    for name, values in after:
        _show(store, show, name, values)
    voice.note("reserves: the figures that ship; pages and indicators: invented sample documents")
    disclose(store, voice)
    for name in ("reserves", "bottom", "crashes"):
        _show(store, show, name, {})
    _show(store, show, "claims", {"p_article": "C"})
    _require_sound(store)


def _watch_the_fall(
    stage: Stage, store: Store, settings: Settings, voice: Progress
) -> tuple[datetime, datetime]:
    """Let prices fall while exchanges are listened to; from when to when, by the chain's clock."""
    since = stage.now()
    ahead = since - datetime.now(UTC)
    begin = since + timedelta(seconds=1)

    def clock() -> datetime:
        return datetime.now(UTC) + ahead

    async def watch() -> tuple[datetime, datetime]:
        with exchange.Exchange(exchange.load()) as venues:
            here = Settings(
                {"home": str(settings.home)},
                environ=venues.environment(),
                dotenv=settings.home / ".env",
            )
            jobs = [Job(find(name), options={"provenance": "demo"}) for name in exchange.SOURCES]
            listening = asyncio.create_task(runner.collect(store, here, jobs, voice, clock=clock))
            try:
                async with asyncio.timeout(LISTEN_SECONDS):
                    while not venues.ready():  # noqa: ASYNC110 - sockets open in another thread
                        await asyncio.sleep(0.02)
                    voice.note("listening to a loopback exchange with a recorded burst")
                    voice.note(await asyncio.to_thread(stage.fall))
                    await asyncio.sleep(max(0.0, (begin - clock()).total_seconds()))
                    await venues.play(begin.timestamp())
                    await asyncio.sleep(2 * exchange.BEAT_SECONDS)
            except TimeoutError:
                raise NetworkError(
                    "expected connections to the loopback exchange of the demo, got none in time"
                ) from None
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
        # Liquidations on chain lie in blocks up to the newest, which may be ahead of this clock.
        return since, max(stage.now() + timedelta(milliseconds=1), clock())

    window = asyncio.run(watch())
    received = len(store.rows(ExchangeLiquidation))
    voice.note(f"{received} liquidations received from the loopback exchange")
    if not received:
        raise CheckFailed("expected liquidations of the loopback exchange, got none")
    return window


def _prepare(home: Path, stage: Stage) -> None:
    """A fresh folder with the market table of this stage."""
    mark = home / MARK
    if home.exists() and any(home.iterdir()) and not mark.exists():
        raise ConfigError(f"{home} is not empty and not a demo folder: name another with --home")
    with writing(home):
        _make_anew(home, stage)


def _make_anew(home: Path, stage: Stage) -> None:
    for stale in ("lake", "documents", "tmp", "locks", "chainwatch.duckdb"):
        path = home / stale
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    home.mkdir(parents=True, exist_ok=True)
    (home / MARK).touch()
    entries = [
        f'[markets.{name}]\nprotocol = "{place.protocol}"\nchain = "local"\n'
        f'chain_id = {CHAIN_ID}\npool = "{place.pool}"\nrpc = ["{stage.url}"]\nlag = 0\n'
        f'deployment_block = {place.deployment_block}\nprovenance = "{stage.provenance}"\n'
        f'wall_factors = ["{PROVEN}"]\n'
        for name, place in stage.markets.items()
    ]
    (home / "markets.toml").write_text("\n".join(entries), encoding="utf-8")


def _read(store: Store, settings: Settings, voice: Progress, stage: Stage) -> None:
    jobs = [
        Job(find(place.protocol), target=name, options={"accounts": "all"})
        for name, place in stage.markets.items()
    ]
    runner.raise_failures(asyncio.run(runner.collect(store, settings, jobs, voice)))
    for job in jobs:
        walls = predict_walls(store, settings, job)
        result, rows = asyncio.run(runner.verify(store, settings, job, voice, walls=walls))
        voice.note(
            f"{job.target}, block {result.block_number}: {result.checked - result.mismatched}/"
            f"{result.checked} accounts equal to the chain "
            f"({_COMPARED_FIGURES[job.source.protocol]})"
        )
        proofs = [row for row in rows if isinstance(row, WallProof)]
        voice.note(
            f"{job.target}: the contracts asked at {len(proofs)} other prices within calls: "
            f"{sum(p.checked - p.mismatched for p in proofs):,}/"
            f"{sum(p.checked for p in proofs):,} verdicts and figures as predicted"
        )
        wrong = sum(isinstance(row, Mismatch) for row in rows)
        if wrong:
            raise CheckFailed(f"{wrong} figures differ from the chain")


# The factor whose walls are proven: more would take longer than a demo may.
PROVEN = "ETH"
_COMPARED_FIGURES = {
    "aave-v3": "collateral, debt and health factor as integers",
    "compound-v3": "debt as an integer, and whether it is liquidatable",
}


def _read_liquidations(store: Store, settings: Settings, voice: Progress, stage: Stage) -> None:
    jobs = [
        Job(find(f"{place.protocol}-liquidations"), target=name)
        for name, place in stage.markets.items()
    ]
    runner.raise_failures(asyncio.run(runner.collect(store, settings, jobs, voice)))


def _cascades(store: Store, voice: Progress, show: Callable[[Report], None]) -> None:
    """Order books of an exchange on loopback, at the time of the newest block; what they take."""
    newest = max(store.rows(Snapshot), key=lambda s: s.block_number)
    factors = store.rows(Factor, "snapshot = $s", {"s": newest.snapshot})
    prices = {f.factor: f.factor_price for f in factors}
    offers = [
        Offer(name, "USDT", price, units, volume)
        for name, units, volume in BOOKS
        if (price := prices.get(name)) is not None
    ]
    with SpotVenue(offers, lambda: int(newest.block_time.timestamp() * 1000)) as venue:
        voice.note(f"order books of a made-up exchange on {venue.url}, read by ccxt as Binance")
        settings = Settings(
            {"home": str(store.home)},
            environ={"CHAINWATCH_URL_DEPTH": venue.url},
            dotenv=store.home / ".env",
        )
        only = ",".join(f"binance {offer.base}/USDT" for offer in offers)
        job = Job(find("depth"), options={"only": only, "provenance": "demo"})
        runner.raise_failures(asyncio.run(runner.collect(store, settings, [job], voice)))
    with query.open_catalog(store) as catalog:
        for offer in offers:
            terms = CascadeTerms(factor=offer.base, as_of=newest.block_time)
            show(cascade.break_levels(catalog, terms, cascade.GROUPS_SHOWN))
            path = store.home / f"cascade-{offer.base}.png"
            try:
                chart.require(path)
            except ConfigError as missing:
                voice.note(f"no chart: {missing}")
                continue
            chart.draw(cascade.drawing(catalog, terms), path)
            voice.note(f"drawn: {path}")
        level = prices["BTC"] or 0.0
        terms = CascadeTerms(factor="BTC", as_of=newest.block_time)
        show(cascade.explain_price(catalog, terms, round(level * EXPLAINED, -3)))


def disclose(store: Store, voice: Progress) -> None:
    """Collect reserves and indicators: figures that ship with their reports, invented documents."""
    today = datetime.now(UTC).date()
    sample = {"provenance": "sample"}
    with samples.serve(today) as url, tempfile.TemporaryDirectory() as folder:
        environ = {f"CHAINWATCH_URL_{name.upper()}": url for name in samples.SOURCES}
        settings = Settings({"home": str(store.home)}, environ=environ, dotenv=store.home / ".env")
        jobs = [Job(find("reference"))]
        for name in samples.SOURCES:
            only = {"only": samples.FRED_SERIES} if name == "fred" else {}
            jobs.append(Job(find(name), options=sample | only))
        for path in samples.write_candles(Path(folder), today):
            options = sample | {"series": "btc", "file": str(path)}
            jobs.append(Job(find("import"), target=path.stem, options=options))
        outcomes = asyncio.run(runner.collect(store, settings, jobs, voice))
    runner.raise_failures(outcomes)


def _show(
    store: Store, show: Callable[[Report], None], name: str, values: dict[str, object]
) -> None:
    with query.open_catalog(store) as catalog:
        show(run.make(catalog, name, values))


def _require_sound(store: Store) -> None:
    with query.open_catalog(store) as catalog:
        wrong = failed_checks(catalog)
    if wrong:
        raise CheckFailed(f"checks found wrong rows: {', '.join(wrong)}")


def failed_checks(catalog: Catalog) -> list[str]:
    """Names of the invariants that do not hold."""
    return [
        check.name
        for check in query.load_all().values()
        if check.group == "checks" and query.run(catalog, check).rows
    ]
