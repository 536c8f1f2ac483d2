"""Run all benchmarks, or those named: `python -m bench walls startup`. One JSON line each.

`holds` says whether the bars of a line hold, see bench/bars.py. The lines of a run as a page:
`python -m bench > lines.jsonl && python -m bench.page lines.jsonl`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

from bench import bars

NAMES = (
    "startup",
    "walls",
    "reports",
    "growth",
    "cascade",
    "reads",
    "probing",
    "refresh",
    "indicators",
    "feeds",
    "events",
    "exact",
    "street",
    "nights",
    "history",
)


def main() -> int:
    cache = Path(os.environ.get("CHAINWATCH_CACHE", ".cache"))
    for name in sys.argv[1:] or NAMES:
        if name not in NAMES:
            sys.stderr.write(f"no benchmark is called {name!r}; known: {', '.join(NAMES)}\n")
            return 2
        for line in importlib.import_module(f"bench.{name}").run(cache):
            sys.stdout.write(json.dumps(line | bars.verdict(line), ensure_ascii=False) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
