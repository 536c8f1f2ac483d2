"""The record of a night: which steps were done or failed, so that a later run does the rest."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from chainwatch import numbers
from chainwatch.errors import Exit
from chainwatch.lake.faults import writing
from chainwatch.lake.store import Store

EXPORT = "export "  # name of a step that exports a day, which follows


class StepEntry(msgspec.Struct, frozen=True):
    """A step's entry in the record."""

    state: Literal["done", "failed"]
    detail: str
    ended_at: str
    seconds: float
    code: int = 0


class Night(msgspec.Struct):
    """One night: its jobs, and how its steps ended. Its JSON is the run record."""

    night: str
    jobs: dict[str, tuple[str, str, dict[str, str]]] | None = None
    steps: dict[str, dict[str, Any]] = {}
    started_at: str = ""
    finished_at: str = ""
    runs: int = 0
    code: int = 0

    def done(self, name: str) -> bool:
        return self.steps.get(name, {}).get("state") == "done"

    @property
    def failed(self) -> dict[str, str]:
        return {n: s["detail"] for n, s in self.steps.items() if s["state"] == "failed"}


def exit_code(night: Night) -> int:
    """0, or the exit code of the failed steps; 4 where they failed with different codes."""
    failed = [s for s in night.steps.values() if s["state"] == "failed"]
    codes = {s.get("code", int(Exit.CHECK_FAILED)) for s in failed}
    return codes.pop() if len(codes) == 1 else int(Exit.PARTIAL) if codes else int(Exit.OK)


def summary(night: Night) -> str:
    """The night in one line."""
    done = sum(s["state"] == "done" for s in night.steps.values())
    text = f"night {night.night}: {done} of {len(night.steps)} steps done"
    exports = [n.removeprefix(EXPORT) for n in night.steps if n.startswith(EXPORT)]
    if exports:
        text += f", exported {', '.join(exports[-3:])}"
    if night.failed:
        text += "; failed: " + "; ".join(f"{n}: {d}" for n, d in night.failed.items())
    return text


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def record_path(store: Store, night: str) -> Path:
    return store.home / "nightly" / f"{night}.json"


def read_record(path: Path, name: str) -> Night:
    """The record of a night; a fresh one where it is missing or cannot be parsed."""
    try:
        night = msgspec.json.decode(path.read_bytes(), type=Night)
        for step, entry in night.steps.items():
            msgspec.convert(entry, StepEntry)
            if step.startswith(EXPORT):
                numbers.day(step.removeprefix(EXPORT))
    except (FileNotFoundError, msgspec.MsgspecError, ValueError, RecursionError):
        return Night(night=name)
    return night


def write_record(path: Path, night: Night) -> None:
    """Write the record, completely or not at all. Raises StoreError where the disk is full."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    text = json.dumps(msgspec.to_builtins(night), ensure_ascii=False, indent=1) + "\n"
    try:
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
