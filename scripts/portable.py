"""Say what keeps a query that is marked `portable` from running on Spark.

python scripts/portable.py
"""

from __future__ import annotations

import sys

from chainwatch.lake.portable import all_faults


def main() -> int:
    faults = all_faults()
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
