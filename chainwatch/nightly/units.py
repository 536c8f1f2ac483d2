"""Units of systemd that start the nights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

UNITS = ("chainwatch-nightly.service", "chainwatch-nightly.timer")


def units(command: Sequence[str]) -> dict[str, str]:
    """The unit files by name; `command` is what the service runs."""
    folder = Path(__file__).with_name("systemd")
    words = " ".join(
        '"' + w.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"' for w in command
    )
    return {name: (folder / name).read_text("utf-8").replace("{command}", words) for name in UNITS}


def unit_folder() -> Path:
    """Where systemd looks for the user's units."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "systemd" / "user"
