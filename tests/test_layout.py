"""The shape of the code: who imports what, who writes where, and what may lie in the tree."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import chainwatch
from tests import shell

ROOT = Path(chainwatch.__file__).parent.parent
PACKAGE = ROOT / "chainwatch"
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = (
    "web3",
    "ccxt",
    "pandas",
    "numpy",
    "duckdb",
    "aiohttp",
    "rich",
    "eth_abi",
    "pyarrow",
    "altair",
)
OWNERS = {
    "duckdb": {
        "lake/engine.py",
        "lake/segments.py",
        "lake/faults.py",
        "lake/receipts.py",
        "lake/catalog.py",
        "lake/catalog_file.py",
        "lake/guard.py",
        "lake/files.py",
        "lake/holdings.py",
        "lake/store.py",
    },
    "aiohttp": {"net/http.py", "net/socket.py"},
    "web3": {"chain/independent.py"},
    "ccxt": {"exchanges/books.py"},
    "altair": {"reports/chart.py"},
    "difflib": {"text.py"},
}
MIB = 2**20


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def imports(node: ast.AST) -> Iterator[str]:
    """The top-level packages that are imported anywhere in a tree."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.split(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield child.module.split(".")[0]


def for_types_only(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


# --- imports ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "import sys; sys.argv = ['chainwatch', '--help']\n"
        "from chainwatch.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert ended.code == 0",
        "import chainwatch.cli",
        "from chainwatch.collect.registry import discover; assert discover()",
        "from chainwatch.lake import query; assert query.load_all()",
    ],
    ids=["help", "command line", "sources", "queries"],
)
def test_no_heavy_package_is_loaded_before_it_is_needed(script: str) -> None:
    check = f"\nimport sys; found = {{*{HEAVY!r}}} & sys.modules.keys(); assert not found, found"
    done = subprocess.run(
        [sys.executable, "-c", script + check],
        capture_output=True,
        text=True,
        env=shell.environment(),
        cwd=shell.NOWHERE,
    )
    assert done.returncode == 0, done.stderr


def test_what_only_reads_loads_no_network() -> None:
    """Settings, queries, and the eras of venues, which are rows of a table."""
    script = (
        "import sys\n"
        "from chainwatch import settings\n"
        "from chainwatch.lake import query\n"
        "from chainwatch.exchanges.eras import rows\n"
        "assert query.load_all() and rows() and settings.SETTINGS\n"
        "loaded = {'asyncio', 'ssl', 'chainwatch.net.http'} & sys.modules.keys()\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=shell.environment(),
        cwd=shell.NOWHERE,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", OWNERS)
def test_a_package_has_one_owner(package: str) -> None:
    importers = {
        name(path) for path in MODULES for used in [set(imports(tree(path)))] if package in used
    }
    assert importers <= OWNERS[package]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_heavy_packages_are_imported_inside_functions(path: Path) -> None:
    for node in tree(path).body:
        if not for_types_only(node) and not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ):
            assert not set(imports(node)) & set(HEAVY), f"{name(path)} line {node.lineno}"


def test_protocol_arithmetic_and_tables_import_nothing_of_ours() -> None:
    alone = [
        path
        for stem in ("arithmetic", "liquidation", "price_caps")
        for path in PACKAGE.glob(f"lending/protocols/*/{stem}.py")
    ]
    alone += [PACKAGE / path for path in ("lending/integers.py", "tables/base.py", "errors.py")]
    for path in alone:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("chainwatch"):
                assert node.module is not None
                assert node.module.startswith("chainwatch.lending"), f"{name(path)}: {node.module}"


# --- streams ------------------------------------------------------------------------------------


def writes(path: Path, stream: str) -> list[int]:
    """Lines that name a stream, or print to it."""
    lines = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == f"sys.{stream}":
            lines.append(node.lineno)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "pprint"):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    ("stream", "owner"), [("stdout", "show/terminal.py"), ("stderr", "show/tell.py")]
)
def test_a_stream_has_one_writer(stream: str, owner: str) -> None:
    for path in MODULES:
        lines = writes(path, stream)
        if name(path) == owner:
            assert lines
        elif name(path) == "entry.py" or path.parent.name == "contracts":
            # One answers before either is imported, the others are tools for whoever compiles.
            continue
        else:
            assert not lines, f"{name(path)} lines {lines}"


# --- files --------------------------------------------------------------------------------------


@cache
def tracked() -> tuple[Path, ...]:
    """Files that are, or would be, committed."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("this is no git checkout")
    return tuple(
        path for part in listing.stdout.split("\0") if part and (path := ROOT / part).is_file()
    )


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        try:
            yield path, path.read_text("utf-8")
        except UnicodeDecodeError:
            continue


def test_no_file_is_larger_than_a_mebibyte() -> None:
    assert not [path for path in tracked() if path.stat().st_size > MIB]


def test_no_file_names_a_registry() -> None:
    hosts = re.compile("|".join(("pypi", "pythonhosted", "npmjs", "yarnpkg")), re.IGNORECASE)
    for path, text in texts():
        if path != Path(__file__):
            match = hosts.search(text)
            assert not match, f"{path.relative_to(ROOT)} names {match and match[0]}"


def test_no_file_holds_a_path_of_one_machine() -> None:
    home = re.compile(r"(?<![\w.])/(?:home|Users)/\w+|(?<![\w./])/(?:root|work)/\w+")
    for path, text in texts():
        match = home.search(text)
        if path != Path(__file__):
            assert not match, f"{path.relative_to(ROOT)} names {match and match[0]}"


def test_no_lock_file_and_no_secret_file_is_tracked() -> None:
    names = {path.name for path in tracked()}
    locks = {
        "package-lock.json",
        "yarn.lock",
        "poetry.lock",
        "uv.lock",
        "pnpm-lock.yaml",
        "pdm.lock",
    }
    assert not names & (locks | {".env"})


def test_constraints_are_exact_sorted_and_hold_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line
    pinned = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines]
    assert len(pinned) == len(set(pinned))
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    listed = project[project.index("dependencies = [") : project.index("[project.scripts]")]
    wanted = re.findall(r'^  "([A-Za-z0-9_-]+)', listed, re.MULTILINE)
    assert len(wanted) > 10
    assert {re.sub(r"[-_.]+", "-", w).lower() for w in wanted} <= set(pinned)


def names_of_ours(module: ast.Module) -> set[str]:
    """What a file imports from the program, by the names it uses for it."""
    return {
        alias.asname or alias.name
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("chainwatch")
        for alias in node.names
    }


def test_no_test_replaces_our_own_code() -> None:
    patched = re.compile(r"mock\.patch|monkeypatch\.setattr|from unittest import mock")
    for path in (ROOT / "tests").rglob("*.py"):
        if path == Path(__file__):
            continue
        text = path.read_text("utf-8")
        assert not patched.search(text), path.name
        module = ast.parse(text)
        ours = names_of_ours(module)
        for node in ast.walk(module):
            for target in node.targets if isinstance(node, ast.Assign) else ():
                base = target.value if isinstance(target, ast.Attribute) else None
                assert not (isinstance(base, ast.Name) and base.id in ours), (
                    f"{path.name} line {node.lineno} replaces {ast.unparse(target)}"
                )
