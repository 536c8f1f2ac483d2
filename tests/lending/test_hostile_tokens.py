"""Hostile input: tokens, prices and endpoints that try to break the lake, a terminal or a sheet."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode as encode_abi

from chainwatch.demo import recording
from chainwatch.demo.aave import AaveMarket, ReserveSpec
from chainwatch.demo.chain import MAX_UINT, Chain, own_artifact
from chainwatch.errors import Exit
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.store import Store
from chainwatch.lending.protocols.aave_v3.balances import GET_USER_CONFIGURATION
from chainwatch.reports.run import make
from chainwatch.show.document import Format, Report
from chainwatch.show.render import text_of
from chainwatch.tables.lending import Account, Factor, Leg
from chainwatch.tables.lending import Reserve as ReserveRow
from chainwatch.tables.log import Load
from tests import shell
from tests.reports.test_liquidations import order, span
from tests.shell import Done, run

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
KEY = "SECRETKEY42"


def string(text: str | bytes) -> bytes:
    """The whole return data of a getter that returns a string."""
    raw = text if isinstance(text, bytes) else text.encode()
    return encode_abi(["bytes"], [raw])


# label → (what symbol() returns, whether it reverts, what is shown; None: the address)
SYMBOLS: dict[str, tuple[bytes, bool, str | None]] = {
    "ESCAPE": (string("\x1b[31mX\x1b]0;t\x07"), False, "\\x1b[31mX\\x1b]0;t\\x07"),
    "LINES": (string("USDC\r\nrow\tcell"), False, "USDC\\x0d\\x0arow\\x09cell"),
    "FORMULA": (string('=HYPERLINK("http://x")'), False, '=HYPERLINK("http://x")'),
    "LONG": (string("A" * 10_000), False, "A" * 31 + "…"),
    "BROKEN": (string(b"\xff\xfe\x80bad"), False, "\ufffd\ufffd\ufffdbad"),
    "BIDI": (string("\u202eCDSU\u200b"), False, "\\u202eCDSU\\u200b"),
    "BYTES": (b"MKR".ljust(32, b"\0"), False, "MKR"),
    "REVERTS": (string("never seen"), True, None),
    "NOTHING": (b"", False, None),
    "LIES": ((32).to_bytes(32) + MAX_UINT.to_bytes(32), False, None),
    "NUL": (string("A\0B"), False, "A\\x00B"),
}
DECIMALS = {"WHOLE": 0, "TINY": 77}
PRICES = {"FREE": 0, "MAX": 2**255 - 1}
HOLDERS = {name: f"0x{n:040x}" for n, name in enumerate([*SYMBOLS, *DECIMALS, *PRICES], 0xBAD00)}


def listed(market: AaveMarket, name: str, decimals: int, description: str) -> str:
    """List a hostile token with a feed that describes itself as told; returns the token."""
    chain = market.chain
    token = chain.deploy(own_artifact("HostileToken"), decimals)
    feed = chain.deploy(own_artifact("TestFeed"), 10**8, 8, description)
    market.add(ReserveSpec(name, decimals, 10**8, 7500, 8000, 10500), token=token, feed=feed)
    return token


def holds(market: AaveMarket, name: str, amount: int, debt: int) -> None:
    """Let the token's holder supply it, and borrow USDC against it."""
    holder = HOLDERS[name]
    txs = [
        market.mint(name, holder, amount),
        market.approve(holder, name),
        market.supply(holder, name, amount),
    ]
    if debt:
        txs.append(market.borrow(holder, "USDC", debt))
    market.chain.send_all(txs)


@pytest.fixture(scope="module")
def hostile(
    file_chain: Chain, file_market: AaveMarket, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Done, dict[str, str]]]:
    """A home into which a market full of such tokens was read: (home, how it went, tokens)."""
    snapshot = file_chain.snapshot()
    market = AaveMarket(**{**vars(file_market), "listed": dict(file_market.listed)})
    lender = "0x" + "1e" * 20
    file_chain.send_all(
        [
            market.mint("USDC", lender, 10**12),
            market.approve(lender, "USDC"),
            market.supply(lender, "USDC", 10**12),
        ]
    )
    tokens = {}
    for name, (data, reverts, _) in SYMBOLS.items():
        tokens[name] = listed(market, name, 18, f"\x1b[31m{name}\n / USD")
        file_chain.send(tokens[name], "setSymbol(bytes,bool)", data, reverts)
        holds(market, name, 100 * 10**18, 50 * 10**6)
    for name, decimals in DECIMALS.items():
        tokens[name] = listed(market, name, decimals, "=1+1 / USD")
        file_chain.send(tokens[name], "setSymbol(bytes,bool)", string(name), False)
        garbage = (b"\xff" * 32, False) if decimals else (b"", True)
        file_chain.send(tokens[name], "setDecimals(bytes,bool)", *garbage)
    holds(market, "WHOLE", 100, 50 * 10**6)
    holds(market, "TINY", 10**38, 0)
    for name in PRICES:
        tokens[name] = listed(market, name, 18, f"{name} / USD")
        file_chain.send(tokens[name], "setSymbol(bytes,bool)", string(name), False)
        holds(market, name, 100 * 10**18, 50 * 10**6)
    market.set_prices(PRICES)

    home = tmp_path_factory.mktemp("hostile")
    entry = {"pool": market.pool, "deployment_block": market.deployment_block}
    shell.market_file(home, {"hostile": file_chain.url}, **entry, provenance="demo")
    options = ("--market", "hostile", "--accounts", "all", "--verify", "--json")
    yield home, run("collect", "aave-v3", *options, home=home), tokens
    file_chain.revert(snapshot)


@pytest.fixture(scope="module")
def catalog(hostile: tuple[Path, Done, dict[str, str]]) -> Iterator[Catalog]:
    with query.open_catalog(Store(hostile[0])) as opened:
        yield opened


def control(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in HIDDEN} - {"\n"}


# --- endpoints (started first: the client tries for a while before it gives up) -----------------


def envelope(body: Any, **content: Any) -> bytes:
    """An answer to every request in a body."""

    def entry(request: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": request.get("id")} | content

    return json.dumps([entry(r) for r in body] if isinstance(body, list) else entry(body)).encode()


def error(message: str) -> dict[str, Any]:
    return {"code": -32_000, "message": message}


JSON = "application/json"
ESCAPES = f"\x1b[31mno\r\nkey {KEY} \u202e"
ENDPOINTS: dict[str, tuple[shell.Answer, Exit, str]] = {
    "HTML": (lambda b: (200, "text/html", b"<html><h1>hi"), Exit.NETWORK, "HTML instead of JSON"),
    "wrong ids": (
        lambda b: (200, JSON, json.dumps({"jsonrpc": "2.0", "id": 9**9, "result": "0x1"}).encode()),
        Exit.NETWORK,
        "not asked",
    ),
    "a huge body": (
        lambda b: (200, JSON, b'{"jsonrpc":"2.0","id":1,"result":"' + b"0" * (65 * 2**20)),
        Exit.NETWORK,
        "larger than",
    ),
    "truncated JSON": (
        lambda b: (200, JSON, envelope(b, result="0x7a69")[:-9]),
        Exit.NETWORK,
        "cut",
    ),
    "another chain": (
        lambda b: (200, JSON, envelope(b, result="0x1")),
        Exit.USAGE,
        "serves chain id 1, but local is 31337",
    ),
    "a chain id that is text": (
        lambda b: (200, JSON, envelope(b, result=ESCAPES)),
        Exit.NETWORK,
        "a chain id that cannot be parsed",
    ),
    "401 with the key": (
        lambda b: (401, JSON, json.dumps({"error": f"no such key: {KEY}"}).encode()),
        Exit.NETWORK,
        "no such key: …",
    ),
    "403 with the key": (
        lambda b: (403, "text/plain", f"{KEY} is not allowed".encode()),
        Exit.NETWORK,
        "HTTP 403",
    ),
    "an error with escapes": (
        lambda b: (200, JSON, envelope(b, error=error(ESCAPES))),
        Exit.NETWORK,
        "\\x1b[31mno key …",
    ),
    "an endless error": (
        lambda b: (200, JSON, envelope(b, error=error("x" * 100_000))),
        Exit.NETWORK,
        "xxx",
    ),
}


@pytest.fixture(scope="module", autouse=True)
def collecting(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[Path, subprocess.Popen[bytes]]]]:
    """A collector per endpoint, all at once, each on a lake that holds a snapshot already."""
    with ExitStack() as stack:
        started = {}
        for name, (answer, _, _) in ENDPOINTS.items():
            home = shell.copied_lake(tmp_path_factory.mktemp("asked"))
            url = stack.enter_context(shell.endpoint(answer)) + f"/v2/{KEY}"
            process = shell.start(
                *("--debug", "collect", "aave-v3", "--market", "demo", "--accounts", "all"),
                home=home,
                env={"CHAINWATCH_RPC_LOCAL": url},
            )
            started[name] = (home, process)
        yield started
        for _, process in started.values():
            shell.leave(process)


# --- tokens and prices --------------------------------------------------------------------------


@pytest.mark.full
def test_a_market_of_hostile_tokens_is_read_and_verified(
    hostile: tuple[Path, Done, dict[str, str]],
) -> None:
    done = hostile[1]
    assert done.code == Exit.OK, done.err
    assert control(done.out) == control(done.err) == set()
    (row,) = shell.rows_of(done.out, "--json")
    assert row["state"] == "ok"
    assert row["checked"] == len(HOLDERS) + 1  # and the lender
    assert row["different"] == 0


def test_symbols_are_stored_visible_and_short_or_as_the_address(
    hostile: tuple[Path, Done, dict[str, str]],
) -> None:
    """Symbols are stored visible and short, or the address stands in their place."""
    home, _, tokens = hostile
    stored = {row.asset: row for row in Store(home).rows(ReserveRow)}
    for name, (_, _, shown) in SYMBOLS.items():
        symbol = stored[tokens[name]].symbol
        assert symbol == (tokens[name][:10] if shown is None else shown), name
        assert len(symbol) <= 32
    assert all(control(row.symbol) == set() for row in stored.values())


def test_decimals_are_the_pools_whatever_the_token_says(
    hostile: tuple[Path, Done, dict[str, str]],
) -> None:
    home, _, tokens = hostile
    store = Store(home)
    stored = {row.asset: row for row in store.rows(ReserveRow)}
    for name, decimals in DECIMALS.items():
        assert stored[tokens[name]].decimals == decimals
    legs = {(leg.account, leg.asset): leg for leg in store.rows(Leg)}
    leg = legs[HOLDERS["WHOLE"], tokens["WHOLE"]]
    tiny = legs[HOLDERS["TINY"], tokens["TINY"]]
    assert (leg.raw, leg.amount, leg.usd) == (100, 100.0, 100.0)
    assert (tiny.raw, tiny.value) == (10**38, 0)
    assert tiny.amount == pytest.approx(1e-39)


def test_a_price_of_zero_or_of_the_maximum_is_na_with_its_reason(
    hostile: tuple[Path, Done, dict[str, str]],
) -> None:
    home, done, tokens = hostile
    store = Store(home)
    stored = {row.asset: row for row in store.rows(ReserveRow)}
    free, most = stored[tokens["FREE"]], stored[tokens["MAX"]]
    assert (free.price, free.price_usd, free.price_status) == (None, None, "n/a (oracle reverted)")
    assert most.price == PRICES["MAX"]
    assert "the oracle gives no price for FREE; accounts that use it are n/a" in done.err
    accounts = {row.account: row for row in store.rows(Account)}
    for name in PRICES:
        account = accounts[HOLDERS[name]]
        assert account.status.startswith("n/a (")
        assert account.hf is account.debt_usd is account.hf_wad is None
    ok = [row for row in accounts.values() if row.status == "ok"]
    assert len(ok) == len(SYMBOLS) + 1


def test_nothing_broken_is_stored(catalog: Catalog) -> None:
    for check in query.load_all().values():
        if check.group == "checks":
            assert query.run(catalog, check).rows == [], check.name


@pytest.fixture(scope="module")
def reports(hostile: tuple[Path, Done, dict[str, str]]) -> list[Report]:
    """Every question that can be asked of this lake, with two factors, and walls of each."""
    store = Store(hostile[0])
    factors = sorted({row.factor for row in store.rows(Factor)})
    assert len(factors) > len(SYMBOLS)
    # A venue may call its contracts and say why it refuses whatever it likes.
    named = [order(n, symbol=text, base=text) for n, text in enumerate((ESCAPES, "=1+1", "@x"))]
    store.append([*named, span(0, 1), span(1, 2, "down", reason=ESCAPES)], source="streams")
    made = []
    with query.open_catalog(store) as catalog:
        for name, definition in query.load_all().items():
            moved = any(p.name == "p_factor" for p in definition.params)
            # No reserve is stored here: only all tokens together can be asked for.
            other = (
                {"p_token": "all"} if any(p.name == "p_token" for p in definition.params) else {}
            )
            chosen_factors = factors if name == "walls" else factors[:1] + factors[-1:]
            for values in [{"p_factor": factor} for factor in chosen_factors] if moved else [other]:
                made.append(make(catalog, name, values))
    return made


@pytest.mark.full
@pytest.mark.parametrize("form", list(Format))
def test_every_report_is_written_in_every_format_and_nothing_gets_out(
    reports: list[Report], form: Format
) -> None:
    for made in reports:
        texts = [text_of(made, form)]
        if form is Format.TABLE:
            texts.append(text_of(made, form, width=80))
        for text in texts:
            assert control(text) == set(), made.name
        if form is Format.CSV:
            for row in csv.reader(io.StringIO(texts[0])):
                for cell in row:
                    if cell.startswith(FORMULA):
                        float(cell)
        if form is Format.JSON:
            assert isinstance(json.loads(texts[0])["rows"], list)
        if form is Format.JSONL:
            assert len(texts[0].splitlines()) == len(made.result.rows)
        if form is Format.MARKDOWN:
            table = [line for line in texts[0].splitlines() if line.startswith("|")]
            assert len(table) == len(made.result.rows) + 2


@pytest.mark.full
def test_on_a_terminal_and_in_a_sheet_a_symbol_is_only_text(
    hostile: tuple[Path, Done, dict[str, str]],
) -> None:
    home = hostile[0]
    for command in (["accounts"], ["health"], ["query", "positions"], ["query", "factors_at"]):
        code, text, _ = shell.on_terminal(*command, home=home, columns=120)
        assert code == Exit.OK
        left = re.sub(r"\x1b\[(?:0|1|2|36)m", "", text)  # our own bold, dim and cyan
        assert control(left) == set()
    sheet = run("query", "positions", "--csv", home=home)
    assert '"\'=HYPERLINK(""http://x"")"' in sheet.out
    named = run("walls", "\x1b[31mno\nsuch", home=home)
    assert named.code == Exit.USAGE
    assert len(named.lines) == 1
    assert control(named.err) == set()


# --- endpoints ----------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize("name", ENDPOINTS)
def test_an_endpoint_with_wrong_answers_is_one_masked_line(
    name: str, collecting: dict[str, tuple[Path, subprocess.Popen[bytes]]]
) -> None:
    """An endpoint with meaningless answers is one line without secrets and leaves the lake
    untouched."""
    home, process = collecting[name]
    _, code, words = ENDPOINTS[name]
    done = shell.ended(process)
    assert done.code == code, done.err
    last = done.lines[-1]
    assert last.startswith("chainwatch: ")
    assert words in last
    assert "127.0.0.1" in last
    assert len(last) < 600, "a line, not a page"
    assert KEY not in done.out + done.err, "neither in the line nor in the traceback"
    assert control(done.out) == control(done.err) == set()
    kept, here = Store(shell.recorded_lake()), Store(home)
    assert {row.stored_at for row in here.rows(Load)} == {row.stored_at for row in kept.rows(Load)}
    assert not list((home / "tmp").iterdir())


@pytest.mark.full
def test_an_endpoint_that_fails_during_a_read_stores_nothing(tmp_path: Path) -> None:
    """It serves the market's own state and refuses the accounts."""

    class Turncoat(recording.Player):
        def _recorded(self, to: str, data: str, number: int) -> str:
            if bytes.fromhex(data[2:10]) == GET_USER_CONFIGURATION.selector:
                return "0x" + "ff" * 3
            return super()._recorded(to, data, number)

    with shell.recorded_chain(Turncoat) as url:
        shell.market_file(tmp_path, {"demo": url})
        options = ("--market", "demo", "--accounts", "all")
        done = run("collect", "aave-v3", *options, home=tmp_path)
    assert done.code == Exit.NETWORK, done.err
    assert len([line for line in done.lines if line.startswith("chainwatch: ")]) == 1
    assert "answer with word 0, got 3 bytes" in done.lines[-1]
    with query.open_catalog(Store(tmp_path)) as opened:
        assert opened.run("SELECT count(*) FROM snapshots").rows == [(0,)]
        assert opened.run("SELECT count(*) FROM account_health").rows == [(0,)]
