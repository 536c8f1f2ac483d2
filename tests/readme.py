"""Writes the generated parts of README.md: `python -m tests.readme` (make docs)."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from chainwatch.collect.registry import discover
from chainwatch.demo import recording
from chainwatch.lake import query

README = Path(__file__).parent.parent / "README.md"
_HEARD = re.compile(r"covered [0-9.]+ % of the time, (.*) \d+ frames")
_AGE = re.compile(r"Z, \d+ (second|minute|hour|day)s? old")


def command(home: Path, *arguments: str) -> str:
    """What a command prints on stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "chainwatch.cli", "--home", str(home), *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def stable(text: str) -> str:
    """The text without what differs from run to run: the age and the port of the endpoint."""
    text = _AGE.sub("Z, … old", text)
    text = _HEARD.sub(r"covered … of the time, \1 … frames", text)
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:…", text)


def stop_time(recorded: recording.Recording, seconds: int = 0) -> str:
    """The time of the block before prices fall, or some seconds later."""
    header = next(h for h in recorded.headers if h.number == recorded.stops[0])
    return f"{datetime.fromtimestamp(header.time + seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def blocks() -> dict[str, str]:
    """The generated parts by name, on the recorded chain."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        command(home, "demo", "--recorded")
        demo = home / "demo"
        before = stop_time(recording.load())
        printed = {
            "health": command(demo, "health", "--as-of", before),
            "walls": command(demo, "walls", "BTC", "--down", "20%", "--as-of", before),
            "ratio": command(demo, "walls", "wstETH/ETH", "--down", "6%", "--as-of", before),
            "cascade": command(demo, "cascade", "ETH", "--limit", "2", "--as-of", before),
            "explain": command(demo, "cascade", "ETH", "--explain", "2850", "--as-of", before),
            "accounts": command(demo, "accounts", "--limit", "3", "--as-of", before),
            "changes": command(demo, "changes"),
            "comet": command(
                demo,
                *("walls", "ETH", "--down", "15%", "--market", "comet", "--as-of", before),
            ),
            "market": command(
                demo,
                *("walls", "MARKET", "--beta", "eth=1.3", "--down", "5%", "--as-of", before),
            ),
            "factors": command(demo, "factors", "--market", "demo", "--as-of", before),
            "record": command(demo, "query", "liquidation_totals", "p_by=market"),
            "liquidations": command(
                demo,
                *("liquidations", "--largest", "--limit", "6"),
                *("--since", before, "--until", stop_time(recording.load(), seconds=4)),
            ),
            "verify": command(demo, "query", "verification"),
            "reserves": command(demo, "reserves", "USDT", "--known-on", "2026-02-01"),
            "bottom": command(demo, "bottom", "--known-on", "2026-02-06"),
            "crashes": command(demo, "crashes", "--known-on", "2026-02-20"),
            "claims": command(demo, "claims", "--article", "C", "--known-on", "2026-02-20"),
        }
    found = {name: f"```\n{stable(text)}```" for name, text in printed.items()}
    found["queries"] = _queries()
    found["sources"] = _sources()
    return found


def _queries() -> str:
    lines = ["| query | answers |", "| --- | --- |"]
    lines += [
        f"| `{q.name}` | {q.title} |"
        for q in sorted(query.load_all().values(), key=lambda q: (q.group, q.name))
        if q.group not in ("checks", "marts", "alerts")
    ]
    return "\n".join(lines)


def _sources() -> str:
    lines = ["| source | reads | format documented at |", "| --- | --- | --- |"]
    lines += [f"| `{s.name}` | {s.summary} | {s.docs} |" for s in discover().values()]
    return "\n".join(lines)


def filled(text: str, parts: dict[str, str]) -> str:
    """The README with each `<!-- name -->` … `<!-- /name -->` filled."""
    for name, part in parts.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text, count = pattern.subn(lambda m, part=part: f"{m[1]}{part}\n{m[2]}", text)
        if count != 1:
            raise SystemExit(f"README.md has no place for {name}")
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text("utf-8"), blocks()), encoding="utf-8")
