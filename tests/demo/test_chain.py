"""The local chain itself: its installation, its node, its contracts and its accounts."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from chainwatch.demo import accounts, contracts, node, plans
from chainwatch.demo.aave import (
    ETH_CORRELATED,
    MULTICALL,
    STABLE,
    STABLECOINS,
    VARIABLE,
    AaveMarket,
    ReserveSpec,
    deploy,
)
from chainwatch.demo.chain import Chain, TransactionReverted, Tx, encode, own_artifact
from chainwatch.demo.contracts import compile as compiler
from chainwatch.demo.node import Node, Toolchain, ToolchainMissing, install
from chainwatch.demo.plans import SHAPES, draw_plans
from chainwatch.errors import Exit, RpcError
from tests.evm import operations
from tests.places import ROOT

pytestmark = pytest.mark.contracts("plain")

USER = "0x" + "ab" * 20
WAD = 10**18
FOLDER = hashlib.sha256(node.PACKAGE.read_bytes()).hexdigest()[:12]
GOOD_NPM = "mkdir -p node_modules/@aave/core-v3/artifacts"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts scripts of these names first on PATH; `npm` notes each of its runs in `runs`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("CHAINWATCH_ANVIL", sys.executable)
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))

    def write(**scripts: str) -> None:
        for name, script in {"node": "true", **scripts}.items():
            path = folder / name
            path.write_text(f'#!/bin/sh\necho $$ "$@" >> "$RUNS"\n{script}\n')
            path.chmod(0o755)

    return write


def refusal(cache: Path, **options: float) -> str:
    with pytest.raises(ToolchainMissing) as caught:
        install(cache, lambda line: None, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.code == Exit.USAGE
    assert not (cache / "evm" / FOLDER).exists()
    return message


def test_an_installation_is_made_once_and_then_found(
    tmp_path: Path, tools: Callable[..., None]
) -> None:
    tools(npm=GOOD_NPM)
    results: list[str] = []
    first = install(tmp_path / "cache", results.append)
    assert first == install(tmp_path / "cache", results.append)
    assert first.artifacts.is_dir()
    assert first.anvil == Path(sys.executable)
    assert len(results) == 1
    runs = (tmp_path / "runs").read_text().splitlines()
    assert [run.split()[1:] for run in runs] == [list(node.NPM)]


def test_an_installation_replaces_a_folder_left_half_full(
    tmp_path: Path, tools: Callable[..., None]
) -> None:
    tools(npm=GOOD_NPM)
    half = tmp_path / "cache/evm" / FOLDER
    stale = half.with_name(f"{FOLDER}.part-killed")
    for folder in (half, stale):
        (folder / "node_modules/@aave/core-v3").mkdir(parents=True)
        (folder / "node_modules/junk").touch()
    result = install(tmp_path / "cache", lambda line: None)
    assert result.artifacts.is_dir()
    assert not (half / "node_modules/junk").exists()
    assert not stale.exists()


def test_an_installation_heals_after_its_process_was_killed(
    tmp_path: Path, tools: Callable[..., None]
) -> None:
    tools(npm="mkdir -p node_modules/@aave; sleep 60")
    program = (
        "import pathlib, sys; from chainwatch.demo.node import install;"
        "install(pathlib.Path(sys.argv[1]), print)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "cache")], stdout=subprocess.DEVNULL
    )
    runs = tmp_path / "runs"
    until(lambda: runs.exists() and runs.read_text().endswith("\n"))
    process.kill()
    process.wait()
    os.killpg(int(runs.read_text().split()[0]), signal.SIGKILL)
    tools(npm=GOOD_NPM)
    assert install(tmp_path / "cache", lambda line: None).artifacts.is_dir()
    assert not list((tmp_path / "cache/evm").glob("*.part-*"))


def test_parallel_callers_install_once_and_the_second_says_it_waits(
    tmp_path: Path, tools: Callable[..., None]
) -> None:
    tools(npm=f"sleep 0.5; {GOOD_NPM}")
    results: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        result = set(pool.map(lambda _: install(tmp_path / "cache", results.append), range(2)))
    assert len(result) == 1
    assert len((tmp_path / "runs").read_text().splitlines()) == 1
    assert any("waiting" in line for line in results)


@pytest.mark.parametrize("missing", ["node", "npm"])
def test_a_missing_program_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tools: Callable[..., None], missing: str
) -> None:
    tools(npm=GOOD_NPM)
    (tmp_path / "bin" / missing).unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert refusal(tmp_path / "cache").startswith(f"{missing} is not on PATH; install Node.js")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("npm error code ENOTFOUND\nnpm error network", "cannot reach the package registry"),
        ("npm error code E404\nnpm error 404 Not Found", "npm install failed (E404)"),
        ("npm ERR! code ETIMEDOUT", "cannot reach the package registry (ETIMEDOUT)"),
        ("Segmentation fault", "npm install failed (Segmentation fault)"),
        ("", "npm install failed (exit code 3)"),
    ],
)
def test_a_failing_npm_is_told_in_one_line(
    tmp_path: Path,
    tools: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    lines: str,
    message: str,
) -> None:
    tools(npm=f"echo noise; cat >&2 <<'END'\n{lines}\nEND\nexit 3")
    assert message in refusal(tmp_path / "cache")
    assert capfd.readouterr() == ("", "")


def test_a_hanging_npm_is_ended_with_its_helpers(
    tmp_path: Path, tools: Callable[..., None]
) -> None:
    tools(npm='sleep 60 & echo $! >> "$RUNS"; wait')
    assert "did not end within 0.5 s" in refusal(tmp_path / "cache", timeout_seconds=0.5)
    started = [int(line.split()[0]) for line in (tmp_path / "runs").read_text().splitlines()]
    assert len(started) == 2
    until(lambda: all(gone(process) for process in started))


def test_an_npm_that_leaves_nothing_behind_is_refused(
    tmp_path: Path, tools: Callable[..., None]
) -> None:
    tools(npm="true")
    assert "left no Aave artifacts" in refusal(tmp_path / "cache")


@pytest.mark.full
@pytest.mark.parametrize("required", ["CI", "CHAINWATCH_REQUIRE_EVM", ""])
def test_without_npm_tests_on_bytecode_skip_or_fail_if_required(
    tmp_path: Path, required: str
) -> None:
    """Without npm the tests on bytecode are skipped with a reason, and fail where they are
    required."""
    unset = {"CI", "CHAINWATCH_REQUIRE_EVM"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"PATH": str(tmp_path), "CHAINWATCH_CACHE": str(tmp_path / "cache")}
    single = f"{__file__}::test_a_node_starts_at_a_time_and_stops_alone"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", single],
        env=environment | ({required: "1"} if required else {}),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == (1 if required else 0)
    outcome = "1 error" if required else "1 skipped"
    lines = [line for line in done.stdout.splitlines() if line.startswith("tests on ")]
    assert [line.rpartition(": ")[2] for line in lines] == ["none", "none", outcome]
    assert "published contract bytecode" in lines[0]
    assert "stand-ins of this project" in lines[1]
    assert "node is not on PATH; install Node.js 20 or newer" in done.stdout


@pytest.mark.skipif(
    node.PLATFORM.get((node.platform.system(), node.platform.machine())) != "linux-amd64",
    reason="only the checksum of the linux-amd64 binary is known",
)
def test_a_binary_with_another_checksum_is_refused(
    tmp_path: Path, tools: Callable[..., None]
) -> None:
    folder = "node_modules/@foundry-rs/anvil-linux-amd64/bin"
    tools(npm=f"{GOOD_NPM} {folder}; echo wrong > {folder}/anvil")
    assert "has sha256" in refusal(tmp_path / "cache")


def test_a_wrong_setting_names_the_variable(
    tmp_path: Path, tools: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(npm=GOOD_NPM)
    monkeypatch.setenv("CHAINWATCH_ANVIL", str(tmp_path / "nowhere"))
    with pytest.raises(ToolchainMissing, match=r"CHAINWATCH_ANVIL names .*nowhere"):
        install(tmp_path / "cache", lambda line: None)


def test_a_program_that_is_no_node_is_told_with_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "anvil"
    broken.write_text("#!/bin/sh\necho first\necho GLIBC_9 not found >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ToolchainMissing, match="ended at start: GLIBC_9 not found; set"):
        Node(broken).start()
    with pytest.raises(ToolchainMissing, match="nowhere"):
        Node(tmp_path / "nowhere").start()
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    with pytest.raises(ToolchainMissing, match=r"does not answer after 0\.3 s"):
        Node(silent).start(timeout_seconds=0.3)


def test_a_node_starts_at_a_time_and_stops_alone(toolchain: Toolchain) -> None:
    with Node(toolchain.anvil, timestamp=1_600_000_000, extra=["--chain-id=7"]) as first:
        with Node(toolchain.anvil) as second, Chain(second.url) as other:
            assert other.rpc("eth_chainId") == hex(31337)
        with Chain(first.url) as chain:
            assert chain.rpc("eth_chainId") == "0x7"
            assert chain.timestamp() == 1_600_000_000
        with pytest.raises(RpcError, match="does not answer"):
            Chain(second.url)
        first.stop()
        first.stop()


def test_a_node_leaves_no_states_of_old_blocks(toolchain: Toolchain, tmp_path: Path) -> None:
    """A node that is killed removes none itself, and they are gigabytes in the end."""
    program = (
        "import pathlib, sys, tempfile; from chainwatch.demo.chain import Chain;"
        "from chainwatch.demo.node import Node;"
        "states = lambda: len(list(pathlib.Path(tempfile.gettempdir()).glob('**/*.json')));"
        "n = Node(pathlib.Path(sys.argv[1])); n.start(); c = Chain(n.url);"
        "[c.mine(40) for _ in range(20)]; print(states());"
        "n._process.kill(); n.stop(); print(states())"
    )
    home, folder = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, str(toolchain.anvil)],
        env=os.environ | {"HOME": str(home), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    before, after = map(int, done.stdout.split())
    assert before > after == 0
    assert list(folder.iterdir()) == []
    assert not [path for path in home.rglob("*") if "anvil-state" in path.name]


@pytest.mark.skipif(not node._dies_with_parent(), reason="needs Linux and setpriv")
def test_a_node_ends_with_the_process_that_started_it(toolchain: Toolchain) -> None:
    program = (
        "import pathlib, sys, time; from chainwatch.demo.node import Node;"
        "n = Node(pathlib.Path(sys.argv[1])); n.start(); print(n.url, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(toolchain.anvil)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        assert node._answers(port)
        process.kill()
    until(lambda: not node._answers(port))


@pytest.mark.full
def test_the_compiled_contracts_are_what_the_sources_compile_to() -> None:
    root = ROOT
    solc = Path(os.environ.get("CHAINWATCH_SOLC") or root / "node_modules/solc")
    if not solc.is_dir():
        pytest.skip("no Solidity compiler: make everything, or set CHAINWATCH_SOLC")
    assert compiler.build(solc) == compiler.OUTPUT.read_text()


def test_every_source_has_a_compiled_contract() -> None:
    sources = Path(contracts.__file__).parent.glob("*.sol")
    for source in sources:
        assert own_artifact(source.stem).runtime


def test_transactions_of_many_senders_keep_their_order(chain: Chain) -> None:
    feed = chain.deploy(own_artifact("TestFeed"), 1, 8, "X / USD")
    senders = [plans.address(1, index) for index in range(100)]
    answers = [Random(1).randrange(10**6) for _ in range(600)]
    first = chain.block_number()
    receipts = chain.send_all(
        [
            Tx(senders[index * 37 % 100], feed, encode("setAnswer(int256)", answer))
            for index, answer in enumerate(answers)
        ]
    )
    assert [int(receipt.logs[0]["topics"][1], 16) for receipt in receipts] == answers
    assert chain.block_number() == first + 3
    assert [int(log["topics"][1], 16) for log in chain.logs(feed, first=first + 1)] == answers
    assert chain.storage(feed, 0) == chain.call(feed, "latestAnswer()(int256)") == answers[-1]


def test_a_revert_names_its_reason(aave_market: AaveMarket) -> None:
    chain = aave_market.chain
    with pytest.raises(TransactionReverted, match=r"reverted: 34$"):  # COLLATERAL_BALANCE_IS_ZERO
        chain.send_all([aave_market.borrow(USER, "USDC", 1)])
    with pytest.raises(TransactionReverted, match="execution reverted"):
        chain.call(aave_market.pool, "borrow(address,uint256)()", USER, 1)
    receipts = chain.send_all(
        [aave_market.borrow(USER, "USDC", 1), aave_market.approve(USER, "USDC")], tolerate=True
    )
    assert [receipt.ok for receipt in receipts] == [False, True]


def test_time_moves_only_when_told(chain: Chain) -> None:
    start = chain.timestamp()
    chain.mine(3)
    assert chain.timestamp() == start + 36
    chain.increase_time(86_400)
    assert chain.timestamp() == start + 36 + 86_400
    chain.set_next_timestamp(start + 200_000)
    chain.mine()
    assert chain.timestamp() == start + 200_000


def test_a_snapshot_is_good_for_one_revert(chain: Chain) -> None:
    block = chain.block_number()
    snapshot = chain.snapshot()
    chain.mine(5)
    chain.revert(snapshot)
    assert chain.block_number() == block
    with pytest.raises(RpcError, match="does not exist"):
        chain.revert(snapshot)


def test_the_multicall_answers_as_single_calls_do(aave_market: AaveMarket) -> None:
    chain, pool = aave_market.chain, aave_market.pool
    calls = [
        (pool, False, bytes.fromhex(encode("getReservesList()")[2:])),
        (pool, True, bytes.fromhex(encode("nonsense()")[2:])),
    ]
    signature = "aggregate3((address,bool,bytes)[])((bool,bytes)[])"
    good, bad = chain.call(MULTICALL, signature, calls)
    plain = chain.rpc("eth_call", {"to": pool, "data": encode("getReservesList()")}, "latest")
    assert good == (True, bytes.fromhex(plain[2:]))
    assert not bad[0]
    with pytest.raises(TransactionReverted, match="Multicall3: call failed"):
        chain.call(MULTICALL, signature, [(pool, False, calls[1][2])])
    assert chain.call(MULTICALL, "getBlockNumber()(uint256)") == chain.block_number()


def test_a_staking_token_follows_its_base_and_its_ratio(aave_market: AaveMarket) -> None:
    feed = aave_market.listed["wstETH"].feed
    call = aave_market.chain.call
    assert call(feed, "description()(string)") == "wstETH / USD"
    assert call(feed, "RATIO_DECIMALS()(uint8)") == 18
    assert call(feed, "BASE_TO_USD_AGGREGATOR()(address)") == aave_market.listed["WETH"].feed
    assert call(feed, "RATIO_PROVIDER()(address)") == feed
    assert aave_market.prices()["wstETH"] == 3_600 * 10**8
    aave_market.set_price("WETH", 2_000 * 10**8)
    aave_market.set_ratio("wstETH", 11 * 10**17)
    assert call(feed, "getRatio()(int256)") == 11 * 10**17
    assert aave_market.prices()["wstETH"] == 2_200 * 10**8


@pytest.mark.parametrize(
    ("data", "reverts"),
    [
        (b"MKR".ljust(32, b"\0"), False),
        (bytes.fromhex(f"{32:064x}{2:064x}") + b"\xff\xfe".ljust(32, b"\0"), False),
        (b"x" * 10_000, False),
        (b"", False),
        (b"no", True),
    ],
    ids=["bytes32", "invalid UTF-8", "10 kB", "empty", "reverting"],
)
def test_a_hostile_token_with_any_answer_is_still_a_reserve(
    aave_market: AaveMarket, data: bytes, reverts: bool
) -> None:
    """A hostile token may answer with any bytes and is still listed as a reserve."""
    chain = aave_market.chain
    token = chain.deploy(own_artifact("HostileToken"), 77)
    aave_market.add(ReserveSpec("EVIL", 18, 10**8, 7000, 7500, 10500), token=token)
    for field in ("Symbol", "Decimals"):
        chain.send(token, f"set{field}(bytes,bool)", data, reverts)
        request = {"to": token, "data": encode(f"{field.lower()}()")}
        if reverts:
            with pytest.raises(TransactionReverted, match=data.hex()):
                chain.rpc("eth_call", request, "latest")
        else:
            assert chain.rpc("eth_call", request, "latest") == f"0x{data.hex()}"
    supply(aave_market, "EVIL", 5 * WAD)
    assert aave_market.account_data([USER])[0][0] == 5 * 10**8


@pytest.mark.parametrize("decimals", [0, 1, 6, 27, 36])
def test_a_reserve_may_have_unusual_decimals(aave_market: AaveMarket, decimals: int) -> None:
    aave_market.add(ReserveSpec("ODD", decimals, 10**8, 7000, 7500, 10500))
    amount = min(1000 * 10**decimals, 2**127)
    supply(aave_market, "ODD", amount)
    aave_market.chain.send_all([aave_market.borrow(USER, "ODD", max(1, amount // 100))])
    assert aave_market.account_data([USER])[0][0] == amount * 10**8 // 10**decimals


@pytest.mark.parametrize("price", [0, -1, 2**255 - 1, -(2**255)])
def test_a_price_out_of_range_makes_the_pool_refuse_the_account(
    aave_market: AaveMarket, price: int
) -> None:
    aave_market.add(ReserveSpec("ODD", 18, 10**8, 7000, 7500, 10500))
    supply(aave_market, "ODD", 5 * WAD)
    aave_market.set_price("ODD", price)
    with pytest.raises(TransactionReverted):
        aave_market.account_data([USER])
    if price <= 0:
        with pytest.raises(TransactionReverted):
            aave_market.prices()
    assert aave_market.prices(["WETH"]) == {"WETH": 3_000 * 10**8}


def test_every_shape_is_on_the_chain_as_planned(aave_market: AaveMarket) -> None:
    plans = draw_plans(150, 7, aave_market.prices())
    assert {item.shape for item in plans} == set(SHAPES)
    assert accounts.populate(aave_market, 150, 7) == [item.account for item in plans]
    data = aave_market.account_data([item.account for item in plans])
    for item, (collateral, debt, _, _, _, health) in zip(plans, data, strict=True):
        for symbol, amount in item.supplies.items():
            kept = amount - item.withdrawals.get(symbol, 0)
            # Interest of the few blocks since, and a unit of rounding.
            held = balance(aave_market, item.account, symbol)[0]
            assert kept <= held <= kept + kept // 10_000 + 1
        owed = Counter[tuple[str, int]]()
        for symbol, mode in item.debts:
            owed[symbol, mode] = balance(aave_market, item.account, symbol)[mode]
        match item.shape:
            case "supplier":
                assert collateral > 0
                assert not item.debts
            case "former borrower":
                assert item.debts
                assert debt == owed.total() == 0
            case "dust":
                assert 0 < collateral < 10**8
                assert all(owed.values())
            case _:
                assert 1.0099 * WAD < health < 6.01 * WAD
                assert all(owed.values())
    flags = accounts.read_flags(aave_market, [item.account for item in plans])
    for item, (collaterals, debts) in zip(plans, flags, strict=True):
        assert set(collaterals) == set(item.supplies) - set(item.unflagged)
        assert set(debts) == (set() if item.repays else {symbol for symbol, _ in item.debts})
        category = aave_market.chain.call(
            aave_market.pool, "getUserEMode(address)(uint256)", item.account
        )
        assert category == item.category
    assert {item.category for item in plans} == {0, ETH_CORRELATED, STABLECOINS}
    assert any(len(item.debts) == 2 and item.shape == "stable rate" for item in plans)
    assert any(item.withdrawals for item in plans)


def test_the_walls_are_filled_from_one_to_forty_percent(aave_market: AaveMarket) -> None:
    result = accounts.populate(aave_market, 400, 11)
    data = aave_market.account_data(result)
    health = [row[5] / WAD for row in data if row[1]]
    drops = Counter(int((1 - 1 / item) * 20) for item in health if item < 2**100)
    assert all(drops[bucket] >= 5 for bucket in range(8)), drops
    assert sum(1.05 <= item < 1.6 for item in health) > len(health) / 2
    assert min(health) < 1.03
    assert max(row[1] for row in data) > 10**6 * 10**8


def test_a_seed_gives_the_same_chain_twice(toolchain: Toolchain) -> None:
    heads = []
    for _ in range(2):
        with Node(toolchain.anvil, timestamp=1_650_000_000) as fresh, Chain(fresh.url) as chain:
            market = deploy(chain, toolchain.artifacts)
            result = accounts.populate(market, 40, 3)
            rng = Random(5)
            operations.random_operations(market, result, rng, 60)
            accounts.crash(market, 0.7)
            accounts.liquidate(market, result, rng, 10)
            head = chain.rpc("eth_getBlockByNumber", "latest", False)["hash"]
            heads.append((result, market.account_data(result), head))
    assert heads[0] == heads[1]
    assert heads[0][0] != [plans.address(4, index) for index in range(40)]


def test_random_operations_do_a_bit_of_everything(aave_market: AaveMarket) -> None:
    result = accounts.populate(aave_market, 80, 5)
    accounts.crash(aave_market, 0.8)
    first = aave_market.chain.block_number() + 1
    tally = operations.random_operations(aave_market, result, Random(5), 400)
    assert set(tally.done) == set(operations.ACTIONS)
    assert tally.done.total() + tally.reverted.total() == 400
    assert tally.done.total() > 200
    assert len(aave_market.chain.logs(first=first)) > 1000


def test_a_crash_is_followed_by_liquidations_of_every_kind(aave_market: AaveMarket) -> None:
    result = accounts.populate(aave_market, 200, 9)
    assert accounts.liquidate(aave_market, result, Random(1), 100) == []
    accounts.crash(aave_market, 0.75)
    before = dict(zip(result, aave_market.account_data(result), strict=True))
    first = aave_market.chain.block_number() + 1
    done = accounts.liquidate(aave_market, result, Random(1), 60)
    logs = aave_market.chain.logs(aave_market.pool, [accounts.LIQUIDATION_CALL], first=first)
    assert len(done) == len(logs) > 40
    assert {item.receive_a_token for item in done} == {True, False}
    after = aave_market.account_data([item.account for item in done])
    for item, (_, debt, *_) in zip(done, after, strict=True):
        assert before[item.account][5] < WAD
        assert debt < before[item.account][1]
        assert item.repaid > 0
        assert item.seized > 0
    assert any(row[1] == 0 for row in after)
    assert any(row[1] > 0 for row in after)


def test_a_paused_reserve_stops_liquidations_a_frozen_does_not(
    aave_market: AaveMarket,
) -> None:
    """A paused reserve stops liquidations, and a frozen one does not."""
    market, liquidator = aave_market, accounts.LIQUIDATORS[0]
    provide(market, "USDC", 10**12)
    supply(market, "WETH", WAD)
    market.chain.send_all([market.borrow(USER, "USDC", 2_000 * 10**6)])
    market.set_price("WETH", 2_000 * 10**8)
    market.chain.send_all(
        [market.mint("USDC", liquidator, 10**12), market.approve(liquidator, "USDC")]
    )
    attempt = [market.liquidate(liquidator, "WETH", "USDC", USER, 10**6)]
    market.pause("WETH")
    with pytest.raises(TransactionReverted, match=r"reverted: 29$"):  # RESERVE_PAUSED
        market.chain.send_all(attempt)
    market.pause("WETH", False)
    market.freeze("WETH")
    assert market.chain.send_all(attempt)[0].ok


def test_a_changed_threshold_changes_the_health_factor(aave_market: AaveMarket) -> None:
    provide(aave_market, "USDC", 10**12)
    supply(aave_market, "WETH", WAD)
    aave_market.chain.send_all([aave_market.borrow(USER, "USDC", 1_000 * 10**6)])
    aave_market.set_limits("WETH", 6000, 7000, 10500)
    row = aave_market.account_data([USER])[0]
    assert row[3:5] == (7000, 6000)
    assert row[5] == pytest.approx(2.1 * WAD, rel=1e-6)


def test_a_stable_rate_debt_keeps_its_rate_and_can_be_swapped(aave_market: AaveMarket) -> None:
    market = aave_market
    provide(market, "DAI", 10**6 * WAD)
    supply(market, "WETH", WAD)
    market.chain.send_all([market.borrow(USER, "DAI", 500 * WAD, STABLE)])
    assert balance(market, USER, "DAI")[STABLE] == 500 * WAD
    market.chain.increase_time(365 * 86_400)
    year = balance(market, USER, "DAI")
    assert 1.05 < year[STABLE] / (500 * WAD) < 1.06
    market.chain.send_all([market.swap_rate(USER, "DAI", STABLE)])
    swapped = balance(market, USER, "DAI")
    assert swapped[STABLE] == 0
    assert swapped[VARIABLE] >= year[STABLE]
    with pytest.raises(TransactionReverted, match=r"reverted: 31$"):  # STABLE_BORROWING_NOT_ENABLED
        market.chain.send_all([market.borrow(USER, "USDT", 1, STABLE)])


@pytest.mark.full
def test_a_category_may_have_a_price_of_its_own(toolchain: Toolchain) -> None:
    with Node(toolchain.anvil) as fresh, Chain(fresh.url) as chain:
        market = deploy(chain, toolchain.artifacts, category_price=2 * 10**8)
        supply(market, "USDC", 1_000 * 10**6)
        assert market.account_data([USER])[0][0] == 1_000 * 10**8
        chain.send_all([market.set_emode(USER, STABLECOINS)])
        assert market.account_data([USER])[0][0] == 2_000 * 10**8
        market.set_category_price(10**8 // 2)
        assert market.account_data([USER])[0][0] == 500 * 10**8


def supply(market: AaveMarket, symbol: str, amount: int, account: str = USER) -> None:
    market.chain.send_all(
        [
            market.mint(symbol, account, amount),
            market.approve(account, symbol),
            market.supply(account, symbol, amount),
        ]
    )


def provide(market: AaveMarket, symbol: str, amount: int) -> None:
    supply(market, symbol, amount, accounts.PROVIDERS[0])


def balance(market: AaveMarket, account: str, symbol: str) -> tuple[int, int, int]:
    """Supplied, stable debt, variable debt: the last two at the index of their rate mode."""
    held = accounts.read_holdings(market, [(account, symbol)])[0]
    return held.supplied, held.stable, held.variable


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for a minute"
        time.sleep(0.02)


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    # A zombie has ended; only its parent, which may be gone too, can clear it away.
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"
