"""Tether's transparency page: totals and tokens per chain, for USDT and the gold token XAUT.

    {"data": {"usdt": {"totaltokens_eth": "92.5", "reserve_balance_eth": 1.5, "quarantined_eth": 0,
                       "total_assets": …, "total_liabilities": …, "shareholder_eq": …, "id": 1783…},
              "xaut": {…}},
     "data_formatted": [{"iso": "usdt", "total_assets": …, "total_liabilities": …,
                         "blockChains": [{"name": "Ethereum", "totalAuthorized": "92.5",
                                          "notIssued": 1.5, "quarantined": 0.0}]}]}

`id` is the time of the statement. `reserve_balance` is the treasury: authorised, not issued.
Numbers come as text, integers and floats side by side. XAUT counts troy ounces. The page says
nothing of what the reserves consist of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents, formats
from chainwatch.disclosures.documents import DocumentRequest
from chainwatch.disclosures.formats import exact
from chainwatch.disclosures.reserves import PAGE, Disclosure, require_sum
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Document, ReserveItem, Statement, Supply
from chainwatch.text import visible

KIND = "transparency page"
# Floats of eleven digits before the point carry noise in the fifth after it.
TOLERANCE = Decimal("0.001")
TOKENS = {"usdt": ("USDT", "USD"), "xaut": ("XAUT", "XAU oz")}


@source(
    "tether",
    tables=(Document, Statement, ReserveItem, Supply),
    docs="https://tether.to/en/transparency/",
    base="https://app.tether.to",
)
async def transparency(feed: Feed) -> AsyncIterator[Batch]:
    """Tether's transparency page: assets, liabilities and tokens per chain of USDT and XAUT."""
    request = DocumentRequest(
        name="transparency", path="/transparency.json", parse=parse, max_age_days=4
    )
    async for batch in documents.read(feed, [request]):
        yield batch


class ChainTokens(NamedTuple):
    """Tokens of one chain."""

    authorized: Decimal
    not_issued: Decimal
    quarantined: Decimal

    @property
    def circulating(self) -> Decimal:
        return self.authorized - self.not_issued - self.quarantined


def parse(raw: Raw) -> list[Row]:
    """Statements and tokens per chain. Raises Irreconcilable unless every sum holds to 0.001."""
    body = raw.json()
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
        raise SchemaChanged("there is no object `data`")
    shown = body.get("data_formatted")
    if not isinstance(shown, list) or not all(isinstance(entry, dict) for entry in shown):
        raise SchemaChanged("there is no list `data_formatted`")
    if not isinstance(body["data"].get("usdt"), dict):
        raise SchemaChanged("there is no `data.usdt`")
    rows: list[Row] = []
    for iso, (token, unit) in TOKENS.items():
        listed = next((e for e in shown if e.get("iso") == iso), None)
        entry = body["data"].get(iso)
        if entry is None and listed is not None:
            entry = _as_data(token, listed)
        if isinstance(entry, dict):
            rows += _token(raw, token, unit, entry, listed)
    return rows


def _as_data(token: str, listed: Mapping[str, Any]) -> dict[str, Any]:
    """A token of `data_formatted` that `data` leaves out, in the form of `data`."""
    chains = listed.get("blockChains")
    if not isinstance(chains, list) or not all(isinstance(c, dict) for c in chains):
        raise SchemaChanged(f"{token} has no list blockChains")
    entry = {k: v for k, v in listed.items() if not isinstance(v, list | dict)}
    for chain in chains:
        name = chain.get("name")
        entry[f"totaltokens_{name}"] = chain.get("totalAuthorized")
        entry[f"reserve_balance_{name}"] = chain.get("notIssued")
        entry[f"quarantined_{name}"] = chain.get("quarantined")
    return entry


def _token(
    raw: Raw, token: str, unit: str, entry: Mapping[str, Any], listed: Mapping[str, Any] | None
) -> list[Row]:
    as_of = _day(token, entry.get("id"))
    assets, liabilities, equity = (
        _figure(token, entry, name)
        for name in ("total_assets", "total_liabilities", "shareholder_eq")
    )
    require_sum([assets, -liabilities], equity, f"{token} equity", TOLERANCE)
    chains = _chains(token, entry)
    gate = "assets - liabilities = equity"
    if token == "USDT":
        circulating = [c.circulating for c in chains.values()]
        require_sum(circulating, liabilities, "USDT liabilities over all chains", TOLERANCE)
        gate += "; tokens of all chains = liabilities"
    names = _listed(token, listed, assets, equity)
    disclosure = Disclosure(
        raw=raw,
        token=token,
        issuer="Tether",
        kind=KIND,
        evidence=PAGE,
        as_of=as_of,
    )
    rows = disclosure.statement(
        unit=unit, assets=assets, liabilities=liabilities, equity=equity, gate=gate
    )
    for chain, tokens in chains.items():
        same = names.get(tokens)
        name = same.pop(0) if same else None
        rows.append(
            disclosure.supply(
                chain=name or chain,
                authorized=tokens.authorized,
                not_issued=tokens.not_issued,
                quarantined=tokens.quarantined,
                circulating=tokens.circulating,
                listed=name is not None,
            )
        )
    return rows


def _figure(token: str, entry: Mapping[str, Any], name: str) -> Decimal:
    if name not in entry:
        raise SchemaChanged(f"{token} has no {name}")
    return exact(entry[name], f"{token} {name}")


def _chains(token: str, entry: Mapping[str, Any]) -> dict[str, ChainTokens]:
    """The tokens per chain of `data`, by the page's own name of the chain."""
    chains = {
        name.removeprefix("totaltokens_"): ChainTokens(
            *(
                _figure(token, entry, name.replace("totaltokens_", prefix))
                for prefix in ("totaltokens_", "reserve_balance_", "quarantined_")
            )
        )
        for name in entry
        if name.startswith("totaltokens_")
    }
    if not chains:
        raise SchemaChanged(f"{token} has no chains")
    return chains


def _listed(
    token: str, entry: Mapping[str, Any] | None, assets: Decimal, equity: Decimal
) -> dict[ChainTokens, list[str]]:
    """Names of the chains that the page shows, by their three figures.

    `data` and `data_formatted` name chains differently (statemint, Polkadot Asset Hub), and the
    second leaves out chains that were given up: equal figures identify a chain.
    """
    if entry is None:
        return {}
    chains = entry.get("blockChains")
    if not isinstance(chains, list) or not all(isinstance(c, dict) for c in chains):
        raise SchemaChanged(f"{token} has no list blockChains")
    by_tokens: dict[ChainTokens, list[str]] = {}
    for chain in chains:
        name = str(chain.get("name"))
        fields = ("totalAuthorized", "notIssued", "quarantined")
        tokens = ChainTokens(*(exact(chain.get(f), f"{token} {f} of {name}") for f in fields))
        by_tokens.setdefault(tokens, []).append(name)
    for name, figure in (("total_assets", assets), ("shareholder_eq", equity)):
        stated = exact(entry.get(name), f"{token} {name} shown")
        require_sum([stated], figure, f"{token} {name}, shown against data", TOLERANCE)
    if token == "USDT":
        circulating = [t.circulating for t, names in by_tokens.items() for _ in names]
        stated = exact(entry.get("total_liabilities"), f"{token} total_liabilities shown")
        require_sum(circulating, stated, "USDT liabilities over the chains shown", TOLERANCE)
    return by_tokens


def _day(token: str, stamp: Any) -> date:
    if not isinstance(stamp, int):
        raise SchemaChanged(f"{token} id is {visible(str(stamp), 40)!r}, not a time in seconds")
    return formats.instant(stamp, "s", f"{token} id").date()
