"""Settings: flag > environment > .env > default, each with its origin; secrets are masked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from chainwatch import numbers
from chainwatch.errors import ConfigError
from chainwatch.urls import mask


class Setting(msgspec.Struct, frozen=True):
    """One name that can be set; `env` is its environment variable."""

    name: str
    meaning: str
    default: str = ""

    @property
    def env(self) -> str:
        return f"CHAINWATCH_{self.name.upper()}"


SETTINGS = (
    Setting("home", "folder of the lake and the catalog", "the platform's data folder"),
    Setting("cache", "folder for the local node of the demo and the tests", "<home>/cache"),
    Setting("markets", "TOML file with markets of your own", "<home>/markets.toml"),
    Setting("tokens", "TOML file with token contracts of your own", "<home>/tokens.toml"),
    Setting("timeout", "seconds until a network call is given up", "30"),
    Setting("webhook", "URLs that get alerts as a JSON POST, spaces between", "none"),
    Setting("notify", "apprise URLs that get alerts (extra `alerts`), spaces between", "none"),
    Setting("ca_file", "PEM file of certificate authorities to trust beside the system's", "none"),
)
RPC_SETTING = Setting(
    "rpc_<chain>",
    "JSON-RPC URLs of a chain, best first, separated by commas (CHAINWATCH_RPC_ETHEREUM=https://…)",
    "the market table's public endpoint",
)
URL_SETTING = Setting(
    "url_<source>",
    "base URL of a source's documents or REST interface (CHAINWATCH_URL_FRED=https://…), or off",
    "the source's own",
)
WS_SETTING = Setting(
    "ws_<source>",
    "WebSocket URL of an exchange source (CHAINWATCH_WS_BINANCE_USDM=wss://…)",
    "the venue's public address",
)
CCXT_SETTING = Setting(
    "ccxt_<venue>",
    "what depth, candles and open-interest ask in place of a venue's scheme and host "
    "(CHAINWATCH_CCXT_BINANCE=https://…)",
    "the venue's public address",
)
# Settings of which there is one per chain, source or venue.
NAMED_SETTINGS = (RPC_SETTING, URL_SETTING, WS_SETTING, CCXT_SETTING)


class Value(msgspec.Struct, frozen=True):
    """A setting's value and where it came from: flag, environment, .env, a file or default."""

    value: str
    origin: str

    @property
    def shown(self) -> str:
        """A configured URL without the parts that may hold a key; a default in full."""
        return mask(self.value) if self.value and self.origin != "default" else self.value


class Settings:
    """Everything that can be configured, resolved once at start.

    Any variable may be given as NAME_FILE=path instead, the file holding the value (secrets).
    """

    def __init__(
        self,
        flags: Mapping[str, str | None] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        dotenv: Path | None = None,
    ) -> None:
        self._flags = {k: v for k, v in (flags or {}).items() if v is not None}
        self._environ = os.environ if environ is None else environ
        self._dotenv_path = dotenv or Path(".env")
        self._dotenv = _read_dotenv(self._dotenv_path)

    def get(self, name: str) -> Value | None:
        """The value set for a name, or None."""
        if name in self._flags:
            return Value(self._flags[name], f"--{name}")
        env = f"CHAINWATCH_{name.upper().replace('-', '_')}"
        for source, origin in ((self._environ, "environment"), (self._dotenv, ".env")):
            if source.get(env):
                return Value(source[env], f"{origin} {env}")
            if path := source.get(f"{env}_FILE"):
                return Value(_read_secret(path, env), f"file named by {origin} {env}_FILE")
        return None

    @property
    def dotenv(self) -> Path:
        """The .env file, which need not exist."""
        return self._dotenv_path.absolute()

    @property
    def home(self) -> Path:
        if configured := self.get("home"):
            return Path(configured.value).expanduser()
        from platformdirs import user_data_path

        return user_data_path("chainwatch", appauthor=False)

    @property
    def cache(self) -> Path:
        configured = self.get("cache")
        return Path(configured.value).expanduser() if configured else self.home / "cache"

    @property
    def markets(self) -> Path:
        configured = self.get("markets")
        return Path(configured.value).expanduser() if configured else self.home / "markets.toml"

    @property
    def tokens(self) -> Path:
        configured = self.get("tokens")
        return Path(configured.value).expanduser() if configured else self.home / "tokens.toml"

    @property
    def timeout(self) -> float:
        configured = self.get("timeout")
        if configured is None:
            return 30.0
        try:
            seconds = numbers.real(configured.value)
        except numbers.NotReadable:
            seconds = 0.0
        if not 0 < seconds < 86_400:
            raise ConfigError(
                f"timeout: expected seconds above 0 and below 86400, got {configured.value!r} "
                f"(set by {configured.origin})"
            )
        return seconds

    @property
    def ca_file(self) -> Path | None:
        configured = self.get("ca_file")
        return Path(configured.value).expanduser() if configured else None

    def feed_url(self, kind: str, name: str) -> Value | None:
        """The address set for an exchange source: kind ws (socket) or url (REST)."""
        return self.get(f"{kind}_{name}")

    def feed_urls(self) -> list[str]:
        """Names of the addresses of exchanges that are set."""
        return self._names(r"CHAINWATCH_((?:ws|ccxt)_\w+?)(_FILE)?")

    def rpc_urls(self, chain: str) -> Value | None:
        """The endpoints set for a chain, as written (comma separated)."""
        return self.get(f"rpc_{chain}")

    def url(self, source: str, default: str) -> Value:
        """The base URL of a source's documents, without a slash at its end; empty if off."""
        configured = self.get(f"url_{source}") or Value(default, "default")
        if not configured.value or configured.value.lower() == "off":
            return Value("", configured.origin)
        return _base_url(configured, source)

    def ccxt_url(self, venue: str) -> Value | None:
        """What ccxt asks for a venue in place of its scheme and host; no slash at its end."""
        configured = self.get(f"ccxt_{venue}")
        return None if configured is None else _base_url(configured, venue)

    def rpc_chains(self) -> list[str]:
        """Chains whose endpoints are set."""
        return self._names(r"CHAINWATCH_RPC_(\w+?)(_FILE)?")

    def _names(self, pattern: str) -> list[str]:
        """What the pattern's first group finds in the names that are set, in lower case."""
        names = set()
        for source in (self._environ, self._dotenv):
            for name in source:
                if match := re.fullmatch(pattern, name):
                    names.add(match[1].lower())
        return sorted(names)


def _base_url(configured: Value, name: str) -> Value:
    """An address that paths are added to; ConfigError names the origin of one that does not fit."""
    url = configured.value.rstrip("/")
    if not re.match(r"https?://[^/\s]+", url):
        raise ConfigError(
            f"the URL of {name}: expected an http:// or https:// URL (set by {configured.origin})"
        )
    if "?" in url or "#" in url:
        raise ConfigError(
            f"the URL of {name}: paths are added to it, leave out what follows ? or # "
            f"(set by {configured.origin})"
        )
    return Value(url, configured.origin)


def _read_dotenv(path: Path) -> dict[str, str]:
    """KEY=value lines; `export`, comments and matching quotes are understood."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigError(f"{path} cannot be read: {failure}") from None
    values = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ConfigError(f"{path} line {number}: expected NAME=value")
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        elif " #" in value:
            value = value.split(" #", 1)[0].rstrip()
        values[name] = value
    return values


def _read_secret(path: str, env: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigError(f"{env}_FILE names {path}, which cannot be read: {failure}") from None
