"""An example of each command, as it is run for the reference: see outputs.Marker.

A command that is not named here is shown with the example in its help.
"""

import shlex

EXAMPLES = {
    "demo": "loose: demo --recorded | head -n 19",
    "collect": "empty chain err loose: collect aave-v3 --market demo --accounts all --verify",
    "verify": "copy chain: verify --market demo --sample 100",
    "health": ": health --market demo --as-of $BEFORE",
    "accounts": ": accounts --min-debt 100000 --limit 3",
    "walls": ": walls BTC --down 20% --step 5% --as-of $BEFORE | head -n 12",
    "triggers": ": triggers ETH --limit 3 --as-of $BEFORE",
    "changes": ": changes --market demo",
    "status": "loose: status | head -n 10",
    "checks": ": checks",
    "sql": ": sql 'SELECT market, accounts FROM snapshots_at()' --csv",
    "query": ": query walls p_factor=ETH p_step_pct=0.1 --csv --limit 3",
    "queries": ": queries --limit 5",
    "sources": ": sources --csv --limit 3",
    "doctor": "copy chain loose: doctor --market demo --csv",
    "config": ": config --csv | head -n 9",
    "alert": "copy: alert",
    "cascade": ": cascade ETH --to 2850 --as-of $BEFORE | head -n 24",
    "distance": ": distance --limit 3 | head -n 20",
    "diff": ": diff --from $BEFORE --to $END --factor ETH",
    "spreads": ": spreads --last 3 --known-on 2026-02-06",
    "bottom": ": bottom --known-on 2026-02-06",
    "crashes": ": crashes --known-on 2026-02-20 | head -n 12",
    "breaks": ": breaks BTC 88000 --known-on 2026-02-20 --limit 3",
    "claims": ": claims --article C --known-on 2026-02-20 --limit 3",
    "documents": "loose: documents --limit 3",
    "liquidations": "loose: liquidations --by venue --since $BEFORE --until $END",
    "feeds": "loose: feeds --since $BEFORE --until $END",
    "watch": "copy exchange loose: watch binance-usdm bybit-linear okx --for 4s | head -n 12",
    "record": "exchange loose: record binance-usdm bybit-linear okx --for 3s | head -n 3",
    "replay": "copy: replay frames.jsonl --dry-run",
    "export": "copy: export --out marts --day 2026-01-29 --csv --limit 3",
    "import": "copy loose: import accounts.csv --market mine --map account=user "
    "--map liquidation_threshold_bps=threshold --at 2026-01-29",
    "factors": ": factors --market demo --as-of $BEFORE",
    "markets": ": markets --limit 5",
    "nightly": "copy loose: nightly --source reference --out marts",
    "schema": ": schema legs --csv --limit 4",
    "reserves show": ": reserves USDT --known-on 2026-02-01",
    "reserves import-pdf": "copy loose: reserves import-pdf report.pdf",
    "indicators show": ": indicators --known-on 2026-02-06",
    "indicators import": "copy loose: indicators import gold.csv --series gold",
}


def help_example(epilog: str) -> list[str]:
    """The words of the example that a command's help gives: its name and its arguments."""
    return shlex.split(epilog.removeprefix("Example: chainwatch "))
