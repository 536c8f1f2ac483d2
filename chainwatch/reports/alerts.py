"""Alerts: what rules raise and clear, notified once when raised and once when cleared.

What is raised and cleared is stored before it is sent, and what a channel did not accept is sent
again by the next run: at least once, never silently lost. Stdout is a channel like the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from chainwatch.errors import ChainwatchError, ConfigError, NetworkError, UsageError
from chainwatch.lake import query, readonly
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.query import Query
from chainwatch.lake.store import Store
from chainwatch.reports.notifiers import Notifier
from chainwatch.reports.rules import RULE_SECONDS, Finding, evaluate, load_rules, once
from chainwatch.tables.log import Delivery, Notice

STDOUT = "stdout"
BATCH = 50  # notices in one message to a channel


class AlertRun(msgspec.Struct, frozen=True):
    """What a run raised and cleared.

    `notices` were not shown on stdout yet, `active` counts the alerts that are raised and not
    cleared, `delivered` names the channels that accepted everything.
    """

    notices: list[Notice]
    active: int
    failures: list[ChainwatchError]
    delivered: list[str]


def active(notices: Iterable[Notice]) -> dict[tuple[str, str], Notice]:
    """The alerts that were raised and not cleared since, by rule and subject."""
    last: dict[tuple[str, str], Notice] = {}
    for notice in sorted(notices, key=lambda n: n.notified_at):
        last[notice.rule, notice.subject] = notice
    return {k: n for k, n in last.items() if n.kind == "raised"}


def changes(
    rule: Query, findings: Sequence[Finding], active_notices: Iterable[Notice], now: datetime
) -> list[Notice]:
    """What a rule's rows raise and clear, given its alerts that are active."""
    before = {n.subject: n for n in active_notices}
    subjects = {f.subject for f in findings}
    raised = [
        _notice(rule.name, f.subject, "raised", now, f.message, f.value)
        for f in {f.subject: f for f in findings if f.state == "raise"}.values()
        if f.subject not in before
    ]
    cleared = [
        _notice(rule.name, n.subject, "cleared", now, f"over: {n.message}", None)
        for n in before.values()
        if n.subject not in subjects
    ]
    return raised + cleared


def _notice(
    rule: str, subject: str, kind: str, now: datetime, message: str, value: float | None
) -> Notice:
    key = f"{rule}\n{subject}\n{kind}\n{now.isoformat()}"
    return Notice(
        notice=hashlib.sha256(key.encode()).hexdigest()[:16],
        rule=rule,
        subject=subject,
        kind=kind,
        notified_at=now,
        message=message,
        value=value,
    )


def run(
    store: Store,
    notifiers: Sequence[Notifier],
    *,
    only: Sequence[str] = (),
    now: datetime | None = None,
    seconds: float = RULE_SECONDS,
    show: Callable[[AlertRun], None] = lambda finished: None,
) -> AlertRun:
    """Run the rules, store what they raise and clear, and send what is not delivered yet.

    `show` writes the run to stdout. A rule that fails or takes longer than `seconds`, and a
    channel that is down, do not stop the others: they are in `failures`. Raises UsageError for a
    name in `only` that is not a rule, StoreBusy where another process runs the rules.
    """
    now = now or datetime.now(UTC)
    rules, unusable = load_rules(store.home)
    unknown = [name for name in only if name not in rules | unusable]
    if unknown:
        raise UsageError(f"no rule is called {unknown[0]!r}; known: {', '.join(rules)}")
    failures = [failure for name, failure in unusable.items() if not only or name in only]
    store.require()
    with store.hold("alert"):
        stored = store.rows(Notice)
        # Times of notices only grow, even where the clock was set back.
        now = max([now, *(n.notified_at + timedelta(microseconds=1) for n in stored)])
        due_rules = {name: rule for name, rule in rules.items() if not only or name in only}
        new, failed = _evaluate_rules(store, due_rules, active(stored), now, seconds)
        failures += failed
        if new:
            store.append(new, source="alert")
        # Whether the end of an alert is notified is not known while its rule cannot be read.
        silent = {name for name, rule in rules.items() if once(rule)} | {*unusable}
        notices = stored + new
        delivered, failed = _deliver_all(store, notifiers, notices, silent, now)
        failures += failed
        due = _due(store, STDOUT, notices, silent, now)
        finished = AlertRun(due, len(active(notices)), failures, delivered)
        try:
            show(finished)
            _record(store, STDOUT, due, now)
        except ChainwatchError as failure:
            failures.append(failure)
    return finished


def _evaluate_rules(
    store: Store,
    rules: Mapping[str, Query],
    active_alerts: Mapping[tuple[str, str], Notice],
    now: datetime,
    seconds: float,
) -> tuple[list[Notice], list[ChainwatchError]]:
    """What the rules raise and clear, and the failures of those that cannot be run."""
    new: list[Notice] = []
    failures: list[ChainwatchError] = []
    catalog = _enclosed(store)
    try:
        for name, rule in rules.items():
            try:
                findings = evaluate(catalog, rule, now, seconds)
            except readonly.LeftBehind as failure:
                failures.append(failure)
                catalog = _enclosed(store)
                continue
            except ChainwatchError as failure:
                failures.append(failure)
                continue
            of_rule = [n for (rule_name, _), n in active_alerts.items() if rule_name == name]
            new += changes(rule, findings, of_rule, now)
    finally:
        catalog.close()
    return new, failures


def _enclosed(store: Store) -> Catalog:
    catalog = query.open_catalog(store)
    readonly.enclose(catalog, store.lake)
    return catalog


def _deliver_all(
    store: Store,
    notifiers: Sequence[Notifier],
    notices: Sequence[Notice],
    silent: set[str],
    now: datetime,
) -> tuple[list[str], list[ChainwatchError]]:
    """Send to each channel what it has not accepted yet; the names of those that accepted all."""
    delivered: list[str] = []
    failures: list[ChainwatchError] = []
    for notifier in notifiers:
        try:
            _deliver(store, notifier, _due(store, notifier.name, notices, silent, now), now)
            delivered.append(notifier.name)
        except ChainwatchError as failure:
            failures.append(failure)
    return delivered, failures


def _due(
    store: Store, channel: str, notices: Sequence[Notice], silent: set[str], now: datetime
) -> list[Notice]:
    """What the channel has not accepted yet, oldest first."""
    done = {d.notice for d in store.rows(Delivery, "channel = $c", {"c": channel})}
    if not done:  # a new channel gets the alerts that are active, not those that are over
        earlier = [n for n in notices if n.notified_at < now]
        done = {n.notice for n in earlier} - {n.notice for n in active(earlier).values()}
        first = Delivery(notice="", channel=channel, delivered_at=now)
        skipped = [Delivery(notice=n, channel=channel, delivered_at=now) for n in sorted(done)]
        store.append([first, *skipped], source="alert")
    return [
        n
        for n in sorted(notices, key=lambda n: (n.notified_at, n.rule, n.subject))
        if n.notice not in done and not (n.kind == "cleared" and n.rule in silent)
    ]


def _deliver(store: Store, notifier: Notifier, due: Sequence[Notice], now: datetime) -> None:
    """Send what is due. Raises NetworkError or ConfigError that says how much is kept."""
    for start in range(0, len(due), BATCH):
        part = due[start : start + BATCH]
        try:
            notifier.send(part)
        except ChainwatchError as failure:
            kept = len(due) - start
            kind = NetworkError if isinstance(failure, NetworkError) else ConfigError
            raise kind(
                f"{failure}; {kept} notice(s) are kept and sent again by the next run"
            ) from None
        _record(store, notifier.name, part, now)


def _record(store: Store, channel: str, notices: Sequence[Notice], now: datetime) -> None:
    if notices:
        rows = [Delivery(notice=n.notice, channel=channel, delivered_at=now) for n in notices]
        store.append(rows, source="alert")


def send_sample(notifiers: Sequence[Notifier]) -> AlertRun:
    """Send a sample to every channel; nothing is stored."""
    notice = sample()
    failures: list[ChainwatchError] = []
    delivered = []
    for notifier in notifiers:
        try:
            notifier.send([notice])
            delivered.append(notifier.name)
        except ChainwatchError as failure:
            failures.append(failure)
    return AlertRun([notice], 0, failures, delivered)


def sample(now: datetime | None = None) -> Notice:
    """A notice that says it is a test."""
    moment = now or datetime.now(UTC)
    return _notice("test", "test", "raised", moment, "a test of chainwatch's alerts", None)
