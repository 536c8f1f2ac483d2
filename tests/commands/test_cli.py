"""The contract of the command line: exit codes, streams, help, errors, Ctrl-C. Real processes."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer

from chainwatch import cli, commands
from chainwatch.commands.app import EXAMPLES
from chainwatch.commands.running import RANKED_SHOWN
from chainwatch.demo import recording
from chainwatch.errors import EXIT_MEANING, Exit, UsageError
from chainwatch.lake import query, readonly
from chainwatch.lake.catalog import Catalog
from chainwatch.lake.store import Store
from chainwatch.lending.protocols.aave_v3.reader import GET_USER_ACCOUNT_DATA
from chainwatch.tables.lending import Leg, Snapshot
from tests import shell
from tests.docs.examples import help_example
from tests.shell import Done, run

MACHINE = ("--json", "--jsonl", "--csv")
FORMS = ("", *MACHINE, "--markdown")
# Commands as they are run on the recorded lake; those with a chain come last.
READING: dict[str, tuple[str, ...]] = {
    "health": (),
    "accounts": ("--min-debt", "1000"),
    "walls": ("BTC", "--down", "5%"),
    "triggers": ("ETH",),
    "path": ("ETH",),
    "distance": (),
    "cascade": ("BTC", "--adv", "40000", "--max-depth-age", "9999d"),
    "factors": (),
    "changes": (),
    "liquidations": ("--by", "symbol"),
    "feeds": (),
    "status": (),
    "checks": (),
    "sql": ("SELECT market, block_number, block_time FROM snapshots ORDER BY ALL",),
    "query": ("positions", "p_market=demo"),
    "export": ("--out", "marts"),
    "schema": (),
    "diff": ("--from", "2026-01-29T01:27:48Z", "--to", "2026-01-29"),
    "queries": (),
    "reserves": ("USDT",),
    "indicators": (),
    "spreads": ("--last", "3"),
    "bottom": (),
    "crashes": (),
    "breaks": ("BTC", "88000"),
    "claims": ("--article", "C"),
    "documents": (),
    "sources": (),
    "markets": (),
    "config": (),
}
ASKING: dict[str, tuple[str, ...]] = {
    "nightly": ("--out", "nights", "--source", "aave-v3"),
    "alert": ("--test",),
    "collect": ("aave-v3", "--market", "demo", "--accounts", "all"),
    "verify": ("--sample", "5"),
}
# Commands that other files test: the demo, the doctor, imports, and what streams.
ELSEWHERE = ("demo", "doctor", "import", "watch", "record", "replay")
EPILOGS = {
    command.name or command.callback.__name__: str(command.epilog)
    for command in cli.app.registered_commands
}
COMMANDS = sorted([*EPILOGS, *(str(group.name) for group in cli.app.registered_groups)])
# A command that is named nowhere above reads, and is run as the example in its help.
READING |= {
    name: tuple(help_example(EPILOGS[name])[1:])
    for name in COMMANDS
    if name not in (*READING, *ASKING, *ELSEWHERE)
}


@pytest.fixture(scope="module")
def lake() -> Path:
    return shell.recorded_lake()


@pytest.fixture(scope="module")
def chain() -> Iterator[dict[str, str]]:
    """The environment in which the recorded chain answers, for a lake that is still empty."""
    with shell.recorded_chain() as url:
        yield {"CHAINWATCH_RPC_LOCAL": url}


@pytest.fixture(scope="module")
def later_chain() -> Iterator[dict[str, str]]:
    """The same after the fall of prices, as the recorded lake knows it."""
    with shell.recorded_chain(stop=1) as url:
        yield {"CHAINWATCH_RPC_LOCAL": url}


def at_once(jobs: list[Callable[[], Done]]) -> list[Done]:
    """Several commands side by side: most of their time is a start-up."""
    with ThreadPoolExecutor(3) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def require_refusal(done: Done, code: Exit, *words: str) -> None:
    """The command failed with that code, nothing on stdout, and one line with the words."""
    assert done.code == code, done.err
    assert done.out == ""
    assert len(done.lines) == 1, done.err
    assert done.err.startswith("chainwatch: ")
    for word in words:
        assert word in done.err


# --- help ---------------------------------------------------------------------------------------


def test_every_command_is_covered_by_these_tests() -> None:
    assert {*READING, *ASKING, *ELSEWHERE} == set(COMMANDS)


@pytest.mark.quick_variants("collect", "walls", "sql", "nightly", "cascade")
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_in_one_screen(command: str) -> None:
    done = run(command, "-h" if command < "m" else "--help")
    assert done.code == Exit.OK
    assert done.err == ""
    assert done.out.startswith(f"Usage: chainwatch {command} ")
    assert re.search(rf"^  Example: chainwatch {command}\b", done.out, re.MULTILINE)
    assert len(done.out.splitlines()) <= 40
    assert max(map(len, done.out.splitlines())) <= 80


def test_the_main_help_is_one_screen() -> None:
    """It begins with examples and names every exit code."""
    short, long = at_once([lambda: run("-h"), lambda: run("--help")])
    assert short == long
    assert short.code == Exit.OK
    text = short.out
    assert len(text.splitlines()) <= 70
    assert max(map(len, text.splitlines())) <= 100
    assert text.index("Examples:") < text.index("Options:") < text.index("Commands:")
    joined = " ".join(text.split())
    for code, meaning in EXIT_MEANING.items():
        assert f"{code.value} {meaning}" in joined
    listing = text[text.index("Commands:") :]
    for command in COMMANDS:
        (line,) = re.findall(rf"^  {command} +(\S.*)$", listing, re.MULTILINE)
        assert not line.endswith("..."), f"the summary of {command} is cut"
        assert line.endswith(".")


def test_the_examples_of_the_help_are_commands_that_exist() -> None:
    examples = re.findall(r"^  chainwatch (.*?)(?:  +.*)?$", EXAMPLES, re.MULTILINE)
    assert len(examples) >= 4
    for example in examples:
        assert shlex.split(example)[0] in COMMANDS


def test_every_exit_code_has_a_meaning() -> None:
    assert set(EXIT_MEANING) == set(Exit)


def test_no_arguments_print_the_help_on_stderr() -> None:
    done = run()
    assert done.code == Exit.USAGE
    assert done.out == ""
    assert "Examples:" in done.err
    assert "Exit codes:" in done.err


def test_the_version_is_data() -> None:
    done = run("--version")
    assert done.code == Exit.OK
    assert re.fullmatch(r"chainwatch \d+\.\d+\.\d+\n", done.out)
    assert done.err == ""


def test_no_command_is_a_coroutine_since_nobody_would_await_it() -> None:
    for path in (*Path(commands.__path__[0]).glob("*.py"), Path(cli.__file__)):
        tree = ast.parse(path.read_text("utf-8"))
        coroutines = [node for node in tree.body if isinstance(node, ast.AsyncFunctionDef)]
        # A command is registered by a decorator.
        assert not [node.name for node in coroutines if node.decorator_list]


# --- exit codes ---------------------------------------------------------------------------------


FAR = "9999-12-31T23:59:59-14:00"
WRONG: tuple[tuple[list[str], list[str]], ...] = (
    (["healt"], ["No such command 'healt'", "Did you mean 'health'"]),
    (["health", "--jsn"], ["No such option: --jsn", "--json", "`chainwatch health --help`"]),
    (["health", "--home", "/x"], ["--home goes before the command"]),
    (["health", "more"], ["unexpected extra argument"]),
    (["walls"], ["Missing argument 'factor'"]),
    (["accounts", "--limit", "-1"], ["'--limit'", "-1"]),
    (["accounts", "--limit", "many"], ["'--limit'"]),
    (["accounts", "--min-debt", "nan"], ["'--min-debt'", "expected a number from 0 up, got 'nan'"]),
    (["breaks", "BTC", "inf"], ["expected a number from 0 up, got 'inf'"]),
    (
        ["accounts", "--min-debt", "1_000"],
        ["'--min-debt'", "expected a number from 0 up, got '1_000'"],
    ),
    (
        ["accounts", "--limit", "１２"],
        ["'--limit'", "expected a whole number from 0 to", "got '１２'"],
    ),
    (["walls", "BTC", "--step", "1,2,3"], ["--step: expected a width such as 1000 or 1%"]),
    (["query", "health", "p_as_of=9999-12-31T23:59:59-14:00"], ["p_as_of", "in the future"]),
    (
        ["collect", "okx-history", "--since", "0001-01-01T00:00+14:00"],
        ["--since: expected a time from 2009 on"],
    ),
    (["collect", "okx-history", "--since", FAR], ["--since: expected a time from 2009 on", FAR]),
    (["liquidations", "--until", FAR], ["--until: expected a time from 2009 on", FAR]),
    (["nightly", "--keep", "hourly 99999999999d, daily forever"], ["--keep: expected a policy"]),
    (
        ["collect", "aave-v3-liquidations", "--market", "demo", "--verify"],
        ["--verify is for positions of lending markets, and aave-v3-liquidations reads none"],
    ),
    (["reserves", "USDT", "--drift", "nan"], ["expected a number from 0 up, got 'nan'"]),
    (["accounts", "--limit", "9223372036854775807"], ["'--limit'", "1000000000"]),
    (["sql", "--timeout", "99999999999999d", "select 1"], ["--timeout: expected at most 36500d"]),
    (["collect", "tether", "--for", "9" * 400], ["--for: expected at most 36500d"]),
    (["export", "--out", ""], ["'--out'", "expected a folder, got an empty name"]),
    (["export", "--check", ""], ["'--check'", "expected a folder, got an empty name"]),
    (["nightly", "--out", ""], ["'--out'", "expected a folder, got an empty name"]),
    (["health", "--json", "--csv"], ["choose one of --json and --csv"]),
    (["--color", "blue", "health"], ["--color: expected auto, always or never", "'blue'"]),
    (["health", "--market", "dem"], ["'dem'", "did you mean demo?", "stored: comet, demo"]),
    (["health", "--as-of", "yesterday"], ["--as-of: expected a time such as", "'yesterday'"]),
    (["health", "--as-of", "2020-01-01"], ["no snapshot is that old", "status"]),
    (["walls", "BCT"], ["'BCT'", "did you mean BTC?", "known: BTC, DAI, ETH"]),
    (["walls", "BTC", "--down", ""], ["--down: expected a share", "''"]),
    (["walls", "BTC", "--down", "150%"], ["--down: expected a share above 0", "100%"]),
    (["walls", "BTC", "--down", "5%", "--up", "6%"], ["equally far"]),
    (["walls", "BTC", "--step", "0"], ["--step: expected a width such as 1000 or 1%"]),
    (["walls", "BTC", "--step", "0.01%"], ["expected at most 999 bins down, got 3,000", "0.0301%"]),
    (["walls", "BTC", "--step", "0.5"], ["expected at most 999 bins down", "or 0.0301%"]),
    (["walls", "BTC", "--up", "900%", "--step", "0.1%"], ["bins up, got 9,000", "or 0.902%"]),
    (["query", "walls", "p_step_pct=0"], ["p_step_pct must be above 0, got 0"]),
    (["query", "walls", "p_step_pct=-1"], ["p_step_pct must be above 0, got -1"]),
    (["query", "walls", "p_step_abs=-0.5"], ["p_step_abs must be above 0, got -0.5"]),
    (["query", "walls", "p_range=-1"], ["p_range must be above 0, got -1"]),
    (["query", "walls", "p_range=0"], ["p_range must be above 0, got 0"]),
    (["query", "walls", "p_factor=MARKET", "p_betas=eth=1,ETH=2"], ["p_betas: expected each"]),
    (["query", "walls", "p_factor=MARKET", "p_betas=eth=1_0"], ["p_betas: expected a factor and"]),
    (["query", "wals"], ["did you mean walls?", "`chainwatch queries` lists them"]),
    (["query", "walls", "p_factr=ETH"], ["no parameter p_factr", "it has p_factor"]),
    (["query", "walls", "ETH"], ["p_name=value", "'ETH'"]),
    (["query", "health", "p_as_of=soon"], ["a parameter has a wrong value", "soon"]),
    (["collect", "aave"], ["did you mean aave-v", "`chainwatch sources` lists them"]),
    (["collect", "aave-v3"], ["needs --market NAME", "known:", "ethereum"]),
    (["collect", "aave-v3", "--market", "etherum"], ["did you mean ethereum?"]),
    (["collect", "aave-v3", "--market", "demo", "--accounts", "some"], ["borrowers or all"]),
    (
        ["collect", "okx", "--since", "2026-01-01"],
        ["--since is for histories, and okx is none", "collect okx-history --since"],
    ),
    (["collect", "fred", "--market", "demo"], ["--market is for lending markets, and fred reads"]),
    (["collect", "fred", "okx", "--full"], ["--full is for lending markets, and fred, okx reads"]),
    (["collect", "aave-v3", "--market", "demo", "--for", ""], ["--for: expected a time"]),
    (["verify", "--market", "base"], ["no snapshot of market 'base'", "stored: comet, demo"]),
    (["health", "\udcff"], ["is not UTF-8 text"]),
    (["health", "-o", "/nowhere/x.csv"], ["/nowhere/x.csv cannot be written", "No such file"]),
)


@pytest.mark.full
def test_a_wrong_word_is_one_line_and_exit_2(lake: Path) -> None:
    results = at_once([partial(run, *arguments, home=lake) for arguments, _ in WRONG])
    for (_, words), done in zip(WRONG, results, strict=True):
        require_refusal(done, Exit.USAGE, *words)


def options_of(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every option of the command line, with the words that lead to it."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from options_of(inner, (*path, name))
    for param in command.params:
        if param.param_type_name == "option":
            yield path, param


def test_an_option_of_one_value_refuses_a_second() -> None:
    """Click keeps the last one: the first would be believed to count."""
    options = list(options_of(typer.main.get_command(cli.app)))
    single = [(path, p) for path, p in options if not (p.multiple or p.is_flag or p.count)]
    assert len(single) > 60
    assert {"--as-of", "--home", "--limit", "--out"} <= {o for _, p in single for o in p.opts}
    root = typer.main.get_command(cli.app)
    for path, option in single:
        words = [*path, option.opts[0], "1", f"{option.opts[-1]}=2"]
        with pytest.raises(Exception, match=f"{option.opts[0]} takes one value") as refused:
            root.main(words, prog_name="chainwatch", standalone_mode=False)
        assert "given twice" in refused.value.format_message(), words


@pytest.mark.full
def test_a_second_value_is_one_line_and_exit_2(lake: Path) -> None:
    words = ("health", "--as-of", "2026-01-01", "--as-of", "2026-02-01")
    require_refusal(
        run(*words, home=lake), Exit.USAGE, "--as-of takes one value", "chainwatch health --help"
    )
    words = ("query", "walls", "p_market=demo", "p_market=comet")
    require_refusal(run(*words, home=lake), Exit.USAGE, "p_market is given twice")


def rows_here(lake: Path, out: Path, *words: str) -> list[dict[str, Any]]:
    """The rows that a report writes, run in this process."""
    root = typer.main.get_command(cli.app)
    where = ("--jsonl", "-o", str(out))
    root.main(["--home", str(lake), "-q", *words, *where], "chainwatch", standalone_mode=False)
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.full
def test_several_markets_are_added_up_by_every_report(lake: Path, tmp_path: Path) -> None:
    """A report over both markets of the lake, named single by single, is the report over all."""
    out = tmp_path / "rows.jsonl"
    root = typer.main.get_command(cli.app)
    taking = {path[0] for path, p in options_of(root) if "--market" in p.opts} - {
        "collect",
        "doctor",
        "import",
        "verify",
    }
    assert {"walls", "triggers", "health", "cascade", "accounts", "distance", "diff"} <= taking
    both = ("--market", "demo", "--market", "comet")
    for command in sorted(taking):
        words = (command, *READING[command])
        every = rows_here(lake, out, *words)
        single = rows_here(lake, out, *words, "--market", "demo")
        assert every != single, command
        for more in (both, ("--market", "comet, demo")):
            named = rows_here(lake, out, *words, *more)
            assert len(named) == len(every), command
            for row, total in zip(named, every, strict=True):
                for figure, value in total.items():
                    near = pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
                    assert row[figure] == near, (command, figure)
    queried = rows_here(lake, out, "query", "health", "p_market=comet,demo")
    assert [r["accounts"] for r in queried] == [
        r["accounts"] for r in rows_here(lake, out, "health")
    ]


def test_each_of_several_markets_must_be_stored(lake: Path) -> None:
    both = ("--market", "demo", "--market", "comt")
    words = ("'comt'", "did you mean comet?", "stored: comet, demo")
    old = ("--from", "2026-01-29T01:27:48Z", "--to", "2026-01-29")
    for done in at_once(
        [
            partial(run, "walls", "ETH", *both, home=lake),
            partial(run, "diff", *old, *both, home=lake),
        ]
    ):
        require_refusal(done, Exit.USAGE, *words)


@pytest.mark.parametrize("command", ["health", "walls BTC", "status", "verify", "sql 'FROM loads'"])
def test_without_a_lake_a_report_says_how_to_get_one(tmp_path: Path, command: str) -> None:
    require_refusal(
        run(*shlex.split(command), home=tmp_path / "x"), Exit.USAGE, "no lake", "chainwatch demo"
    )
    assert not (tmp_path / "x").exists()


@pytest.mark.full
def test_a_check_that_finds_rows_is_exit_1(tmp_path: Path) -> None:
    home = shell.copied_lake(tmp_path)
    store = Store(home)
    newest = max(store.rows(Snapshot), key=lambda row: row.block_number)
    (leg,) = store.rows(Leg, "snapshot = $s LIMIT 1", {"s": newest.snapshot})
    fields = {f: getattr(leg, f) for f in leg.__struct_fields__} | {"asset": "0x" + "11" * 20}
    store.append([Leg(**fields)], source="test")
    done = run("checks", "--json", home=home)
    assert done.code == Exit.CHECK_FAILED
    wrong = [row["check"] for row in shell.rows_of(done.out, "--json") if row["rows"]]
    assert "unknown_assets" in wrong
    assert done.lines[-1].startswith("chainwatch: ")
    assert f"`chainwatch query {wrong[0]}` shows them" in done.lines[-1]


ACCOUNT_DATA = f"0x{GET_USER_ACCOUNT_DATA.selector.hex()}"


class _Liar(recording.Player):
    """A chain that counts one account's debt differently."""

    def _recorded(self, to: str, data: str, number: int) -> str:
        answer = super()._recorded(to, data, number)
        if data.startswith(ACCOUNT_DATA) and data.endswith("5"):
            words = bytes.fromhex(answer[2:])
            debt = int.from_bytes(words[32:64]) + 1
            return "0x" + (words[:32] + debt.to_bytes(32) + words[64:]).hex()
        return answer


@pytest.mark.full
def test_a_verification_that_finds_a_difference_is_exit_1(tmp_path: Path) -> None:
    """The difference is listed."""
    home = shell.copied_lake(tmp_path)
    with shell.recorded_chain(_Liar, stop=1) as url:
        env = {"CHAINWATCH_RPC_LOCAL": url}
        done = run("verify", "--market", "demo", "--json", home=home, env=env)
    assert done.code == Exit.CHECK_FAILED
    (row,) = shell.rows_of(done.out, "--json")
    assert row["different"] > 0
    assert row["equal"] == row["checked"] - row["different"]
    assert re.search(r"^demo 0x[0-9a-f]{39}5 debt\S*: ours \d+, chain \d+$", done.err, re.MULTILINE)
    assert done.lines[-1] == f"chainwatch: {row['different']} account(s) differ from the chain"
    report = run("health", home=home)
    assert "WRONG: verified" in report.out


def test_an_endpoint_that_refuses_is_exit_3(tmp_path: Path) -> None:
    with shell.endpoint(shell.refused) as url:
        shell.market_file(tmp_path, {"far": f"{url}/v2/SECRETKEY"})
        done = run("collect", "aave-v3", "--market", "far", "--csv", home=tmp_path)
    assert done.code == Exit.NETWORK
    assert done.lines[-1].startswith("chainwatch: ")
    assert "HTTP 403" in done.lines[-1]
    (row,) = shell.rows_of(done.out, "--csv")
    assert row["rows"] == "0"
    assert "HTTP 403" in row["state"]
    assert "SECRETKEY" not in done.out + done.err


@pytest.mark.full
def test_a_collection_that_half_succeeds_is_exit_4_and_keeps_its_half(
    tmp_path: Path, chain: dict[str, str]
) -> None:
    with shell.endpoint(shell.refused) as url:
        good = chain["CHAINWATCH_RPC_LOCAL"]
        shell.market_file(tmp_path, {"demo": good, "far": url})
        both = ("--market", "demo", "--market", "far", "--accounts", "all")
        done = run("collect", "aave-v3", *both, "--json", home=tmp_path)
    assert done.code == Exit.PARTIAL
    states = {row["target"]: row["state"] for row in shell.rows_of(done.out, "--json")}
    assert states["demo"] == "ok"
    assert "HTTP 403" in states["far"]
    assert "1 of 2 failed: aave-v3 far" in done.lines[-1]
    assert run("health", "--market", "demo", home=tmp_path).code == Exit.OK


@pytest.mark.full
def test_a_source_with_nothing_to_verify_is_read(tmp_path: Path, chain: dict[str, str]) -> None:
    """A note says that it has nothing to verify."""
    shell.market_file(tmp_path, {"demo": chain["CHAINWATCH_RPC_LOCAL"]})
    both = ("aave-v3", "aave-v3-liquidations", "--market", "demo", "--accounts", "all")
    done = run("collect", *both, "--verify", "--json", home=tmp_path)
    assert done.code == Exit.OK, done.err
    rows = {row["source"]: row for row in shell.rows_of(done.out, "--json")}
    assert rows["aave-v3"]["checked"] > 200
    assert rows["aave-v3"]["different"] == 0
    assert rows["aave-v3-liquidations"]["checked"] is None
    assert "aave-v3-liquidations demo: nothing to verify" in done.lines


def test_a_lake_that_another_collector_holds_is_exit_5(
    tmp_path: Path, chain: dict[str, str]
) -> None:
    home = shell.copied_lake(tmp_path)
    with Store(home).hold("aave-v3", "demo"):
        done = run("collect", "aave-v3", "--market", "demo", home=home, env=chain)
    assert done.code == Exit.STORE
    assert f"by process {os.getpid()}" in done.lines[-1]


def test_a_home_that_is_a_file_is_exit_5(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("demo", "--recorded", home=tmp_path / "file")
    require_refusal(done, Exit.STORE, "Not a directory")


def test_an_unexpected_exception_is_one_line_and_exit_1() -> None:
    """Its traceback is shown only with --debug."""
    script = """
import sys
from chainwatch import cli

@cli.app.command()
def boom() -> None:
    raise RuntimeError("two\\nlines \\x1b[31m of http://h.example/v2/SECRETKEY")

cli.main()
"""
    env = shell.environment({"CHAINWATCH_RPC_ETHEREUM": "http://h.example/v2/SECRETKEY"})
    for flags in ([], ["--debug"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *flags, "boom"],
            capture_output=True,
            text=True,
            env=env,
            cwd=shell.NOWHERE,
        )
        assert done.returncode == Exit.CHECK_FAILED
        assert done.stdout == ""
        assert "SECRETKEY" not in done.stderr
        assert "\x1b" not in done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith("chainwatch: unexpected RuntimeError: two lines \\x1b[31m of ")
        assert ("Traceback" in done.stderr) == bool(flags)
        assert (len(done.stderr.splitlines()) == 1) == (not flags)


# --- streams ------------------------------------------------------------------------------------


@pytest.mark.quick_variants("health", "status", "sql", "collect")
@pytest.mark.parametrize("command", sorted({**READING, **ASKING}))
def test_stdout_is_data_alone_in_every_machine_format(
    command: str, lake: Path, later_chain: dict[str, str], tmp_path: Path
) -> None:
    arguments = (command, *READING.get(command, ()), *ASKING.get(command, ()))
    home = shell.copied_lake(tmp_path) if command in ASKING else lake
    jobs = [partial(run, *arguments, form, home=home, env=later_chain) for form in MACHINE]
    done = at_once(jobs) if command in READING else [job() for job in jobs]
    for result in done:
        assert result.code == Exit.OK, result.err
        assert "\x1b" not in result.out + result.err
    assert isinstance(json.loads(done[0].out), dict)
    rows = shell.rows_of(done[0].out, "--json")
    if command == "collect":  # JSON lines are what was stored, as it is stored
        assert done[1].out == ""
    else:
        lines = shell.rows_of(done[1].out, "--jsonl")
        assert [list(row) for row in lines] == [list(row) for row in rows]
    table = shell.rows_of(done[2].out, "--csv")
    assert [list(row) for row in table] == [list(row) for row in rows]
    assert rows
    for row, cells in zip(rows, table, strict=True):
        for name, value in row.items():
            if isinstance(value, str | int) and not re.search("age|time|_at$", name):
                text = json.dumps(value) if isinstance(value, bool) else str(value)
                assert cells[name].removeprefix("'") == text


@pytest.mark.full
def test_loads_are_told_as_json_lines_while_they_are_stored(
    tmp_path: Path, chain: dict[str, str]
) -> None:
    shell.market_file(tmp_path, {"demo": chain["CHAINWATCH_RPC_LOCAL"]})
    all_accounts = ("--market", "demo", "--accounts", "all")
    done = run("collect", "aave-v3", *all_accounts, "--jsonl", "--verify", home=tmp_path)
    assert done.code == Exit.OK, done.err
    loads = shell.rows_of(done.out, "--jsonl")
    assert loads[-1]["cursor"]["block"] == recording.load().stops[0]
    assert sum(load["rows"] for load in loads) > 1_000
    again = run("collect", "aave-v3", *all_accounts, "--verify", "--json", home=tmp_path)
    (row,) = shell.rows_of(again.out, "--json")  # one document, verification included
    assert row["state"] == "ok"
    assert row["rows"] == 0
    assert row["checked"] > 200
    assert row["different"] == 0
    assert "is already stored" in again.err


def test_the_header_of_a_machine_format_goes_to_stderr_unless_quiet(lake: Path) -> None:
    plain, quiet = at_once(
        [
            lambda: run("accounts", "--csv", home=lake),
            lambda: run("-q", "accounts", "--csv", home=lake),
        ]
    )
    assert re.search(r"block \d+ of 2026-01-29 .*old; verified \d+/\d+ equal", plain.err)
    assert quiet.err == ""
    assert quiet.out == plain.out


def test_verbose_says_more_on_stderr(lake: Path) -> None:
    done = run("-v", "health", home=lake)
    assert f"lake in {lake} (--home)" in done.err
    assert re.search(r"read in \d+\.\d\d s", done.err)


@pytest.mark.full
def test_an_old_block_of_a_real_chain_is_called_stale(
    tmp_path: Path, chain: dict[str, str]
) -> None:
    url = chain["CHAINWATCH_RPC_LOCAL"]
    shell.market_file(tmp_path, {"real": url}, provenance="chain")
    assert run("collect", "aave-v3", "--market", "real", home=tmp_path).code == Exit.OK
    done = run("health", home=tmp_path)
    assert re.search(r"^stale: real is \d+ days old: `chainwatch collect aave-v3", done.err)
    assert "NOT VERIFIED" in done.out


@pytest.mark.full
def test_a_limit_cuts_what_is_shown_and_says_so(lake: Path) -> None:
    shown, default, machine, none = at_once(
        [
            lambda: run("accounts", "--limit", "3", "--csv", home=lake),
            lambda: run("accounts", home=lake),
            lambda: run("accounts", "--csv", home=lake),
            lambda: run("triggers", "BTC", "--limit", "0", "--jsonl", home=lake),
        ]
    )
    everything = shell.rows_of(machine.out, "--csv")
    assert len(everything) > 200, "a machine gets every row unless it asks for fewer"
    assert "rows are shown" not in machine.err
    assert shell.rows_of(shown.out, "--csv") == everything[:3]
    cut = "only the first {} rows are shown: raise --limit to see more"
    assert cut.format(3) in shown.err
    assert cut.format(RANKED_SHOWN) in default.err
    assert len(re.findall(r"^(?:demo|comet) +0x", default.out, re.MULTILINE)) == RANKED_SHOWN
    assert none.out == ""
    assert cut.format(0) in none.err


def test_a_reader_that_leaves_is_no_error(lake: Path) -> None:
    process = shell.start("sql", "FROM range(200_000)", "--csv", home=lake)
    assert process.stdout is not None
    assert process.stdout.readline() == b"range\n"
    process.stdout.close()
    assert process.stderr is not None
    assert process.wait(timeout=30) == Exit.OK
    assert process.stderr.read() == b""
    process.stderr.close()


def in_a_shell(line: str, home: Path) -> Done:
    """Run a line of sh in which CW is the program."""
    program = shlex.join([*shell.CHAINWATCH, "--home", str(home)])
    script = line.replace("CW", program)
    done = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        env=shell.environment(),
        cwd=shell.NOWHERE,
        timeout=60,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.full
def test_streams_that_are_closed_or_full_are_one_line_or_nothing(lake: Path) -> None:
    closed, full, full_file, full_help, no_stderr, no_stdin = at_once(
        [
            lambda: in_a_shell("CW status >&-", lake),
            lambda: in_a_shell("CW status >/dev/full", lake),
            lambda: in_a_shell("CW status -o /dev/full", lake),
            lambda: in_a_shell("CW --help >/dev/full", lake),
            lambda: in_a_shell("CW nosuch 2>&-", lake),
            lambda: in_a_shell("CW sql <&-", lake),
        ]
    )
    require_refusal(closed, Exit.USAGE, "stdout is closed")
    require_refusal(full, Exit.STORE, "stdout cannot be written: No space left on device")
    require_refusal(full_help, Exit.STORE, "stdout cannot be written: No space left on device")
    require_refusal(full_file, Exit.STORE, "/dev/full cannot be written: No space left on device")
    assert no_stderr == Done(Exit.USAGE, "", "")
    require_refusal(no_stdin, Exit.USAGE, "no SQL given")


@pytest.mark.full
def test_output_goes_to_a_file_a_pipe_or_stdout_with_the_same_bytes(
    lake: Path, tmp_path: Path
) -> None:
    for form in FORMS:
        report = f"CW queries {form}"
        target, linked = tmp_path / "out", tmp_path / "link"
        linked.symlink_to(target)
        printed, _, dash, piped = at_once(
            [
                partial(in_a_shell, report, lake),
                partial(in_a_shell, f"{report} -o {linked}", lake),
                partial(in_a_shell, f"{report} -o -", lake),
                partial(in_a_shell, f"{report} -o /dev/stdout | cat", lake),
            ]
        )
        assert printed.code == Exit.OK
        assert printed.out
        assert target.read_text("utf-8") == printed.out == dash.out == piped.out
        assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "out"], "no draft is left"
        assert linked.is_symlink()
        target.unlink()
        linked.unlink()


def test_output_is_utf8_whatever_the_locale_says(lake: Path) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = run("health", home=lake, env=ascii_only)
    assert done.code == Exit.OK, done.err
    assert "≥ 3" in done.out


def test_a_query_is_shown_as_text_and_in_every_format(lake: Path) -> None:
    text, form = at_once(
        [lambda: run("queries", "walls"), lambda: run("queries", "walls", "--json")]
    )
    assert text.out.startswith("-- name: walls\n")
    (row,) = shell.rows_of(form.out, "--json")
    assert row["query"] == "walls"
    assert row["sql"].startswith("-- name: walls\\x0a")


@pytest.mark.full
def test_nothing_is_written_outside_the_home_folder(
    lake: Path, tmp_path: Path, chain: dict[str, str]
) -> None:
    home, user, here = tmp_path / "home", tmp_path / "user", tmp_path / "cwd"
    for folder in (home, user, here):
        folder.mkdir()
    shell.market_file(home, {"demo": chain["CHAINWATCH_RPC_LOCAL"]})
    env = {"HOME": str(user), "XDG_CACHE_HOME": str(user), "XDG_DATA_HOME": str(user)}
    for arguments in (
        ("collect", "aave-v3", "--market", "demo"),
        ("health",),
        ("sql", "FROM 'https://example.com/x.parquet'"),
        ("config",),
    ):
        run(*arguments, home=home, env=env, cwd=here)
    assert list(user.rglob("*")) == []
    assert list(here.rglob("*")) == []


def test_a_dry_run_says_where_it_would_start_and_writes_nothing(
    tmp_path: Path, lake: Path, chain: dict[str, str]
) -> None:
    shell.market_file(tmp_path, {"demo": "http://127.0.0.1:9/v2/SECRETKEY"})
    before = sorted(tmp_path.rglob("*"))
    plan = ("collect", "aave-v3", "--market", "demo", "--dry-run", "--json")
    fresh, resumed = at_once(
        [lambda: run(*plan, home=tmp_path), lambda: run(*plan, home=lake, env=chain)]
    )
    (row,) = shell.rows_of(fresh.out, "--json")
    assert row["resumes_at"] == "from the beginning"
    assert row["endpoint"] == "http://127.0.0.1:9/…"
    assert sorted(tmp_path.rglob("*")) == before
    (row,) = shell.rows_of(resumed.out, "--json")
    assert json.loads(row["resumes_at"])["block"] == recording.load().stops[-1]


# --- secrets ------------------------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize(
    "arguments",
    [
        ["config"],
        ["config", "--json"],
        ["markets"],
        ["--debug", "collect", "aave-v3", "--market", "demo"],
        ["--debug", "-v", "verify", "--market", "demo"],
        ["--debug", "verify", "--market", "demo", "--with-web3", "--sample", "1"],
    ],
    ids=" ".join,
)
def test_a_key_in_a_url_is_shown_nowhere(tmp_path: Path, lake: Path, arguments: list[str]) -> None:
    home = shell.copied_lake(tmp_path) if "verify" in arguments else tmp_path
    secret = tmp_path / "secret"

    def repeats(_: Any) -> tuple[int, str, bytes]:
        return 403, "text/plain", b"no such key: SECRETKEY for user:PASSWORD"

    with shell.endpoint(repeats) as url:
        shell.market_file(home, {"demo": "http://unused.example"})
        secret.write_text(
            url.replace("http://", "http://user:PASSWORD@") + "/v2/SECRETKEY?k=QUERYKEY"
        )
        done = run(*arguments, home=home, env={"CHAINWATCH_RPC_LOCAL_FILE": str(secret)})
    assert url in done.out + done.err
    for word in ("SECRETKEY", "PASSWORD", "QUERYKEY"):
        assert word not in done.out + done.err
    for path in home.rglob("*"):
        if path.is_file() and path != secret:
            assert b"SECRETKEY" not in path.read_bytes()


@pytest.mark.full
def test_web3_that_gets_no_answer_is_exit_3_and_shows_no_key(tmp_path: Path) -> None:
    """The endpoint answers our own client and refuses web3's plain calls."""
    home = shell.copied_lake(tmp_path)
    with shell.recorded_chain(stop=1) as chain:

        def answer(body: Any) -> tuple[int, str, bytes]:
            requests = body if isinstance(body, list) else [body]
            calls = [r["params"][0]["data"] for r in requests if r["method"] == "eth_call"]
            if any(data.startswith(ACCOUNT_DATA) for data in calls):
                return 401, "application/json", b'{"error": "no such key: SECRETKEY"}'
            request = urllib.request.Request(chain, json.dumps(body).encode())
            with urllib.request.urlopen(request, timeout=10) as response:
                return 200, "application/json", response.read()

        with shell.endpoint(answer) as url:
            env = {"CHAINWATCH_RPC_LOCAL": f"{url}/v2/SECRETKEY"}
            words = ("--debug", "verify", "--market", "demo", "--with-web3", "--sample", "2")
            done = run(*words, home=home, env=env)
    assert done.code == Exit.NETWORK
    assert done.lines[-1].startswith(f"chainwatch: {url}/…: web3 got no usable answer")
    assert "SECRETKEY" not in done.out + done.err


# --- a terminal ---------------------------------------------------------------------------------


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.full
@pytest.mark.parametrize(
    ("columns", "commands"),
    [
        (80, (["walls", "ETH", "--down", "5%"], ["accounts"], ["triggers", "ETH"])),
        (120, (["health"], ["walls", "ETH", "--down", "5%"], ["accounts"])),
        (200, (["walls", "ETH", "--down", "5%"],)),
    ],
)
def test_a_report_fits_the_terminal(
    lake: Path, columns: int, commands: tuple[list[str], ...]
) -> None:
    for command in commands:
        code, text, _ = shell.on_terminal(*command, home=lake, columns=columns)
        assert code == Exit.OK
        assert "\x1b[1m" in text
        for line in plain(text).splitlines():
            assert len(line) <= columns, line
        assert ("no room for" in text) == (columns < 120)


@pytest.mark.full
def test_long_words_are_folded_before_a_column_is_left_out(lake: Path) -> None:
    for command in (["queries"], ["claims"], ["bottom"], ["crashes"]):
        code, text, _ = shell.on_terminal(*command, home=lake, columns=100)
        assert code == Exit.OK
        assert max(len(line) for line in plain(text).splitlines()) <= 100
        assert "no room for" not in text


def test_a_narrow_terminal_is_told_which_columns_it_lacks(lake: Path) -> None:
    _, text, _ = shell.on_terminal("walls", "ETH", "--down", "5%", home=lake, columns=80)
    joined = " ".join(plain(text).split())
    assert "no room for: units, top1, sum seizable (a wider terminal or --csv has them)" in joined


@pytest.mark.parametrize(
    ("flags", "env", "colored"),
    [
        ([], {}, True),
        ([], {"NO_COLOR": "1"}, False),
        ([], {"TERM": "dumb"}, False),
        (["--color", "never"], {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colour_on_a_terminal_can_be_refused(
    lake: Path, flags: list[str], env: dict[str, str], colored: bool
) -> None:
    _, text, _ = shell.on_terminal(*flags, "sources", home=lake, env=env)
    assert ("\x1b[" in text) == colored


@pytest.mark.parametrize(
    ("flags", "env", "colored"),
    [
        ([], {}, False),
        ([], {"FORCE_COLOR": "1"}, True),
        ([], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (["--color", "always"], {"NO_COLOR": "1", "TERM": "dumb"}, True),
        (["--color", "always"], {"OUT": "file"}, False),
    ],
)
def test_colour_in_a_pipe_has_to_be_asked_for(
    lake: Path, tmp_path: Path, flags: list[str], env: dict[str, str], colored: bool
) -> None:
    out = ["-o", str(tmp_path / "out")] if "OUT" in env else []
    done = run(*flags, "sources", *out, home=lake, env=env)
    text = (tmp_path / "out").read_text("utf-8") if out else done.out
    assert text
    assert ("\x1b[" in text) == colored


def test_progress_moves_on_the_terminal_and_leaves_stdout_alone(
    tmp_path: Path, chain: dict[str, str]
) -> None:
    shell.market_file(tmp_path, {"demo": chain["CHAINWATCH_RPC_LOCAL"]})
    target = tmp_path / "out.json"
    code, text, _ = shell.on_terminal(
        *("collect", "aave-v3", "--market", "demo", "--accounts", "all", "--json"),
        *("-o", str(target)),
        home=tmp_path,
    )
    assert code == Exit.OK
    assert "blocks scanned" in text
    assert "accounts read" in text
    assert text.rstrip().endswith("\x1b[2K") or "\x1b[?25h" in text, "the cursor is back"
    assert json.loads(target.read_text("utf-8"))["rows"][0]["state"] == "ok"


# --- Ctrl-C -------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_long_query_at_once_with_130(lake: Path) -> None:
    endless = "SELECT count(*) FROM range(1_000_000_000_000) WHERE sin(range) > 2"
    process = shell.start("-v", "sql", endless, home=lake)
    assert process.stderr is not None
    assert process.stderr.readline().startswith(b"lake in ")
    time.sleep(1.0)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    done = shell.ended(process)
    assert time.monotonic() - begun < 3
    assert done.code == Exit.INTERRUPTED
    assert done.out == ""
    assert done.lines[-1] == "chainwatch: interrupted; what was acknowledged is stored"


LATE = """
import time
from chainwatch import cli
from chainwatch.commands.app import app
from chainwatch.commands.running import on_catalog

def read(catalog):
    time.sleep(0.8)
    return catalog.run("SELECT count(*) FROM range(1_000_000_000_000) WHERE sin(range) > 2")

@app.command()
def late():
    print("begun", flush=True)
    on_catalog(read)

cli.main()
"""


MAIN = """
from chainwatch import cli
from chainwatch.commands.app import app, get_session
from chainwatch.lake import query

@app.command()
def late():
    with query.open_catalog(get_session().store) as catalog:
        print("begun", flush=True)
        catalog.run("SELECT count(*) FROM range(1_000_000_000_000) WHERE sin(range) > 2")

cli.main()
"""


@pytest.mark.parametrize("program", [LATE, MAIN], ids=["begins only after it", "main thread"])
def test_ctrl_c_ends_a_query(lake: Path, program: str) -> None:
    """In the main thread the engine looks for it itself, and raises an error of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--home", str(lake), "late"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=shell.environment(),
        cwd=shell.NOWHERE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    time.sleep(0.4)
    process.send_signal(signal.SIGINT)
    done = shell.ended(process)
    assert (done.code, done.err) == (
        Exit.INTERRUPTED,
        "chainwatch: interrupted; what was acknowledged is stored\n",
    )


def test_ctrl_c_ends_a_wait_for_the_network_at_once_with_130(tmp_path: Path) -> None:
    with shell.endpoint(shell.silent) as url:
        shell.market_file(tmp_path, {"far": url})
        code, text, took = shell.on_terminal(
            *("collect", "aave-v3", "--market", "far"), home=tmp_path, press=b"\x03", when="asking"
        )
    assert code == Exit.INTERRUPTED
    assert took < 3
    assert f"aave-v3 far: asking {url}" in text, "a silent wait says what it waits for"
    assert "chainwatch: interrupted" in text
    assert "Traceback" not in text


def test_a_terminated_collector_ends_like_an_interrupted_one(
    tmp_path: Path,
) -> None:
    """It does so in the background, too, where SIGINT is ignored."""
    with shell.endpoint(shell.silent) as url:
        shell.market_file(tmp_path, {"far": url})
        program = shlex.join([*shell.CHAINWATCH, "--home", str(tmp_path)])
        # A shell without job control starts background jobs with SIGINT ignored.
        script = f"{program} collect aave-v3 --market far & echo $!; wait $!; echo $?"
        process = subprocess.Popen(
            ["sh", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=shell.environment(),
            cwd=shell.NOWHERE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        pid = int(process.stdout.readline())
        assert b"asking" in process.stderr.readline()
        time.sleep(0.5)
        os.kill(pid, signal.SIGTERM)
        done = shell.ended(process)
    assert done.out.split() == [str(int(Exit.INTERRUPTED))]
    assert done.lines[-1].startswith("chainwatch: interrupted")


# --- SQL ----------------------------------------------------------------------------------------


@pytest.mark.full
def test_sql_comes_from_an_argument_a_file_or_stdin(lake: Path, tmp_path: Path) -> None:
    file = tmp_path / "q.sql"
    file.write_text("\ufeff-- with a comment\nSELECT 42 AS a; -- and another\n", encoding="utf-8")
    results = at_once(
        [
            lambda: run("sql", "SELECT 42 AS a", "--csv", home=lake),
            lambda: run("sql", "-f", str(file), "--csv", home=lake),
            lambda: run("sql", "--csv", home=lake, given=file.read_bytes()),
            lambda: run("sql", "-", "--csv", home=lake, given="SELECT 42 AS a"),
            lambda: run("sql", "-f", "-", "--csv", home=lake, given="SELECT 42 AS a"),
        ]
    )
    assert {done.out for done in results} == {"a\n42\n"}


@pytest.mark.full
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"given": ""}, ["there is no SQL statement"]),
        ({"given": ";;\n-- nothing\n"}, ["there is no SQL statement"]),
        ({"given": b"\xff\xfe"}, ["stdin is not UTF-8 text"]),
        ({"file": "nosuch.sql"}, ["nosuch.sql cannot be read", "No such file"]),
        ({"file": "x.sql", "text": "SELECT 1"}, ["not both"]),
        ({"text": "SELEC 1"}, ["syntax error"]),
        ({"text": "FROM nosuch"}, ["nosuch does not exist"]),
        ({"text": "FROM text"}, ["text does not exist"]),  # no variable of ours
        ({"text": "SELECT $p"}, ["parameters"]),
        ({"text": "SELECT 'a'::INT"}, ["Could not convert"]),
    ],
    ids=str,
)
def test_sql_that_is_none_is_one_line_and_exit_2(
    lake: Path, how: dict[str, Any], words: list[str]
) -> None:
    file = ["-f", how["file"]] if "file" in how else []
    text = [how["text"]] if "text" in how else []
    require_refusal(run("sql", *text, *file, home=lake, given=how.get("given")), Exit.USAGE, *words)


READS = (
    "SELECT 1 AS a",
    "select 1 as a; -- done",
    "WITH t AS (SELECT 1 AS a) SELECT * FROM t",
    "WITH RECURSIVE t AS (SELECT 1 a UNION ALL SELECT a + 1 FROM t WHERE a < 3) FROM t",
    "FROM range(3)",
    "FROM walls(p_factor := 'ETH')",
    "FROM health()",
    "VALUES (1), (2)",
    "TABLE loads",
    "DESCRIBE account_health",
    "DESCRIBE SELECT 1",
    "SUMMARIZE loads",
    "SHOW TABLES",
    "EXPLAIN SELECT 1",
    "/* c */ EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN (FORMAT json) SELECT 1",
    "PIVOT (SELECT 1 AS a, 2 AS b) ON a IN (1) USING sum(b)",
    "SELECT * FROM query('SELECT 1')",
)


@pytest.mark.full
def test_sql_reads_in_every_form(lake: Path) -> None:
    store = Store(lake)
    for text in READS:
        with query.open_catalog(store) as catalog:
            readonly.enclose(catalog, store.lake)
            explains = readonly.require_reading(catalog, text)
            assert explains == ("EXPLAIN" in text), text
            assert catalog.run(text).rows, text
    some = READS[1], READS[5], READS[9], READS[14]
    results = at_once([partial(run, "sql", text, "--json", home=lake) for text in some])
    for text, done in zip(some, results, strict=True):
        assert done.code == Exit.OK, f"{text}: {done.err}"
        assert shell.rows_of(done.out, "--json"), text


WRITES = (
    "INSERT INTO loads VALUES (1)",
    "CREATE TABLE t (i INT)",
    "CREATE TEMP TABLE t AS SELECT 1",
    "DROP VIEW loads",
    "DELETE FROM catalog_state",
    "UPDATE catalog_state SET home = ''",
    "TRUNCATE catalog_state",
    "ALTER VIEW loads RENAME TO x",
    "COPY (SELECT 1) TO 'TARGET'",
    "EXPORT DATABASE 'TARGET'",
    "IMPORT DATABASE 'TARGET'",
    "ATTACH 'TARGET'",
    "DETACH chainwatch",
    "USE memory",
    "PRAGMA version",
    "PRAGMA memory_limit = '1GB'",
    "SET threads = 1",
    "SET enable_external_access = true",
    "RESET enable_external_access",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CALL enable_logging()",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "SELECT 1; DROP VIEW loads",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO 'TARGET'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO 'TARGET'",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO 'TARGET'",
    "/* c */ EXPLAIN /* d */ ANALYZE /* e */ COPY (SELECT 1) TO 'TARGET'",
    "EXPLAIN ANALYZE INSERT INTO catalog_state VALUES ('a', 'b')",
    "WITH t AS (COPY (SELECT 1) TO 'TARGET') SELECT * FROM t",
    "EXPLAIN ANALYZE WITH t AS (COPY (SELECT 1) TO 'TARGET') SELECT * FROM t",
    "WITH t AS (INSERT INTO catalog_state VALUES ('a', 'b') RETURNING *) SELECT * FROM t",
    "WITH t AS (DELETE FROM catalog_state RETURNING *) SELECT * FROM t",
    "SELECT * FROM query('COPY (SELECT 1) TO ''TARGET''')",
    "SELECT * FROM read_text('/etc/hostname')",
    "FROM glob('/etc/*')",
    "FROM 'https://example.com/x.parquet'",
    "PIVOT (SELECT 1 AS a, 2 AS b) ON a USING sum(b)",
)


@pytest.mark.full
def test_sql_refuses_whatever_could_write_or_leave_the_lake(tmp_path: Path) -> None:
    home = shell.copied_lake(tmp_path)
    assert run("status", home=home).code == Exit.OK  # the catalog of the copy
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    inside = home / "lake" / "legs" / "day=2026-01-01" / "evil.parquet"
    store = Store(home)
    for text in WRITES:
        for target in (tmp_path / "evil", inside):
            statement = text.replace("TARGET", str(target))
            with query.open_catalog(store) as catalog:
                refusal = _refusal(catalog, store, statement)
            assert refusal, f"{statement} went through"
            assert "\n" not in refusal, statement
            assert not target.exists(), statement
    assert {p: p.stat().st_mtime_ns for p in home.rglob("*") if p.is_file()} == before


def _refusal(catalog: Catalog, store: Store, statement: str) -> str:
    try:
        readonly.enclose(catalog, store.lake)
        readonly.require_reading(catalog, statement)
        catalog.run(statement)
    except UsageError as failure:
        return str(failure)
    return ""


@pytest.mark.full
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("INSERT INTO loads VALUES (1)", ["only reads: INSERT is refused", "duckdb shell"]),
        ("SELECT 1; COPY (SELECT 1) TO 'TARGET'", ["only reads: COPY is refused"]),
        ("SELECT 1; SELECT 2", ["one statement at a time"]),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO 'TARGET'", ["only reads: COPY is refused"]),
        ("WITH t AS (COPY (SELECT 1) TO 'TARGET') FROM t", ["WITH may hold SELECT only"]),
        ("FROM read_text('/etc/hostname')", ["/etc/hostname", "only the lake is open here"]),
        ("PIVOT (SELECT 1 a) ON a", ["PIVOT has to name its values"]),
    ],
)
def test_a_refusal_of_sql_says_why_in_one_line(
    lake: Path, tmp_path: Path, text: str, words: list[str]
) -> None:
    statement = text.replace("TARGET", str(tmp_path / "evil"))
    require_refusal(run("sql", statement, home=lake), Exit.USAGE, *words)
    assert not (tmp_path / "evil").exists()


def test_a_function_that_writes_a_log_writes_none(lake: Path, tmp_path: Path) -> None:
    target = tmp_path / "log"
    run("sql", f"FROM enable_logging(storage = 'file', storage_path = '{target}')", home=lake)
    assert not target.exists()


def test_a_plan_is_printed_as_lines(lake: Path) -> None:
    done = run("sql", "EXPLAIN SELECT 1", home=lake)
    assert "\\x0a" not in done.out
    assert any(line.startswith("│") for line in done.out.splitlines())


# --- settings through the command -----------------------------------------------------------------


def test_config_shows_each_value_and_where_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("https://files.example/SECRET\n")
    (tmp_path / ".env").write_text(
        "CHAINWATCH_TIMEOUT=5\n"
        "export CHAINWATCH_RPC_BASE='https://base.example/v2/SECRET'  \n"
        "CHAINWATCH_RPC_ARBITRUM_FILE=key\n"
    )
    env = {"CHAINWATCH_CACHE": "/c"}
    done = run("config", "--json", home=tmp_path / "h", env=env, cwd=tmp_path)
    assert done.code == Exit.OK, done.err
    shown = {
        row["setting"]: (row["value"], row["origin"]) for row in shell.rows_of(done.out, "--json")
    }
    assert shown["CHAINWATCH_HOME"] == (str(tmp_path / "h"), "--home")
    assert shown["CHAINWATCH_CACHE"] == ("/c", "environment CHAINWATCH_CACHE")
    assert shown["CHAINWATCH_TIMEOUT"] == ("5", ".env CHAINWATCH_TIMEOUT")
    assert shown["CHAINWATCH_MARKETS"] == (str(tmp_path / "h" / "markets.toml"), "default")
    base = ("https://base.example/…", ".env CHAINWATCH_RPC_BASE")
    assert shown["CHAINWATCH_RPC_BASE"] == base
    file = ("https://files.example/…", "file named by .env CHAINWATCH_RPC_ARBITRUM_FILE")
    assert shown["CHAINWATCH_RPC_ARBITRUM"] == file
    assert "SECRET" not in done.out + done.err


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"CHAINWATCH_TIMEOUT": "soon"}, ["timeout: expected seconds", "CHAINWATCH_TIMEOUT"]),
        ({"CHAINWATCH_RPC_BASE_FILE": "/no/key"}, ["CHAINWATCH_RPC_BASE_FILE", "/no/key"]),
        ({"CHAINWATCH_HOME": "/a*b"}, ["/a*b", "must not contain"]),
    ],
    ids=str,
)
def test_a_wrong_setting_is_one_line_that_names_it(env: dict[str, str], words: list[str]) -> None:
    command = "status" if "CHAINWATCH_HOME" in env else "config"
    require_refusal(run(command, env=env), Exit.USAGE, *words)


def test_an_empty_home_is_refused_instead_of_using_the_current_folder() -> None:
    require_refusal(
        run("--home", "", "demo", "--recorded"), Exit.USAGE, "--home: expected a folder"
    )
