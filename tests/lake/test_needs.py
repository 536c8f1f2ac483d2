"""The needs in a query's header: which there are, what they take, and where they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainwatch.lake import query
from chainwatch.lake.needs import NEEDS, Need

PARAMETERS = (
    "-- param: p_when TIMESTAMPTZ = NULL  time\n"
    "-- param: p_place TEXT = 'all'  market\n"
    "-- param: p_what TEXT = 'BTC'  factor\n"
    "-- param: p_days BIGINT = 30  days\n"
)


def written(folder: Path, header: str) -> Path:
    """A query with these header lines from line 3 on, and parameters whose names say nothing."""
    path = folder / "mine.sql"
    path.write_text(
        f"-- name: mine\n-- title: t\n{header}\n{PARAMETERS}"
        "SELECT $p_when AS a, $p_place AS b, $p_what AS c, $p_days AS d"
    )
    return path


def test_a_need_names_the_parameters_of_its_query_in_order(tmp_path: Path) -> None:
    """Needs stand in their order, each with the parameter in every role that is named."""
    path = written(
        tmp_path,
        "-- needs: snapshots(p_when,p_place), factors( p_what )\n-- needs: provenance, feeds",
    )
    assert query.read(path).needs == (
        Need("snapshots", {"as_of": "p_when", "markets": "p_place"}),
        Need("factors", {"factor": "p_what"}),
        Need("provenance"),
        Need("feeds"),
    )


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        (
            "snapshot(p_when)",
            r"no need is called 'snapshot'; did you mean snapshots\? known: markets",
        ),
        ("snapshots(p_when) factors(p_what)", "expected needs such as .*, got 'snapshots"),
        ("snapshots(p_when", "expected needs such as .*, got 'snapshots"),
        ("snapshots, snapshots(p_when)", "expected each need once, got snapshots twice"),
        ("snapshots(p_as_of)", "the as_of of snapshots is p_as_of, which the query does not have"),
        ("snapshots(p_place)", "expected TIMESTAMPTZ for the as_of of snapshots, got p_place TEXT"),
        ("closes(p_when, p_what)", "expected BIGINT for the window of closes, got p_what TEXT"),
        ("snapshots, factors", r"expected 1 to 2 parameters .* \(factor, betas\), got none"),
        ("known_at", r"expected 1 parameter of known_at in brackets \(known_at\), got none"),
        ("provenance(p_when)", r"expected 0 parameters of provenance .*, got p_when"),
        ("statements(p_what, p_when, p_place)", "expected 0 to 2 parameters of statements"),
        ("factors(p_what)", "factors goes with snapshots: name snapshots before it"),
        ("excluded_accounts, snapshots", "excluded_accounts goes with snapshots: name snapshots"),
    ],
)
def test_a_need_that_does_not_fit_is_refused(tmp_path: Path, needs: str, message: str) -> None:
    """An unknown need, or a parameter that is missing or of another type, is named with line."""
    path = written(tmp_path, f"-- note: n\n-- needs: {needs}")
    with pytest.raises(ValueError, match=f"{path} line 4: {message}"):
        query.read(path)


def test_every_need_is_declared_by_a_shipped_query() -> None:
    """No need is there that no query has."""
    declared = {need.name for shipped in query.load_all().values() for need in shipped.needs}
    assert declared == set(NEEDS)
