"""Alerts: rules are SQL files whose rows are what is wrong; each is told once, and once when over.

A rule returns

    subject   what it is about; a rule and a subject make one alert
    state     raise, or hold: an alert that is active stays so, one that is not is not raised
    message   one line for people
    value     the figure behind it, or null

so that the distance between `raise` and the rows that are no longer returned is its hysteresis.
`-- once: yes` says that nobody needs to hear of its end, and a parameter `p_now` gets the time of
the run, so that what is long over is no news. A rule is one SELECT: nothing but the lake is open
to it, and it is stopped after a while. Rules lie in queries/alerts and in
<home>/alerts; one of the same name there replaces the one that ships.

What is raised and cleared is stored before it is sent, and what a channel did not take is sent
again by the next run: at least once, never silently lost. Stdout is a channel like the others.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import msgspec

from chainwatch import numbers
from chainwatch.errors import ChainwatchError, ConfigError, NetworkError, UsageError
from chainwatch.lake import query, readonly
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.query import Query
from chainwatch.lake.store import Store
from chainwatch.net.http import Http
from chainwatch.net.urls import mask, require_http
from chainwatch.tables.log import Delivery, Notice
from chainwatch.text import visible

COLUMNS = ("subject", "state", "message", "value")
STATES = ("raise", "hold")
STDOUT = "stdout"
NOW = "p_now"  # a rule that has this parameter gets the time of the run
RULE_SECONDS = 60.0
BATCH = 50  # notices in one message to a channel
_ONCE = re.compile(r"^--\s*once:\s*yes\s*$", re.MULTILINE)


class Finding(msgspec.Struct, frozen=True):
    """One row of a rule."""

    rule: str
    subject: str
    state: str
    message: str
    value: float | None


class Channel(Protocol):
    """Somewhere that notices go: its name holds no secret."""

    name: str

    def send(self, notices: Sequence[Notice]) -> None:
        """Raise a ChainwatchError where they were not taken."""


class Outcome(msgspec.Struct, frozen=True):
    """What a run found: notices not shown yet, what stays active, what failed, who took all."""

    notices: list[Notice]
    active: int
    failures: list[ChainwatchError]
    taken: list[str]


def rules(home: Path) -> tuple[dict[str, Query], dict[str, ChainwatchError]]:
    """Every rule by name, one's own in place of those that ship, and why a file is none.

    Each failure names its file, and the line where the header does not fit.
    """
    found = {q.name: q for q in query.load_all().values() if q.group == "alerts"}
    failures: dict[str, ChainwatchError] = {}
    for path in sorted((home / "alerts").glob("*.sql")):
        found.pop(path.stem, None)
        try:
            found[path.stem] = query.read(path, group="alerts")
        except UnicodeDecodeError:
            failures[path.stem] = ConfigError(f"{path} is not UTF-8 text: save it as UTF-8")
        except OSError as failure:
            failures[path.stem] = ConfigError(f"{path} cannot be read: {failure.strerror}")
        except ValueError as failure:
            failures[path.stem] = ConfigError(f"{failure}")
    return dict(sorted(found.items())), failures


def evaluate(catalog: Catalog, rule: Query, now: datetime, seconds: float) -> list[Finding]:
    """The rows of a rule, on a catalog that is enclosed (see reading).

    Raises UsageError that names its file, and the line where its SQL is wrong; LeftBehind where
    the catalog is of no use any more (see reading).
    """
    try:
        if not catalog.statement_kinds(rule.text):
            raise UsageError("there is no SQL below its header")
        given = {p.name: now for p in rule.params if p.name == NOW}
        bound = readonly.within(seconds, catalog, lambda: query.bind(catalog, rule.params, given))
        found = readonly.rows(catalog, rule.text, bound, seconds, "a rule")
    except readonly.LeftBehind as failure:
        raise readonly.LeftBehind(f"{rule.path}: {failure}") from None
    except (UsageError, OverflowError) as failure:
        line = _faulty_line(catalog, rule, seconds)
        where = f"{rule.path} line {line}" if line else f"{rule.path}"
        raise UsageError(f"{where}: {failure}") from None
    missing = [c for c in COLUMNS if c not in found.columns]
    if missing:
        raise UsageError(f"{rule.path}: a rule returns {', '.join(COLUMNS)}; missing: {missing[0]}")
    return [_finding(rule, row) for row in found.dicts()]


def _faulty_line(catalog: Catalog, rule: Query, seconds: float) -> int | None:
    def look() -> int | None:
        return catalog.faulty_line(rule.text, query.bind(catalog, rule.params, {}))

    try:
        return readonly.within(seconds, catalog, look)
    except UsageError:  # a default that is none: it stands in the header
        return None


def _finding(rule: Query, row: Mapping[str, Any]) -> Finding:
    """A row as a finding; UsageError says what of it does not fit."""
    for column in ("subject", "state", "message"):
        if row[column] is None:
            raise UsageError(f"{rule.path}: {column} is NULL in a row: only value may be")
    where = f"{rule.path}: the row about {str(row['subject'])!r}"
    if row["state"] not in STATES:
        raise UsageError(f"{where} has the state {row['state']!r}: it must be raise or hold")
    return Finding(
        rule.name,
        str(row["subject"]),
        row["state"],
        str(row["message"]),
        _value(row["value"], where),
    )


def _value(found: Any, where: str) -> float | None:
    """The figure of a row, None where it is infinite or no number; text is read strictly."""
    if found is None:
        return None
    try:
        if isinstance(found, str):
            return numbers.real(found)
        if isinstance(found, bool) or not isinstance(found, int | float | Decimal):
            raise numbers.NotReadable("not a number")
    except numbers.NotReadable as refusal:
        told = f"{found[:40]!r}, {refusal}" if isinstance(found, str) else f"{found!r}"
        raise UsageError(f"{where} has the value {told}: it must be a number or NULL") from None
    value = float(found)
    return value if math.isfinite(value) else None


def active(notices: Iterable[Notice]) -> dict[tuple[str, str], Notice]:
    """The alerts that were raised and not cleared since, by rule and subject."""
    last: dict[tuple[str, str], Notice] = {}
    for notice in sorted(notices, key=lambda n: n.told_at):
        last[notice.rule, notice.about] = notice
    return {k: n for k, n in last.items() if n.kind == "raised"}


def changes(
    rule: Query, findings: Sequence[Finding], standing: Iterable[Notice], now: datetime
) -> list[Notice]:
    """What a rule's rows raise and clear, given its alerts that are active."""
    before = {n.about: n for n in standing}
    seen = {f.subject for f in findings}
    raised = [
        _notice(rule.name, f.subject, "raised", now, f.message, f.value)
        for f in {f.subject: f for f in findings if f.state == "raise"}.values()
        if f.subject not in before
    ]
    cleared = [
        _notice(rule.name, n.about, "cleared", now, f"over: {n.message}", None)
        for n in before.values()
        if n.about not in seen
    ]
    return raised + cleared


def _notice(
    rule: str, subject: str, kind: str, now: datetime, message: str, value: float | None
) -> Notice:
    key = f"{rule}\n{subject}\n{kind}\n{now.isoformat()}"
    return Notice(
        notice=hashlib.sha256(key.encode()).hexdigest()[:16],
        rule=rule,
        about=subject,
        kind=kind,
        told_at=now,
        message=message,
        value=value,
    )


def run(
    store: Store,
    channels: Sequence[Channel],
    *,
    only: Sequence[str] = (),
    now: datetime | None = None,
    seconds: float = RULE_SECONDS,
    show: Callable[[Outcome], None] = lambda outcome: None,
) -> Outcome:
    """Run the rules, store what they raise and clear, and send what no channel has taken yet.

    `show` writes the outcome to stdout. A rule that cannot be run, or not within so many seconds,
    and a channel that is down stop nobody else: they are in `failures`. Raises StoreBusy where
    another process does the same.
    """
    now = now or datetime.now(UTC)
    chosen, unusable = rules(store.home)
    unknown = [name for name in only if name not in chosen | unusable]
    if unknown:
        raise UsageError(f"no rule is called {unknown[0]!r}; known: {', '.join(chosen)}")
    failures = [failure for name, failure in unusable.items() if not only or name in only]
    store.require()
    with store.hold("alert"):
        stored = store.rows(Notice)
        # What comes next is told later, even where the clock was set back.
        now = max([now, *(n.told_at + timedelta(microseconds=1) for n in stored)])
        standing = active(stored)
        new: list[Notice] = []
        catalog = _enclosed(store)
        try:
            for name, rule in chosen.items():
                if only and name not in only:
                    continue
                try:
                    found = evaluate(catalog, rule, now, seconds)
                except readonly.LeftBehind as failure:
                    failures.append(failure)
                    catalog = _enclosed(store)
                    continue
                except ChainwatchError as failure:
                    failures.append(failure)
                    continue
                mine = [n for (r, _), n in standing.items() if r == name]
                new += changes(rule, found, mine, now)
        finally:
            catalog.close()
        if new:
            store.append(new, source="alert")
        # Whether the end of an alert is told is not known while its rule cannot be read.
        silent = {name for name, rule in chosen.items() if _ONCE.search(rule.text)} | {*unusable}
        notices, taken = stored + new, []
        for channel in channels:
            try:
                _deliver(store, channel, _due(store, channel.name, notices, silent, now), now)
                taken.append(channel.name)
            except ChainwatchError as failure:
                failures.append(failure)
        due = _due(store, STDOUT, notices, silent, now)
        outcome = Outcome(due, len(active(notices)), failures, taken)
        try:
            show(outcome)
            _note(store, STDOUT, due, now)
        except ChainwatchError as failure:
            failures.append(failure)
    return outcome


def _enclosed(store: Store) -> Catalog:
    catalog = query.open_catalog(store)
    readonly.enclose(catalog, store.lake)
    return catalog


def _due(
    store: Store, channel: str, notices: Sequence[Notice], silent: set[str], now: datetime
) -> list[Notice]:
    """What the channel has not taken yet, oldest first."""
    done = {d.notice for d in store.rows(Delivery, "channel = $c", {"c": channel})}
    if not done:  # a new channel hears of what is active, not of what was
        earlier = [n for n in notices if n.told_at < now]
        done = {n.notice for n in earlier} - {n.notice for n in active(earlier).values()}
        first = Delivery(notice="", channel=channel, delivered_at=now)
        skipped = [Delivery(notice=n, channel=channel, delivered_at=now) for n in sorted(done)]
        store.append([first, *skipped], source="alert")
    return [
        n
        for n in sorted(notices, key=lambda n: (n.told_at, n.rule, n.about))
        if n.notice not in done and not (n.kind == "cleared" and n.rule in silent)
    ]


def _deliver(store: Store, channel: Channel, due: Sequence[Notice], now: datetime) -> None:
    """Send what is due; a failure says how much of it is kept."""
    for start in range(0, len(due), BATCH):
        part = due[start : start + BATCH]
        try:
            channel.send(part)
        except ChainwatchError as failure:
            kept = len(due) - start
            kind = NetworkError if isinstance(failure, NetworkError) else ConfigError
            raise kind(
                f"{failure}; {kept} notice(s) are kept and sent again by the next run"
            ) from None
        _note(store, channel.name, part, now)


def _note(store: Store, channel: str, taken: Sequence[Notice], now: datetime) -> None:
    if taken:
        rows = [Delivery(notice=n.notice, channel=channel, delivered_at=now) for n in taken]
        store.append(rows, source="alert")


def test(channels: Sequence[Channel]) -> Outcome:
    """Send a sample to every channel; nothing is stored."""
    notice = sample()
    failures: list[ChainwatchError] = []
    taken = []
    for channel in channels:
        try:
            channel.send([notice])
            taken.append(channel.name)
        except ChainwatchError as failure:
            failures.append(failure)
    return Outcome([notice], 0, failures, taken)


def sample(now: datetime | None = None) -> Notice:
    """A notice that says it is a test."""
    moment = now or datetime.now(UTC)
    return _notice("test", "test", "raised", moment, "a test of chainwatch's alerts", None)


# --- channels -------------------------------------------------------------------------------------


def text_of(notices: Sequence[Notice]) -> str:
    """Notices as lines for people."""
    return "\n".join(
        f"{'✔' if n.kind == 'cleared' else '▲'} {n.rule.removeprefix('alert_')}: "
        f"{visible(n.message)}"
        for n in notices
    )


def _name(kind: str, url: str) -> str:
    return f"{kind} {mask(url)} {hashlib.sha256(url.encode()).hexdigest()[:8]}"


class Webhook:
    """A URL that takes a JSON POST: `text` for people, `notices` for machines."""

    def __init__(self, url: str, timeout: float) -> None:
        try:
            require_http(url)
        except ConfigError as failure:
            raise ConfigError(f"CHAINWATCH_WEBHOOK: {failure}") from None
        self.name = _name("webhook", url)
        self._url = url
        self._timeout = timeout

    def send(self, notices: Sequence[Notice]) -> None:
        body = {
            "text": text_of(notices),
            "notices": [
                msgspec.to_builtins(n) | {"told_at": n.told_at.isoformat()} for n in notices
            ],
        }
        asyncio.run(self._post(json.dumps(body, ensure_ascii=False).encode()))

    async def _post(self, body: bytes) -> None:
        async with Http() as http:
            answer = await http.request(
                "POST",
                self._url,
                body=body,
                headers={"Content-Type": "application/json"},
                timeout=self._timeout,
            )
        if not 200 <= answer.status < 300:
            raise NetworkError(f"{mask(self._url)}: HTTP {answer.status}")


class Apprise:
    """Anything that apprise knows (extra `alerts`), by its URL."""

    def __init__(self, url: str) -> None:
        try:
            import apprise
        except ImportError:
            raise UsageError(
                "CHAINWATCH_NOTIFY needs apprise: install chainwatch with the extra `alerts`"
            ) from None
        self.name = _name("apprise", url)
        self._sender = apprise.Apprise()
        self._plain = apprise.NotifyFormat.TEXT  # or names would be HTML in a mail
        if not self._sender.add(url):
            raise ConfigError(f"CHAINWATCH_NOTIFY: {url.split(':', 1)[0]}://… is no apprise URL")

    def send(self, notices: Sequence[Notice]) -> None:
        if not self._sender.notify(
            title="chainwatch", body=text_of(notices), body_format=self._plain
        ):
            raise NetworkError(f"{self.name.rsplit(' ', 1)[0]} did not take the notices")
