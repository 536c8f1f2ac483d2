"""Reserve figures that ship with the project, copied by machine from the signed reports they name.

    token,kind,as_of,published,figure,label,asset_class,usd,unit_price,report

`figure` is `line`, or a total as stated: assets, liabilities, excess, redemption value, held by
issuer, token liabilities. Each row names its report. The same sums are asked of them as of a report
itself; an imported report of the same day comes before them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from chainwatch.collect.document import Raw, SchemaChanged
from chainwatch.collect.source import Batch, Feed, source
from chainwatch.disclosures import documents
from chainwatch.disclosures.documents import DocumentRequest
from chainwatch.disclosures.formats import end_of, exact
from chainwatch.disclosures.indicators import iso_day
from chainwatch.disclosures.reserves import ATTESTED, CLASSES, Disclosure, ReserveLine, require_sum
from chainwatch.disclosures.vintages import BY_SOURCE
from chainwatch.tables.base import Row
from chainwatch.tables.disclosure import Document, ReserveItem, Statement, Supply

FOLDER = Path(__file__).parent.parent / "reference"
COLUMNS = (
    "token",
    "kind",
    "as_of",
    "published",
    "figure",
    "label",
    "asset_class",
    "usd",
    "unit_price",
    "report",
)
ISSUERS = {"USDT": "Tether", "USDC": "Circle"}
TOTALS = (
    "assets",
    "liabilities",
    "excess",
    "redemption value",
    "held by issuer",
    "token liabilities",
)


@source(
    "reference",
    provenance="reference",
    tables=(Document, Statement, ReserveItem, Supply),
    docs="https://tether.to/en/transparency/?tab=reports",
)
async def figures(feed: Feed) -> AsyncIterator[Batch]:
    """Tether's quarterly and Circle's monthly reserve figures as shipped, each with its report."""
    done = []
    for path in sorted(FOLDER.glob("*.csv")):
        raw = feed.keep(path.read_bytes(), name=path.name, url=f"chainwatch/reference/{path.name}")
        document = await documents.read_kept(
            feed, DocumentRequest(name=path.name, path="", parse=parse), raw
        )
        done.append(document.document)
        yield document.batch
    documents.raise_failures(done)


def parse(raw: Raw) -> list[Row]:
    """All statements of a file."""
    lines = [dict(zip(COLUMNS, row, strict=True)) for row in raw.csv(*COLUMNS)]
    rows: list[Row] = []
    for _, group in groupby(lines, key=lambda line: (line["token"], line["kind"], line["as_of"])):
        rows += _statement(raw, list(group))
    return rows


def _statement(raw: Raw, group: Sequence[Mapping[str, str]]) -> list[Row]:
    first = group[0]
    token, as_of = first["token"], iso_day(first["as_of"])
    subject = f"{token} {as_of}"
    lines = []
    totals = {}
    for line in group:
        usd = exact(line["usd"], f"{subject} {line['label']}")
        if line["figure"] == "line":
            if line["asset_class"] not in CLASSES:
                raise SchemaChanged(f"{subject}: no class is called {line['asset_class']!r}")
            price = exact(line["unit_price"], "unit_price") if line["unit_price"] else None
            lines.append(
                ReserveLine(
                    line["label"], line["asset_class"], usd, price, "BTC" if price else None
                )
            )
        elif line["figure"] in TOTALS:
            totals[line["figure"]] = usd
        else:
            raise SchemaChanged(f"{subject}: no figure is called {line['figure']!r}")
    if "assets" not in totals or token not in ISSUERS:
        raise SchemaChanged(f"{subject}: no assets, or an unknown token")
    assets, liabilities, excess = map(totals.get, ("assets", "liabilities", "excess"))
    require_sum([x.usd for x in lines], totals["assets"], f"{subject}: the lines")
    if excess is not None and liabilities is not None:
        require_sum([totals["assets"], -liabilities], excess, f"{subject}: the excess")
    disclosure = Disclosure(
        raw=raw,
        token=token,
        issuer=ISSUERS[token],
        kind=first["kind"],
        evidence=ATTESTED,
        as_of=as_of,
        published=end_of(iso_day(first["published"])),
        basis=BY_SOURCE,
    )
    rows = disclosure.statement(
        assets=assets,
        liabilities=liabilities,
        equity=excess,
        lines=lines,
        gate="lines = total, to the dollar",
        citation=first["report"],
    )
    if "token liabilities" in totals:
        rows.append(
            disclosure.supply(
                unit="USD at redemption",
                authorized=totals.get("redemption value"),
                held=totals.get("held by issuer"),
                circulating=totals["token liabilities"],
            )
        )
    return rows
