"""Supply on chain, read from real token contracts on the local node."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from chainwatch.chain.tokens import load_tokens
from chainwatch.collect import runner
from chainwatch.collect.feed import Job, Outcome
from chainwatch.collect.registry import find
from chainwatch.collect.runner import raise_failures
from chainwatch.demo.chain import DEPLOYER, MAX_UINT, Chain, own_artifact
from chainwatch.demo.node import Node
from chainwatch.errors import ConfigError, NetworkError, PartialError, UsageError
from chainwatch.lake.store import Store
from chainwatch.settings import Settings
from chainwatch.tables.disclosure import Supply
from tests.documents import Quiet, ask, fixture

pytestmark = pytest.mark.contracts("plain")

TREASURY = "0x" + "7e" * 20


def table(home: Path, address: str, url: str) -> None:
    text = fixture("supply/tokens.toml").decode()
    home.mkdir(parents=True, exist_ok=True)
    filled = text.replace("ADDRESS", address).replace("ENDPOINT", url)
    (home / "tokens.toml").write_text(filled, encoding="utf-8")


async def read(store: Store, **options: str) -> Outcome:
    settings = Settings({"home": str(store.home)}, environ={}, dotenv=store.home / ".env")
    job = Job(find("supply"), options=options)
    (outcome,) = await runner.collect(store, settings, [job], Quiet())
    return outcome


def token(chain: Chain, decimals: int = 6) -> str:
    return chain.deploy(own_artifact("TestToken"), "Tether", "USDT", decimals)


async def test_what_the_treasury_holds_is_authorised_and_not_issued(
    node: Node, chain: Chain, tmp_path: Path
) -> None:
    address = token(chain)
    chain.send(address, "mint(address,uint256)", DEPLOYER, 123_456_789_000_001)
    chain.send(address, "mint(address,uint256)", TREASURY, 23_000_000_000_000)
    table(tmp_path, address, node.url)
    store = Store(tmp_path)
    raise_failures([await read(store, only="local")])
    (row,) = store.rows(Supply)
    assert row.authorized == Decimal("146456789.000001")
    assert row.not_issued == Decimal("23000000")
    assert row.circulating == Decimal("123456789.000001")
    assert (row.evidence, row.chain, row.provenance) == ("on chain", "local", "demo")
    assert row.block_number == chain.block_number()
    shown = ask(store, "reserve_supply", p_token="USDT")
    assert [(r["evidence"], r["term"], r["amount"]) for r in shown] == [
        ("on chain", "circulating on local", 123456789.000001)
    ]


async def test_a_table_with_wrong_decimals_is_refused(
    node: Node, chain: Chain, tmp_path: Path
) -> None:
    table(tmp_path, token(chain, 18), node.url)
    outcome = await read(Store(tmp_path), only="usdt-local")
    assert isinstance(outcome.failure, NetworkError)
    assert "18 decimals, the table says 6" in str(outcome.failure)


async def test_an_address_without_a_token_says_so(node: Node, chain: Chain, tmp_path: Path) -> None:
    table(tmp_path, "0x" + "12" * 20, node.url)
    outcome = await read(Store(tmp_path), only="local")
    assert "no token contract at that address" in str(outcome.failure)


async def test_a_supply_beyond_every_stablecoin_is_refused(
    node: Node, chain: Chain, tmp_path: Path
) -> None:
    address = token(chain)
    chain.send(address, "mint(address,uint256)", DEPLOYER, MAX_UINT)
    table(tmp_path, address, node.url)
    outcome = await read(Store(tmp_path), only="local")
    assert "no stablecoin's" in str(outcome.failure)


async def test_a_chain_that_fails_does_not_stop_the_others(
    node: Node, chain: Chain, tmp_path: Path
) -> None:
    address = token(chain)
    table(tmp_path, address, node.url)
    more = (tmp_path / "tokens.toml").read_text("utf-8").replace("usdt-local", "usdt-other")
    more = more.replace('"local"', '"other"')  # an endpoint of another chain than it says
    with (tmp_path / "tokens.toml").open("a", encoding="utf-8") as file:
        file.write(more.replace("chain_id = 31337", "chain_id = 31338"))
    store = Store(tmp_path)
    outcome = await read(store, only="local,other")
    assert isinstance(outcome.failure, PartialError)
    assert len(store.rows(Supply)) == 1


async def test_an_unknown_name_says_what_there_is(tmp_path: Path) -> None:
    outcome = await read(Store(tmp_path), only="nothing")
    assert isinstance(outcome.failure, UsageError)
    assert "it has USDT, ethereum" in str(outcome.failure)


def test_the_built_in_table_fits_and_has_no_address_twice() -> None:
    tokens = load_tokens(Settings({"home": "/nowhere"}, environ={}, dotenv=Path("/nowhere/.env")))
    assert len({(t.chain_id, t.address.lower()) for t in tokens.values()}) == len(tokens)
    assert tokens["usdt-ethereum"].treasury


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('token = "X"', "missing required field"),
        ('token = "X"\nchain = "a"\nchain_id = 1\naddress = "0x12"\ndecimals = 6', "regex"),
        (
            f'token = "X"\nchain = "a"\nchain_id = 0\naddress = "{TREASURY}"\ndecimals = 6',
            "chain_id",
        ),
        (f'token = "X"\nchain = "a"\nchain_id = 1\naddress = "{TREASURY}"\ndecimal = 6', "decimal"),
        ("token = ", "tokens.toml"),
    ],
)
def test_an_entry_that_does_not_fit_is_named(tmp_path: Path, entry: str, words: str) -> None:
    (tmp_path / "tokens.toml").write_text(f"[tokens.mine]\n{entry}\n", encoding="utf-8")
    settings = Settings({"home": str(tmp_path)}, environ={}, dotenv=tmp_path / ".env")
    with pytest.raises(ConfigError, match=words):
        load_tokens(settings)
