"""Token supply as the contracts say: totalSupply and the treasury's balance at one block.

What a treasury holds is authorised and not issued: it backs nothing and owes nothing. Chains that
are no EVM (Tron, Solana, …) are not read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING

from chainwatch.chain.erc20 import BALANCE_OF, DECIMALS, TOTAL_SUPPLY
from chainwatch.chain.reading import Reading
from chainwatch.chain.types import Block
from chainwatch.collect.selection import select
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures.reserves import CHAIN
from chainwatch.errors import ConfigError, NetworkError, PartialError, Reorged
from chainwatch.tables.base import fits_decimal
from chainwatch.tables.disclosure import Supply

if TYPE_CHECKING:
    from chainwatch.chain.client import Rpc
    from chainwatch.chain.tokens import Token


@source(
    "supply",
    tables=(Supply,),
    docs="https://eips.ethereum.org/EIPS/eip-20",
)
async def supplies(feed: Feed) -> AsyncIterator[Batch]:
    """Stablecoin supply per EVM chain: totalSupply less what the issuer's treasury holds."""
    tokens = _select(feed, feed.tokens())
    failures: list[str] = []
    chains = 0

    def place(item: tuple[str, Token]) -> tuple[str, int]:
        return item[1].chain, item[1].chain_id

    for (chain, _), group in groupby(sorted(tokens.items(), key=place), key=place):
        chains += 1
        here = dict(group)
        try:
            rows = await _read_chain(feed, here)
        except (NetworkError, ConfigError) as failure:
            failures.append(f"{chain}: {failure}")
            feed.note(failures[-1])
            continue
        yield Batch(rows, cursor={"chain": chain, "block": rows[0].block_number})
    if len(failures) == chains:
        raise NetworkError("; ".join(failures))
    if failures:
        raise PartialError(f"{len(failures)} of {chains} chains failed: {'; '.join(failures)}")


def _select(feed: Feed, tokens: Mapping[str, Token]) -> dict[str, Token]:
    """Those that `--only` names (by entry, token or chain), or all."""
    words = {name: (token.token, token.chain) for name, token in tokens.items()}
    return {name: tokens[name] for name in select(feed.source, feed.options.get("only", ""), words)}


async def _read_chain(feed: Feed, tokens: Mapping[str, Token]) -> list[Supply]:
    first = next(iter(tokens.values()))
    rpc = await feed.rpc(first.place)
    at = await rpc.pin(max(t.lag for t in tokens.values()))
    rows = [await _read_token(feed, rpc, at, name, token) for name, token in tokens.items()]
    if not await rpc.canonical(at):
        raise Reorged(f"{first.chain}: block {at.number} was replaced while it was read")
    return rows


async def _read_token(feed: Feed, rpc: Rpc, at: Block, name: str, token: Token) -> Supply:
    address = token.address.lower()
    answers = await Reading(rpc, token.place, at).ask(
        [
            DECIMALS.maybe(address),
            TOTAL_SUPPLY.maybe(address),
            *(BALANCE_OF.maybe(address, holder.lower()) for holder in token.treasury),
        ]
    )
    if None in answers:
        raise ConfigError(f"{name}: there is no token contract at that address")
    decimals, total, *held = answers
    if decimals != token.decimals:
        raise ConfigError(
            f"{name}: the contract has {decimals} decimals, the table says {token.decimals}"
        )
    authorized = _tokens(total, decimals)
    if not fits_decimal(authorized):
        raise ConfigError(f"{name}: a supply of {authorized:.3e} tokens is no stablecoin's")
    not_issued = _tokens(sum(held), decimals) if token.treasury else None
    time = at.moment
    now = feed.now()
    return Supply(
        token=token.token,
        chain=token.chain,
        kind="contract",
        evidence=CHAIN,
        as_of=time.date(),
        unit="tokens",
        authorized=authorized,
        not_issued=not_issued,
        circulating=authorized - (not_issued or 0),
        block_number=at.number,
        block_hash=at.hash,
        block_time=time,
        source=feed.source,
        document="",
        provenance=token.provenance,
        published_at=time,
        published_basis="source",
        known_at=time,
        observed_at=now,
    )


def _tokens(raw: int, decimals: int) -> Decimal:
    """Whole tokens, exactly."""
    return Decimal((0, tuple(map(int, str(raw))), -decimals))
