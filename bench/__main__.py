"""Run all benchmarks, or those named: `python -m bench walls startup`. One JSON line each."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

NAMES = (
    *(
        "startup",
        "walls",
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
    ),
)


def main() -> int:
    cache = Path(os.environ.get("CHAINWATCH_CACHE", ".cache"))
    for name in sys.argv[1:] or NAMES:
        if name not in NAMES:
            sys.stderr.write(f"no benchmark is called {name!r}; known: {', '.join(NAMES)}\n")
            return 2
        for line in importlib.import_module(f"bench.{name}").run(cache):
            sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
