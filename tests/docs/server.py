"""Imports the program once, and runs each command in a fork: `python -m tests.docs.server`.

What a command costs is then the command, not the imports. A request is one JSON line: arguments,
environment, folder, and the files that take stdout and stderr. The answer is the exit code.
"""

import importlib
import json
import os
import sys

from chainwatch import cli

# What commands import on their way; DuckDB opens nothing before the fork.
BEFORE = ("duckdb", "numpy", "chainwatch.lake.catalog", "chainwatch.lake.query")


def serve() -> None:
    for name in BEFORE:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            run(request)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


def run(request: dict[str, object]) -> None:
    """Become the command."""
    os.chdir(str(request["folder"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    for number, name in ((0, os.devnull), (1, request["out"]), (2, request["err"])):
        os.dup2(os.open(str(name), os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["chainwatch", *request["arguments"]]  # type: ignore[misc]
    try:
        cli.main()
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code if isinstance(end.code, int) else 0)
    os._exit(99)


if __name__ == "__main__":
    serve()
