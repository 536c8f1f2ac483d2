"""The shipped recording: it plays the whole demo, answers nothing else, and is the node's own."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import chainwatch
from chainwatch.chain.types import MULTICALL3
from chainwatch.demo import recording, stages, story
from chainwatch.demo.node import Toolchain
from chainwatch.demo.record import RECORDED_START, record
from chainwatch.errors import ConfigError, Exit
from chainwatch.lending.protocols.aave_v3.pool import V3
from tests import shell
from tests.shell import Done, run

pytestmark = pytest.mark.contracts("published")

PACKAGE = Path(chainwatch.__file__).parent
CACHE = Path(os.environ.get("CHAINWATCH_CACHE") or PACKAGE.parent / ".cache")


@pytest.fixture(scope="module")
def shipped() -> recording.Recording:
    return recording.load()


@pytest.fixture
def played(shipped: recording.Recording) -> Iterator[recording.Player]:
    with recording.Player(shipped) as player:
        yield player


def ask(player: recording.Player, method: str, *parameters: Any) -> dict[str, Any]:
    """What a client gets over HTTP."""
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(parameters)}
    request = urllib.request.Request(player.url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: dict[str, Any] = json.load(response)
    assert answer["id"] == 7
    return answer


# --- the demo -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def asking_for_more(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """A collector that reads every account at the second stop, where only what had changed was
    read. It starts before all tests of this file, since it tries for a while."""
    home = tmp_path_factory.mktemp("more")
    with shell.recorded_chain(stop=1) as url:
        shell.market_file(home, {"demo": url})
        everyone = ("--market", "demo", "--accounts", "all")
        process = shell.start("collect", "aave-v3", *everyone, home=home)
        yield home, process
        shell.leave(process)


@pytest.fixture(scope="module")
def demo() -> tuple[Path, Done]:
    """The demo on a machine without node: its home and what it printed."""
    return shell.recorded_demo()


def test_without_node_the_demo_plays_the_recording_and_says_so(
    demo: tuple[Path, Done],
) -> None:
    """Without node the demo plays the recording from end to end and says so."""
    done = demo[1]
    assert done.code == Exit.OK, done.err
    assert re.search(r"^.*node.*; playing the recording instead$", done.err, re.MULTILINE)
    assert "demo on a recording of a local node" in done.err
    for n in recording.load().stops:
        for market, least in (("demo", 200), ("comet", 70)):
            line = rf"^{market}, block {n}: (\d+)/(\d+) accounts equal to the chain"
            equal = re.search(line, done.err, re.MULTILINE)
            assert equal, done.err
            assert equal[1] == equal[2]
            assert int(equal[2]) >= least
    assert "BTC and ETH fall by 15%" in done.err
    assert "DEMO DATA from a recorded local chain" in done.out
    assert done.out.count("Health-factor distribution") == 2
    assert done.out.count("per price bin") == 3
    assert "comet (compound-v3, DEMO DATA from a recorded local chain)" in done.out
    assert done.out.count("Liquidations on chain: debt repaid and collateral seized") == 1
    assert "Changes between the two newest snapshots" in done.out
    assert "NOT VERIFIED" not in done.out
    assert "\x1b" not in done.out + done.err


@pytest.mark.full
def test_the_next_steps_that_the_demo_names_work(demo: tuple[Path, Done]) -> None:
    steps = re.findall(r"^  chainwatch (--home .*)$", demo[1].out, re.MULTILINE)
    assert len(steps) == 7
    for step in steps:
        again = subprocess.run(
            ["sh", "-c", f"{shlex.join(shell.CHAINWATCH)} {step}"],
            capture_output=True,
            env=shell.environment(),
            cwd=shell.NOWHERE,
        )
        assert again.returncode == Exit.OK, again.stderr


@pytest.mark.full
def test_a_second_demo_replaces_the_first(demo: tuple[Path, Done], tmp_path: Path) -> None:
    home = shutil.copytree(demo[0], tmp_path / "a home")
    before = {
        path.name for path in (home / "demo" / "lake").rglob("*.parquet") if "seed" not in path.name
    }
    (home / "demo" / "notes.txt").write_text("mine")
    assert run("-q", "demo", "--recorded", home=home).code == Exit.OK
    after = {
        path.name for path in (home / "demo" / "lake").rglob("*.parquet") if "seed" not in path.name
    }
    assert after
    assert not before & after
    assert (home / "demo" / "notes.txt").exists(), "only what the demo made is replaced"
    snapshots = run("sql", "FROM snapshots", "--jsonl", home=home / "demo")
    assert len(snapshots.out.splitlines()) == 4


def test_the_demo_leaves_a_folder_alone_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "demo" / "lake").mkdir(parents=True)
    (tmp_path / "demo" / "lake" / "precious").write_text("mine")
    done = run("demo", "--recorded", home=tmp_path)
    assert done.code == Exit.USAGE
    assert done.out == ""
    assert len(done.lines) == 1
    assert "is not empty and not a demo folder" in done.err
    assert [p.name for p in (tmp_path / "demo").rglob("*")] == ["lake", "precious"]


# --- what it answers ----------------------------------------------------------------------------


def test_the_recording_tells_the_story_it_was_made_for(shipped: recording.Recording) -> None:
    assert shipped.chain_id == story.CHAIN_ID
    assert len(shipped.stops) == 2
    assert shipped.stops[0] < shipped.stops[1]
    numbers = [header.number for header in shipped.headers]
    assert numbers == list(range(shipped.stops[1] + 1))
    for below, above in zip(shipped.headers, shipped.headers[1:], strict=False):
        assert above.parent_hash == below.hash
        assert above.time > below.time
    assert shipped.headers[1].time >= RECORDED_START
    assert shipped.note == stages.fall_words(stages.LIQUIDATIONS, stages.ABSORBED)
    assert recording.RECORDING.stat().st_size < 500_000


def test_the_chain_ends_at_its_head_until_the_story_moves_on(played: recording.Player) -> None:
    first, second = played.recording.stops
    assert ask(played, "eth_blockNumber")["result"] == hex(first)
    assert ask(played, "eth_chainId")["result"] == hex(story.CHAIN_ID)
    assert ask(played, "eth_getBlockByNumber", "latest", False)["result"]["number"] == hex(first)
    assert ask(played, "eth_getBlockByNumber", hex(second), False)["result"] is None
    assert (
        ask(played, "eth_getCode", played.recording.markets["demo"].pool, hex(first))["result"]
        != "0x"
    )
    assert (
        ask(played, "eth_getCode", played.recording.markets["demo"].pool, "0x0")["result"] == "0x"
    )
    everything = {"fromBlock": "0x0", "toBlock": hex(second), "topics": [None]}
    before = len(ask(played, "eth_getLogs", everything)["result"])
    played.head = second
    assert ask(played, "eth_getBlockByNumber", hex(second), False)["result"] is not None
    assert len(ask(played, "eth_getLogs", everything)["result"]) > before


def test_a_request_outside_the_recording_is_rejected(
    played: recording.Player,
) -> None:
    """A request outside the recording is rejected, and never answered with an empty result."""
    head = hex(played.head)
    unknown = {"to": played.recording.markets["demo"].pool, "data": "0x12345678"}
    refused = ask(played, "eth_call", unknown, head)["error"]
    assert refused["code"] == -32_001
    assert refused["message"] == f"nothing recorded for 0x12345678 at block {played.head}"
    revision = {
        "to": played.recording.markets["demo"].pool,
        "data": f"0x{V3.revision.selector.hex()}",
    }
    assert "result" in ask(played, "eth_call", revision, head)
    assert ask(played, "eth_call", revision, "0x1")["error"]["code"] == -32_001
    assert (
        ask(played, "eth_getBalance", played.recording.markets["demo"].pool, head)["error"]["code"]
        == -32_601
    )
    gone = {"blockHash": "0x" + "12" * 32}
    assert ask(played, "eth_call", revision, gone)["error"]["message"] == "header not found"
    call = "0x82ad56cb" + "00" * 32
    assert "error" in ask(played, "eth_call", {"to": MULTICALL3, "data": call}, head)


def test_a_request_that_was_not_recorded_stores_no_snapshot(
    asking_for_more: tuple[Path, Any],
) -> None:
    """A collector that requests more than was recorded fails and stores no snapshot."""
    home, process = asking_for_more
    done = shell.ended(process)
    assert done.code == Exit.NETWORK
    assert "nothing recorded for" in done.lines[-1]
    left = run("sql", "SELECT count(*) AS n FROM snapshots", "--csv", home=home)
    assert left.out == "n\n0\n"


# --- the file -----------------------------------------------------------------------------------


def test_saving_what_was_loaded_gives_the_same_content(
    shipped: recording.Recording, tmp_path: Path
) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    recording.save(shipped, once)
    backwards = recording.load(once)
    backwards.calls = dict(reversed(backwards.calls.items()))
    recording.save(backwards, twice)
    assert once.read_bytes() == twice.read_bytes()
    assert gzip.decompress(once.read_bytes()) == gzip.decompress(recording.RECORDING.read_bytes())


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"not gzip at all",
        lambda data: data[:2000] + b"\x00\xff\x00\xff" + data[2004:],
        lambda data: gzip.compress(b"{}"),
        lambda data: gzip.compress(b"[" * 100),
    ],
    ids=["empty", "cut", "text", "flipped bytes", "no fields", "no document"],
)
def test_a_damaged_recording_is_told_in_one_line(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "recording.json.gz"
    path.write_bytes(damage(recording.RECORDING.read_bytes()))
    with pytest.raises(ConfigError, match=r"recording\.json\.gz cannot be read") as message:
        recording.load(path)
    assert "\n" not in str(message.value)


def test_a_damaged_recording_in_the_package_is_exit_2(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    package = shutil.copytree(PACKAGE, tmp_path / "chainwatch", ignore=ignored)
    for folder in ("queries", "abis"):
        shutil.copytree(PACKAGE.parent / folder, package / folder)
    (package / "demo" / "recording.json.gz").write_bytes(b"damaged")
    env = shell.environment() | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [*shell.CHAINWATCH, "--home", str(tmp_path / "home"), "demo", "--recorded"],
        capture_output=True,
        text=True,
        env=env,
        cwd=shell.NOWHERE,
    )
    assert done.returncode == Exit.USAGE, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert f"{package / 'demo' / 'recording.json.gz'} cannot be read" in done.stderr


class _Silent:
    """A voice that nobody hears."""

    def note(self, text: str) -> None:
        pass

    def progress(self, what: str, done: float, total: float | None = None) -> None:
        pass


@pytest.mark.full
def test_recording_the_story_again_on_a_node_gives_the_same_bytes(
    toolchain: Toolchain, shipped: recording.Recording, tmp_path: Path
) -> None:
    made, kept = tmp_path / "made", tmp_path / "kept"
    recording.save(record(CACHE, tmp_path / "demo", _Silent()), made)
    recording.save(shipped, kept)
    same = made.read_bytes() == kept.read_bytes()
    assert same, "the recording is stale: run `make recording` and commit it"
