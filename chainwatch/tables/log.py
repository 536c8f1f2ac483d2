"""Tables of the lake itself: loads, rejects, and the notices of alerts."""

from datetime import datetime
from typing import Annotated

from chainwatch.tables.base import Row

# --- loads ------------------------------------------------------------------------------------


class Load(Row, frozen=True, kw_only=True):
    """One batch that a source delivered: its rows count as stored once this row is there."""

    table = "loads"
    key = ("load",)

    source: Annotated[str, "source that delivered, e.g. aave-v3"]
    target: Annotated[str, "part of that source, e.g. a market name; empty if it has only one"]
    stored_at: Annotated[datetime, "when the batch was written"]
    tables: Annotated[str, "JSON object: table → rows in this batch"]
    rows: Annotated[int, "rows in this batch, all tables"]
    cursor: Annotated[str | None, "JSON: position from which the source continues"] = None
    merged: Annotated[int | None, "number of loads that this one stands for; null: one"] = None
    replaces: Annotated[
        str | None, "loads that this one replaces, separated by spaces: their rows are hidden"
    ] = None
    snapshot_ids: Annotated[
        str | None, "JSON array: snapshots of which the batch holds rows; null: not listed"
    ] = None
    period: Annotated[
        str | None, "month or year of the days that its segments hold; null: one day"
    ] = None
    sequence: Annotated[
        int | None,
        "number of this row within the lake, in the order of writing; null: not numbered",
    ] = None
    digests: Annotated[
        str | None, "JSON object: table → SHA-256 of the batch's segment; null: not listed"
    ] = None


class Reject(Row, frozen=True, kw_only=True):
    """A message or document that cannot be parsed, kept for inspection."""

    table = "rejects"
    key = ("source", "received_at", "reason", "raw")

    source: Annotated[str, "source that sent it"]
    target: Annotated[str, "part of that source"]
    received_at: Annotated[datetime, "when it arrived"]
    reason: Annotated[str, "reason of the rejection"]
    raw: Annotated[str, "the message, cut to 10,000 characters"]


# --- alerts -----------------------------------------------------------------------------------


class Notice(Row, frozen=True, kw_only=True):
    """One alert that was raised or cleared; an alert is active until it is cleared."""

    table = "notices"
    key = ("notice",)

    notice: Annotated[str, "id: a hash of rule, subject, kind and time"]
    rule: Annotated[str, "name of the rule"]
    subject: Annotated[str, "what it concerns: a market, a feed, a factor …"]
    kind: Annotated[str, "raised or cleared"]
    notified_at: Annotated[datetime, "time of the run; later than in any earlier run"]
    message: Annotated[str, "text of the notice"]
    value: Annotated[float | None, "the figure behind it, if any"] = None


class Delivery(Row, frozen=True, kw_only=True):
    """A notice that a channel accepted; a notice without a delivery is sent again."""

    table = "deliveries"
    key = ("notice", "channel")

    notice: Annotated[
        str, "notice that was sent; empty: the channel gets notices from this time on"
    ]
    channel: Annotated[str, "channel: stdout, or its host and a hash of its address"]
    delivered_at: Annotated[datetime, "when the channel accepted it"]
