"""Markets: the built-in table, a table of one's own, and the endpoints of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chainwatch.chain.markets import FeedRule, endpoints, find_market, load_markets, markets_of
from chainwatch.demo import recording
from chainwatch.errors import ConfigError, Exit, UsageError
from chainwatch.settings import Settings
from tests import shell
from tests.shell import run

POOL = "0x87870Bca3F3fD6335C3F4ce8392D69350B4fA4E2"
MINE = f"""
[markets.mine]
protocol = "aave-v3"
chain = "ethereum"
chain_id = 1
pool = "{POOL}"
rpc = ["https://own.example/v2/SECRETKEY", "https://second.example"]
"""


def made(home: Path, text: str | None = None, **environ: str) -> Settings:
    if text is not None:
        (home / "markets.toml").write_text(text, encoding="utf-8")
    return Settings({"home": str(home)}, environ=environ, dotenv=home / ".env")


def test_the_built_in_table_reads_and_is_keyless(tmp_path: Path) -> None:
    markets = load_markets(made(tmp_path))
    assert markets["ethereum"].pool == POOL.lower()
    for name, market in markets.items():
        assert market.name == name
        assert market.provenance == "chain"
        assert market.lag >= 1, "the newest block may still be replaced"
        for url in market.rpc:
            assert url.startswith("https://")
            assert all(len(part) < 24 for part in url.split("/")[3:]), f"{name}: a key in the path?"


def test_one_chain_has_one_chain_id(tmp_path: Path) -> None:
    ids: dict[str, set[int]] = {}
    for market in load_markets(made(tmp_path)).values():
        ids.setdefault(market.chain, set()).add(market.chain_id)
    assert all(len(markets) == 1 for markets in ids.values())


def test_markets_say_where_their_events_begin(tmp_path: Path) -> None:
    """Where no public source has the block, the first reading searches for it."""
    markets = load_markets(made(tmp_path)).values()
    searched = {m.name for m in markets if m.deployment_block is None and m.protocol != "aave-v4"}
    chains = "linea-usdc linea-weth mantle-usde ronin-weth ronin-wron unichain-usdc unichain-weth"
    comets = {f"comet-{chain}" for chain in chains.split()}
    assert searched == {"ethereum-horizon", "mantle", *comets}
    assert all(m.deployment_block is None or m.deployment_block > 0 for m in markets)


def test_markets_in_ether_or_bitcoin_name_a_feed_in_usd(tmp_path: Path) -> None:
    markets = load_markets(made(tmp_path)).values()
    named = {m.name for m in markets if m.quote_feed}
    in_ether = {m.name for m in markets if m.protocol == "aave-v2" or m.name.endswith("-weth")}
    assert named == in_ether | {"comet-ethereum-wbtc", "comet-ethereum-wsteth"}


def test_a_file_of_ones_own_adds_and_replaces(tmp_path: Path) -> None:
    replaced = MINE.replace("markets.mine", "markets.ethereum").replace("lag = 2", "")
    markets = load_markets(made(tmp_path, MINE + replaced))
    assert markets["mine"].rpc[1] == "https://second.example"
    assert markets["ethereum"].rpc == markets["mine"].rpc
    assert "arbitrum" in markets


def test_rules_of_feeds_are_of_all_markets_of_a_chain(tmp_path: Path) -> None:
    """Those of a file add to the built-in ones by chain and factor; a market's own go first."""
    text = (
        MINE
        + """
feeds = { ETH = { deviation = 0.02, heartbeat = 60 } }

[feeds.ethereum]
ETH = { deviation = 0.01, heartbeat = 7200 }
"WBTC/BTC" = { deviation = 0.005, heartbeat = 86400 }
"""
    )
    markets = load_markets(made(tmp_path, text))
    assert markets["ethereum"].feeds["ETH"] == FeedRule(0.01, 7200)
    assert markets["ethereum"].feeds["BTC"] == FeedRule(0.005, 3600)
    assert markets["mine"].feeds["ETH"] == FeedRule(0.02, 60)
    assert markets["mine"].feeds["WBTC/BTC"] == markets["ethereum"].feeds["WBTC/BTC"]
    assert not markets["arbitrum"].feeds


def test_the_variable_names_another_file(tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(MINE)
    assert "mine" in load_markets(made(tmp_path, CHAINWATCH_MARKETS=str(other)))
    with pytest.raises(ConfigError, match=r"the market file .*none\.toml does not exist"):
        load_markets(made(tmp_path, CHAINWATCH_MARKETS=str(tmp_path / "none.toml")))


def test_markets_are_found_by_protocol(tmp_path: Path) -> None:
    settings = made(tmp_path, MINE + MINE.replace("mine", "theirs").replace("aave-v3", "other"))
    assert "mine" in markets_of(settings, "aave-v3")
    assert set(markets_of(settings, "other")) == {"theirs"}
    with pytest.raises(UsageError, match=r"no other market is called 'mine'; known: theirs"):
        find_market(settings, "other", "mine")


def test_a_typo_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean ethereum"):
        find_market(made(tmp_path), "aave-v3", "etherum")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[markets.mine", "is not valid TOML"),
        ("markets = 3", "expected tables such as"),
        ("[markets]\nmine = 3", "market 'mine'"),
        (MINE.replace("markets.mine", "markets.Mine"), "expected a name of a-z"),
        (
            MINE.replace("markets.mine", "markets.all"),
            "the name all stands for every market",
        ),
        (MINE.replace("markets.mine", "mine"), "got `mine`: write [markets.mine]"),
        (MINE + "[other]\n", "got `other`: write [markets.other]"),
        ("mine = 3", "got `mine`: write [markets.mine]"),
        ('"a\\u001b[31m" = 3', "got `a\\x1b[31m`"),
        (MINE.replace("markets.mine", 'markets."a\\u001b[31m"'), "expected a name of a-z"),
        (MINE.replace('chain = "ethereum"', ""), "missing required field `chain`"),
        (MINE.replace('chain = "ethereum"', 'chain = "a b"'), "chain: expected a name of a-z"),
        (MINE.replace("chain_id = 1", "chain_id = 0"), "expected a chain_id above 0"),
        (MINE.replace("chain_id = 1", 'chain_id = "1"'), "chain_id"),
        (MINE.replace(POOL, POOL[:-1]), "pool: expected an address"),
        (MINE.replace(POOL, "0x" + "g" * 40), "pool: expected an address"),
        (MINE + "lag = -1\n", "a lag of 0 or more"),
        (MINE + "pol = 1\n", "unknown field `pol`"),
        (MINE + 'provenance = "real"\n', "provenance"),
        (MINE.replace('["https://own', '[3, "https://own'), "rpc"),
        ("feeds = 3", "feeds: Expected `object`"),
        ("[feeds.ethereum]\nETH = 0.005", "feeds: Expected `object`"),
        ("[feeds.ethereum]\nETH = { deviation = 0.5 }", "missing required field `heartbeat`"),
        ("[feeds.e]\nETH = { deviation = 5, heartbeat = 1 }", "feeds.e: ETH: expected a deviation"),
        ("[feeds.e]\nETH = { deviation = 0.1, heartbeat = 0 }", "a heartbeat in seconds"),
    ],
)
def test_a_wrong_entry_is_one_line_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"markets\.toml") as failure:
        load_markets(made(tmp_path, text))
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)
    assert "SECRETKEY" not in str(failure.value)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "markets.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_markets(made(tmp_path))


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "markets.toml").mkdir()
    for settings in (made(tmp_path), made(tmp_path, CHAINWATCH_MARKETS=str(tmp_path))):
        with pytest.raises(ConfigError, match=r"the market file .* is a folder") as failure:
            load_markets(settings)
        assert str(settings.markets) in str(failure.value)


def test_a_table_without_its_heading_is_one_line_of_the_listing(tmp_path: Path) -> None:
    (tmp_path / "markets.toml").write_text(MINE.replace("markets.mine", "mine"))
    done = run("markets", home=tmp_path)
    assert (done.code, len(done.lines), done.out) == (Exit.USAGE, 1, "")
    assert "markets.toml: expected tables [markets.NAME], got `mine`: write" in done.err


# --- endpoints ----------------------------------------------------------------------------------


def test_the_endpoints_set_for_a_chain_go_before_the_tables(tmp_path: Path) -> None:
    settings = made(tmp_path, MINE)
    market = find_market(settings, "aave-v3", "mine")
    assert endpoints(settings, market) == market.rpc
    set_urls = " https://a.example , https://b.example/key,, "
    settings = made(tmp_path, CHAINWATCH_RPC_ETHEREUM=set_urls)
    assert endpoints(settings, market) == ("https://a.example", "https://b.example/key")


def test_a_chain_with_a_dash_has_a_variable_with_an_underscore(tmp_path: Path) -> None:
    text = MINE.replace('"ethereum"', '"my-chain"').replace("rpc = ", "# ")
    market = find_market(made(tmp_path, text), "aave-v3", "mine")
    with pytest.raises(ConfigError, match="set CHAINWATCH_RPC_MY_CHAIN"):
        endpoints(made(tmp_path), market)
    settings = made(tmp_path, CHAINWATCH_RPC_MY_CHAIN="https://a.example")
    assert endpoints(settings, market) == ("https://a.example",)


@pytest.mark.parametrize(
    "url",
    [
        "SECRETKEY",
        "wss://host/SECRETKEY",
        "https:///SECRETKEY",
        "http://[broken/SECRETKEY",
        "https://good.example, SECRETKEY",
        "ftp://user:SECRETKEY@host",
    ],
)
def test_a_wrong_endpoint_is_named_by_its_setting_not_shown(tmp_path: Path, url: str) -> None:
    """An endpoint that is not a URL is named by its setting, and never shown."""
    settings = made(tmp_path, MINE, CHAINWATCH_RPC_ETHEREUM=url)
    with pytest.raises(ConfigError, match="environment CHAINWATCH_RPC_ETHEREUM") as failure:
        endpoints(settings, find_market(settings, "aave-v3", "mine"))
    assert "SECRETKEY" not in str(failure.value)


# --- the listing --------------------------------------------------------------------------------


@pytest.mark.full
def test_the_listing_says_what_is_collected_and_how_old_it_is(tmp_path: Path) -> None:
    home = shell.copied_lake(tmp_path)
    positions = tmp_path / "mine.csv"
    positions.write_text("account,collateral,debt,liquidation_threshold\na,2,1,0.8\n")
    assert run("import", str(positions), "--market", "mine", home=home).code == Exit.OK
    done = run("markets", "--json", home=home)
    assert done.code == Exit.OK, done.err
    rows = {row["market"]: row for row in json.loads(done.out)["rows"]}
    newest = recording.load().headers[recording.load().stops[1]]
    for name, protocol in (("demo", "aave-v3"), ("comet", "compound-v3")):
        assert rows[name]["protocol"] == protocol
        assert rows[name]["block_number"] == newest.number
        assert rows[name]["age_seconds"] > 0
        assert rows[name]["checked"] == rows[name]["accounts"] > 70
        assert rows[name]["mismatched"] == 0
    assert rows["ethereum"]["block_number"] is None
    assert rows["mine"]["protocol"] == "imported"
    assert rows["mine"]["accounts"] == 1
    assert rows["mine"]["endpoint"] == "mine.csv"
    shown = run("markets", home=home).out
    assert "n/a: not collected yet" in shown


def test_without_a_lake_the_listing_shows_the_table_and_makes_none(tmp_path: Path) -> None:
    (tmp_path / "markets.toml").write_text(MINE)
    done = run("markets", "--jsonl", home=tmp_path)
    rows = {row["market"]: row for row in map(json.loads, done.out.splitlines())}
    assert rows["mine"]["pool"] == POOL.lower()
    assert rows["mine"]["endpoint"] == "https://own.example/…, https://second.example"
    assert {row["block_time"] for row in rows.values()} == {None}
    assert [path.name for path in tmp_path.iterdir()] == ["markets.toml"]
