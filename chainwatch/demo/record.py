"""Record the demo's chain anew: `python -m chainwatch.demo.record` (make recording)."""

import tempfile
from pathlib import Path

from chainwatch.demo import recording, story
from chainwatch.settings import Settings
from chainwatch.show.tell import Teller

if __name__ == "__main__":
    with Teller() as teller, tempfile.TemporaryDirectory() as folder:
        made = story.record(Settings().cache, Path(folder) / "demo", teller)
        recording.save(made)
        teller.note(f"{recording.RECORDING.stat().st_size:,} bytes, {len(made.logs):,} logs")
