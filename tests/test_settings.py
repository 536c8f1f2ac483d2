"""Settings: flag, environment, .env, default; files that hold secrets; what is shown of them."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainwatch.chain.markets import load_markets
from chainwatch.collect.registry import discover
from chainwatch.errors import ConfigError
from chainwatch.exchanges.market_data import candles, open_interest
from chainwatch.exchanges.market_data.depth import BOOKS
from chainwatch.settings import (
    CCXT_SETTING,
    NAMED_SETTINGS,
    RPC_SETTING,
    SETTINGS,
    URL_SETTING,
    WS_SETTING,
    Settings,
    Value,
)

ROOT = Path(__file__).parent.parent


def made(
    tmp_path: Path,
    flags: dict[str, str | None] | None = None,
    environ: dict[str, str] | None = None,
    dotenv: str | None = None,
) -> Settings:
    path = tmp_path / ".env"
    if dotenv is not None:
        path.write_text(dotenv, encoding="utf-8")
    return Settings(flags, environ=environ or {}, dotenv=path)


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file, environ, flags = "CHAINWATCH_HOME=/file", {"CHAINWATCH_HOME": "/environ"}, {"home": "/f"}
    assert made(tmp_path, flags, environ, file).home == Path("/f")
    assert made(tmp_path, None, environ, file).home == Path("/environ")
    assert made(tmp_path, {"home": None}, None, file).home == Path("/file")
    assert made(tmp_path, dotenv="").home.name == "chainwatch"


def test_a_value_knows_where_it_came_from(tmp_path: Path) -> None:
    environ, file = {"CHAINWATCH_CACHE": "/c"}, "CHAINWATCH_TIMEOUT=5\n"
    settings = made(tmp_path, {"home": "/h"}, environ, file)
    assert settings.get("home") == Value("/h", "--home")
    assert settings.get("cache") == Value("/c", "environment CHAINWATCH_CACHE")
    assert settings.get("timeout") == Value("5", ".env CHAINWATCH_TIMEOUT")
    assert settings.get("markets") is None


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    settings = made(tmp_path, environ={"CHAINWATCH_TIMEOUT": ""}, dotenv="CHAINWATCH_TIMEOUT=7")
    assert settings.timeout == 7


def test_the_folders_below_home_follow_it(tmp_path: Path) -> None:
    settings = made(tmp_path, {"home": "/lake"})
    assert settings.cache == Path("/lake/cache")
    assert settings.markets == Path("/lake/markets.toml")
    own = made(tmp_path, environ={"CHAINWATCH_MARKETS": "~/m.toml", "CHAINWATCH_CACHE": "/c"})
    assert own.markets == Path.home() / "m.toml"
    assert own.cache == Path("/c")


@pytest.mark.parametrize("value", ["0", "-1", "abc", "nan", "inf", "1e9", "10 s"])
def test_a_timeout_that_is_none_is_refused_with_its_origin(tmp_path: Path, value: str) -> None:
    settings = made(tmp_path, environ={"CHAINWATCH_TIMEOUT": value})
    with pytest.raises(ConfigError, match="set by environment CHAINWATCH_TIMEOUT"):
        _ = settings.timeout


def test_the_timeout_is_thirty_seconds_unless_set(tmp_path: Path) -> None:
    assert made(tmp_path).timeout == 30
    assert made(tmp_path, dotenv="CHAINWATCH_TIMEOUT=0.5").timeout == 0.5


def test_the_env_file_understands_what_people_write_there(tmp_path: Path) -> None:
    text = """
# a comment
CHAINWATCH_RPC_A=https://a.example/key
export CHAINWATCH_RPC_B="https://b.example/#fragment"
CHAINWATCH_RPC_C = 'https://c.example/' \t
CHAINWATCH_RPC_D=https://d.example/  # keyless
CHAINWATCH_RPC_E=
OTHER_PROGRAM=1
CHAINWATCH_RPC_F=a=b=c
"""
    settings = made(tmp_path, dotenv=text)
    assert {c: settings.rpc_urls(c).value for c in "abcdf" if settings.rpc_urls(c)} == {
        "a": "https://a.example/key",
        "b": "https://b.example/#fragment",
        "c": "https://c.example/",
        "d": "https://d.example/",
        "f": "a=b=c",
    }
    assert settings.rpc_urls("e") is None


@pytest.mark.parametrize("line", ["CHAINWATCH_HOME", "=value", "1A=b", "A B=c", "home: /x"])
def test_a_line_that_is_none_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"\.env line 2: expected NAME=value") as refused:
        made(tmp_path, dotenv=f"# first\n{line}\n")
    assert "\n" not in str(refused.value)


def test_a_refused_line_is_not_repeated_since_it_may_be_a_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        made(tmp_path, dotenv="https://host/v2/SECRETKEY")
    assert "SECRET" not in str(refused.value)


def test_an_env_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        made(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Settings(environ={}, dotenv=tmp_path)


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40
    ).filter(lambda text: text.strip() == text and " #" not in text)
)
def test_any_value_without_line_breaks_reads_back(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.mktemp("env")
    quoted = f"'{text}'"
    settings = made(folder, dotenv=f"CHAINWATCH_RPC_X={quoted}")
    assert settings.rpc_urls("x") == Value(text, ".env CHAINWATCH_RPC_X")


# --- secrets ------------------------------------------------------------------------------------


def test_a_secret_is_read_from_the_file_that_name_file_names(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("https://host.example/key\n")
    settings = made(tmp_path, environ={"CHAINWATCH_RPC_ETHEREUM_FILE": str(secret)})
    configured = settings.rpc_urls("ethereum")
    assert configured == Value(
        "https://host.example/key", "file named by environment CHAINWATCH_RPC_ETHEREUM_FILE"
    )
    assert settings.rpc_chains() == ["ethereum"]


def test_the_value_itself_goes_before_its_file(tmp_path: Path) -> None:
    environ = {"CHAINWATCH_RPC_A": "https://direct", "CHAINWATCH_RPC_A_FILE": "/nowhere"}
    configured = made(tmp_path, environ=environ).rpc_urls("a")
    assert configured is not None
    assert configured.value == "https://direct"


def test_a_missing_secret_file_is_told_with_its_variable(tmp_path: Path) -> None:
    settings = made(tmp_path, environ={"CHAINWATCH_RPC_A_FILE": str(tmp_path / "none")})
    with pytest.raises(ConfigError, match=r"CHAINWATCH_RPC_A_FILE names .*none, which cannot"):
        settings.rpc_urls("a")


def test_the_chains_of_environment_and_file_are_listed_once(tmp_path: Path) -> None:
    environ = {"CHAINWATCH_RPC_BASE": "x", "CHAINWATCH_RPC_ARBITRUM_FILE": "y", "PATH": "z"}
    settings = made(tmp_path, environ=environ, dotenv="CHAINWATCH_RPC_BASE=a\nCHAINWATCH_RPC_OP=b")
    assert settings.rpc_chains() == ["arbitrum", "base", "op"]


# --- documentation ------------------------------------------------------------------------------


def test_the_example_file_names_every_setting_and_sets_none() -> None:
    """Each setting with its default; of those for many names (chains, sources) an example."""
    text = (ROOT / ".env.example").read_text("utf-8")
    assert not re.findall(r"^(?!#).+", text, re.MULTILINE)
    named = set(re.findall(r"^# (CHAINWATCH_\w+)=", text, re.MULTILINE))
    assert {setting.env for setting in SETTINGS} <= named
    sources = discover()
    venues = {*BOOKS, candles.VENUE, open_interest.VENUE}
    names = {
        RPC_SETTING: {market.chain for market in load_markets(Settings(environ={})).values()},
        URL_SETTING: {source.name for source in sources.values() if source.base or source.rest},
        WS_SETTING: {source.name for source in sources.values() if source.socket},
        CCXT_SETTING: venues,
    }
    assert set(names) == set(NAMED_SETTINGS)
    for setting, possible in names.items():
        prefix = setting.env.partition("<")[0]
        examples = {name for name in named if name.startswith(prefix)}
        assert examples, setting.env
        assert examples <= {f"{prefix}{name.upper().replace('-', '_')}" for name in possible}
        named -= examples
    assert named == {setting.env for setting in SETTINGS}
    comments = " ".join(line.removeprefix("#").strip() for line in text.splitlines())
    for setting in (*SETTINGS, *NAMED_SETTINGS):
        default = setting.default.removeprefix("the ").removeprefix("market table's ")
        assert default in comments, f"{setting.env}: the default {setting.default!r} is missing"


@pytest.mark.parametrize("value", ["ftp://nowhere", "host", "https://h/?k=1", "https://h/#x"])
@pytest.mark.parametrize("name", ["CHAINWATCH_CCXT_OKX", "CHAINWATCH_URL_OKX"])
def test_an_address_that_takes_no_paths_is_refused(tmp_path: Path, name: str, value: str) -> None:
    settings = made(tmp_path, environ={name: value})
    read = settings.ccxt_url if "CCXT" in name else partial(settings.url, default="https://h")
    with pytest.raises(ConfigError, match=f"the URL of okx: .* .set by environment {name}"):
        read("okx")


def test_the_address_of_a_venue_has_no_slash_at_its_end(tmp_path: Path) -> None:
    settings = made(tmp_path, environ={"CHAINWATCH_CCXT_COINBASEEXCHANGE": "http://127.0.0.1:9/"})
    expected = Value("http://127.0.0.1:9", "environment CHAINWATCH_CCXT_COINBASEEXCHANGE")
    assert settings.ccxt_url("coinbaseexchange") == expected
    assert settings.ccxt_url("binance") is None
