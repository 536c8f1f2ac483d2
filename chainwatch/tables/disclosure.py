"""Tables of disclosures: documents, reserves, token supply, indicators."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

from chainwatch.tables.base import Row

# --- documents --------------------------------------------------------------------------------


class Document(Row, frozen=True, kw_only=True):
    """One attempt to read a document, with its outcome; the bytes are stored before parsing."""

    table = "documents"
    key = ("source", "name", "fetched_at")

    source: Annotated[str, "source that reads it, e.g. fred"]
    name: Annotated[str, "which of the source's documents, e.g. SOFR or a file name"]
    url: Annotated[str, "address it was fetched from; for an import the file name"]
    fetched_at: Annotated[datetime, "when the answer was complete, or the attempt failed"]
    status: Annotated[int | None, "HTTP status; null without an answer and for files"] = None
    media_type: Annotated[str | None, "media type that the server states"] = None
    bytes: Annotated[int | None, "size, decompressed; null without an answer"] = None
    sha256: Annotated[str | None, "hash of the bytes, kept as <home>/documents/<2>/<hash>"] = None
    etag: Annotated[str | None, "the server's version mark"] = None
    parser: Annotated[int, "version of the code that read it"]
    outcome: Annotated[
        str,
        "ok, unchanged, stale, unavailable, schema changed, reconcile failed or skipped; only ok "
        "and stale add rows",
    ]
    detail: Annotated[str, "reason in words; may be empty"]
    as_of: Annotated[date | None, "newest day that it has a figure for"] = None
    rows: Annotated[int, "new rows from it"]
    provenance: Annotated[str, "live, imported, reference (as shipped) or sample (invented)"]


class Statement(Row, frozen=True, kw_only=True):
    """One disclosure of a token's reserve: totals as stated, by one issuer, as of one day."""

    table = "statements"
    key = ("statement", "observed_at")
    identity = ("token", "kind", "source", "as_of")
    figures = ("statement",)

    statement: Annotated[str, "id: token, kind, day and hash of the figures"]
    token: Annotated[str, "token, e.g. USDT"]
    issuer: Annotated[str, "issuer of the token"]
    kind: Annotated[str, "transparency page, protocol page, fund file or report: one sequence each"]
    evidence: Annotated[
        str, "issuer page, fund file, attestation (signed) or on chain: never mixed"
    ]
    as_of: Annotated[date, "day the figures describe"]
    unit: Annotated[str, "USD, or XAU oz (troy ounces)"]
    assets: Annotated[Decimal | None, "total reserves as stated"]
    liabilities: Annotated[Decimal | None, "total liabilities as stated"] = None
    equity: Annotated[Decimal | None, "excess of reserves over liabilities as stated"] = None
    gate: Annotated[str, "identity of its figures that held when it was accepted, in words"]
    citation: Annotated[str, "document and place in it"]
    source: Annotated[str, "source that read it"]
    document: Annotated[str, "sha256 of the document"]
    provenance: Annotated[str, "live, imported, reference or sample"]
    published_at: Annotated[datetime | None, "when it was published, if known"] = None
    published_basis: Annotated[str, "source (stated), rule (usual lag) or observed"]
    known_at: Annotated[datetime, "time from which it counts as known: published, else observed"]
    observed_at: Annotated[datetime, "when this version was first observed here"]


class ReserveItem(Row, frozen=True, kw_only=True):
    """One line of a statement's composition."""

    table = "reserve_items"
    key = ("statement", "line")

    statement: Annotated[str, "statement it belongs to"]
    line: Annotated[int, "position in the statement, from 1"]
    token: Annotated[str, "token"]
    as_of: Annotated[date, "day of the statement"]
    label: Annotated[str, "label as stated"]
    asset_class: Annotated[str, "asset class that the label is assigned to"]
    usd: Annotated[Decimal, "amount in USD as stated"]
    quantity: Annotated[Decimal | None, "usd / unit_price, where a price is stated"] = None
    quantity_unit: Annotated[str | None, "BTC or XAU oz"] = None
    unit_price: Annotated[Decimal | None, "price used by the issuer, USD per unit"] = None


class Supply(Row, frozen=True, kw_only=True):
    """Tokens of one chain, or of all: existing, deducted and circulating."""

    table = "supplies"
    key = ("token", "chain", "kind", "source", "as_of", "observed_at")
    identity = ("token", "chain", "kind", "source", "as_of")
    figures = ("authorized", "not_issued", "quarantined", "held", "other", "circulating", "listed")

    token: Annotated[str, "token"]
    chain: Annotated[str, "chain as the source calls it; all: the sum stated"]
    kind: Annotated[str, "as in statements, or contract"]
    evidence: Annotated[str, "issuer page, fund file, attestation (signed) or on chain"]
    as_of: Annotated[date, "day the figures describe"]
    unit: Annotated[str, "tokens, or USD at redemption"]
    authorized: Annotated[Decimal | None, "all tokens that exist (totalSupply)"] = None
    not_issued: Annotated[Decimal | None, "of these: in the treasury, authorised, not issued"] = (
        None
    )
    quarantined: Annotated[Decimal | None, "of these: frozen for good, not redeemable"] = None
    held: Annotated[Decimal | None, "of these: held by the issuer outside its treasury"] = None
    other: Annotated[Decimal | None, "of these: other deductions stated, e.g. pending burns"] = None
    circulating: Annotated[Decimal | None, "tokens that remain in circulation"]
    listed: Annotated[bool, "false for a chain that the issuer's own list leaves out"] = True
    block_number: Annotated[int | None, "on chain: block"] = None
    block_hash: Annotated[str | None, "on chain: its hash"] = None
    block_time: Annotated[datetime | None, "on chain: its time stamp"] = None
    source: Annotated[str, "source that read it"]
    document: Annotated[str, "sha256 of the document; empty on chain"]
    provenance: Annotated[str, "live, imported, reference, sample, demo or recording"]
    published_at: Annotated[datetime | None, "when it was published, if known"] = None
    published_basis: Annotated[str, "source, rule or observed"]
    known_at: Annotated[datetime, "time from which it counts as known"]
    observed_at: Annotated[datetime, "when this version was first observed here"]


class IndicatorValue(Row, frozen=True, kw_only=True):
    """One value of a market indicator for one day, from one source; a revision is a new row."""

    table = "indicator_values"
    key = ("series", "source", "as_of", "observed_at")
    identity = ("series", "source", "as_of")
    figures = ("value",)

    series: Annotated[str, "indicator, see query series"]
    source: Annotated[str, "source that read it"]
    as_of: Annotated[date, "day the value describes, in the publisher's own calendar"]
    value: Annotated[float, "value in the unit of the series"]
    document: Annotated[str, "sha256 of the document"]
    provenance: Annotated[str, "live, imported or sample"]
    published_at: Annotated[datetime | None, "when it was published, if known"] = None
    published_basis: Annotated[str, "source, rule or observed"]
    known_at: Annotated[datetime, "time from which it counts as known"]
    observed_at: Annotated[datetime, "when this version was first observed here"]
