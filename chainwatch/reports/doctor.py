"""Findings of `doctor`: what is there, what it means, and what is a fault.

A part of the house is one function that returns findings; `exit_code` weighs all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from chainwatch.errors import ChainwatchError, Exit
from chainwatch.lake.engine import Result
from chainwatch.show.document import Report

OK, LIMITED, FAULT = "ok", "limited", "fault"
COLUMNS = ("subject", "item", "value", "state", "means")


class Finding(msgspec.Struct, frozen=True):
    """One line: `value` of an item of a subject, whether it is a fault, and what that means.

    State "limited": it can be used, and `means` says what it cannot do. `others`: a fault that
    others make up for, such as an endpoint beside one that can be used.
    """

    subject: str
    item: str
    value: str
    state: str = OK
    means: str = ""
    failure: ChainwatchError | None = None
    others: bool = False


def faults(findings: Iterable[Finding]) -> list[Finding]:
    """Those that keep chainwatch from working as it is set up."""
    return [finding for finding in findings if finding.failure is not None]


def exit_code(findings: Iterable[Finding]) -> Exit:
    """What the faults end with: the store first, then settings, then the network.

    A fault of the network that others make up for is PARTIAL.
    """
    wrong = faults(findings)
    for code in (Exit.STORE, Exit.USAGE):
        if any(f.failure is not None and f.failure.code == code for f in wrong):
            return code
    if any(not finding.others for finding in wrong):
        return Exit.NETWORK
    return Exit.PARTIAL if wrong else Exit.OK


def report(findings: Sequence[Finding]) -> Report:
    """The findings as a table."""
    rows: list[tuple[object, ...]] = [
        (f.subject, f.item, f.value, f.state, f.means) for f in findings
    ]
    wrong = len(faults(findings))
    header = [f"{wrong} fault{'' if wrong == 1 else 's'}" if wrong else "no fault"]
    return Report(
        Result(COLUMNS, ("VARCHAR",) * len(COLUMNS), rows),
        name="doctor",
        title="What chainwatch runs on, and what its venues and endpoints can do",
        header=header,
        notes=(
            "limited: it can be used, and the last column says what it cannot do",
            "≥: all that was tried was accepted",
        ),
    )
