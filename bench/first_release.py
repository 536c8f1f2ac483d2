"""The first commit of this repository, run beside today's code.

Its commands read a lake that its own benchmark makes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def extract(folder: Path) -> Path | None:
    """Its files in `folder`/code; None where the commit is missing (a shallow clone, a copy)."""
    git = ["git", "-C", str(ROOT)]
    shallow = subprocess.run([*git, "rev-parse", "--is-shallow-repository"], capture_output=True)
    if shallow.stdout.strip() != b"false":
        return None
    commits = subprocess.run(
        [*git, "rev-list", "--max-parents=0", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.split()
    code = folder / "code"
    code.mkdir()
    archive = subprocess.run([*git, "archive", commits[-1]], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(code)], input=archive, check=True)
    return code


def run_script(code: Path, script: str, *words: str) -> bytes:
    """What a script prints that imports the first release's modules."""
    (code / "measure.py").write_text(script)
    command = [sys.executable, "measure.py", *words]
    return subprocess.run(command, cwd=code, check=True, capture_output=True).stdout


# How its command line is started, from its own folder.
START = (sys.executable, "-c", "from chainwatch.cli import main; main()")
