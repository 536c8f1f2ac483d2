"""Findings about endpoints: what each can do, and what that means for what is collected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from chainwatch.chain.capabilities import NO_GAS_CAP
from chainwatch.chain.types import Block, Limits
from chainwatch.collect.endpoints import KEPT_DAYS, EndpointState
from chainwatch.errors import RpcError
from chainwatch.reports.doctor import FAULT, LIMITED, OK, Finding
from chainwatch.tables.chain import Capabilities
from chainwatch.units import duration

# A newest block older than this is most likely not the chain's.
OLD_BLOCK_SECONDS = 600
# A multicall of the size that is asked for takes some ten million gas.
LITTLE_GAS = 10_000_000

_NO_ARCHIVE = "older blocks cannot be read; a market without `deployment_block` needs them once"


def endpoint_findings(
    states: Sequence[EndpointState], now: datetime | None = None
) -> list[Finding]:
    """What there is to say of each endpoint, in their order; `now` is by default the time."""
    now = now or datetime.now(UTC)
    usable = {state.chain for state in states if state.contact is not None and _gives_logs(state)}
    return [
        finding for state in states for finding in _of_endpoint(state, state.chain in usable, now)
    ]


def _gives_logs(state: EndpointState) -> bool:
    return state.capabilities is None or state.capabilities.has_logs is not False


def _of_endpoint(state: EndpointState, others: bool, now: datetime) -> Iterator[Finding]:
    subject = f"{state.chain} {state.endpoint}".strip()
    if state.failure is not None or state.contact is None:
        means = str(state.failure)
        yield Finding(subject, "contact", "n/a", FAULT, means, state.failure, others)
        return
    yield _newest(subject, state.contact.block, now)
    row = state.capabilities
    if row is None:
        return
    reasons = dict(json.loads(row.reason))
    yield Finding(subject, "client", _text(row.client_version, reasons.get("client_version")))
    yield from _calls(subject, row, reasons)
    yield from _ranges(subject, row, reasons, others)
    age = duration((now - row.probed_at).total_seconds())
    means = f"counts for {KEPT_DAYS} days; --fresh probes again" if state.is_kept else ""
    yield Finding(subject, "probed", f"{age} ago, {row.requests} requests", OK, means)


def _newest(subject: str, block: Block, now: datetime) -> Finding:
    age = (now - block.moment).total_seconds()
    old = age > OLD_BLOCK_SECONDS
    means = "behind the chain, or a chain at rest: figures are of that time" if old else ""
    value = f"{block.number}, {duration(max(0.0, age))} old"
    return Finding(subject, "newest block", value, LIMITED if old else OK, means)


def _calls(subject: str, row: Capabilities, reasons: dict[str, str]) -> Iterator[Finding]:
    """What its calls take."""
    yield _flag(
        subject,
        "state overrides",
        row.state_overrides,
        reasons.get("state_overrides"),
        "what moves prices is measured, and `verify --wall` can prove walls",
        "exposures are inferred from getters, and `verify --wall` is n/a",
    )
    yield _flag(
        subject,
        "access lists",
        row.access_lists,
        reasons.get("access_lists"),
        "the feeds behind each price are named by what its source touches",
        "the feeds behind prices are inferred from getters",
    )
    gas = row.call_gas
    if gas is None:
        value, state = f"n/a ({reasons.get('call_gas', 'not known')})", LIMITED
        means = "sizes of multicalls are found while reading"
    elif gas < LITTLE_GAS:
        value, state = f"{gas:,}", LIMITED
        means = "multicalls are cut into smaller ones: more requests"
    else:
        value, state = "no cap" if gas == NO_GAS_CAP else f"{gas:,}", OK
        means = "gas of a call that states none: the room of a multicall"
    yield Finding(subject, "gas of a call", value, state, means)


def _ranges(
    subject: str, row: Capabilities, reasons: dict[str, str], others: bool
) -> Iterator[Finding]:
    """How far back, how wide and how many at once."""
    if row.oldest_block == 0:
        value, state, means = "from block 0", OK, "an archive: any block can be read"
    elif row.oldest_block is None:
        value, state = f"n/a ({reasons.get('oldest_block', 'not known')})", LIMITED
        means = _NO_ARCHIVE
    else:
        depth = row.block_number - row.oldest_block
        value = f"{depth:,} blocks (from {row.oldest_block})"
        state, means = LIMITED, _NO_ARCHIVE
    yield Finding(subject, "state kept", value, state, means)
    yield _logs(subject, row, reasons, others)
    start = Limits()
    yield _size(
        (subject, "log range"),
        (row.log_blocks, row.refused_log_blocks, reasons.get("log_blocks")),
        start.log_blocks,
        "blocks",
    )
    yield _size(
        (subject, "batch"),
        (row.batch_calls, row.refused_batch_calls, reasons.get("batch_calls")),
        start.batch,
        "calls",
    )


def _logs(subject: str, row: Capabilities, reasons: dict[str, str], others: bool) -> Finding:
    reason = reasons.get("has_logs", "not known")
    if row.has_logs is None:
        return Finding(subject, "logs", f"n/a ({reason})", LIMITED, "not known whether it has them")
    if row.has_logs:
        return Finding(subject, "logs", "yes", OK, "accounts are found by events")
    failure = RpcError(
        f"{subject} leaves out logs ({reason}): accounts would be missing; set another endpoint"
    )
    means = f"{reason}: accounts would be missing"
    return Finding(subject, "logs", "no", FAULT, means, failure, others)


def _size(
    names: tuple[str, str],
    figures: tuple[int | None, int | None, str | None],
    wanted: int,
    unit: str,
) -> Finding:
    """A size with its limit: `figures` are accepted, refused, and why."""
    (subject, item), (accepted, refused, reason) = names, figures
    if accepted is None:
        return Finding(subject, item, f"n/a ({reason})", LIMITED, "found while reading")
    value = f"{'' if refused else '≥ '}{accepted:,} {unit}"
    if refused and refused > accepted + 1:
        value = f"{accepted:,} to {refused - 1:,} {unit}"
    if refused and accepted < wanted:
        means = f"less than the {wanted:,} that are asked for at first: more requests"
        return Finding(subject, item, value, LIMITED, means)
    return Finding(subject, item, value)


def _flag(
    subject: str, item: str, value: bool | None, reason: str | None, yes: str, no: str
) -> Finding:
    if value:
        return Finding(subject, item, "yes", OK, yes)
    text = "no" if value is False else "n/a"
    return Finding(subject, item, f"{text} ({reason})" if reason else text, LIMITED, no)


def _text(value: str | None, reason: str | None) -> str:
    return value if value is not None else f"n/a ({reason or 'not known'})"
