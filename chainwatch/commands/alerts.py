"""`alert`: runs the rules and sends what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from chainwatch.commands.app import app, get_session
from chainwatch.commands.options import Output, listing
from chainwatch.commands.values import span
from chainwatch.errors import ChainwatchError, PartialError

if TYPE_CHECKING:
    from chainwatch.reports.alerts import AlertRun
    from chainwatch.reports.notifiers import Notifier
    from chainwatch.show.document import Report


@app.command(epilog="Example: chainwatch alert")
@listing
def alert(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="RULE…", help="Only these; all without.")
    ] = None,
    test: Annotated[
        bool, typer.Option("--test", help="Send a sample to every channel, run nothing.")
    ] = False,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Stop a rule after that.")] = "60s",
    *,
    output: Output,
) -> None:
    """Run the alert rules and send what is new.

    Channels: stdout, CHAINWATCH_WEBHOOK and CHAINWATCH_NOTIFY. Rules of your own lie in alerts/
    of the home folder.
    """
    from chainwatch.reports import alerts

    seconds = span(timeout, "--timeout")
    notifiers = configured_notifiers()
    with get_session().teller:
        if test:
            outcome = alerts.send_sample(notifiers)
            output.emit(_report(outcome))
        else:
            outcome = alerts.run(
                get_session().store,
                notifiers,
                only=names or [],
                seconds=seconds,
                show=lambda o: output.emit(_report(o)),
            )
    raise_failures(outcome.failures)


def configured_notifiers() -> list[Notifier]:
    """The channels that are set: webhooks, and what apprise knows; several with spaces between."""
    from chainwatch.reports.notifiers import Apprise, Webhook

    settings = get_session().settings
    webhook, notify = settings.get("webhook"), settings.get("notify")
    notifiers: list[Notifier] = [
        Webhook(url, settings.timeout, authorities=settings.ca_file)
        for url in (webhook.value.split() if webhook else [])
    ]
    return notifiers + [Apprise(url) for url in (notify.value.split() if notify else [])]


def raise_failures(failures: list[ChainwatchError]) -> None:
    """Raise what went wrong: the failure itself, or PartialError for several."""
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise PartialError("; ".join(str(f) for f in failures))


def _report(outcome: AlertRun) -> Report:
    from chainwatch.lake.engine import Result
    from chainwatch.show.document import Report

    rows = [(n.kind, n.rule, n.subject, n.message, n.value, n.notified_at) for n in outcome.notices]
    kinds = ("VARCHAR",) * 4 + ("DOUBLE", "TIMESTAMPTZ")
    names = ("kind", "rule", "subject", "message", "value", "notified_at")
    sent = ", ".join(outcome.delivered) or "nowhere but here"
    return Report(
        Result(names, kinds, list(rows)),
        name="alert",
        title=f"{len(outcome.notices)} new, {outcome.active} active; sent to {sent}",
        shown=("kind", "rule", "message"),
    )
