"""`doctor`: what is there and what is not, in homes of their own, at nodes behind proxies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chainwatch.collect.endpoints import KEPT_DAYS
from chainwatch.demo.chain import Chain
from chainwatch.errors import Exit
from chainwatch.lake.store import Store
from chainwatch.tables.chain import Capabilities
from tests import shell
from tests.builders import Book
from tests.evm.rpc_proxy import Answer, Proxy, fault, standing
from tests.evm.rpc_proxy import Call as ProxyCall
from tests.shell import Done, run

pytestmark = pytest.mark.contracts("plain")

NO_METHOD = fault(-32601, "the method does not exist/is not available")
NOWHERE = "http://127.0.0.1:9"
KEY = "/v2/secret-key"


@pytest.fixture
def proxy(chain: Chain) -> Iterator[Proxy]:
    chain.mine()
    with standing(Proxy(chain.url)) as endpoint:
        yield endpoint


def home_with(folder: Path, *urls: str, **more: object) -> Path:
    """A home whose market `mine` has these endpoints."""
    shell.market_file(folder, {"mine": ""}, **({"rpc": list(urls)} | more))
    return folder


def findings(done: Done) -> dict[str, dict[str, Any]]:
    """The rows by item."""
    return {row["item"]: row for row in json.loads(done.out)["rows"]}


def doctor(home: Path, *arguments: str, **how: Any) -> Done:
    return run("doctor", *arguments, "--json", home=home, **how)


# --- the house ------------------------------------------------------------------------------------


def test_without_a_market_the_house_is_looked_at(tmp_path: Path) -> None:
    """No network, and nothing is written."""
    done = doctor(tmp_path / "new")
    assert done.code == Exit.OK, done.err
    rows = findings(done)
    assert {row["state"] for row in rows.values()} == {"ok"}
    assert {row["subject"] for row in rows.values()} == {"machine", "home", "settings"}
    assert rows["lake"]["value"] == "none yet"
    assert rows["free disk"]["value"].endswith(" GiB")
    assert not (tmp_path / "new").exists()


def test_a_home_that_cannot_be_written_is_exit_5(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = doctor(tmp_path / "file" / "home")
    assert done.code == Exit.STORE
    assert findings(done)["folder"]["state"] == "fault"
    assert [line for line in done.lines if "cannot be written" in line]


def test_settings_that_cannot_be_read_are_exit_2(tmp_path: Path) -> None:
    (tmp_path / "markets.toml").write_text("[markets")
    done = doctor(tmp_path, "--market", "ethereum")
    assert done.code == Exit.USAGE
    assert findings(done)["markets"]["state"] == "fault"
    assert "is not valid TOML" in done.lines[-1]


@pytest.mark.full
def test_a_lake_that_cannot_be_read_is_exit_5(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create()
    (segment,) = (store.lake / "loads").glob("day=*/*.parquet")
    segment.write_bytes(b"not parquet")
    done = doctor(tmp_path)
    assert done.code == Exit.STORE
    assert findings(done)["lake"]["state"] == "fault"


def test_an_unknown_market_is_named(tmp_path: Path) -> None:
    done = doctor(tmp_path, "--market", "etherum")
    assert done.code == Exit.USAGE
    assert done.out == ""
    assert "did you mean ethereum?" in done.err


# --- endpoints ------------------------------------------------------------------------------------


def test_an_endpoint_is_probed_once_and_kept(tmp_path: Path, proxy: Proxy) -> None:
    """Later it is asked for its chain and newest block alone; --fresh probes again."""
    home = home_with(tmp_path, proxy.url + KEY)
    first = doctor(home, "--market", "mine")
    assert first.code == Exit.OK, first.err
    (row,) = Store(home).rows(Capabilities)
    assert row.endpoint == f"{proxy.url}/…"
    assert row.requests == len(proxy.received)
    proxy.received.clear()
    second = doctor(home, "--market", "mine")
    assert {call["method"] for call in proxy.calls()} == {
        "eth_chainId",
        "eth_getBlockByNumber",
        "web3_clientVersion",
    }
    assert len(proxy.calls()) == 3
    assert f"{KEPT_DAYS} days" in findings(second)["probed"]["means"]
    same = ("state overrides", "access lists", "gas of a call", "log range", "batch")
    assert [findings(first)[i] for i in same] == [findings(second)[i] for i in same]
    assert doctor(home, "--market", "mine", "--fresh").code == Exit.OK
    assert len(Store(home).rows(Capabilities)) == 2
    assert "secret" not in first.out + first.err + second.out + second.err
    done = run("query", "endpoints", "--json", home=home)
    (listed,) = json.loads(done.out)["rows"]
    assert listed["batch_calls"] == row.batch_calls
    assert "secret" not in done.out


@pytest.mark.full
def test_keys_at_one_host_are_told_apart(tmp_path: Path, proxy: Proxy) -> None:
    home = home_with(tmp_path, f"{proxy.url}/first-key", f"{proxy.url}/second-key")
    assert doctor(home, "--market", "mine").code == Exit.OK
    assert len({row.endpoint_hash for row in Store(home).rows(Capabilities)}) == 2


def test_collected_markets_are_looked_at_without_names(tmp_path: Path, proxy: Proxy) -> None:
    """Those on chains alone: the node of a demo is gone."""
    home = home_with(tmp_path, proxy.url, provenance="chain")
    store = Store(home)
    store.create()
    assert doctor(home).code == Exit.OK
    assert proxy.received == []
    store.append(Book(market="mine").rows(), source="aave-v3", target="mine")
    done = doctor(home)
    assert done.code == Exit.OK, done.err
    assert findings(done)["log range"]["subject"] == f"local {proxy.url}"


def no_overrides(call: ProxyCall) -> Answer | None:
    return NO_METHOD if call["method"] == "eth_call" and len(call["params"]) > 2 else None


def little_gas(call: ProxyCall) -> None:
    if call["method"] == "eth_call":
        call["params"][0]["gas"] = hex(5_000_000)


def no_lists(call: ProxyCall) -> Answer | None:
    return NO_METHOD if call["method"] == "eth_createAccessList" else None


def no_state(call: ProxyCall) -> Answer | None:
    old = call["method"] == "eth_getBalance" and int(call["params"][1], 16) < 1
    return fault(-32000, "missing trie node 6d1f") if old else None


@pytest.mark.quick_variants("overrides")
@pytest.mark.parametrize(
    ("rule", "item", "value", "means"),
    [
        (no_overrides, "state overrides", "no", "`verify --wall` is n/a"),
        (no_lists, "access lists", "no (the method", "inferred from getters"),
        (little_gas, "gas of a call", "5,000,000", "more requests"),
        (no_state, "state kept", "0 blocks (from 1)", "cannot be read"),
    ],
    ids=["overrides", "access lists", "gas", "state"],
)
def test_what_an_endpoint_cannot_do_is_explained(
    tmp_path: Path,
    proxy: Proxy,
    rule: Callable[[ProxyCall], Answer | None],
    item: str,
    value: str,
    means: str,
) -> None:
    """It can be used all the same: exit 0."""
    proxy.rules.append(rule)
    done = doctor(home_with(tmp_path, proxy.url), "--market", "mine")
    assert done.code == Exit.OK, done.err
    row = findings(done)[item]
    assert row["state"] == "limited"
    assert row["value"].startswith(value)
    assert means in row["means"]


def test_an_endpoint_without_answers_is_exit_3(tmp_path: Path) -> None:
    done = doctor(home_with(tmp_path, NOWHERE), "--market", "mine")
    assert done.code == Exit.NETWORK
    assert findings(done)["contact"]["state"] == "fault"
    assert len(done.lines) == len([line for line in done.lines if line]) <= 3
    assert done.lines[-1].startswith(f"chainwatch: local: {NOWHERE} cannot be used: ")


def test_an_endpoint_beside_a_good_one_is_exit_4(tmp_path: Path, proxy: Proxy) -> None:
    done = doctor(home_with(tmp_path, proxy.url, NOWHERE), "--market", "mine")
    assert done.code == Exit.PARTIAL
    assert len(Store(tmp_path).rows(Capabilities)) == 1


def test_an_endpoint_of_another_chain_is_exit_2(tmp_path: Path, proxy: Proxy) -> None:
    done = doctor(home_with(tmp_path, proxy.url, chain_id=1), "--market", "mine")
    assert done.code == Exit.USAGE
    assert "serves chain id 31337, but local is 1" in done.err


def test_an_endpoint_that_leaves_out_logs_is_exit_3(
    tmp_path: Path, proxy: Proxy, chain: Chain
) -> None:
    """A header says that its block has logs, and none are given."""

    def bloom(call: ProxyCall, answer: Answer) -> None:
        if call["method"] == "eth_getBlockByNumber":
            answer["result"]["logsBloom"] = "0x" + "00" * 255 + "04"

    chain.mine()
    proxy.edits.append(bloom)
    done = doctor(home_with(tmp_path, proxy.url), "--market", "mine")
    assert done.code == Exit.NETWORK
    assert "leaves out logs" in done.lines[-1]
    assert findings(done)["logs"]["value"] == "no"


@pytest.mark.full
def test_a_market_without_endpoints_is_exit_2(tmp_path: Path) -> None:
    done = doctor(home_with(tmp_path), "--market", "mine")
    assert done.code == Exit.USAGE
    assert "no endpoint is known for chain local" in done.lines[-1]
