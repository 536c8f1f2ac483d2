"""Parts of pages that the program says of itself: commands, tables, queries, sources, settings."""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import inspect
import json
import pkgutil
import re
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click
import typer

import chainwatch
from chainwatch import errors, settings
from chainwatch.chain.markets import load_markets
from chainwatch.cli import app
from chainwatch.collect.registry import discover
from chainwatch.collect.source import Source
from chainwatch.exchanges.feeds import channels, histories
from chainwatch.lake import query
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.needs import NEEDS
from chainwatch.lake.query import Query
from chainwatch.lake.store import Store
from chainwatch.lending.protocol import LendingProtocol
from chainwatch.tables import chain, disclosure, exchange, lending, log
from chainwatch.tables.base import Row, columns
from chainwatch.tables.registry import tables
from chainwatch.units import CONVENTION, UNITS
from tests.docs import outputs
from tests.docs.examples import EXAMPLES, help_example
from tests.places import ROOT

_CONSOLE = re.compile(r"^```console$.*?^```$", re.DOTALL | re.MULTILINE)
SCRIPT = ROOT / "scripts" / "architecture.py"
NOTEBOOK = ROOT / "docs" / "guides" / "notebook.ipynb"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    names = list(head)
    lines = [f"| {' | '.join(names)} |", f"| {' | '.join('---' for _ in names)} |"]
    lines += [f"| {' | '.join(_cell(v) for v in row)} |" for row in rows]
    return "\n".join(lines)


# --- commands -------------------------------------------------------------------------------------


def _commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name; of a group its commands."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if hasattr(command, "list_commands"):
            for inner, leaf in _commands(command, context):
                yield f"{name} {inner}", leaf
        else:
            yield name, command


@cache
def command_examples() -> dict[str, str]:
    """Every command, in the order of `--help`, with its example as it is run."""
    root: Any = typer.main.get_command(app)
    return {
        name: EXAMPLES.get(name) or f": {shlex.join(help_example(str(command.epilog)))}"
        for name, command in _commands(root, click.Context(root))
    }


def commands() -> str:
    """Each command: its help, and an example that is run."""
    here = outputs.session()
    text = ["```text", here.run(["--help"]).out.rstrip(), "```"]
    for name, written in command_examples().items():
        options, _, example = written.partition(": ")
        text += ["", f"## {name}", "", "```text"]
        text += [here.run([*name.split(), "--help"]).out.rstrip(), "```", ""]
        text += [outputs.block(outputs.Marker.read(options, example))]
    return "\n".join(text)


def with_old_varying(new: str, old: str) -> str:
    """The part of the commands, with the old examples where an output varies from run to run."""
    for name, example in EXAMPLES.items():
        if "loose" in example.partition(":")[0].split():
            section = re.compile(rf"(?<=^## {name}$)(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
            before, now = (re.search(_CONSOLE, section.search(t)[1]) for t in (old, new))  # type: ignore[index]
            if before and now:
                new = new.replace(now[0], before[0])
    return new


# --- tables and queries ---------------------------------------------------------------------------

_SUBJECTS = (
    ("Lending", lending),
    ("Exchanges", exchange),
    ("Disclosures and indicators", disclosure),
    ("Chains", chain),
    ("The lake's own log", log),
)


def _meaning(row: type[Row]) -> str:
    return " ".join((row.__doc__ or "").split())


def tables_part() -> str:
    """Every table: meaning, key and columns, by subject."""
    text: list[str] = []
    for title, module in _SUBJECTS:
        text += [f"## {title}", ""]
        for name, row in tables().items():
            if row.__module__ != module.__name__:
                continue
            text += [f"### {name}", "", _meaning(row), "", f"Key: `{'`, `'.join(row.key)}`.", ""]
            text += [
                _table(
                    ("column", "type", "meaning"),
                    (
                        (
                            f"`{c.name}`",
                            ("DECIMAL(38,0)" if c.type == "UINT" else c.type)
                            + ("" if c.nullable else " NOT NULL"),
                            c.meaning,
                        )
                        for c in columns(row)
                    ),
                ),
                "",
            ]
    return "\n".join(text).rstrip()


_GROUPS = {
    "reports": ("",),
    "views": ("views",),
    "marts": ("marts",),
    "checks": ("checks",),
    "alerts": ("alerts",),
}


def queries_part(kind: str) -> Callable[[], str]:
    """Every query of a kind."""

    def part() -> str:
        wanted = (q for q in query.load_all().values() if q.group in _GROUPS[kind])
        return "\n".join(map(query_part, sorted(wanted, key=lambda q: q.name))).rstrip()

    return part


@cache
def _catalog() -> Catalog:
    """A catalog without rows, which names the types of output columns."""
    folder = Path(tempfile.mkdtemp(prefix="chainwatch-empty-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    store = Store(folder)
    store.create()
    return query.open_catalog(store)


def query_part(definition: Query) -> str:
    """What a query answers, its parameters, and its output columns."""
    text = [f"## {definition.name}", "", f"{definition.title}.", ""]
    if definition.params:
        rows: Iterable[Iterable[object]] = (
            (f"`{p.name}`", p.type, f"`{p.default}`", p.meaning) for p in definition.params
        )
        text += [_table(("parameter", "type", "default", "meaning"), rows), ""]
    types = _catalog().run(f"DESCRIBE FROM {definition.name}()").rows
    rows = (
        (f"`{c.name}`", sql_type, c.unit.name, c.meaning)
        for c, (_, sql_type, *_) in zip(definition.columns, types, strict=True)
    )
    text += [_table(("column", "type", "unit", "meaning"), rows), ""]
    return "\n".join(text)


def units() -> str:
    """Every unit, what it means, and the names that have it by convention."""
    names: dict[str, list[str]] = {}
    for patterns, unit in CONVENTION:
        names.setdefault(unit, []).extend(f"`{pattern}`" for pattern in patterns.split())
    return _table(
        ("unit", "meaning", "names that have it by convention"),
        ((f"`{u.name}`", u.meaning, " ".join(names.get(u.name, []))) for u in UNITS.values()),
    )


def query_list() -> str:
    """Every report and building block with what it answers."""
    return _table(
        ("query", "answers"),
        (
            (f"`{q.name}`", q.title)
            for q in sorted(query.load_all().values(), key=lambda q: (q.group, q.name))
            if q.group not in ("checks", "marts", "alerts")
        ),
    )


def needs_table() -> str:
    """Every need that a query may declare: its parameters and what it adds to the heading."""
    rows = []
    for name, rule in NEEDS.items():
        words = [f"`{role}` {kind}" for role, kind in rule.roles.items()]
        words[rule.least :] = [f"{word}?" for word in words[rule.least :]]
        after = f"; after `{rule.after}`" if rule.after else ""
        rows.append((f"`{name}`", ", ".join(words), rule.meaning + after))
    return _table(("need", "parameters (`?`: may be left out)", "in the heading"), rows)


# --- sources --------------------------------------------------------------------------------------


def sources() -> str:
    """Every source: what it reads, and where its format is documented."""
    return _table(
        ("source", "mode", "reads", "format documented at"),
        ((f"`{s.name}`", s.mode, s.summary, f"<{s.docs}>") for s in discover().values()),
    )


def _number(value: float | None, unit: str) -> str:
    return "" if not value else f"{value:,.10g} {unit}"


def stream_limits() -> str:
    """What each stream's documents allow, and how life is proven."""
    discover()
    rows = [
        (
            f"`{name}`",
            f"{c.sampling_class}: {c.sampling_rule}",
            f"{c.topics_per_connection:,}",
            _number(c.messages_per_second, "/s"),
            f"{c.heartbeat}, at the latest every {c.heartbeat_seconds:g} s",
            _number(c.max_quiet_seconds, "s") or "any time",
        )
        for name, c in sorted(channels.items())
    ]
    return _table(
        (
            "source",
            "what is published",
            "topics per connection",
            "messages sent",
            "heartbeat",
            "longest believed silence",
        ),
        rows,
    )


def request_limits() -> str:
    """Seconds between two requests, and the window that one request of a history asks for."""
    sources = discover()
    rows = [
        (f"`{name}`", _number(h.pace, "s"), _number(h.window_seconds / 3600, "hours"))
        for name, h in histories.items()
    ]
    rows += [(f"`{s.name}`", _number(s.spacing, "s"), "") for s in sources.values() if s.spacing]
    return _table(("source", "pause between requests", "window per request"), sorted(rows))


_UNPROVEN = re.compile(r"Unproven, needs a live check: (.*?)\n*\Z", re.DOTALL)


def unproven() -> str:
    """What only a live venue can prove, as the first lines of each source's module say."""
    texts: dict[str, str] = {}
    names: dict[str, list[str]] = {}
    for source in discover().values():
        names.setdefault(source.module, []).append(f"`{source.name}`")
        if match := _UNPROVEN.search(importlib.import_module(source.module).__doc__ or ""):
            text = " ".join(match[1].split())
            texts[source.module] = text[0].upper() + text[1:]
    return _table(
        ("sources", "not proven"), ((", ".join(names[m]), text) for m, text in texts.items())
    )


def venues() -> str:
    """Each venue: its streams, its histories, and how much of its liquidations it publishes."""
    by_venue: dict[str, list[Source]] = {}
    for source in discover().values():
        if source.name in channels or source.name in histories:
            by_venue.setdefault(source.venue, []).append(source)
    rows = []
    for venue, sources in sorted(by_venue.items()):
        markets = [channels.get(s.name) or histories[s.name].channel for s in sources]
        kinds = sorted({market.sampling_class for market in markets})
        past = "yes" if any(s.name in histories for s in sources) else "no"
        rows.append(
            (venue, str(sum(s.name in channels for s in sources)), " or ".join(kinds), past)
        )
    return _table(("venue", "streams", "publishes", "history over REST"), rows)


def markets() -> str:
    """The markets that ship."""
    return _table(
        ("market", "protocol", "chain", "contract"),
        (
            (f"`{name}`", m.protocol, f"{m.chain} ({m.chain_id})", f"`{m.pool}`")
            for name, m in load_markets(settings.Settings(environ={})).items()
        ),
    )


# --- settings and exit codes ----------------------------------------------------------------------


def setting_names() -> str:
    """Every setting: variable, meaning and default."""
    every = (*settings.SETTINGS, *settings.NAMED_SETTINGS)
    return _table(
        ("variable", "meaning", "default"), ((f"`{s.env}`", s.meaning, s.default) for s in every)
    )


@cache
def _every_failure() -> list[type[errors.ChainwatchError]]:
    """Every failure of the program, each after what it is derived from."""
    for module in pkgutil.walk_packages(chainwatch.__path__, "chainwatch."):
        importlib.import_module(module.name)
    kinds: list[type[errors.ChainwatchError]] = []

    def visit(kind: type[errors.ChainwatchError]) -> None:
        kinds.append(kind)
        for inner in sorted(kind.__subclasses__(), key=lambda k: k.__name__):
            visit(inner)

    visit(errors.ChainwatchError)
    return kinds


def exit_codes() -> str:
    """Every exit code, and the failures that end with it."""
    classes: dict[int, list[str]] = {}
    for kind in _every_failure():
        classes.setdefault(int(kind.code), []).append(f"`{kind.__name__}`")
    return _table(
        ("code", "meaning", "failures"),
        (
            (code.value, meaning, ", ".join(classes.get(code.value, [])))
            for code, meaning in errors.EXIT_MEANING.items()
        ),
    )


def failures() -> str:
    """Each failure with its first line."""
    rows = [
        (
            f"`{kind.__name__}`",
            f"`{kind.__bases__[0].__name__}`",
            kind.code.value,
            (kind.__doc__ or "").strip().splitlines()[0],
        )
        for kind in _every_failure()
    ]
    return _table(("failure", "is a", "exit code", "meaning"), rows)


# --- development ----------------------------------------------------------------------------------


@cache
def architecture_script() -> Any:
    """scripts/architecture.py as a module."""
    place = importlib.util.spec_from_file_location("architecture", SCRIPT)
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def architecture() -> str:
    """Counts of modules, imports, cycles, long files and functions."""
    return str(architecture_script().table())


def lending_protocol() -> str:
    """What a lending protocol gives, as its class says."""
    rows = []
    for name, method in vars(LendingProtocol).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            meaning = " ".join((inspect.getdoc(method) or "").split("\n\n")[0].split())
            optional = name not in LendingProtocol.__abstractmethods__
            rows.append((f"`{name}`", "optional" if optional else "", meaning))
    return _table(("method", "", "what it gives"), rows)


def notebook() -> str:
    """The cells of the notebook: text as it is, code as blocks."""
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    text = []
    for cell in cells[1:-1]:
        source = "".join(cell["source"])
        text += [source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```", ""]
    return "\n".join(text).rstrip()


# Parts that change with most commits: filled, and not compared.
VARIES = frozenset({"architecture"})

PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "tables": tables_part,
    "reports": queries_part("reports"),
    "views": queries_part("views"),
    "marts": queries_part("marts"),
    "checks": queries_part("checks"),
    "alerts": queries_part("alerts"),
    "units": units,
    "query-list": query_list,
    "sources": sources,
    "stream-limits": stream_limits,
    "request-limits": request_limits,
    "unproven": unproven,
    "venues": venues,
    "markets": markets,
    "settings": setting_names,
    "exit-codes": exit_codes,
    "failures": failures,
    "architecture": architecture,
    "needs": needs_table,
    "lending-protocol": lending_protocol,
    "notebook": notebook,
}
