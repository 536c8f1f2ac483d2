"""What the lake says of itself: loads, rejects, and the notices of alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from chainwatch.tables.base import Row

# --- the log of the lake itself -------------------------------------------------------------


class Load(Row, frozen=True, kw_only=True):
    """One batch that a source delivered: its rows count as stored once this row is there."""

    table = "loads"
    key = ("load",)

    source: Annotated[str, "source that delivered, e.g. aave-v3"]
    target: Annotated[str, "what of that source, e.g. a market name; empty if it has one only"]
    stored_at: Annotated[datetime, "when the batch was written"]
    tables: Annotated[str, "JSON object: table → rows in this batch"]
    rows: Annotated[int, "rows in this batch, all tables"]
    cursor: Annotated[str | None, "JSON: where the source continues after this batch"] = None
    merged: Annotated[int | None, "deliveries this load stands for; null: one"] = None
    replaces: Annotated[
        str | None, "loads whose rows this one holds as well, separated by spaces: they are hidden"
    ] = None


class Reject(Row, frozen=True, kw_only=True):
    """Something a source sent that could not be read; kept so that it can be looked at."""

    table = "rejects"
    key = ("source", "received_at", "reason", "raw")

    source: Annotated[str, "source that sent it"]
    target: Annotated[str, "what of that source"]
    received_at: Annotated[datetime, "when it arrived"]
    reason: Annotated[str, "why it was not accepted"]
    raw: Annotated[str, "what arrived, cut to 10,000 characters"]


# --- what was told ----------------------------------------------------------------------------


class Notice(Row, frozen=True, kw_only=True):
    """One alert that was raised or cleared; what is raised and not cleared is active."""

    table = "notices"
    key = ("notice",)

    notice: Annotated[str, "id: a hash of rule, matter, kind and time"]
    rule: Annotated[str, "rule that was run"]
    about: Annotated[str, "what it is about: a market, a feed, a factor …"]
    kind: Annotated[str, "raised or cleared"]
    notified_at: Annotated[datetime, "when the rule found it; later than in any run before"]
    message: Annotated[str, "what it says"]
    value: Annotated[float | None, "the figure behind it, if it has one"] = None


class Delivery(Row, frozen=True, kw_only=True):
    """A notice that reached a channel; a notice without one is sent again."""

    table = "deliveries"
    key = ("notice", "channel")

    notice: Annotated[str, "notice that was sent; empty: the channel is known from then on"]
    channel: Annotated[str, "channel: stdout, or its host and a hash of its address"]
    delivered_at: Annotated[datetime, "when it was taken"]
