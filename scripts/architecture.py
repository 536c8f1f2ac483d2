"""Counts of the package, and the diagram of its layers: `python scripts/architecture.py`.

Prints a Markdown table: modules, import edges, cycles, long files and long functions. With
`--diagram` it prints the layers of the import contract as SVG. With `--long` it lists every long
file and function.
"""

from __future__ import annotations

import ast
import html
import importlib
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grimp

ROOT = Path(__file__).parent.parent
PACKAGE = "chainwatch"
LONG_FILE, LONG_FUNCTION, MANY_PARAMETERS = 400, 60, 8
Edge = tuple[str, str]


def top(module: str) -> str:
    """The package or module right below the root that a module belongs to."""
    return ".".join(module.split(".")[:2])


def edges() -> tuple[set[str], set[Edge]]:
    """All modules, and every import of one by another."""
    graph: Any = grimp.build_graph(PACKAGE)
    modules = set(graph.modules)
    return modules, {(m, t) for m in modules for t in graph.find_modules_directly_imported_by(m)}


def cycles(pairs: Iterable[Edge]) -> list[list[str]]:
    """Groups of nodes that reach each other (strongly connected components of two and more)."""
    after: dict[str, set[str]] = {}
    for source, target in pairs:
        after.setdefault(source, set()).add(target)
    reached = {node: _reachable(node, after) for node in after}
    groups = {
        tuple(sorted({b for b in reached[a] if a in reached.get(b, ())} | {a}))
        for a in reached
        if a in reached[a]
    }
    return [list(group) for group in sorted(groups) if len(group) > 1]


def _reachable(start: str, after: dict[str, set[str]]) -> set[str]:
    names: set[str] = set()
    todo = list(after.get(start, ()))
    while todo:
        node = todo.pop()
        if node not in names:
            names.add(node)
            todo += after.get(node, ())
    return names


def files() -> list[Path]:
    """Every Python file of the package."""
    return sorted((ROOT / PACKAGE).rglob("*.py"))


def functions() -> Iterator[tuple[Path, str, int, int]]:
    """Every function: its file, name, lines and number of parameters."""
    for path in files():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                count = len(given.args) + len(given.kwonlyargs) + len(given.posonlyargs)
                yield path, node.name, (node.end_lineno or node.lineno) - node.lineno + 1, count


def long_files() -> list[tuple[str, int]]:
    """Files above LONG_FILE lines."""
    sizes = [(str(p.relative_to(ROOT)), len(p.read_text("utf-8").splitlines())) for p in files()]
    return [(name, lines) for name, lines in sizes if lines > LONG_FILE]


def counts() -> list[tuple[str, int]]:
    """What is counted, by name."""
    modules, imports = edges()
    between = {(top(a), top(b)) for a, b in imports if top(a) != top(b)}
    every = list(functions())
    return [
        ("modules", len(modules)),
        ("imports between modules", len(imports)),
        ("cycles of modules", len(cycles(imports))),
        ("packages and top modules", len({top(m) for m in modules})),
        ("imports between them", len(between)),
        ("cycles between them", len(cycles(between))),
        (f"files above {LONG_FILE} lines", len(long_files())),
        (f"functions above {LONG_FUNCTION} lines", sum(n > LONG_FUNCTION for _, _, n, _ in every)),
        (
            f"functions with more than {MANY_PARAMETERS} parameters",
            sum(k > MANY_PARAMETERS for _, _, _, k in every),
        ),
    ]


def table() -> str:
    """The counts as a Markdown table."""
    return "\n".join(
        ["| count | now |", "| --- | ---: |", *(f"| {n} | {c} |" for n, c in counts())]
    )


def layers() -> list[list[str]]:
    """The layers of the import contract, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    names = next(c for c in contracts["contracts"] if c["type"] == "layers")["layers"]
    return [[name.strip() for name in layer.split("|")] for layer in names]


def diagram() -> str:
    """The layers as an SVG: a box per package with what it is; imports go down only."""
    width, height, gap, left = 980, 44, 10, 10
    rows = layers()
    total = len(rows) * (height + gap) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{total}" fill="#ffffff"/>',
    ]
    for number, row in enumerate(rows):
        y = 10 + number * (height + gap)
        box = (width - 2 * left - gap * (len(row) - 1)) / len(row)
        for place, name in enumerate(row):
            x = left + place * (box + gap)
            words = (importlib.import_module(f"{PACKAGE}.{name}").__doc__ or "").strip()
            # About seven pixels a letter: what does not fit is cut at a word.
            first, room = (words.splitlines() or [""])[0].rstrip(".:,"), int((box - 130) / 6.6)
            if len(first) > room:
                first = first[:room].rsplit(" ", 1)[0] + " …"
            parts += [
                f'<rect x="{x:g}" y="{y}" width="{box:g}" height="{height}" rx="6" '
                'fill="#e8eaf6" stroke="#3f51b5"/>',
                f'<text x="{x + 12:g}" y="{y + 27}" font-weight="bold">{html.escape(name)}</text>',
                f'<text x="{x + 118:g}" y="{y + 27}" fill="#333333">{html.escape(first)}</text>',
            ]
    parts += [
        f'<text x="{left}" y="{total - 12}" fill="#555555">A package imports from the rows below '
        "it only, never from those above or beside it.</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def main(arguments: list[str]) -> None:
    if "--diagram" in arguments:
        sys.stdout.write(diagram())
        return
    sys.stdout.write(table() + "\n")
    if "--long" in arguments:
        for name, lines in long_files():
            sys.stdout.write(f"{name}: {lines} lines\n")
        for path, name, lines, count in functions():
            if lines > LONG_FUNCTION or count > MANY_PARAMETERS:
                where = path.relative_to(ROOT)
                sys.stdout.write(f"{where} {name}: {lines} lines, {count} parameters\n")


if __name__ == "__main__":
    main(sys.argv[1:])
