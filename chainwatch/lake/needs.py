"""Needs: what the heading of a report has to say about its figures, declared in a query's header.

    -- needs: snapshots(p_as_of, p_market), factors(p_factor, p_betas), excluded_accounts

In brackets stand the parameters of the query that choose what the need shows, in the order of
NEEDS; the last ones may be left out, which stands for all or the newest. The heading has its parts
in the order in which they are declared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from chainwatch.text import suggest

# A need with its parameters in brackets, and what separates it from the next one.
_NEED = re.compile(r"\s*(\w+)\s*(?:\(([^()]*)\))?\s*(?:,|$)")


class Rule(msgspec.Struct, frozen=True):
    """What a need adds to the heading, and what it takes: the type of each role's parameter.

    The first `least` roles have to be named; a need that stands `after` another one goes with it.
    """

    meaning: str
    roles: dict[str, str] = {}
    least: int = 0
    after: str = ""


NEEDS: dict[str, Rule] = {
    "markets": Rule(
        "no line: the parameter is a list of markets, read as in every report",
        {"markets": "TEXT"},
        least=1,
    ),
    "snapshots": Rule(
        "block, age, verification and coverage of each market; one has to be stored",
        {"as_of": "TIMESTAMPTZ", "markets": "TEXT"},
    ),
    "factors": Rule(
        "what moves with the factor in each market; the factor has to exist",
        {"factor": "TEXT", "betas": "TEXT"},
        least=1,
        after="snapshots",
    ),
    "bins": Rule(
        "where the markets' prices of the factor differ; there may not be too many bins; without "
        "split each market has its own",
        {
            "reach": "DOUBLE",
            "step": "DOUBLE",
            "step_share": "DOUBLE",
            "direction": "TEXT",
            "split": "BOOLEAN",
        },
        least=4,
        after="factors",
    ),
    "excluded_accounts": Rule(
        "accounts that are in no sum, or in some only, and why", after="snapshots"
    ),
    "statements": Rule(
        "the newest disclosure of each kind: day, lag, document; one has to be stored",
        {"token": "TEXT", "known_at": "TIMESTAMPTZ"},
    ),
    "feeds": Rule(
        "the time shown, and how much of it each exchange feed covers",
        {"since": "TIMESTAMPTZ", "until": "TIMESTAMPTZ", "venue": "TEXT"},
    ),
    "closes": Rule(
        "source and days of the daily closes that a model uses",
        {"as_of": "TIMESTAMPTZ", "window": "BIGINT"},
    ),
    "known_at": Rule(
        "the publication time up to which figures count",
        {"known_at": "TIMESTAMPTZ"},
        least=1,
    ),
    "provenance": Rule("how many rows are samples, shipped or imported, by that column"),
}


class Need(msgspec.Struct, frozen=True):
    """One need of a query, and the name of the query's parameter in each role that it names."""

    name: str
    parameters: dict[str, str] = {}


def read(lines: Iterable[tuple[str, str]], types: Mapping[str, str]) -> tuple[Need, ...]:
    """The needs of a query from its `needs` lines, each with where it stands.

    `types`: type by name of the query's parameters. Raises ValueError, which says where, for what
    is no need, and for a parameter that is missing or of another type.
    """
    needs: dict[str, Need] = {}
    for where, line in lines:
        at = 0
        while at < len(line):
            match = _NEED.match(line, at)
            if match is None:
                raise ValueError(
                    f"{where}: expected needs such as `snapshots(p_as_of), factors(p_factor)`, "
                    f"got {line[at:].strip()!r}"
                )
            at = match.end()
            need = _need(match[1], match[2] or "", types, where)
            if need.name in needs:
                raise ValueError(f"{where}: expected each need once, got {need.name} twice")
            after = NEEDS[need.name].after
            if after and after not in needs:
                raise ValueError(f"{where}: {need.name} goes with {after}: name {after} before it")
            needs[need.name] = need
    return tuple(needs.values())


def _need(name: str, brackets: str, types: Mapping[str, str], where: str) -> Need:
    if name not in NEEDS:
        raise ValueError(
            f"{where}: no need is called {name!r}; {suggest(name, NEEDS)}known: {', '.join(NEEDS)}"
        )
    rule = NEEDS[name]
    named = [part.strip() for part in brackets.split(",") if part.strip()]
    if not rule.least <= len(named) <= len(rule.roles):
        roles = ", ".join(rule.roles) or "none"
        raise ValueError(
            f"{where}: expected {_count(rule)} of {name} in brackets ({roles}), "
            f"got {', '.join(named) or 'none'}"
        )
    for parameter, (role, kind) in zip(named, rule.roles.items(), strict=False):
        if parameter not in types:
            raise ValueError(
                f"{where}: the {role} of {name} is {parameter}, which the query does not have: "
                f"declare it, or name one of {', '.join(types) or 'its parameters (none)'}"
            )
        if types[parameter] != kind:
            raise ValueError(
                f"{where}: expected {kind} for the {role} of {name}, "
                f"got {parameter} {types[parameter]}"
            )
    return Need(name, dict(zip(rule.roles, named, strict=False)))


def _count(rule: Rule) -> str:
    """How many parameters a need takes, in words."""
    most = len(rule.roles)
    if rule.least == most:
        return f"{most} parameter{'s' * (most != 1)}"
    return f"{rule.least} to {most} parameters"
