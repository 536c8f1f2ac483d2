"""Record the demo's chain again: `python -m chainwatch.demo.record` (make recording)."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

from chainwatch.collect.feed import Progress
from chainwatch.demo import recording
from chainwatch.demo.stages import Live, live
from chainwatch.demo.story import play
from chainwatch.settings import Settings
from chainwatch.show.tell import Teller

# A recording starts at this second, so that recording again gives the same blocks.
RECORDED_START = 1_769_650_000  # 2026-01-29 01:26:40 UTC


def record(cache: Path, home: Path, voice: Progress) -> recording.Recording:
    """Run the demo on a live node and keep every answer that the collector got."""
    with (
        live(cache, voice.note, start=RECORDED_START) as stage,
        recording.ChainRecorder(stage.chain) as recorder,
    ):
        recorded_stage = _RecordedStage(stage, recorder)
        play(recorded_stage, home, voice, lambda report: None)
        return recorder.finish(stage.markets, recorded_stage.stops, recorded_stage.description)


class _RecordedStage:
    """A live stage behind a recorder, with the blocks at which the demo reads it."""

    provenance = "recording"

    def __init__(self, stage: Live, recorder: recording.ChainRecorder) -> None:
        self._stage = stage
        self.url = recorder.url
        self.markets = stage.markets
        self.words = stage.words
        self.stops = [stage.chain.block_number()]
        self.description = ""

    def now(self) -> datetime:
        return self._stage.now()

    def fall(self) -> str:
        self.description = self._stage.fall()
        self.stops.append(self._stage.chain.block_number())
        return self.description


if __name__ == "__main__":
    with Teller() as teller, tempfile.TemporaryDirectory() as folder:
        made = record(Settings().cache, Path(folder) / "demo", teller)
        recording.save(made)
        teller.note(f"{recording.RECORDING.stat().st_size:,} bytes, {len(made.logs):,} logs")
