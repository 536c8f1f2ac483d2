"""Files of raw frames: what `record` writes, `replay` reads, and tests use as fixtures.

JSON lines, one object each, in the order things arrived:

    {"source": "okx", "contract": {"symbol": "BTC-USDT-SWAP", …}}    a contract of the venue's list
    {"source": "okx", "received_at": "2026-01-29T01:27:41.123456Z", "frame": "{…}"}

A frame that is not UTF-8 is written as `frame_hex`. Frames of venues that compress are unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

from chainwatch import numbers
from chainwatch.errors import UsageError
from chainwatch.exchanges.contracts import READ_ERRORS, Contract, contract_of
from chainwatch.exchanges.reader import reason_of
from chainwatch.tables.base import Row
from chainwatch.tables.exchange import Instrument


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a file of frames."""

    source: str
    received_at: datetime | None = None
    frame: str | None = None
    frame_hex: str | None = None
    contract: Contract | None = None

    @property
    def data(self) -> bytes:
        """The frame's bytes."""
        if self.frame_hex is not None:
            return bytes.fromhex(self.frame_hex)
        return (self.frame or "").encode()


class Recorder:
    """Writes frames to a file as they come (chainwatch.collect.feed.Listener)."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.frames = 0

    def rows(self, source: str, rows: Sequence[Row]) -> None:
        for row in rows:
            if isinstance(row, Instrument):
                self._write(Line(source=source, contract=contract_of(row)))

    def frame(self, source: str, frame: bytes, received: datetime) -> None:
        self.frames += 1
        try:
            line = Line(source=source, received_at=received, frame=frame.decode())
        except UnicodeDecodeError:
            line = Line(source=source, received_at=received, frame_hex=frame.hex())
        self._write(line)

    def _write(self, line: Line) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")


def read(path: Path) -> Iterator[Line]:
    """The lines of a file; UsageError names one that does not fit."""
    decoder = msgspec.json.Decoder(Line)
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                try:
                    line = decoder.decode(text)
                    bytes.fromhex(line.frame_hex or "")
                    if line.received_at is not None:
                        received = numbers.within(line.received_at, datetime.now(UTC))
                        line = msgspec.structs.replace(line, received_at=received)
                except READ_ERRORS as failure:
                    raise UsageError(
                        f"{path} line {number}: expected a recorded frame: {reason_of(failure)}"
                    ) from None
                yield line
    except OSError as failure:
        raise UsageError(f"{path} cannot be read: {failure.strerror or failure}") from None
