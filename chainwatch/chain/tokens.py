"""Tokens whose supply is read on chain: which contract, on which chain, with which treasury.

The built-in table is chainwatch/chain/tokens.toml; <home>/tokens.toml (or CHAINWATCH_TOKENS) adds
to it or replaces entries of the same name:

    [tokens.mine]
    token = "USDT"
    chain = "ethereum"
    chain_id = 1
    address = "0xdAC17F958D2ee523a2206206994597C13D831ec7"
    decimals = 6
    treasury = ["0x5754284f345afc66a98fbb0a0afe71e0f007b949"]   # optional: authorised, not issued
    rpc = ["https://…"]        # optional: CHAINWATCH_RPC_<CHAIN> goes first
    lag = 4                    # optional: blocks behind the newest
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from chainwatch.chain.markets import Market
from chainwatch.errors import ConfigError
from chainwatch.settings import Settings

Address = Annotated[str, msgspec.Meta(pattern=r"\A0x[0-9a-fA-F]{40}\Z")]


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One token contract on one chain."""

    token: str
    chain: str
    chain_id: Annotated[int, msgspec.Meta(gt=0)]
    address: Address
    decimals: Annotated[int, msgspec.Meta(ge=0, le=18)]
    treasury: tuple[Address, ...] = ()
    rpc: tuple[str, ...] = ()
    lag: Annotated[int, msgspec.Meta(ge=0)] = 2
    provenance: Literal["live", "demo", "recording"] = "live"

    @property
    def place(self) -> Market:
        """A Market of its chain, by which endpoints are looked up."""
        return Market(
            protocol="token",
            chain=self.chain,
            chain_id=self.chain_id,
            pool=self.address,
            rpc=self.rpc,
            lag=self.lag,
        )


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: dict[str, Token] = {}


def load_tokens(settings: Settings) -> dict[str, Token]:
    """All tokens by name: the built-in table, then the user's file.

    Raises ConfigError naming the file and what does not fit.
    """
    tokens = _read(Path(__file__).with_name("tokens.toml"))
    if settings.tokens.is_file():
        tokens |= _read(settings.tokens)
    elif settings.get("tokens"):
        raise ConfigError(f"the token file {settings.tokens} does not exist")
    return tokens


def _read(path: Path) -> dict[str, Token]:
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_Table).tokens
    except (msgspec.MsgspecError, ValueError) as failure:
        raise ConfigError(f"{path}: {failure}") from None
    except OSError as failure:
        raise ConfigError(f"{path} cannot be read: {failure}") from None
